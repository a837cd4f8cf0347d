"""dpkg accepts the database that we write."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest

from repro.environment.resolvers.deb import read_deb
from repro.environment.resolvers.dpkg import read_package, write_database
from repro.environment.resolvers.source import debian_architecture
from repro.environment.resolvers.unpack import Tree
from repro.errors import DataError
from tests.environment.small_archive import Item, control, deb, folder


@pytest.fixture
def install(tmp_path):
    """Unpack packages into a tree, write the database, and return the tree."""
    root = tmp_path / "root"
    root.mkdir()

    def run(*packages):
        unpacked = []
        with Tree(root, "one") as tree:
            for number, data in enumerate(packages):
                file = tmp_path / f"p{number}.deb"
                file.write_bytes(data)
                read = read_deb(file, file.name)
                unpacked.append(read_package(read, tree.unpack(read)))
            write_database(root, unpacked)
            tree.finish()
        return root

    return run


def _query(root, *arguments):
    argv = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg is the judge")
def test_dpkg_reads_it(install):
    """The real dpkg lists the packages as unpacked, with their files and conffiles."""
    conffile = Item("./etc/x.conf", b"setting")
    root = install(
        deb(
            control("x", "1.2-3", Maintainer="a"),
            folder("./"),
            folder("./etc/"),
            conffile,
            control_files=(Item("./conffiles", b"/etc/x.conf\n"),),
        ),
        deb(
            control("lib", Maintainer="a", Multi_Arch="same"),
            folder("./"),
            folder("./bin/"),
            Item("./bin/l"),
            control_files=(Item("./postinst", b"#!/bin/sh\n", 0o755),),
        ),
    )
    shown = _query(root, "--show", "--showformat=${binary:Package} ${Version} ${Status}\n")
    lib = f"lib:{debian_architecture()}"
    assert [f"{lib} 1 install ok unpacked", "x 1.2-3 install ok unpacked"] == sorted(shown.splitlines())
    assert ["/.", "/bin", "/bin/l"] == _query(root, "--listfiles", lib).split()
    md5 = hashlib.md5(b"setting").hexdigest()
    assert f"/etc/x.conf {md5}" == _query(root, "--show", "--showformat=${Conffiles}", "x").strip()
    assert "postinst" == _query(root, "--control-list", lib).strip()


def test_control_files_keep_mode_and_time(install):
    """Scripts stay executable and keep their times, so that two builds agree."""
    root = install(
        deb(control("x"), folder("./"), control_files=(Item("./postinst", b"#!/bin/sh\n", 0o755, mtime=99),))
    )
    status = (root / "var/lib/dpkg/info/x.postinst").stat()
    assert (0o755, 99) == (status.st_mode & 0o7777, status.st_mtime)
    assert b"1\n" == (root / "var/lib/dpkg/info/format").read_bytes()


def test_triggers(install):
    """Interest in paths and in names is recorded as dpkg does, waiting or not."""
    text = b"# comment\ninterest /usr/share/info\ninterest-noawait ldconfig\nactivate other\n"
    root = install(
        deb(control("x"), control_files=(Item("./triggers", text),)),
        deb(control("y"), control_files=(Item("./triggers", b"interest ldconfig\n"),)),
    )
    triggers = root / "var/lib/dpkg/triggers"
    assert ("/usr/share/info x\n", "x/noawait\ny\n") == (
        (triggers / "File").read_text(),
        (triggers / "ldconfig").read_text(),
    )
    assert not (triggers / "other").exists()


def test_flagged_conffile(install):
    """A conffile to be removed on upgrade is none that is there."""
    root = install(deb(control("x"), control_files=(Item("./conffiles", b"remove-on-upgrade /etc/old\n"),)))
    assert "Conffiles" not in (root / "var/lib/dpkg/status").read_text()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (deb("Package: x\nVersion: 1\n"), "no field Architecture"),
        (deb(control("x"), control_files=(Item("./sub/postinst"),)), "control file in a folder"),
    ],
)
def test_broken_control(install, data, message):
    """A package whose control archive is not in order is refused."""
    with pytest.raises(DataError, match=message):
        install(data)
