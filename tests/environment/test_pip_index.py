"""Where wheels can be had: pip's and uv's configuration, and the pages of indexes."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from repro.data.transports import Transports
from repro.digest import Digest
from repro.environment.model import Wheel
from repro.environment.resolvers.indexes import Indexes, pip_settings, reaching
from repro.environment.resolvers.pip import locate
from repro.environment.resolvers.simple_index import links
from repro.environment.resolvers.uv import effective_indexes
from repro.errors import DataError, UsageError
from tests.environment.small_index import SmallIndex

DIGEST = "ab" * 32


@pytest.fixture
def index():
    """An index with one wheel of each of two projects."""
    index = SmallIndex()
    index.add("alpha", "1.0")
    index.add("Be_ta", "2.0")
    yield index
    index.close()


@pytest.fixture
def environ(tmp_path):
    """A user without any configuration."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}


def locked(index) -> list[Wheel]:
    """Return what a lock has of the index's files."""
    return [
        Wheel(name, version, file, Digest.of(index.files[file]), len(index.files[file]))
        for name, version, file in (
            ("alpha", "1.0", "alpha-1.0-py3-none-any.whl"),
            ("be-ta", "2.0", "Be_ta-2.0-py3-none-any.whl"),
        )
    ]


def found(index, environ, **more) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each wheel."""
    wanted = locate(locked(index), environ, Transports({}, pause=0.0), **more)
    return {item.name: item.urls for item in wanted}


# ---- pages


def test_links_of_a_page_in_html():
    """Relative to the page or to its base, with the sha256 where it is told; entities and escapes are undone."""
    page = f"""<html><head><base href="/files/"></head><body>
    <a href="a%2Bb-1-py3-none-any.whl#sha256={DIGEST}" data-yanked="">x</a> <a>no target</a>
    <A HREF="https://other.invalid/c-1-py3-none-any.whl?a=1&amp;b=2#md5=00">y</A></body></html>"""
    first, second = links(page.encode(), "https://host.invalid/simple/a/")
    assert ("https://host.invalid/files/a%2Bb-1-py3-none-any.whl", Digest(DIGEST)) == (first.url, first.digest)
    assert "a+b-1-py3-none-any.whl" == first.file
    assert ("c-1-py3-none-any.whl", None) == (second.file, second.digest)
    assert second.url.endswith("?a=1&b=2")


def test_links_of_a_page_in_json():
    """PEP 691, with relative addresses."""
    page = json.dumps({"files": [{"url": "../f/a-1-py3-none-any.whl", "hashes": {"sha256": DIGEST}}, {"url": "b.whl"}]})
    first, second = links(page.encode(), "https://host.invalid/simple/a/")
    assert ("https://host.invalid/simple/f/a-1-py3-none-any.whl", Digest(DIGEST)) == (first.url, first.digest)
    assert ("https://host.invalid/simple/a/b.whl", None) == (second.url, second.digest)


@pytest.mark.parametrize("page", [b"{", b'{"files": 1}', b'{"files": ["x"]}'])
def test_a_page_that_is_none(page):
    """An error, and no traceback."""
    with pytest.raises(DataError, match="not a page of a project"):
        links(page, "https://host.invalid/")


def test_who_may_read_the_page_may_read_the_file():
    """User name and password go along to the same host, and to no other."""
    page = b'<a href="a.whl"></a><a href="https://host.invalid/b.whl"></a><a href="https://other.invalid/c.whl"></a>'
    urls = [link.url for link in links(page, "https://me:pw@host.invalid/simple/")]
    assert ["https://me:pw@host.invalid/simple/a.whl", "https://me:pw@host.invalid/b.whl"] == urls[:2]
    assert "https://other.invalid/c.whl" == urls[2]


# ---- where locked wheels are


@pytest.mark.parametrize("form", ["html", "json"])
def test_each_wheel_is_found_by_its_name_and_sum(index, environ, form):
    """Project names are normalised; each project is asked for once."""
    index.form = form
    urls = found(index, {**environ, "PIP_INDEX_URL": index.url})
    assert all(len(each) == 1 for each in urls.values())
    assert ["/simple/alpha/", "/simple/be-ta/"] == sorted(index.asked)
    transports = Transports({}, pause=0.0)
    assert all(transports.get(each[0]) == index.files[name] for name, each in urls.items())


def test_what_is_gone_or_another_file_has_no_address(index, environ):
    """The cache or a vendor folder may have it all the same."""
    environ["PIP_INDEX_URL"] = index.url
    wheels = locked(index)
    del index.files["alpha-1.0-py3-none-any.whl"]
    index.files["Be_ta-2.0-py3-none-any.whl"] = b"another"
    wanted = locate(wheels, environ, Transports({}, pause=0.0))
    assert [("alpha-1.0-py3-none-any.whl", ()), ("Be_ta-2.0-py3-none-any.whl", ())] == [
        (item.name, item.urls) for item in wanted
    ]
    assert [wheel.digest for wheel in wheels] == [item.digest for item in wanted]


def test_folders_and_local_indexes_come_along(index, environ, tmp_path):
    """find-links with files, find-links with a page, an index in a folder with pages or without."""
    data = index.files["alpha-1.0-py3-none-any.whl"]
    name = "alpha-1.0-py3-none-any.whl"
    for folder in ("links", "plain/alpha", "pages/alpha"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_bytes(data)
    (tmp_path / "links" / "notes.txt").touch()
    sums = f'<a href="{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>'
    (tmp_path / "pages" / "alpha" / "index.html").write_text(sums)
    (tmp_path / "page.html").write_text(f'<a href="links/{name}">{name}</a>')
    environ |= {
        "PIP_INDEX_URL": (tmp_path / "pages").as_uri(),
        "PIP_EXTRA_INDEX_URL": (tmp_path / "plain").as_uri(),
        "PIP_FIND_LINKS": f"{tmp_path}/links {tmp_path}/page.html",
    }
    urls = found(index, environ)[name]
    places = [url.removeprefix(tmp_path.as_uri()).rpartition("/")[0] for url in urls]
    assert ["/links", "/pages/alpha", "/plain/alpha"] == places


def test_an_index_that_is_down_is_told_once_and_left_alone(index, environ):
    """The others are asked; no password is shown."""
    told = []
    environ |= {"PIP_INDEX_URL": index.url, "PIP_EXTRA_INDEX_URL": "http://me:secret@127.0.0.1:9/simple"}
    urls = found(index, environ, sink=told.append)
    assert all(len(each) == 1 for each in urls.values())
    (notice,) = told
    assert "the index http://127.0.0.1:9/simple/ cannot be asked" in notice.text


def test_indexes_that_requirements_name_are_asked(index, environ):
    """With variables of the environment in them."""
    environ |= {"INDEX": index.url, "PIP_NO_INDEX": ""}
    assert all(found(index, environ, declared=Indexes(index="${INDEX}")).values())


# ---- configuration


def test_files_and_variables_as_pip_reads_them(tmp_path):
    """Later ones replace earlier ones: site, user's old place, user's, the named file, the environment."""
    texts = {
        "site/pip/pip.conf": "[global]\nindex-url = https://site.invalid/\ncert = /site.pem\nproxy = site:1\n",
        "home/.pip/pip.conf": "[global]\nextra-index-url =\n  https://one.invalid/\n  https://two.invalid/\n",
        "home/.config/pip/pip.conf": "[install]\nfind-links = /a /b\n[global]\nfind_links = /c\nindex-url = https://user.invalid/\n",
        "named.conf": "[global]\nno-index = yes\n[freeze]\nindex-url = https://never.invalid/\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "site"),
        "PIP_CONFIG_FILE": str(tmp_path / "named.conf"),
        "PIP_CERT": "/mine.pem",
        "PIP_CONSTRAINT": "/limits.txt",
    }
    settings = pip_settings(environ)
    extra = ("https://one.invalid/", "https://two.invalid/")
    assert Indexes("https://user.invalid/", extra, ("/a", "/b"), no_index=True) == settings.indexes
    assert ("/limits.txt",) == settings.constraints
    known = reaching({**environ, "https_proxy": "own:2"})
    assert ("/mine.pem", "site:1", "own:2") == (known["SSL_CERT_FILE"], known["http_proxy"], known["https_proxy"])


def test_a_damaged_configuration_is_named(tmp_path):
    """The file and what is wrong in it."""
    (tmp_path / "pip.conf").write_text("index-url = x\n")
    with pytest.raises(UsageError, match=r"pip\.conf cannot be read"):
        pip_settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})


def test_uvs_own_variables_win_and_the_default_is_uvs(environ):
    """Its names and addresses are known to uv alone; nothing is asked to learn them."""
    assert effective_indexes(environ, Indexes()).index is not None
    environ |= {"PIP_INDEX_URL": "http://pip.invalid/", "UV_DEFAULT_INDEX": "mine=http://uv.invalid/simple"}
    environ |= {
        "UV_INDEX": "http://more.invalid/",
        "UV_EXTRA_INDEX_URL": "http://extra.invalid/",
        "UV_FIND_LINKS": "/x",
    }
    seen = effective_indexes(environ, Indexes())
    assert "http://uv.invalid/simple" == seen.index
    assert {"http://more.invalid/", "http://extra.invalid/"} == set(seen.extra)
    assert ("/x",) == seen.find_links
