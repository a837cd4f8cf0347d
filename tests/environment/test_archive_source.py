"""Mirrors and keyrings come from the workflow, the environment or the host, in this order."""

from __future__ import annotations

import pytest

from repro.environment.resolvers.source import NoMirrorError, debian_architecture, find_source
from repro.errors import LockError
from repro.workflow.model import ArchiveBase
from tests.environment.small_archive import certificate, key

BASE = ArchiveBase("debian", "bookworm")
MAIN = ("bookworm", "bookworm-updates")


@pytest.fixture
def host(tmp_path):
    """A host's /etc/apt and its keyrings."""
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    (tmp_path / "apt" / "trusted.gpg.d").mkdir()
    (tmp_path / "keyrings").mkdir()
    (tmp_path / "keyrings" / "debian-archive-keyring.gpg").write_bytes(certificate())
    return tmp_path


def _find(host, base=BASE, **environ):
    return find_source(base, environ=environ, apt_sources=host / "apt", keyrings=host / "keyrings")


def test_one_line_sources(host):
    """The classic form: options in brackets, comments, several suites, source packages left out."""
    (host / "apt" / "sources.list").write_text(
        "# deb http://old.invalid/debian bookworm main\n"
        "deb-src http://m.invalid/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://m.invalid/debian/ bookworm main contrib # the mirror\n"
        "deb http://m.invalid/debian bookworm-updates main\n"
        "deb http://s.invalid/debian-security bookworm-security main\n"
    )
    source = _find(host)
    assert (
        ("http://m.invalid/debian", ("bookworm",)),
        ("http://m.invalid/debian", ("bookworm-updates",)),
        ("http://s.invalid/debian-security", ("bookworm-security",)),
    ) == source.mirrors
    assert (*MAIN, "bookworm-security") == source.suites()
    assert ("http://s.invalid/debian-security/pool/x.deb",) == source.urls(
        "debian-security/bookworm-security", "pool/x.deb"
    )


def test_deb822_sources(host):
    """The newer form: several URIs and suites in a stanza, stanzas switched off left out."""
    (host / "apt" / "sources.list.d" / "debian.sources").write_text(
        "Types: deb deb-src\nURIs: http://a.invalid/debian http://b.invalid/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\n\n"
        "Types: deb\nURIs: http://off.invalid/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n"
    )
    assert (("http://a.invalid/debian", MAIN), ("http://b.invalid/debian", MAIN)) == _find(host).mirrors


def test_strangers_with_a_suite_of_that_name(host):
    """Vendors serve suites called bookworm too: the archive's own mirror is tried before them."""
    (host / "apt" / "sources.list.d" / "a-vendor.list").write_text(
        "deb https://apt.vendor.invalid bookworm main\ndeb https://d.invalid/linux/debian bookworm stable\n"
    )
    (host / "apt" / "sources.list.d" / "debian.list").write_text("deb http://m.invalid/debian bookworm main\n")
    assert ("http://m.invalid/debian", "https://apt.vendor.invalid") == _find(host).bases("bookworm")


def test_a_mirror_that_was_given(host):
    """The workflow's mirror wins over the variable, the variable over the host; security lies beside it."""
    (host / "apt" / "sources.list").write_text("deb http://host.invalid/debian bookworm main\n")
    variable = {"REPRO_APT_MIRROR": "http://one.invalid/debian/ http://two.invalid/debian"}
    assert ("http://one.invalid/debian", "http://two.invalid/debian") == _find(host, **variable).bases("bookworm")
    own = ArchiveBase("debian", "bookworm", mirror="file:///srv/debian")
    source = _find(host, own, **variable)
    assert (("file:///srv/debian", MAIN), ("file:///srv/debian-security", ("bookworm-security",))) == source.mirrors
    assert frozenset({"bookworm-updates", "bookworm-security"}) == source.optional


def test_labels_name_no_host(host):
    """What goes into a lock is the archive's and the suite's name."""
    source = _find(host, REPRO_APT_MIRROR="http://m.invalid/debian")
    labels = ["debian/bookworm", "debian/bookworm-updates", "debian-security/bookworm-security"]
    assert labels == [source.label(suite) for suite in source.suites()]


def test_not_a_mirror(host):
    """A mirror that is no URL is named in the error."""
    with pytest.raises(LockError, match="not the URL of a mirror: '/srv/debian'"):
        _find(host, REPRO_APT_MIRROR="/srv/debian")


def test_no_mirror(host):
    """A host without sources for the suite gets told what to set."""
    (host / "apt" / "sources.list").write_text("deb http://m.invalid/debian trixie main\n")
    with pytest.raises(LockError, match="no mirror of the debian archive is known") as caught:
        _find(host)
    assert "REPRO_APT_MIRROR" in (caught.value.hint or "")


def test_broken_sources(host):
    """A sources file that cannot be read is named."""
    (host / "apt" / "sources.list.d" / "x.sources").write_text("what is this\n")
    with pytest.raises(LockError, match=r"x\.sources cannot be read as apt sources"):
        _find(host)


def test_keyring_in_parts(host):
    """Without the whole keyring apt's own trusted keys serve, armored ones too."""
    (host / "keyrings" / "debian-archive-keyring.gpg").unlink()
    trusted = host / "apt" / "trusted.gpg.d"
    (trusted / "debian-archive-one.asc").write_text(str(key().extract_certificate()))
    (trusted / "debian-archive-two.gpg").write_bytes(certificate("two"))
    (trusted / "vendor.gpg").write_bytes(certificate("vendor"))
    assert certificate() + certificate("two") == _find(host, REPRO_APT_MIRROR="http://m.invalid/debian").keyring


def test_keyring_that_was_given(host):
    """REPRO_APT_KEYRING names another one."""
    file = host / "mine.gpg"
    file.write_bytes(certificate("mine"))
    given = {"REPRO_APT_MIRROR": "http://m.invalid/debian", "REPRO_APT_KEYRING": str(file)}
    assert certificate("mine") == _find(host, **given).keyring
    file.write_bytes(b"junk")
    with pytest.raises(LockError, match="cannot be read as an OpenPGP keyring"):
        _find(host, **given)


def test_no_keyring(host):
    """A host without the keyring gets told which package has it: unsigned archives are never used."""
    (host / "keyrings" / "debian-archive-keyring.gpg").unlink()
    with pytest.raises(LockError, match="no keyring") as caught:
        _find(host, REPRO_APT_MIRROR="http://m.invalid/debian")
    assert "debian-archive-keyring" in (caught.value.hint or "")


@pytest.mark.parametrize(("machine", "expected"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")])
def test_architectures(machine, expected):
    """The kernel's names of machines become Debian's."""
    assert expected == debian_architecture(machine)


def test_a_locked_file_needs_no_keyring(host):
    """To fetch what a lock names by digest, a host without the archive's keyring is good enough."""
    (host / "keyrings" / "debian-archive-keyring.gpg").unlink()
    given = {"environ": {"REPRO_APT_MIRROR": "http://m.invalid/debian"}, "apt_sources": host / "apt"}
    with pytest.raises(LockError, match="keyring"):
        find_source(BASE, **given, keyrings=host / "keyrings")
    assert MAIN == find_source(BASE, **given, keyrings=host / "keyrings", signed=False).suites()[:2]


def test_no_mirror_and_a_wrong_mirror_are_two_things(host):
    """Nobody naming a mirror may be all right (the cache may have the files); one that is no URL is a mistake."""
    with pytest.raises(NoMirrorError, match="for bookworm"):
        _find(host)
    with pytest.raises(LockError, match="not the URL of a mirror") as caught:
        _find(host, REPRO_APT_MIRROR="mirror.invalid")
    assert not isinstance(caught.value, NoMirrorError)


def test_a_foreign_archive(host):
    """Ubuntu on a host of Debian's: from a mirror that was given, all its suites in one archive, with its own keyring."""
    (host / "apt" / "sources.list").write_text("deb http://m.invalid/debian bookworm main\n")
    (host / "keyrings" / "ubuntu-archive-keyring.gpg").write_bytes(certificate("ubuntu"))
    source = _find(host, ArchiveBase("ubuntu", "noble", "http://u.invalid/ubuntu", ("main", "universe")))
    suites = ("noble", "noble-updates", "noble-security")
    assert ((("http://u.invalid/ubuntu", suites),), certificate("ubuntu")) == (source.mirrors, source.keyring)
    assert [f"ubuntu/{suite}" for suite in suites] == [source.label(suite) for suite in source.suites()]
    with pytest.raises(NoMirrorError, match="no mirror of the ubuntu archive is known for noble"):
        _find(host, ArchiveBase("ubuntu", "noble"))


def test_ports_of_ubuntu(host):
    """Architectures other than Intel's are in a folder of another name."""
    (host / "apt" / "sources.list").write_text(
        "deb http://vendor.invalid/x noble main\ndeb http://p.invalid/ubuntu-ports noble main\n"
    )
    (host / "keyrings" / "ubuntu-archive-keyring.gpg").write_bytes(certificate())
    bases = _find(host, ArchiveBase("ubuntu", "noble")).bases("noble")
    assert ("http://p.invalid/ubuntu-ports", "http://vendor.invalid/x") == bases


def test_a_rolling_suite_has_no_updates(host):
    """sid is itself the newest."""
    source = _find(host, ArchiveBase("debian", "sid", mirror="http://m.invalid/debian"))
    assert ((("http://m.invalid/debian", ("sid",)),), ("sid",)) == (source.mirrors, source.family())


def test_a_mirror_that_names_the_archive_by_a_placeholder(host):
    """Where the security archive does not lie beside the main one, {archive} says where each is."""
    source = _find(host, ArchiveBase("debian", "bookworm", mirror="http://m.invalid/{archive}/all"))
    assert ["http://m.invalid/debian/all", "http://m.invalid/debian-security/all"] == [
        base for base, _ in source.mirrors
    ]
