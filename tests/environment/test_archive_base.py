"""The base image of bookworm, made from the real archive: one image ID, whoever builds it."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repro.data.cache import Downloads
from repro.environment.model import Package
from repro.environment.resolvers.archive import build_base
from repro.environment.resolvers.source import debian_architecture
from repro.errors import BuildError
from repro.events import ignore
from repro.files import remove_tree
from repro.oci.view import View
from repro.runtime.spec import ContainerSpec, Mode
from tests.environment.small_archive import Item, control, deb

pytestmark = pytest.mark.archive
MODE = Mode.REAL if os.getuid() == 0 else Mode.ONE


@pytest.fixture(scope="module")
def image_id(bookworm_lock, downloads, store, launcher):
    """The base, built from the cache alone."""
    return build_base(bookworm_lock, source=None, downloads=downloads, store=store, launcher=launcher, sink=ignore)


@pytest.fixture
def view(store, image_id):
    """The base's files."""
    return View(store.image_layers(image_id), MODE.value)


def test_lock_is_minimal_and_names_no_host(bookworm_lock, apt_source):
    """The closure is a minimal system's: apt and dpkg, no perl, no init; nothing in it says where it came from."""
    names = {package.name for package in bookworm_lock.packages}
    assert {"apt", "base-files", "dpkg", "libc6", "usr-is-merged"} <= names
    assert set() == names & {"perl", "usrmerge", "systemd", "gawk"}
    assert all(base.split("/")[2] not in repr(bookworm_lock) for base, _ in apt_source.mirrors)


def test_config(store, image_id, bookworm_lock):
    """The image starts bash with a PATH, has one layer, was made at the lock's epoch, and has the base's name."""
    config = store.config(image_id)
    created = datetime.fromtimestamp(bookworm_lock.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (("bash",), created, 1) == (config.cmd, config.created, len(config.diff_ids))
    assert "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" in config.env
    assert image_id == store.resolve("archive:debian/bookworm")


def test_every_package_is_installed(view, bookworm_lock):
    """The status file has exactly the locked packages, configured, in the locked versions."""
    stanzas = view.read("/var/lib/dpkg/status").decode().strip().split("\n\n")
    found = [
        dict(line.split(": ", 1) for line in stanza.splitlines() if line[0] != " " and ": " in line)
        for stanza in stanzas
    ]
    assert {(package.name, package.version, "install ok installed") for package in bookworm_lock.packages} == {
        (fields["Package"], fields["Version"], fields["Status"]) for fields in found
    }


@pytest.mark.parametrize(
    ("path", "owner", "mode"),
    [
        ("/usr/bin/chage", (0, 42), 0o2755),
        ("/etc/shadow", (0, 42), 0o640),
        ("/var/mail", (0, 8), 0o2775),
        ("/var/local", (0, 50), 0o2775),
        ("/var/log/btmp", (0, 43), 0o660),
        ("/usr/bin/passwd", (0, 0), 0o4755),
        ("/tmp", (0, 0), 0o1777),
    ],
)
def test_owners_and_modes(view, path, owner, mode):
    """Owners and set-id bits are those of a Debian system, also where a single ID made it."""
    entry = view.entry(path)
    assert entry is not None
    assert (owner, mode) == ((entry.uid, entry.gid), entry.stat.st_mode & 0o7777)


def test_no_trace_of_the_build(view):
    """No logs, no host's name or resolver, no package files, no device nodes."""
    traces = [
        "/var/log/dpkg.log",
        "/var/log/alternatives.log",
        "/var/lib/dpkg/status-old",
        "/var/cache/ldconfig/aux-cache",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/machine-id",
        "/run/repro",
    ]
    assert [] == [path for path in traces if view.entry(path) is not None]
    assert ([], [], ["partial"]) == (
        view.listdir("/dev"),
        view.listdir("/proc"),
        view.listdir("/var/cache/apt/archives"),
    )


def test_base_runs(store, image_id, launcher, tmp_path):
    """Programs of the image run, and dpkg finds nothing to complain about."""
    with store.workspace() as place, open(tmp_path / "out", "w+b") as out, open(os.devnull, "rb") as nothing:
        (place / "upper").mkdir()
        (place / "work").mkdir()
        spec = ContainerSpec(
            lowers=store.image_layers(image_id),
            upper=place / "upper",
            work=place / "work",
            argv=(
                "bash",
                "-euc",
                "dpkg --audit; dpkg --verify; apt-get check -qq; getent passwd root | cut -d: -f6; date -d @0 -u +%Y",
            ),
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        )
        result = launcher.run(spec, stdin=nothing.fileno(), stdout=out.fileno(), stderr=out.fileno())
        out.seek(0)
        assert (0, b"/root\n1970\n") == (result.exit_status, out.read())


def test_second_build_needs_nothing(bookworm_lock, store, image_id, launcher, tmp_path):
    """A base that the store has is not built again, even with an empty cache."""
    empty = Downloads(tmp_path / "empty")
    assert image_id == build_base(
        bookworm_lock, source=None, downloads=empty, store=store, launcher=launcher, sink=ignore
    )


def test_same_image_for_an_ordinary_user(bookworm_lock, downloads, image_id, ordinary, tmp_path):
    """A user without root and without subuid ranges gets the same image ID, in another store, under another umask and time zone."""
    place = Path(tempfile.mkdtemp(prefix="repro-base-", dir="/var/tmp"))
    try:
        copies = Downloads(place / "downloads")
        for package in bookworm_lock.packages:
            target = copies.path(package.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(downloads.path(package.digest), target)
        (place / "lock").write_bytes(pickle.dumps(bookworm_lock))
        ordinary.give(place)
        script = f"{ordinary.path}/tests/environment/base_builder.py"
        arguments = [str(place / "lock"), str(place / "downloads"), str(place / "store"), "one"]
        done = ordinary.run(ordinary.python, script, *arguments, env={"TZ": "Asia/Tokyo"})
        assert (f"{image_id}\n", "") == (done.stdout, done.stderr)
    finally:
        remove_tree(place)


def test_script_that_fails(bookworm_lock, downloads, store, launcher):
    """A package whose script fails ends the build with the script's words, and leaves nothing in the store."""
    fails = Item("./preinst", b"#!/bin/sh\necho the disk of my dreams is full >&2\nexit 3\n", 0o755)
    data = deb(control("broken", Maintainer="a"), control_files=(fails,))
    digest = downloads.add_bytes(data)
    broken = Package("broken", "1", debian_architecture(), digest, len(data), "pool/b/broken.deb", "debian/bookworm")
    shell = [package for package in bookworm_lock.packages if package.name in ("base-files", "dash", "libc6")]
    before = store.images()
    with pytest.raises(BuildError, match="could not be configured") as caught:
        build_base(
            replace(bookworm_lock, packages=(*shell, broken)),
            source=None,
            downloads=downloads,
            store=store,
            launcher=launcher,
            sink=ignore,
        )
    assert ["the disk of my dreams is full", "preinst of broken failed"] == (caught.value.why or "").splitlines()[-2:]
    assert (before, []) == (store.images(), list((store.root / "tmp").glob("[!.]*")))
