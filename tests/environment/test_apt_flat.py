"""The folder from which apt installs: deterministic, verified against the lock, and cheap."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace

import pytest

from repro.data.cache import Downloads
from repro.environment.model import Package
from repro.environment.resolvers.flat import flat_repository
from repro.environment.resolvers.network import apt_network_config
from repro.environment.resolvers.source import ArchiveSource
from repro.errors import DataError
from tests.environment.small_archive import Item, control, deb


@pytest.fixture
def downloads(tmp_path) -> Downloads:
    """An empty cache."""
    return Downloads(tmp_path / "cache")


def add(downloads: Downloads, name: str, version: str, **fields: str) -> Package:
    """Put a package into the cache and return its lock entry."""
    stanza = control(name, version, **fields) + " a longer text\n .\n with an empty line\n"
    data = deb(stanza, Item(f"./usr/bin/{name}", b"x"))
    fields_ = dict(line.split(": ", 1) for line in stanza.splitlines() if line[0] != " ")
    file = f"pool/main/{name}_{version.rpartition(':')[2]}_{fields_['Architecture']}.deb"
    digest = downloads.add_bytes(data)
    return Package(name, version, fields_["Architecture"], digest, len(data), file, "debian/bookworm")


def picture(folder) -> list[tuple[str, int, int, bytes]]:
    """Return names, modes, times and bytes of a folder."""
    return [
        (path.name, stat.S_IMODE(path.stat().st_mode), int(path.stat().st_mtime), path.read_bytes())
        for path in sorted(folder.iterdir())
    ]


def test_packages_file_lists_each_deb(downloads, tmp_path):
    """Each stanza is the package's own, with file name, size and digest, so that apt finds and checks it."""
    package = add(downloads, "odd", "1:2.0~rc1+b1", Depends="bash")
    flat_repository([package], downloads, tmp_path / "apt")
    expected = (
        f"Package: odd\nVersion: 1:2.0~rc1+b1\nArchitecture: {package.architecture}\nDepends: bash\nDescription: odd\n"
        " a longer text\n .\n with an empty line\n"
        f"Filename: ./{package.file_name}\nSize: {package.size}\nSHA256: {package.digest.hex}\n"
    )
    assert expected == (tmp_path / "apt" / "Packages").read_text()
    assert (tmp_path / "apt" / package.file_name).read_bytes() == downloads.read(package.digest)


def test_same_packages_same_folder(downloads, tmp_path, monkeypatch):
    """Neither order nor linking or copying shows in names, modes, times or bytes."""
    packages = [add(downloads, "one", "1"), add(downloads, "two", "2", Architecture="all")]
    flat_repository(packages, downloads, tmp_path / "linked")

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", no_link)
    flat_repository(packages[::-1], downloads, tmp_path / "copied")
    assert picture(tmp_path / "linked") == picture(tmp_path / "copied")
    assert {0} == {time for _, _, time, _ in picture(tmp_path / "linked")}


def test_a_hundred_packages_cost_no_space(downloads, tmp_path):
    """Files of the cache are linked, not copied."""
    package = add(downloads, "one", "1")
    flat_repository([package], downloads, tmp_path / "apt")
    assert os.path.samefile(downloads.path(package.digest), tmp_path / "apt" / package.file_name)


@pytest.mark.parametrize("change", [{"name": "other"}, {"version": "2"}, {"architecture": "all"}])
def test_a_lock_that_lies_about_a_package_is_refused(downloads, tmp_path, change):
    """A .deb that calls itself otherwise than the lock says is not installed under that name."""
    package = add(downloads, "one", "1")
    with pytest.raises(DataError, match="is not the package that the lock says"):
        flat_repository([replace(package, **change)], downloads, tmp_path / "apt")


def test_network_config_names_hosts_only_in_mirror_lists(tmp_path):
    """What apt derives file names from is host-free; mirrors, proxies and local folders reach it from outside."""
    mirrors = (
        ("https://mirror.invalid/debian", ("bookworm", "bookworm-updates")),
        ("file:///srv/a%20b/debian", ("bookworm",)),
        ("http://security.invalid/debian-security", ("bookworm-security",)),
    )
    source = ArchiveSource("debian", "bookworm", mirrors, b"keys", frozenset(), "amd64")
    folder = tmp_path / "apt.d"
    binds, env = apt_network_config(source, folder, environ={"http_proxy": "http://127.0.0.1:3128"})
    assert [(str(folder), "/run/repro/apt.d"), ("/srv/a b/debian", "/run/repro/mirror-1")] == [
        (str(path), target) for path, target in binds
    ]
    assert {"APT_CONFIG": "/run/repro/apt.d/apt.conf"} == env
    sources = (folder / "sources.list").read_text()
    assert "invalid" not in sources
    assert 3 == sources.count("mirror+file:/run/repro/apt.d/mirrors-debian")
    listed = (folder / "mirrors-debian-bookworm.txt").read_text()
    assert "https://mirror.invalid/debian/\nfile:/run/repro/mirror-1/\n" == listed
    config = (folder / "apt.conf").read_text()
    assert 'Acquire::http::Proxy "http://127.0.0.1:3128";' in config
    assert 'Acquire::https::CAInfo "/run/repro/ca-certificates.crt";' in config
    assert 'APT::Sandbox::User "root";' in config
    assert b"keys" == (folder / "keyring.gpg").read_bytes()
