"""workflow.lock: one text for equal locks, and every damage located."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.data.model import InputFile, InputLock
from repro.digest import Digest
from repro.environment.lock import archive_digest, lock_text, origin, read_lock, write_lock
from repro.environment.lockread import parse_lock
from repro.environment.model import (
    ArchiveLock,
    CondaPackage,
    EnvironmentLock,
    FetchedLock,
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
relative = st.lists(names, min_size=1, max_size=3).map("/".join)
texts = st.just("") | words
files = st.builds(InputFile, relative, digests, sizes, texts, texts)
kinds = st.sampled_from(["sha256", "stat", "manifest", "label"])
inputs = st.builds(
    InputLock,
    relative.map(lambda path: f"{path}/"),
    words,
    digests,
    digests,
    sizes,
    sizes,
    kinds,
    st.lists(files, max_size=4, unique_by=lambda file: file.name).map(tuple),
) | st.builds(
    InputLock,
    relative,
    words,
    digests,
    digests,
    sizes,
    sizes,
    kinds,
    st.lists(st.builds(InputFile, st.just(""), digests, sizes, texts, texts), max_size=1).map(tuple),
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


@given(st.lists(inputs, max_size=3))
def test_what_is_written_of_inputs_is_read(items):
    """Any inputs come back as they were, and their text again as the same bytes."""
    lock = Lock(LOCK.archives, LOCK.environments, {item.path: item for item in items})
    text = lock_text(lock)
    assert lock == parse_lock(text, "workflow.lock")
    assert text == lock_text(parse_lock(text, "workflow.lock"))


@given(st.lists(st.builds(FetchedLock, relative, digests, sizes), max_size=3))
def test_what_is_written_of_fetched_outputs_is_read(items):
    """Any outputs of fetching steps come back as they were; a lock without any has the text that it always had."""
    lock = Lock(LOCK.archives, LOCK.environments, fetched={item.path: item for item in items})
    text = lock_text(lock)
    assert lock == parse_lock(text, "workflow.lock")
    assert bool(items) == ('\n  "fetched": {' in text)


def test_damage_in_fetched_outputs_is_located():
    """A digest that is none is told with its place."""
    lock = Lock(fetched={"data/x": FetchedLock("data/x", Digest.of(b"x"), 1)})
    text = lock_text(lock).replace(str(Digest.of(b"x")), "abc")
    with pytest.raises(LockError, match=r"workflow\.lock:7:\d+: fetched\.data/x\.digest: not a sha256 digest"):
        parse_lock(text, "workflow.lock")


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


def damaged(old: str, new: str, text: str = TEXT) -> str:
    """Return the lock's text with its first ``old`` replaced; the message that reading it gives."""
    assert old in text
    with pytest.raises(LockError) as caught:
        parse_lock(text.replace(old, new, 1), "workflow.lock")
    return str(caught.value)


def line_of(part: str, text: str = TEXT) -> int:
    """Return the number of the line of the lock that holds ``part``."""
    return text[: text.index(part)].count("\n") + 1


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


TX = InputLock(
    "ref/tx.fa.gz",
    "s3://genomes/tx.fa.gz",
    Digest.of(b"declared"),
    Digest.of(b"tx"),
    2,
    1,
    files=(InputFile("", Digest.of(b"tx"), 2, "3sL4", '"9b74"'),),
)
READS = InputLock(
    "reads/",
    "sftp://server/reads/",
    Digest.of(b"declared"),
    Digest.of(b"tree"),
    5,
    2,
    files=(InputFile("b/2.fq", Digest.of(b"22"), 2), InputFile("1.fq", Digest.of(b"111"), 3, etag="3-17")),
)
NT = InputLock("db/nt/", "site:nt", Digest.of(b"declared"), Digest.of(b"sums"), 10**12, 4000, "manifest")
DATA = LOCK.with_input(TX).with_input(READS).with_input(NT)
DATA_TEXT = lock_text(DATA)


def test_inputs_follow_what_was_there():
    """A lock with inputs differs by its group of inputs alone; one without has none, as before there were any."""
    assert "inputs" not in TEXT
    assert TEXT.removesuffix("\n}\n") == DATA_TEXT[: DATA_TEXT.index(',\n  "inputs": {')]
    assert DATA == parse_lock(DATA_TEXT, "workflow.lock")


def test_inputs_are_written_for_people_and_git():
    """Sorted by path, a file a line with what is known of it and nothing else."""
    assert ["db/nt/", "reads/", "ref/tx.fa.gz"] == list(json.loads(DATA_TEXT)["inputs"])
    lines = [json.loads(line.rstrip(",")) for line in DATA_TEXT.splitlines() if line.startswith('        {"')]
    one, two, three = (Digest.of(data).hex for data in (b"111", b"22", b"tx"))
    assert [
        {"name": "1.fq", "size": 3, "sha256": one, "etag": "3-17"},
        {"name": "b/2.fq", "size": 2, "sha256": two},
        {"size": 2, "sha256": three, "version": "3sL4", "etag": '"9b74"'},
    ] == lines[-3:]
    assert 1 == DATA_TEXT.count('"fingerprint"')


def test_an_input_moves_no_other():
    """An input that is locked anew leaves every line of the others as it was."""
    other = InputLock("db/nt/", "site:nt", NT.origin, Digest.of(b"others"), 5, 3, "manifest")
    before, after = DATA_TEXT.splitlines(), lock_text(DATA.with_input(other)).splitlines()
    changed = [old for old, new in zip(before, after, strict=True) if old != new]
    assert [f'      "digest": "{NT.digest}",', '      "size": 1000000000000,', '      "count": 4000,'] == changed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"uri": "site:nt"', '"uri": null', "inputs.db/nt/.uri: not a string"),
        ('"origin": "sha256', '"origin": "md5', "environments.align.origin: not a sha256 digest"),
        (f'"digest": "{NT.digest}"', '"digest": "abc"', "inputs.db/nt/.digest: not a sha256 digest"),
        ('"size": 1000000000000', '"size": -1', "inputs.db/nt/.size: not a whole number"),
        ('"count": 4000', '"count": "4000"', "inputs.db/nt/.count: not a whole number"),
        ('"fingerprint": "manifest"', '"fingerprint": "crc"', "inputs.db/nt/.fingerprint: not one of sha256, stat"),
        ('"name": "1.fq"', '"name": "../1.fq"', "inputs.reads/.files[0].name: not a path in a folder"),
        ('"name": "1.fq"', '"name": "/1.fq"', "inputs.reads/.files[0].name: not a path in a folder"),
        ('"name": "1.fq"', '"name": "a//1.fq"', "inputs.reads/.files[0].name: not a path in a folder"),
        ('"name": "1.fq"', '"name": "1\\u0000"', "inputs.reads/.files[0].name: not a path in a folder"),
        ('"name": "1.fq"', '"name": ""', "inputs.reads/.files[0].name: not a path in a folder"),
        ('"name": "1.fq"', '"name": 1', "inputs.reads/.files[0].name: not a string"),
        (Digest.of(b"22").hex, "22", "inputs.reads/.files[1].sha256: not a sha256 digest"),
        ('"version": "3sL4"', '"version": 3', "inputs.ref/tx.fa.gz.files[0].version: not a string"),
        (
            '{"size": 2, "sha256"',
            '{"name": "x", "size": 2, "sha256"',
            "inputs.ref/tx.fa.gz.files[0].name: the input is",
        ),
    ],
)
def test_damage_of_inputs_is_located(old, new, message):
    """Whatever is wrong in an input is told by line and path; no name leads out of its folder."""
    said = damaged(old, new, DATA_TEXT)
    assert message in said
    assert said.startswith(f"workflow.lock:{line_of(old, DATA_TEXT)}:")


def test_a_file_that_is_there_twice_is_refused():
    """Two lines for one file, as after a careless merge, are not silently reduced to one."""
    said = damaged('"name": "b/2.fq"', '"name": "1.fq"', DATA_TEXT)
    line = line_of('"files"', DATA_TEXT[DATA_TEXT.index('"reads/"') :]) + line_of('"reads/"', DATA_TEXT) - 1
    assert said.startswith(f"workflow.lock:{line}:")
    assert "inputs.reads/.files: a file is there twice" in said


def test_a_lock_of_many_files_is_read_quickly():
    """100,000 files are read in far less time than their bytes would be hashed in."""
    made = tuple(InputFile(f"s{number // 100:03}/{number:06}.fq", Digest.of(b""), 1) for number in range(100_000))
    text = lock_text(Lock().with_input(InputLock("reads/", "s3://b/", TX.origin, TX.digest, 1, 100_000, files=made)))
    start = time.process_time()
    assert made == parse_lock(text, "workflow.lock").inputs["reads/"].files
    assert time.process_time() - start < 4  # seconds; 0.9 on a machine that does nothing else


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
