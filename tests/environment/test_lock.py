"""workflow.lock: one text for equal locks, and every damage located."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.environment.lock import archive_digest, lock_text, origin, read_lock, write_lock
from repro.environment.lockread import parse_lock
from repro.environment.model import (
    ArchiveLock,
    CondaPackage,
    EnvironmentLock,
    Installed,
    Lock,
    Package,
    Release,
    SourceFile,
    Wheel,
)
from repro.errors import Location, LockError
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageBase, TemplateEnvironment

WHERE = Location("workflow.yaml", 3, 5)


def package(name: str, version: str = "1:1.0-1+b2") -> Package:
    """Return a package with made-up digest and size."""
    path = f"pool/main/{name[0]}/{name}/{name}_1.0-1+b2_amd64.deb"
    return Package(name, version, "amd64", Digest.of(name.encode()), len(name), path, "debian/bookworm")


def release(suite: str = "bookworm") -> Release:
    """Return a suite."""
    return Release(f"debian/{suite}", suite, suite, "2026-11-01T10:00:00Z", Digest.of(suite.encode()))


ARCHIVE = ArchiveLock("archive:debian/bookworm", 1_700_000_000, (release(),), (package("apt"), package("bash")))
ALIGN = EnvironmentLock(
    "align",
    Digest.of(b"origin"),
    "archive:debian/bookworm",
    (package("bwa"), package("samtools")),
    {"one": Digest.of(b"1"), "real": Digest.of(b"2")},
)
LOCK = Lock().with_archive(ARCHIVE).with_environment(ALIGN)
TEXT = lock_text(LOCK)

words = st.text(min_size=1, max_size=12)
digests = st.binary(max_size=4).map(Digest.of)
packages = st.builds(
    Package,
    words,
    words,
    words,
    digests,
    st.integers(0, 2**53),
    st.from_regex(r"[a-z][a-z0-9/+~]*[a-z]", fullmatch=True).filter(lambda path: "//" not in path),
    words,
)
sizes = st.integers(0, 2**53)
names = words.filter(lambda name: "/" not in name and "\0" not in name and name not in (".", ".."))
wheels = st.builds(Wheel, words, words, names, digests, sizes)
archives = st.builds(
    ArchiveLock,
    words,
    st.integers(0, 253_402_300_799),
    st.lists(st.builds(Release, words, words, words, words, digests), max_size=3).map(
        lambda items: tuple(sorted(items))
    ),
    st.lists(packages, max_size=3).map(tuple),
)
environments = st.builds(
    EnvironmentLock,
    words,
    digests,
    words,
    st.lists(packages, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["one", "real"]), digests),
    st.none() | digests,
    st.lists(packages, max_size=2).map(tuple),
    st.lists(st.builds(SourceFile, names, digests, sizes), max_size=2).map(tuple),
    st.lists(st.builds(CondaPackage, names, words, words, words, names, names, digests, sizes), max_size=2).map(tuple),
    st.just("") | words,
    st.lists(wheels, max_size=2).map(tuple),
    st.lists(wheels, max_size=2).map(tuple),
    st.dictionaries(words, words, max_size=2),
    st.lists(st.builds(Installed, words, words, words), max_size=2).map(tuple),
    st.dictionaries(words, st.lists(words, max_size=2).map(tuple), max_size=2),
    st.lists(st.builds(Release, words, words, words, words, digests), max_size=2).map(tuple),
)
locks = st.builds(
    Lock,
    st.lists(archives, max_size=3).map(lambda items: {item.name: item for item in items}),
    st.lists(environments, max_size=3).map(lambda items: {item.name: item for item in items}),
)


@given(locks)
def test_what_is_written_is_read(lock):
    """Any lock comes back as it was, and its text again as the same bytes."""
    text = lock_text(lock)
    assert lock == parse_lock(text, "workflow.lock")
    assert text == lock_text(parse_lock(text, "workflow.lock"))


def test_the_text_is_json_with_one_entry_per_line():
    """Each package has one line of its own, so that a diff shows which one moved; other tools can read it."""
    assert 1 == json.loads(TEXT)["repro-lock"]
    lines = [line for line in TEXT.splitlines() if '"name"' in line]
    assert ["apt", "bash", "bwa", "samtools"] == [json.loads(line.rstrip(","))["name"] for line in lines]


def test_order_of_making_does_not_show():
    """Locks with equal entries have equal text, however they were put together."""
    backwards = EnvironmentLock(
        "align", ALIGN.origin, ALIGN.base, ALIGN.packages[::-1], dict(reversed(ALIGN.images.items()))
    )
    assert TEXT == lock_text(Lock().with_environment(backwards).with_archive(ARCHIVE))


def test_a_new_entry_moves_no_other():
    """An added environment leaves every line of the others as it was."""
    more = lock_text(LOCK.with_environment(EnvironmentLock("plot", Digest.of(b"o"), ALIGN.base, (package("python3"),))))
    kept = iter(more.splitlines())
    assert [] == [line for line in TEXT.splitlines() if line not in kept and line != "    }"]


def test_an_equal_file_is_not_touched(tmp_path):
    """Writing the same lock again changes neither bytes nor time; make and git stay quiet."""
    path = tmp_path / "workflow.lock"
    assert write_lock(path, LOCK) is True
    before = path.stat()
    assert write_lock(path, read_lock(path)) is False
    assert (before.st_mtime_ns, before.st_ino) == (path.stat().st_mtime_ns, path.stat().st_ino)


def test_no_file_is_an_empty_lock(tmp_path):
    """A workflow that was never locked starts with nothing."""
    assert Lock() == read_lock(tmp_path / "workflow.lock")


def damaged(old: str, new: str) -> str:
    """Return the lock's text with its first ``old`` replaced; the message that reading it gives."""
    assert old in TEXT
    with pytest.raises(LockError) as caught:
        parse_lock(TEXT.replace(old, new, 1), "workflow.lock")
    return str(caught.value)


def line_of(part: str) -> int:
    """Return the number of the line of the lock that holds ``part``."""
    return TEXT[: TEXT.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"repro-lock": 1', '"repro-lock": 7', "format 7 is not known to this repro"),
        ('"epoch": 17', '"epoch": -17', "archives.archive:debian/bookworm.epoch: not a whole number from 0"),
        ('"epoch": 17', '"epoch": true, "x": 17', "epoch: not a whole number"),
        ('"epoch": 17', '"epoch": 99999999999999', "epoch: not a whole number from 0 to 253402300799"),
        ('"name": "apt"', '"name": 5', "archives.archive:debian/bookworm.packages[0].name: not a string"),
        (Digest.of(b"apt").hex, "abc", "packages[0].sha256: not a sha256 digest: 'abc'"),
        ('"origin": "sha256:', '"origin": "md5:', "environments.align.origin: not a sha256 digest"),
        ('"path": "pool/main/a/apt', '"path": "/pool/main/a/apt', "packages[0].path: not a path below"),
        ('"path": "pool/main', '"path": "pool/../main', "packages[0].path: not a path below"),
    ],
)
def test_damage_is_located(old, new, message):
    """The message has file, line and the path of the value that is wrong."""
    said = damaged(old, new)
    assert message in said
    assert said.startswith(f"workflow.lock:{line_of(old)}:")


def test_what_is_missing_is_located_at_what_lacks_it():
    """A lost line is told with the entry around it."""
    align = line_of('"align": {')
    said = damaged('      "base": "archive:debian/bookworm",\n', "")
    assert said.startswith(f"workflow.lock:{align}:")
    assert "environments.align: 'base' is missing" in said


def test_broken_json_is_located():
    """A slip of an editor is told by line and column."""
    line = line_of('"images"')
    assert re.match(rf"workflow\.lock:{line}:\d+: not JSON", damaged('"images": {', '"images": {]'))


def test_a_value_of_another_type_is_located():
    """A list where an object should be, and the other way round, is damage and no crash."""
    for text in (
        "[]",
        "null",
        "[" * 100_000,
        f'{{"repro-lock": {"1" * 5000}}}',
        '{"repro-lock": 1, "archives": [], "environments": {}}',
        "1 2",
    ):
        with pytest.raises(LockError, match=r"^workflow\.lock:1:"):
            parse_lock(text, "workflow.lock")
    with pytest.raises(LockError, match=r"a\.packages: not a list"):
        parse_lock(
            re.sub(
                r'"packages": \[.*?\n      \]', '"packages": {}', TEXT.replace("align", "a"), flags=re.DOTALL
            ).replace('archive:debian/bookworm": {', 'a": {'),
            "workflow.lock",
        )


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", "=======", ">>>>>>> other branch", "||||||| base"])
def test_a_merge_conflict_is_called_by_its_name(marker):
    """Conflict markers are no JSON error: the message says what to do with them."""
    lines = TEXT.splitlines()
    lines.insert(4, marker)
    with pytest.raises(LockError, match=r"workflow\.lock:5:1: an unresolved merge conflict"):
        parse_lock("\n".join(lines), "workflow.lock")


def test_an_entry_that_is_there_twice_is_refused():
    """Both sides of a merge kept by accident are not silently reduced to the last."""
    line = line_of('"origin"') + 1
    said = damaged('"origin"', '"origin": "",\n"origin"')
    assert said.startswith(f"workflow.lock:{line}:11: environments.align.origin: is there twice")


def test_not_text(tmp_path):
    """A binary file is refused with its line."""
    path = tmp_path / "workflow.lock"
    path.write_bytes(b"{\n\xff")
    with pytest.raises(LockError, match=r"workflow\.lock:2:1: not UTF-8"):
        read_lock(path)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    """Reading never fails in another way than by LockError."""
    try:
        parse_lock(text, "workflow.lock")
    except LockError as error:
        assert "workflow.lock" == error.where.file


@given(st.data())
def test_any_single_edit_is_read_or_refused(data):
    """A lock with some characters replaced is read as a lock or refused with a place."""
    start = data.draw(st.integers(0, len(TEXT) - 1))
    text = TEXT[:start] + data.draw(st.text(max_size=3)) + TEXT[start + data.draw(st.integers(0, 9)) :]
    try:
        parse_lock(text, "workflow.lock")
    except LockError as error:
        assert "workflow.lock" == error.where.file


def environment(**changes) -> TemplateEnvironment:
    """Return an environment with some fields changed."""
    fields = {"name": "align", "where": WHERE, "base": ArchiveBase("debian", "bookworm"), "apt": ("bwa", "samtools")}
    return TemplateEnvironment(**(fields | changes))


def test_origin_follows_what_decides_the_packages():
    """Base and apt names count; order, name, place, mirror, env, run and template do not."""
    same = [
        environment(apt=("samtools", "bwa")),
        environment(name="other", where=Location("x", 1)),
        environment(base=ArchiveBase("debian", "bookworm", mirror="file:///mirror")),
        environment(env={"A": "1"}, run=("true",), template="mine/x.j2"),
    ]
    different = [
        environment(apt=("samtools",)),
        environment(apt=("samtools", "bwa=1")),
        environment(base=ArchiveBase("debian", "trixie")),
        environment(base=ImageBase("debian:bookworm")),
    ]
    assert {origin(environment())} == {origin(env) for env in same}
    assert 5 == len({origin(environment()), *(origin(env) for env in different)})


def test_origin_of_a_dockerfile_follows_its_files():
    """Target, args and the digests of what is read count."""
    plain = DockerfileEnvironment("legacy", WHERE, "docker/Dockerfile", "docker")
    other = DockerfileEnvironment("legacy", WHERE, "docker/Dockerfile", "docker", target="x")
    files = {"docker/Dockerfile": Digest.of(b"FROM scratch")}
    assert 3 == len({origin(plain), origin(other), origin(plain, files)})


def test_an_archive_lock_has_a_checksum():
    """Another package gives another base, and so other images on it."""
    changed = ArchiveLock(ARCHIVE.name, ARCHIVE.epoch, ARCHIVE.releases, ARCHIVE.packages[1:])
    assert archive_digest(ARCHIVE) != archive_digest(changed)
