"""Inputs pinned: what a declaration resolves to, what is fetched again, and what is told when bytes are others."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from repro.data.answers import NotThereError
from repro.data.cache import Downloads
from repro.data.checksum import StatCache, tree_digest
from repro.data.drift import DriftError
from repro.data.model import InputFile
from repro.data.parallel import UnfetchedError
from repro.data.pinning import Pinner, origin
from repro.data.sources.model import DeniedError, SourceFile
from repro.data.trees import Trees
from repro.digest import Digest
from repro.errors import DataError, FetchError, Location, UsageError
from repro.events import Notice
from repro.names import DataUri
from repro.workflow.model import Access, DataSource, Fingerprint
from tests.data.memory import PIECE, REACH, MemorySource, broken

DATA = bytes(range(256)) * 40
READS = {"a.fq": b"a" * 3000, "b.fq": b"b" * 3000, "sub/c.fq": b"c", "notes.txt": b"n"}
WHERE = Location("workflow.yaml", 3)


class World:
    """A project folder, a cache, mounts and sites, and sources in memory by address."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        self.sources: dict[str, MemorySource] = {}
        self.mounts: dict[str, Path] = {}
        self.sites: dict[str, Path] = {}
        self.notices: list[str] = []
        self.accesses: list[Access] = []
        self.downloads = Downloads(folder / "cache")
        self.stat_cache = StatCache(folder / "stat.json")

    def path(self, site: str) -> Path:
        """Return a site."""
        if site not in self.sites:
            raise UsageError(f"the site {site!r} is not known on this host")
        return self.sites[site]

    def open(self, uri: DataUri, access: Access) -> MemorySource:
        """Return the source at an address; files of this machine are read as they are."""
        self.accesses.append(access)
        if uri.scheme == "file":
            return local_source(Path(uri.path))
        return self.sources[str(uri)]

    def mounted(self, uri: DataUri) -> Path | None:
        """Return where a share is mounted."""
        return self.mounts.get(str(uri))

    def hear(self, event: object) -> None:
        """Keep notices."""
        if isinstance(event, Notice):
            self.notices.append(event.text)

    def pinner(self, downloads: Downloads | None = None) -> Pinner:
        """Return a pinner, by default with the cache of this world."""
        cache = downloads or self.downloads
        return Pinner(
            cache, self.open, REACH, self.stat_cache, self.project, self, mounted=self.mounted, sink=self.hear
        )


def local_source(path: Path) -> MemorySource:
    """Return a source with what is at a path."""
    if path.is_dir():
        return MemorySource({str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()})
    return MemorySource({"": path.read_bytes()} if path.exists() else {})


@pytest.fixture
def world(tmp_path) -> World:
    """An empty world."""
    return World(tmp_path)


def declared(uri: str | None, path: str = "ref/x", **more: object) -> DataSource:
    """Return a declaration."""
    return DataSource(path, WHERE, uri=uri, **more)  # type: ignore[arg-type]


def tree_of(contents: dict[str, bytes]) -> Digest:
    """Return the digest of a tree."""
    return tree_digest((name, Digest.of(data)) for name, data in contents.items())


# ---- what is elsewhere


def test_a_file_is_pinned_and_in_the_cache(world):
    """Address, version, ETag, size and digest are known afterwards, and its bytes are here."""
    world.sources["s3://b/x"] = source = MemorySource()
    source.add_version("", "v1", DATA)
    entry = world.pinner().pin(declared("s3://b/x"), None)
    assert (InputFile("", Digest.of(DATA), len(DATA), "v1", source.stat().etag),) == entry.files
    assert ("ref/x", "s3://b/x", Digest.of(DATA), len(DATA), 1, "sha256") == (
        entry.path,
        entry.uri,
        entry.digest,
        entry.size,
        entry.count,
        entry.fingerprint,
    )
    assert origin(declared("s3://b/x")) == entry.origin
    assert DATA == world.downloads.read(entry.digest)
    assert [] == list((world.downloads.root / "tmp").iterdir())
    assert 1 == source.closed


def test_a_version_that_is_declared_is_the_one_that_is_pinned(world):
    """Also where a newer one is there."""
    world.sources["s3://b/x"] = source = MemorySource()
    source.add_version("", "v1", DATA)
    source.add_version("", "v2", b"newer")
    assert Digest.of(DATA) == world.pinner().pin(declared("s3://b/x", version="v1"), None).digest
    assert Digest.of(b"newer") == world.pinner().pin(declared("s3://b/x"), None).digest


def test_a_folder_is_pinned_file_by_file(world):
    """The digest is that of the tree; the lock lists the files, sorted."""
    world.sources["sftp://host/reads/"] = MemorySource(READS)
    entry = world.pinner().pin(declared("sftp://host/reads/", "reads/"), None)
    assert (tree_of(READS), sum(map(len, READS.values())), 4) == (entry.digest, entry.size, entry.count)
    assert sorted(READS) == [file.name for file in entry.files]
    path = Trees(world.downloads).build(entry.files, entry.digest)
    assert entry.digest == StatCache(world.project / "s").digest_folder(path)[0]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [("*.fq", ["a.fq", "b.fq"]), ("**/*.fq", ["a.fq", "b.fq", "sub/c.fq"]), ("s*/?.fq", ["sub/c.fq"])],
)
def test_a_glob_chooses(world, pattern, chosen):
    """Names are relative to the folder before the first special part."""
    world.sources["s3://b/reads/"] = MemorySource(READS)
    entry = world.pinner().pin(declared(f"s3://b/reads/{pattern}", "reads/"), None)
    assert (chosen, f"s3://b/reads/{pattern}") == ([file.name for file in entry.files], entry.uri)


def test_an_escaped_glob_is_that_of_the_name(world):
    """Web addresses are escaped, names are not."""
    world.sources["https://host/a%20b/"] = MemorySource({"ü 1.fq": b"1", "x.fq": b"x"})
    entry = world.pinner().pin(declared("https://host/a%20b/%C3%BC%20*.fq", "reads/"), None)
    assert ["ü 1.fq"] == [file.name for file in entry.files]


def test_a_glob_that_chooses_nothing_is_an_error(world):
    """And it is located."""
    world.sources["s3://b/reads/"] = MemorySource(READS)
    with pytest.raises(DataError, match="chooses no file") as caught:
        world.pinner().pin(declared("s3://b/reads/*.bam", "reads/"), None)
    assert WHERE == caught.value.where


@pytest.mark.parametrize("names", [["../x"], ["/x"], ["a//b"], ["a", "a/b"], [""], ["a\0b"], ["."]])
def test_names_that_no_folder_can_have_are_refused_before_anything_is_fetched(world, names):
    """A server may list what it likes."""
    world.sources["s3://b/reads/"] = source = MemorySource(dict.fromkeys(names, b"x"))
    with pytest.raises(DataError):
        world.pinner().pin(declared("s3://b/reads/", "reads/"), None)
    assert [] == source.asked


def test_what_is_not_there_and_what_is_denied_is_said(world):
    """The errors of the source come through."""
    world.sources["s3://b/x"] = source = MemorySource()
    with pytest.raises(NotThereError) as missing:
        world.pinner().pin(declared("s3://b/x"), None)
    assert WHERE == missing.value.where
    source.put[""] = DATA

    def deny(pieces):
        raise DeniedError("no", why="access was denied", hint="log in again")
        yield

    source.faults = [deny]
    with pytest.raises(UnfetchedError) as caught:
        world.pinner().pin(declared("s3://b/x"), None)
    assert "s3://b/x: access was denied" in str(caught.value)
    assert "  fix: log in again" in str(caught.value)


def test_questions_are_asked_again(world):
    """A listing that breaks is no failure."""
    world.sources["s3://b/reads/"] = source = MemorySource(READS)
    listing, count = source.files, [2]

    def files():
        if count[0]:
            count[0] -= 1
            yield next(listing())
            yield from broken()(iter(()))
        yield from listing()

    source.files = files
    assert tree_of(READS) == world.pinner().pin(declared("s3://b/reads/", "reads/"), None).digest


# ---- what is not fetched again


def test_of_a_folder_only_what_changed_is_fetched_again(world):
    """Of what is as it was in the lock and in the cache, nothing is read."""
    contents = {str(number): b"%d" % number for number in range(50)}
    world.sources["s3://b/reads/"] = source = MemorySource(contents)
    before = world.pinner().pin(declared("s3://b/reads/", "reads/"), None)
    source.asked.clear()
    source.put["7"] = b"new"
    source.put["new"] = b"7"
    del source.put["8"]
    after = world.pinner().pin(declared("s3://b/reads/", "reads/"), before)
    assert ["7", "new"] == sorted(name for name, _ in source.asked)
    assert tree_of(source.put) == after.digest


@pytest.mark.parametrize(
    "change", ["no etag", "not settled", "another address", "not in the cache", "damaged in the cache", "no lock"]
)
def test_what_may_have_changed_is_fetched_again(world, change):
    """Without an ETag that vouches, from elsewhere, or without the bytes, nothing is taken on trust."""
    uri = "s3://b/reads/"
    world.sources[uri] = source = MemorySource(READS, etags=change != "no etag", settled=change != "not settled")
    before = world.pinner().pin(declared(uri, "reads/"), None)
    source.asked.clear()
    path = world.downloads.path(Digest.of(READS["a.fq"]))
    if change == "another address":
        world.sources["s3://b/others/"] = source
        uri = "s3://b/others/"
    elif change == "not in the cache":
        path.unlink()
    elif change == "damaged in the cache":
        path.chmod(0o644)
        path.write_bytes(b"x" * 3000)
    after = world.pinner().pin(declared(uri, "reads/"), None if change == "no lock" else before)
    assert ["a.fq"] == [name for name, _ in source.asked if name == "a.fq"]
    assert tree_of(READS) == after.digest
    assert READS["a.fq"] == world.downloads.read(Digest.of(READS["a.fq"]))


def test_a_pin_that_broke_off_goes_on(world):
    """Files that came are not fetched again, and the one under way is continued."""
    world.sources["s3://b/reads/"] = source = MemorySource({"a": DATA, "b": DATA[::-1]})
    pieces = source.pieces

    def break_b(file, start):
        return broken(0 if start else 4)(pieces(file, start)) if file.name == "b" else pieces(file, start)

    source.pieces = break_b
    with pytest.raises(FetchError):
        world.pinner().pin(declared("s3://b/reads/", "reads/"), None)
    source.pieces = pieces
    source.asked.clear()
    entry = world.pinner().pin(declared("s3://b/reads/", "reads/"), None)
    assert [("b", 4 * PIECE)] == source.asked
    assert tree_of(source.put) == entry.digest


# ---- later, elsewhere


@pytest.fixture
def elsewhere(tmp_path) -> Downloads:
    """The empty cache of another machine."""
    return Downloads(tmp_path / "another-cache")


def test_a_locked_input_is_had_elsewhere(world, elsewhere):
    """Only the files that are asked for come."""
    world.sources["s3://b/reads/"] = MemorySource(READS)
    source = declared("s3://b/reads/", "reads/")
    entry = world.pinner().pin(source, None)
    pinner = world.pinner(elsewhere)
    pinner.fetch(source, entry, entry.files[:1])
    assert [True, False] == [elsewhere.has(file.digest) for file in entry.files[:2]]
    pinner.fetch(source, entry, entry.files)
    assert READS == {file.name: elsewhere.read(file.digest) for file in entry.files}


def test_a_locked_version_is_had_after_it_was_overwritten(world, elsewhere):
    """And after the name is gone."""
    world.sources["s3://b/x"] = store = MemorySource()
    store.add_version("", "v1", DATA)
    source = declared("s3://b/x")
    entry = world.pinner().pin(source, None)
    store.add_version("", "v2", b"newer")
    del store.put[""]
    world.pinner(elsewhere).fetch(source, entry, entry.files)
    assert DATA == elsewhere.read(entry.digest)


def test_the_same_bytes_in_another_state_are_the_same(world, elsewhere):
    """An ETag that moved with the bytes as they were is no drift."""
    world.sources["s3://b/x"] = store = MemorySource({"": DATA})
    source = declared("s3://b/x")
    entry = world.pinner().pin(source, None)
    store.etags = False
    world.pinner(elsewhere).fetch(source, entry, entry.files)
    assert DATA == elsewhere.read(entry.digest)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (DATA[::-1], f"now {Digest.of(DATA[::-1])}"),
        (DATA[:-1], "it has 10239 bytes, and 10240 are expected"),
        (DATA + b"x", "it has 10241 bytes, and 10240 are expected"),
        (None, "the server does not have it"),
    ],
)
def test_drift_is_refused_with_old_and_new(world, elsewhere, there, said):
    """Other bytes are never accepted, whatever their number; the error says how to accept them."""
    world.sources["s3://b/x"] = store = MemorySource({"": DATA})
    source = declared("s3://b/x")
    entry = world.pinner().pin(source, None)
    store.put = {} if there is None else {"": there}
    with pytest.raises(DriftError) as caught:
        world.pinner(elsewhere).fetch(source, entry, entry.files)
    text = str(caught.value)
    assert text.startswith("ref/x is not what was locked\n")
    assert f"s3://b/x: locked {entry.digest}, " in text
    assert said in text
    assert "`repro lock --upgrade ref/x`" in text
    assert "drift" == caught.value.code
    assert not (elsewhere.root / "sha256").exists()


def test_a_server_that_is_down_is_no_drift(world, elsewhere):
    """It may come back."""
    world.sources["s3://b/x"] = store = MemorySource({"": DATA})
    source = declared("s3://b/x")
    entry = world.pinner().pin(source, None)
    store.faults = [broken()] * 10
    with pytest.raises(UnfetchedError, match="the connection broke"):
        world.pinner(elsewhere).fetch(source, entry, entry.files)


def test_drift_of_many_files_is_told_of_some(world, elsewhere):
    """A message stays readable."""
    contents = {f"{number:03}": b"%d" % number for number in range(100)}
    world.sources["s3://b/reads/"] = store = MemorySource(contents)
    source = declared("s3://b/reads/", "reads/")
    entry = world.pinner().pin(source, None)
    store.put = {name: data[::-1] + b"!" for name, data in contents.items()}
    with pytest.raises(DriftError) as caught:
        world.pinner(elsewhere).fetch(source, entry, entry.files)
    assert "and 80 more" in str(caught.value)


# ---- what is on this machine


def test_a_file_of_this_machine_is_hashed_where_it_lies(world):
    """By path from the project, absolute, and as an address; nothing gets into the cache."""
    path = world.project.parent / "x.fa"
    path.write_bytes(DATA)
    world.sites["nt"] = path
    for source in (
        declared("../x.fa"),
        declared(str(path)),
        declared(f"file://{path}"),
        declared(None, site="nt"),
    ):
        entry = world.pinner().pin(source, None)
        assert (InputFile("", Digest.of(DATA), len(DATA)),) == entry.files
        assert (Digest.of(DATA), path) == (entry.digest, Path(os.path.normpath(world.pinner().local(source))))
        assert (Digest.of(DATA), len(DATA)) == world.pinner().digest(source)
    assert "site:nt" == entry.uri
    assert not world.downloads.root.exists()


def test_a_folder_of_this_machine_has_the_digest_of_a_folder(world):
    """Modes and links in it count, as for any folder of the project; its files are not listed."""
    folder = world.project / "data"
    folder.mkdir()
    (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("run.sh")
    entry = world.pinner().pin(declared("data/", "ref/"), None)
    assert world.stat_cache.digest_folder(folder) == (entry.digest, entry.size)
    assert ((), 1) == (entry.files, entry.count)


def test_a_mounted_share_has_the_same_digest_as_where_it_is_not_mounted(world, elsewhere):
    """Its files are listed, so that a machine without the mount can fetch them."""
    folder = world.project / "mnt"
    for name, data in READS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "a.fq").chmod(0o755)
    (folder / "empty").mkdir()
    (folder / "link.fq").symlink_to("a.fq")
    source = declared("nfs://server/export/reads/", "reads/")
    world.mounts[str(source.uri)] = folder
    here = world.pinner().pin(source, None)
    world.mounts.clear()
    contents = {**READS, "link.fq": READS["a.fq"]}
    world.sources[str(source.uri)] = MemorySource(contents)
    there = world.pinner(elsewhere).pin(source, None)
    assert (tree_of(contents), here.digest, here.size) == (here.digest, there.digest, there.size)
    assert [file.name for file in there.files] == [file.name for file in here.files]
    again = Downloads(elsewhere.root.parent / "third-cache")
    world.pinner(again).fetch(source, here, here.files)


def test_what_is_to_be_bound_in_place_must_be_here(world):
    """A share that is not mounted is an error that says so."""
    source = declared("nfs://server/export/nt/", "db/", mount=True)
    with pytest.raises(DataError, match="is not mounted on this machine"):
        world.pinner().pin(source, None)
    with pytest.raises(UsageError, match="not known on this host"):
        world.pinner().pin(declared(None, site="nt"), None)


@pytest.mark.parametrize("kind", ["stat", "label", "manifest"])
def test_what_is_declared_to_stand_for_the_bytes_does(world, kind):
    """The lock says what the digest stands on; a folder's parts have digests of their own."""
    folder = world.project / "nt"
    folder.mkdir()
    (folder / "a").write_bytes(DATA)
    (folder / "SHA256SUMS").write_text(f"{Digest.of(DATA).hex}  a\n")
    world.sites["nt"] = folder
    value = {"stat": "", "label": "2026-11", "manifest": "SHA256SUMS"}[kind]
    source = declared(None, "db/", site="nt", mount=True, fingerprint=Fingerprint(kind, value))
    entry = world.pinner().pin(source, None)
    assert (kind, (), False) == (entry.fingerprint, entry.files, entry.proven)
    assert entry.digest == world.pinner().digest(source)[0]
    assert 2 == len({world.pinner().part(entry, name) for name in ("a", "b")})
    if kind == "stat":
        os.utime(folder / "a", (1, 1))
        assert entry.digest != world.pinner().digest(source)[0]


def test_a_file_where_a_folder_is_declared_and_the_other_way_round(world):
    """Both are errors."""
    (world.project / "x").write_bytes(b"x")
    (world.project / "d").mkdir()
    with pytest.raises(DataError, match="is no folder"):
        world.pinner().pin(declared("x/", "ref/"), None)
    with pytest.raises(DataError, match="is a folder"):
        world.pinner().pin(declared("d"), None)
    with pytest.raises(DataError, match="missing"):
        world.pinner().pin(declared("none"), None)


def test_a_glob_of_this_machine_goes_through_the_cache(world):
    """A folder with only the chosen files is nowhere else."""
    folder = world.project / "all"
    for name, data in READS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    source = declared("all/*.fq", "reads/")
    assert world.pinner().local(source) is None
    entry = world.pinner().pin(source, None)
    assert ["a.fq", "b.fq"] == [file.name for file in entry.files]
    assert world.downloads.has(Digest.of(READS["a.fq"]))
    world.mounts["nfs://server/export/"] = folder
    shared = world.pinner().pin(declared("nfs://server/export/*.fq", "reads/"), None)
    assert entry.digest == shared.digest


def test_what_changed_on_this_machine_is_drift(world):
    """The error has both digests."""
    (world.project / "x").write_bytes(b"x")
    entry = world.pinner().pin(declared("x"), None)
    error = world.pinner().drift(entry, Digest.of(b"y"))
    assert f"locked {Digest.of(b'x')}, now {Digest.of(b'y')}" in str(error)
    assert "`repro lock --upgrade ref/x`" in str(error)


# ---- what the owner says


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("where", ["s3://b/x", "x"])
def test_a_checksum_given_must_fit(world, algorithm, where):
    """Of what is here and of what is elsewhere; a mismatch locks nothing, and says what was found."""
    world.sources["s3://b/x"] = MemorySource({"": DATA})
    (world.project / "x").write_bytes(DATA)
    right = hashlib.new(algorithm, DATA, usedforsecurity=False).hexdigest()
    assert Digest.of(DATA) == world.pinner().pin(declared(where, checksum=f"{algorithm}:{right}"), None).digest
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with pytest.raises(DataError, match="is not what its checksum says") as caught:
        world.pinner().pin(declared(where, checksum=f"{algorithm}:{wrong}"), None)
    assert f"expected {algorithm}:{wrong}, found {algorithm}:{right}" in str(caught.value)
    assert "nothing is locked" in str(caught.value)


def sums(contents: dict[str, bytes], prefix: str = "") -> bytes:
    """Return a list of checksums as md5sum writes it."""
    lines = [
        f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {prefix}{name}\n" for name, data in contents.items()
    ]
    return "".join(lines).encode()


@pytest.mark.parametrize("place", ["remote", "local"])
def test_a_list_in_the_folder_must_fit(world, place):
    """Every file listed is held against it; the list itself need not be in it."""
    contents = {**READS, "MD5SUMS": sums(READS)}
    uri = "s3://b/reads/"
    if place == "local":
        uri = "reads/"
        for name, data in contents.items():
            (world.project / "reads" / name).parent.mkdir(parents=True, exist_ok=True)
            (world.project / "reads" / name).write_bytes(data)
    else:
        world.sources[uri] = MemorySource(contents)
        world.sources["s3://b/reads/MD5SUMS"] = MemorySource({"": contents["MD5SUMS"]})
    world.pinner().pin(declared(uri, "reads/", checksums="MD5SUMS"), None)
    assert [] == world.notices
    if place == "local":
        (world.project / "reads/b.fq").write_bytes(b"x" * 3000)
    else:
        world.sources[uri].put["b.fq"] = b"x" * 3000
    with pytest.raises(DataError, match=r"reads/b\.fq is not what its checksum says"):
        world.pinner().pin(declared(uri, "reads/", checksums="MD5SUMS"), None)


def test_a_list_beside_a_file_must_fit(world):
    """A sidecar with nothing but the digest, and its address in full."""
    right = hashlib.sha1(DATA, usedforsecurity=False).hexdigest().encode()
    world.sources["https://host/d/x"] = MemorySource({"": DATA})
    world.sources["https://host/d/x.sha1"] = world.sources["s3://sums/x.sha1"] = sidecar = MemorySource({"": right})
    access = Access(profile="lab")
    world.pinner().pin(declared("https://host/d/x", checksums="x.sha1", access=access), None)
    world.pinner().pin(declared("https://host/d/x", checksums="s3://sums/x.sha1", access=access), None)
    assert [access, access, access, Access()] == world.accesses
    sidecar.put[""] = b"0" * 40
    with pytest.raises(DataError, match="https://host/d/x is not what its checksum says"):
        world.pinner().pin(declared("https://host/d/x", checksums="x.sha1"), None)


def test_a_list_in_a_folder_below_has_names_from_there(world):
    """As sha256sum wrote them."""
    contents = {"sub/c.fq": b"c", "sub/d.fq": b"d"}
    listed = sums({"c.fq": b"c", "d.fq": b"d"})
    world.sources["s3://b/reads/"] = MemorySource({**contents, "sub/MD5SUMS": listed})
    world.sources["s3://b/reads/sub/MD5SUMS"] = MemorySource({"": listed})
    world.pinner().pin(declared("s3://b/reads/", "reads/", checksums="sub/MD5SUMS"), None)


def test_a_listed_file_that_is_missing_is_an_error_but_not_for_a_glob(world):
    """A folder must be whole; a glob chooses from it."""
    contents = {name: data for name, data in READS.items() if name != "b.fq"}
    world.sources["s3://b/reads/"] = MemorySource(contents)
    world.sources["s3://b/reads/MD5SUMS"] = MemorySource({"": sums(READS)})
    with pytest.raises(DataError, match=r"lacks b\.fq"):
        world.pinner().pin(declared("s3://b/reads/", "reads/", checksums="MD5SUMS"), None)
    world.pinner().pin(declared("s3://b/reads/*.fq", "reads/", checksums="MD5SUMS"), None)


def test_files_that_a_list_does_not_know_are_told_of(world):
    """Some: a notice. All, or the only one: an error, as then nothing would be checked."""
    world.sources["s3://b/reads/"] = MemorySource(READS)
    world.sources["s3://b/reads/MD5SUMS"] = listing = MemorySource({"": sums({"a.fq": READS["a.fq"]})})
    world.pinner().pin(declared("s3://b/reads/", "reads/", checksums="MD5SUMS"), None)
    assert ["reads/: MD5SUMS says nothing about 3 of 4 files"] == world.notices
    listing.put[""] = sums({"other": b""})
    with pytest.raises(DataError, match=r"does not list no file|does not list"):
        world.pinner().pin(declared("s3://b/reads/*.fq", "reads/", checksums="MD5SUMS"), None)


# ---- declarations


def test_the_origin_is_what_decides_the_bytes():
    """Where jobs see it, who may have it and with which login it is read changes nothing in the lock."""
    source = declared("s3://b/x")
    same = [
        replace(source, path="other"),
        replace(source, private=True),
        replace(source, access=Access(profile="lab", anonymous=True, requester_pays=True)),
        replace(source, where=Location("w", 9)),
    ]
    other = [
        declared("s3://b/y"),
        declared(None, site="s3://b/x"),
        replace(source, version="v"),
        replace(source, checksum="md5:0"),
        replace(source, checksums="md5:0"),
        replace(source, fingerprint=Fingerprint("stat")),
        replace(source, access=Access(endpoint="http://127.0.0.1:1")),
    ]
    assert {origin(source)} == {origin(one) for one in same}
    assert len(other) + 1 == len({origin(source), *(origin(one) for one in other)})


def test_no_login_is_in_a_message(world):
    """A user's name in an address is not shown, and passwords cannot be there."""
    world.sources["sftp://ada@host/x"] = MemorySource()
    with pytest.raises(FetchError) as caught:
        world.pinner().pin(declared("sftp://ada@host/x"), None)
    assert "ada" not in str(caught.value)


def test_what_is_there_now_is_listed(world):
    """With versions and ETags, as a check needs it."""
    world.sources["s3://b/reads/"] = source = MemorySource(READS)
    found = world.pinner().listed(declared("s3://b/reads/*.txt", "reads/"))
    assert (SourceFile("notes.txt", 1, "", source.stat("notes.txt").etag),) == found
