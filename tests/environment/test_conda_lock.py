"""Solving conda environments for an image, from channels made here; what the lock then holds."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from repro.data.cache import Downloads
from repro.digest import Digest
from repro.environment.resolvers.conda import CondaImage, image_libc, lock_conda
from repro.environment.resolvers.conda_channels import locate_conda
from repro.errors import DataError, FetchError, HostError, Location, LockError, WorkflowError
from repro.oci.view import View
from repro.workflow.model import CondaSpec
from tests.environment.conda_channel import Made, make_channel

IMAGE = CondaImage("linux-64", "2.36")
WHERE = Location("workflow.yaml", 4, 3)


@pytest.fixture
def downloads(tmp_path) -> Downloads:
    """An empty cache."""
    return Downloads(tmp_path / "cache")


def lock(tmp_path, downloads, *packages: str, channels=("./chan",), image=IMAGE, **options):
    """Lock match specs against channels of the project at ``tmp_path``."""
    spec = options.pop("spec", CondaSpec(tuple(channels), packages))
    return lock_conda(
        spec, tmp_path, image, where=WHERE, downloads=downloads, environ=options.pop("environ", {}), **options
    )


def names(packages) -> list[str]:
    """Return names with versions."""
    return [f"{package.name} {package.version}" for package in packages]


def test_the_closure_is_locked_by_sha256(tmp_path, downloads):
    """Dependencies come along, of the platform and noarch; every entry says what its file is, and no host."""
    library = Made("lib", "1.2")
    make_channel(tmp_path / "chan", library, Made("lib", "1.0"), Made("app", depends=("lib >=1.1",), subdir="noarch"))
    app, lib = lock(tmp_path, downloads, "app")
    data = library.data()
    assert ("lib", "1.2", "h0_0", "chan", "linux-64", "lib-1.2-h0_0.conda") == (
        lib.name,
        lib.version,
        lib.build,
        lib.channel,
        lib.subdir,
        lib.file,
    )
    assert (Digest.of(data), len(data)) == (lib.digest, lib.size)
    assert ("app", "noarch") == (app.name, app.subdir)
    assert (app, lib) == lock(tmp_path, Downloads(tmp_path / "other"), "app")


def test_the_first_channel_that_has_a_name_is_the_only_one(tmp_path, downloads):
    """Strict priority: a newer version in a later channel is not seen, unless the spec names that channel."""
    make_channel(tmp_path / "one", Made("a", "1.0"))
    make_channel(tmp_path / "two", Made("a", "2.0"), Made("b"), Made("c", depends=("a >=2",)))
    channels = ("./one", "./two")
    assert ["a 1.0", "b 1.0"] == names(lock(tmp_path, downloads, "a", "b", channels=channels))
    with pytest.raises(LockError) as caught:
        lock(tmp_path, downloads, "c", channels=channels)
    assert "strict channel priority not using this option from: './two/'" in str(caught.value)
    assert ["two"] == [item.channel for item in lock(tmp_path, downloads, "two::b", channels=channels)]


def test_the_image_decides_and_not_this_machine(tmp_path, downloads):
    """The glibc of the image, a fixed kernel, and the oldest processor."""
    make_channel(
        tmp_path / "chan",
        Made("a", "1.0", ("__glibc >=2.17", "__linux", "__unix")),
        Made("a", "2.0", ("__glibc >=2.40",)),
        Made("fast", "1.0"),
        Made("fast", "2.0", ("__archspec 1 x86_64_v3",)),
    )
    assert ["a 1.0", "fast 1.0"] == names(lock(tmp_path, downloads, "a", "fast"))
    assert ["a 2.0"] == names(lock(tmp_path, downloads, "a", image=CondaImage("linux-64", "2.41")))
    with pytest.raises(LockError) as caught:
        lock(tmp_path, downloads, "a", image=CondaImage("linux-64", None))
    assert "__glibc" in str(caught.value)


def test_what_is_locked_stays_where_it_fits(tmp_path, downloads):
    """A newer version is taken when nothing is to be kept, when the spec asks for it, or when the old one is gone."""
    make_channel(tmp_path / "chan", Made("a", "1.0"), Made("b", "1.0"))
    before = lock(tmp_path, downloads, "a")
    make_channel(tmp_path / "chan", Made("a", "1.0"), Made("a", "2.0"), Made("b", "1.0"))
    assert before == lock(tmp_path, downloads, "a", keep=before)
    assert ["a 1.0", "b 1.0"] == names(lock(tmp_path, downloads, "a", "b", keep=before))
    assert ["a 2.0"] == names(lock(tmp_path, downloads, "a>1", keep=before))
    assert ["a 2.0"] == names(lock(tmp_path, downloads, "a"))
    make_channel(tmp_path / "chan", Made("a", "2.0"))
    assert ["a 2.0"] == names(lock(tmp_path, downloads, "a", keep=before))


def test_what_does_not_fit_is_said_in_the_solvers_words(tmp_path, downloads):
    """The error stands at the environment and names the packages that are at odds."""
    make_channel(
        tmp_path / "chan",
        Made("x", depends=("lib <2",)),
        Made("y", depends=("lib >=2",)),
        Made("lib"),
        Made("lib", "2.0"),
    )
    with pytest.raises(LockError) as caught:
        lock(tmp_path, downloads, "x", "y")
    assert WHERE == caught.value.where
    assert "lib >=2" in (caught.value.why or "")
    assert "Cannot solve the request" not in str(caught.value)
    with pytest.raises(LockError, match="not spelled") as caught:
        lock(tmp_path, downloads, "x==")
    assert WHERE == caught.value.where


def test_a_channel_that_cannot_be_read_is_named(tmp_path, downloads):
    """A folder that is no channel, and the name defaults, which stands for nothing here."""
    with pytest.raises(FetchError, match="channel cannot be read") as caught:
        lock(tmp_path, downloads, "a", channels=("./none",))
    assert "./none" in (caught.value.why or "")
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(LockError, match="'defaults' has no address"):
        lock(tmp_path, downloads, "a", channels=("defaults",))


def test_a_package_known_by_md5_alone_is_fetched_and_hashed(tmp_path, downloads):
    """The lock has sha256 and size all the same; a package with another md5 is refused."""
    made = Made("old", form=".tar.bz2")
    make_channel(tmp_path / "chan", made, drop=("sha256", "size"))
    [entry] = lock(tmp_path, downloads, "old")
    assert (Digest.of(made.data()), len(made.data())) == (entry.digest, entry.size)
    assert downloads.has(entry.digest)
    (tmp_path / "chan/linux-64" / made.file).write_bytes(made.data() + b"x")
    with pytest.raises(DataError, match=r"old-1\.0-h0_0\.tar\.bz2 is another package"):
        lock(tmp_path, Downloads(tmp_path / "other"), "old")


def test_an_explicit_list_is_taken_as_it_is(tmp_path, downloads):
    """No solver: each line is fetched and hashed; what its list calls otherwise is refused."""
    made = Made("a", depends=("missing",))
    channel = make_channel(tmp_path / "chan", made)
    url = f"{channel.as_uri()}/linux-64/{made.file}"
    listing = tmp_path / "list.txt"
    listing.write_text(f"@EXPLICIT\n{url}#{hashlib.md5(made.data()).hexdigest()}\n")
    spec = CondaSpec(file="list.txt")
    [entry] = lock(tmp_path, downloads, spec=spec)
    assert ("a", "1.0", "h0_0", "chan", Digest.of(made.data()), len(made.data())) == (
        entry.name,
        entry.version,
        entry.build,
        entry.channel,
        entry.digest,
        entry.size,
    )
    listing.write_text(f"@EXPLICIT\n{url}#{'0' * 64}\n")
    with pytest.raises(DataError) as caught:
        lock(tmp_path, downloads, spec=spec)
    assert Location("list.txt", 2, 1) == caught.value.where
    listing.write_text(f"@EXPLICIT\n{url}\n{url}\n{url.replace('linux-64', 'osx-64')}\n")
    with pytest.raises(WorkflowError) as wrong:
        lock(tmp_path, downloads, spec=spec)
    assert "list.txt:3:1" in str(wrong.value)
    assert "osx-64" in str(wrong.value)


def test_a_listed_package_that_the_lock_has_is_not_fetched(tmp_path, downloads):
    """Its sha256 says that it is the same."""
    made = Made("a")
    channel = make_channel(tmp_path / "chan", made)
    digest = Digest.of(made.data())
    (tmp_path / "list.txt").write_text(f"@EXPLICIT\n{channel.as_uri()}/linux-64/{made.file}#{digest}\n")
    spec = CondaSpec(file="list.txt")
    before = lock(tmp_path, downloads, spec=spec)
    (channel / "linux-64" / made.file).unlink()
    assert before == lock(tmp_path, Downloads(tmp_path / "other"), spec=spec, keep=before)


def test_without_the_solver_the_extra_is_named(tmp_path, downloads, monkeypatch):
    """An environment that only names pip's packages needs none."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(HostError) as caught:
        lock(tmp_path, downloads, "a")
    assert "repro-workflow[conda]" in (caught.value.hint or "")
    (tmp_path / "e.yml").write_text("dependencies:\n- pip: [numpy]\n")
    assert () == lock(tmp_path, downloads, spec=CondaSpec(file="e.yml"))


@pytest.fixture
def served(tmp_path):
    """A channel alias on the loopback: folders of ``tmp_path``/www are channels."""
    (tmp_path / "www").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_named_channel_is_asked_over_http_and_its_package_fetched(tmp_path, downloads, served):
    """From name to bytes: the alias places the channel, the lock keeps its name, an altered package is refused."""
    made = Made("a", "1!2.0+x")
    make_channel(tmp_path / "www/lab", made)
    environ = {"CONDA_CHANNEL_ALIAS": served}
    spec = CondaSpec(("lab",), ("a",))
    [entry] = lock(tmp_path, downloads, spec=spec, environ=environ)
    assert "lab" == entry.channel
    downloads.fetch(locate_conda([entry], spec, tmp_path, environ), sink=lambda _: None, what="conda packages")
    assert made.data() == downloads.read(entry.digest)
    file = tmp_path / "www/lab/linux-64" / made.file
    altered = bytearray(file.read_bytes())
    altered[len(altered) // 2] ^= 1
    file.write_bytes(altered)
    with pytest.raises(FetchError) as caught:
        Downloads(tmp_path / "empty").fetch(
            locate_conda([entry], spec, tmp_path, environ), sink=lambda _: None, what="conda packages"
        )
    assert made.file in str(caught.value)
    assert "other bytes than" in str(caught.value)


def test_the_c_library_says_its_version(tmp_path):
    """It is found through links of the image; an image without one has none."""
    layer = tmp_path / "layer"
    (layer / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (layer / "lib").symlink_to("usr/lib")
    assert image_libc(View([layer], "real")) is None
    words = b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9+deb12u9) stable release version 2.36.\n\0"
    (layer / "usr/lib/x86_64-linux-gnu/libc-2.36.so").write_bytes(words)
    (layer / "usr/lib/x86_64-linux-gnu/libc.so.6").symlink_to("libc-2.36.so")
    assert "2.36" == image_libc(View([layer], "real"))
