"""Components of a suite, packages of other architectures, and the names that bases have for them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from repro.api.archives import Archives, archive_base, archive_of_label, archives_in
from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.environment.resolvers.archive import fetch_packages, lock_base
from repro.environment.resolvers.index import PackageIndex, fetch_indexes
from repro.environment.resolvers.network import apt_network_config
from repro.errors import LockError, UsageError
from repro.events import ignore
from repro.workflow.model import ArchiveBase
from tests.environment.small_archive import Item, SmallArchive, control, deb

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NAMES = [
    ("archive:debian/bookworm", ArchiveBase("debian", "bookworm")),
    ("archive:debian/bookworm+contrib+main", ArchiveBase("debian", "bookworm", components=("contrib", "main"))),
    ("archive:ubuntu/noble@20260131T000000Z", ArchiveBase("ubuntu", "noble", snapshot="20260131T000000Z")),
    (
        "archive:debian/bookworm+main+non-free-firmware@20260131T120000Z",
        ArchiveBase("debian", "bookworm", None, ("main", "non-free-firmware"), "20260131T120000Z"),
    ),
]


@pytest.fixture
def cache(tmp_path):
    """An empty cache of downloads."""
    return Downloads(tmp_path / "cache", Transports({}, pause=0.0))


def _add(archive, name, version="1", suite="bookworm", component="main", **fields):
    stanza = control(name, version, **fields)
    return archive.add(stanza, deb(stanza, Item("./f")), suite, component=component)


def _index(source, cache):
    indexes = fetch_indexes(source, cache, Transports({}, pause=0.0).get, now=NOW, sink=ignore)
    return indexes, PackageIndex.load(indexes, cache)


@pytest.mark.parametrize(("name", "base"), NAMES)
def test_names_of_bases(name, base):
    """A base's name says all that a lock depends on, and is read back to the same base."""
    assert (name, base) == (base.name, archive_base(name))
    assert (base,) == archives_in(f"# syntax\nFROM {name} AS one\nFROM --platform=x {name}\n")


@pytest.mark.parametrize(
    "name", ["archive:debian", "archive:debian/a/b", "archive:debian/a+", "archive:debian/a@20261301T000000Z"]
)
def test_no_names_of_bases(name):
    """What is spelled otherwise is refused."""
    with pytest.raises(UsageError, match="not an archive base"):
        archive_base(name)


def test_a_mirror_is_found_by_the_bases_name(tmp_path):
    """A build knows a base by its name alone; the mirror that it was declared with is asked all the same."""
    declared = ArchiveBase("debian", "bookworm", mirror="http://own.invalid/debian")
    engine = SimpleNamespace(host=SimpleNamespace(environ={"REPRO_APT_MIRROR": "http://other.invalid/debian"}))
    for archives, host in ((Archives(engine, (declared,)), "own"), (Archives(engine), "other")):
        source = archives.source_or_none(archive_base(declared.name))
        assert source is not None
        assert (f"http://{host}.invalid/debian",) == source.bases("bookworm")


@pytest.mark.parametrize(
    ("label", "base"),
    [
        ("debian/bookworm-updates", ArchiveBase("debian", "bookworm")),
        ("debian-security/bookworm-security", ArchiveBase("debian", "bookworm")),
        ("ubuntu/noble-security", ArchiveBase("ubuntu", "noble")),
    ],
)
def test_labels_lead_back_to_their_archive(label, base):
    """A locked package's label is enough to know whose mirrors to ask."""
    assert base == archive_of_label(label)


def test_packages_of_each_component(small_archive, cache):
    """The index has the packages of the components that were asked for, and of no others."""
    _add(small_archive, "free")
    _add(small_archive, "less", component="contrib")
    _add(small_archive, "closed", component="non-free")
    small_archive.publish()
    indexes, index = _index(small_archive.source(components=("contrib", "main")), cache)
    assert {"free", "less"} == set(index.names())
    assert [["contrib", "main"]] == [[file.component for file in suite.files] for suite in indexes.suites]
    found = index.newest("less")
    assert found is not None
    assert ("debian/bookworm", True) == (found.package.archive, found.package.path.startswith("pool/contrib/"))


def test_component_that_the_suite_lacks(small_archive, cache):
    """The error says which components there are."""
    _add(small_archive, "less", component="contrib")
    small_archive.publish()
    with pytest.raises(LockError, match="bookworm has no component 'contirb'") as caught:
        _index(small_archive.source(components=("contirb", "main")), cache)
    assert "it has contrib, main" == caught.value.hint


def test_updates_need_not_have_every_component(small_archive, cache):
    """A security suite without contrib updates what it has."""
    _add(small_archive, "less", component="contrib")
    _add(small_archive, "tool", "2", "bookworm-security")
    small_archive.publish()
    small_archive.publish("bookworm-security")
    source = small_archive.source("bookworm", "bookworm-security", components=("contrib", "main"))
    _, index = _index(source, cache)
    assert {"less", "tool"} == set(index.names())


def test_packages_of_other_architectures(small_archive, cache):
    """A mirror's index may list them beside: they are not for this host, not even in a newer version."""
    _add(small_archive, "tool", "1")
    _add(small_archive, "tool", "2", Architecture="m68k")
    _add(small_archive, "strange", Architecture="m68k", Essential="yes")
    _add(small_archive, "texts", Architecture="all")
    small_archive.publish()
    _, index = _index(small_archive.source(), cache)
    assert ({"tool", "texts"}, ()) == (set(index.names()), index.required())
    assert ["1"] == [candidate.package.version for candidate in index.candidates("tool")]


def test_epoch_in_a_files_name(small_archive, cache):
    """Some archives write %3a into names: the address has the percent sign in its encoded form."""
    stanza = control("apt", "1:2.0", Essential="yes")
    file = small_archive.add(stanza, deb(stanza, Item("./f")), epochs=True)
    small_archive.publish()
    source = small_archive.source()
    indexes, _ = _index(source, cache)
    lock = lock_base(ArchiveBase("debian", "bookworm"), source, indexes, downloads=cache, sink=ignore)
    (package,) = lock.packages
    assert ("1:2.0", file.name) == (package.version, package.file_name)
    assert source.urls(package.archive, package.path)[0].endswith(file.name.replace("%", "%25"))
    fetch_packages(lock.packages, source=source, downloads=Downloads(cache.root.parent / "b"), sink=ignore, what="b")


def test_suites_of_ubuntu(tmp_path, cache):
    """Updates and security lie in the same archive and have the suite's codename; the newest version wins."""
    archive = SmallArchive(tmp_path / "mirror" / "ubuntu", "ubuntu")
    suites = ("noble", "noble-updates", "noble-security")
    for number, suite in enumerate(suites):
        _add(archive, "tool", f"1.{number}", suite, "universe")
        archive.publish(suite)
    indexes, index = _index(archive.source(*suites, components=("main", "universe")), cache)
    assert [f"ubuntu/{suite}" for suite in suites] == [suite.label for suite in indexes.suites]
    assert ["1.2", "1.1", "1.0"] == [candidate.package.version for candidate in index.candidates("tool")]
    found = index.newest("tool")
    assert found is not None
    assert "ubuntu/noble-security" == found.package.archive


def test_a_networked_run_has_the_same_components(small_archive, tmp_path):
    """What apt may install in a user's RUN is what the base was declared with."""
    apt_network_config(small_archive.source(components=("contrib", "main")), tmp_path / "apt.d", environ={})
    assert " bookworm contrib main\n" in (tmp_path / "apt.d" / "sources.list").read_text()
