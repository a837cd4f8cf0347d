"""Publishing as one: idempotent, all or nothing, going on after any kill; on a target in memory, and on a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace as changed

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.data.answers import Broken, UnreachableError
from repro.data.publication import MANIFEST, Item, Publication
from repro.data.publishing import publish
from repro.data.sources.folder import FolderSource, FolderTarget
from repro.data.sources.model import DeniedError, ExistsError, Reach
from repro.data.sums import read_sums
from repro.data.sums_text import list_text
from repro.digest import Digest
from repro.errors import BusyError, DataError, StoreError
from repro.events import Notice, Progress, ignore
from tests.data.shelf import Killed, Shelf, ShelfSource, ShelfTarget, die_at

BYTES = {"a.txt": b"alpha", "b/c.bin": b"0123456789", "empty": b"", "d": b"delta"}
REACH = Reach({}, 0, 0, timeout=5, attempts=3, pause=0.001)


@pytest.fixture
def folder(tmp_path):
    """The folder of this machine whose files are published."""
    for name, data in BYTES.items():
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_bytes(data)
    return tmp_path


def _items(folder, names=tuple(BYTES)):
    paths = {name: folder / "made" / name for name in names}
    return [Item(name, path, Digest.of_file(path), path.stat().st_size) for name, path in paths.items()]


def _publication(shelf, folder, items=None, *, state="state", target=None, **options):
    return Publication(
        ShelfTarget(shelf) if target is None else target,
        _items(folder) if items is None else items,
        address="shelf://all/",
        state=folder / state,
        reach=REACH,
        source=lambda: ShelfSource(shelf),
        **options,
    )


def _publish(shelf, folder, items=None, *, replace=False, sink=ignore, dry_run=False, **options):
    publication = _publication(shelf, folder, items, **options)
    return {one.item.name: one.state for one in publish([publication], replace=replace, sink=sink, dry_run=dry_run)}


def _expected(**more):
    files = {**BYTES, **more}
    return {**files, MANIFEST: list_text({name: Digest.of(data) for name, data in files.items()})}


def _missing(held, arrived):
    """Return how many bytes must have arrived in the end, where none that is held is sent again."""
    return {name: arrived.get(name, 0) + len(data) - held[name] for name, data in BYTES.items()}


def _raise(error, *, at):
    """Return a fault that raises ``error`` at an operation on a name."""

    def fault(operation, name):
        if (operation, name) == at:
            raise error

    return fault


# ---- what is sent


def test_all_files_and_their_list_are_published(folder):
    """Every file is there, and a list that sha256sum accepts; nothing staged remains."""
    shelf = Shelf()
    assert dict.fromkeys(BYTES, "sent") == _publish(shelf, folder)
    assert _expected() == shelf.all()
    assert {} == shelf.staged
    (folder / "made" / MANIFEST).write_bytes(shelf.get(MANIFEST))
    subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=folder / "made", check=True, capture_output=True)


@pytest.mark.parametrize("digests", [True, False])
def test_second_publication_sends_nothing(folder, digests):
    """With the same bytes there nothing is staged or put in place, and no byte is read back."""
    shelf = Shelf(digests=digests)
    _publish(shelf, folder)
    before, shelf.said = shelf.all(), []
    assert dict.fromkeys(BYTES, "there") == _publish(shelf, folder)
    assert before == shelf.all()
    assert {"find", "read"} == {operation for operation, _ in shelf.said}


def test_bytes_decide_where_the_target_keeps_no_digests(folder):
    """What somebody else put there is read, for a list of checksums may be older than the file."""
    shelf = Shelf(digests=False)
    _publish(shelf, folder, state="elsewhere")
    shelf.put("d", b"DELTA")
    with pytest.raises(ExistsError, match="other files") as caught:
        _publish(shelf, folder)
    assert "shelf://all/d" == caught.value.why
    shelf.put("d", b"delta")
    assert dict.fromkeys(BYTES, "there") == _publish(shelf, folder)


def test_other_bytes_are_an_error_or_replaced(folder):
    """Other bytes that are there stay, unless it was said that they may be replaced."""
    shelf = Shelf()
    shelf.put("a.txt", b"mine")
    with pytest.raises(ExistsError, match="other files are there"):
        _publish(shelf, folder)
    assert ({"a.txt": b"mine"}, {}) == (shelf.all(), shelf.arrived)
    assert {**dict.fromkeys(BYTES, "sent")} == _publish(shelf, folder, replace=True)
    assert _expected() == shelf.all()


def test_dry_run_only_looks(folder):
    """A dry run tells how files stand, and changes nothing."""
    shelf = Shelf()
    shelf.put("a.txt", b"alpha")
    shelf.put("d", b"mine")
    before = shelf.all()
    expected = {"a.txt": "there", "b/c.bin": "missing", "empty": "missing", "d": "differs"}
    assert expected == _publish(shelf, folder, dry_run=True)
    assert before == shelf.all()


def test_list_keeps_the_lines_of_files_that_stay(folder):
    """What is published into a folder joins what is listed there."""
    shelf = Shelf()
    shelf.put("old", b"old")
    shelf.put(MANIFEST, list_text({"old": Digest.of(b"old"), "d": Digest.of(b"before")}))
    _publish(shelf, folder)
    assert _expected(old=b"old") == shelf.all()


def test_list_that_is_none_is_refused_or_replaced(folder):
    """A file that has the name of the list and is none is not overwritten by accident."""
    shelf = Shelf()
    shelf.put(MANIFEST, b"my notes\n")
    with pytest.raises(DataError) as caught:
        _publish(shelf, folder)
    assert "--replace" in (caught.value.hint or "")
    assert {MANIFEST: b"my notes\n"} == shelf.all()
    _publish(shelf, folder, replace=True)
    assert _expected() == shelf.all()


def test_file_may_not_be_named_like_the_list(folder):
    """A result called SHA256SUMS cannot be published in a folder."""
    (folder / "made" / MANIFEST).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be published"):
        _publish(Shelf(), folder, _items(folder, (MANIFEST,)))


def test_etag_of_a_file_that_was_just_written_is_not_believed(folder):
    """What may have been written again under the same ETag is read; once it is settled, that is not done again."""
    shelf = Shelf(digests=False, settled=False)
    _publish(shelf, folder)
    etag = shelf.files["d"][-1][1]
    shelf.files["d"] = [(b"DELTA", etag)]
    with pytest.raises(ExistsError) as caught:
        _publish(shelf, folder)
    assert "shelf://all/d" == caught.value.why
    shelf.files["d"] = [(b"delta", etag)]
    shelf.settled = True
    read = []
    for _ in range(2):
        shelf.said = []
        assert dict.fromkeys(BYTES, "there") == _publish(shelf, folder)
        read.append(sorted(name for operation, name in shelf.said if operation == "pieces"))
    assert [sorted(BYTES), []] == read


@pytest.mark.parametrize(
    ("data", "closely"), [(b"delta", True), (b"DELTA", True), (b"longer", True), (b"longer", False)]
)
def test_what_is_replaced_is_told_apart_by_its_bytes(folder, data, closely):
    """A target that cannot vouch for what it has is given the digest of what was looked at."""
    shelf, seen = Shelf(digests=False, settled=not closely), {}
    shelf.put("d", data)

    class Noting(ShelfTarget):
        def commit(self, name, token, *, replaces):
            seen[name] = replaces and replaces.digest
            return super().commit(name, token, replaces=replaces)

    publication = _publication(shelf, folder, target=Noting(shelf))
    publish([publication], replace=True, sink=ignore)
    expected = {} if data == b"delta" else {"d": Digest.of(data) if closely else None}
    assert {**dict.fromkeys({*BYTES, MANIFEST} - {"d"}), **expected} == seen


@pytest.mark.parametrize("digests", [True, False])
def test_single_file_has_its_digest_beside_it(folder, digests):
    """Without a list, a target that keeps no digests gets NAME.sha256, and one that does gets nothing else."""
    shelf = Shelf(digests=digests)
    for _ in range(2):
        _publish(shelf, folder, _items(folder, ("d",)), listed=False)
        beside = {} if digests else {"d.sha256": list_text({"d": Digest.of(b"delta")})}
        assert {"d": b"delta", **beside} == shelf.all()
    (folder / "made/d").write_bytes(b"omega")
    _publish(shelf, folder, _items(folder, ("d",)), listed=False, replace=True)
    beside = {} if digests else {"d.sha256": list_text({"d": Digest.of(b"omega")})}
    assert {"d": b"omega", **beside} == shelf.all()


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1),
        st.binary(),
        min_size=1,
    )
)
def test_list_reads_back(files):
    """Whatever the names are, the list says what it was made of."""
    named = {f"x{name}": Digest.of(data) for name, data in files.items()}  # "." and ".." are no names
    sums = read_sums(list_text(named), "SHA256SUMS")
    assert named == {name: Digest(sums.expected(name).hex) for name in sums.names()}


def test_progress_is_told_in_bytes(folder):
    """Progress ends at the number of bytes that were missing."""
    told = []
    shelf = Shelf()
    shelf.put("d", b"delta")
    _publish(shelf, folder, sink=told.append)
    last = [event for event in told if isinstance(event, Progress)][-1]
    assert (15, 15, "bytes") == (last.done, last.total, last.unit)


# ---- what goes wrong


@pytest.mark.parametrize("operation", ["stage", "piece", "whole", "commit", "committed"])
@pytest.mark.parametrize("name", ["a.txt", "b/c.bin", MANIFEST])
def test_failure_publishes_nothing_and_is_resumed(folder, operation, name):
    """After a failure at any point nothing is seen; then everything is there, and whole files are not sent again."""
    shelf = Shelf()
    shelf.fault = _raise(DeniedError("no"), at=(operation, name))
    with pytest.raises(DeniedError):
        _publish(shelf, folder)
    assert {} == shelf.all()
    shelf.fault = None
    held, arrived = {name: shelf.held(name) for name in BYTES}, dict(shelf.arrived)
    _publish(shelf, folder)
    assert (_expected(), {}) == (shelf.all(), shelf.staged)
    assert _missing(held, arrived) == {name: shelf.arrived.get(name, 0) for name in BYTES}


@pytest.mark.parametrize("operation", ["find", "read", "stage", "piece", "commit", "committed"])
def test_passing_trouble_passes(folder, operation):
    """A connection that breaks now and then costs another attempt, also where the answer to a commit was lost."""
    shelf = Shelf()
    shelf.put(MANIFEST, list_text({"old": Digest.of(b"old")}))
    broken: set[str] = set()

    def fault(done, name):
        if done == operation and name not in broken:
            broken.add(name)
            raise Broken("a cable")

    shelf.fault = fault
    assert dict.fromkeys(BYTES, "sent") == _publish(shelf, folder)
    assert broken
    listed = {"old": Digest.of(b"old"), **{name: Digest.of(data) for name, data in BYTES.items()}}
    assert {**BYTES, MANIFEST: list_text(listed)} == shelf.all()
    assert {} == shelf.staged


def test_slow_but_moving_transfer_goes_on(folder):
    """Attempts that bring something new are not counted as failures."""
    shelf = Shelf()
    pieces = {"count": 0}

    def fault(done, name):
        if (done, name) == ("piece", "big"):
            pieces["count"] += 1
            if pieces["count"] % 2 == 0:
                raise Broken("a cable")

    shelf.fault = fault
    (folder / "made/big").write_bytes(b"x" * 40)
    _publish(shelf, folder, _items(folder, ("big",)))
    assert (b"x" * 40, 40) == (shelf.get("big"), shelf.arrived["big"])


def test_server_that_is_gone_is_told(folder):
    """Attempts end; the error says where, why, and that going on is possible."""
    shelf = Shelf()
    shelf.fault = _raise(Broken("a cable"), at=("stage", "d"))
    with pytest.raises(UnreachableError, match="shelf://all/ cannot be reached") as caught:
        _publish(shelf, folder)
    assert ("a cable", True) == (caught.value.why, "publish again" in (caught.value.hint or ""))
    assert {} == shelf.all()


def test_changed_file_is_not_published(folder):
    """A file that is written after its digest was taken ends the publication, and nothing is seen."""
    items = _items(folder)
    (folder / "made/d").write_bytes(b"DELTA")
    shelf = Shelf()
    with pytest.raises(DataError, match="changed"):
        _publish(shelf, folder, items)
    assert {} == shelf.all()


@pytest.mark.parametrize("operation", ["piece", "commit", "committed"])
def test_interrupt_takes_everything_back(folder, operation):
    """Ctrl-C leaves nothing that is seen."""
    shelf = Shelf()
    shelf.fault = _raise(KeyboardInterrupt(), at=(operation, "b/c.bin"))
    with pytest.raises(KeyboardInterrupt):
        _publish(shelf, folder)
    assert {} == shelf.all()
    shelf.fault = None
    _publish(shelf, folder)
    assert (_expected(), {}) == (shelf.all(), shelf.staged)


def test_conflict_takes_everything_back_and_leaves_nothing_staged(folder):
    """Who finds another's file in the last moment withdraws, and keeps his hands off it."""
    shelf = Shelf()

    def fault(operation, name):
        if (operation, name) == ("commit", "d") and not shelf.files.get("d"):
            shelf.put("d", b"another's")

    shelf.fault = fault
    with pytest.raises(ExistsError):
        _publish(shelf, folder)
    assert ({"d": b"another's"}, {}) == (shelf.all(), shelf.staged)


def test_refusal_leaves_nothing_staged(folder):
    """Where other bytes are there, what an attempt that broke off had staged is removed, at all targets."""
    first, second = Shelf(), Shelf()
    first.fault = _raise(DeniedError("no"), at=("committed", "a.txt"))
    second.put("d", b"another's")

    def both():
        return [_publication(first, folder), _publication(second, folder, state="other")]

    with pytest.raises(DeniedError):
        _publish(first, folder)
    assert first.staged
    first.fault = None
    with pytest.raises(ExistsError):
        publish(both(), replace=False, sink=ignore)
    assert ({}, {"d": b"another's"}) == (first.staged, second.all())


def test_old_list_does_not_keep_what_this_attempt_placed(folder):
    """A list that still names a file that was removed is no word that the publication ended."""
    shelf = Shelf()
    before = list_text({"a.txt": Digest.of(b"alpha")})
    shelf.put(MANIFEST, before)
    shelf.fault = _raise(DeniedError("no"), at=("commit", "d"))
    with pytest.raises(DeniedError):
        _publish(shelf, folder)
    assert {MANIFEST: before} == shelf.all()


def test_list_that_another_publication_wrote_is_joined(folder):
    """Two publications of other files to one folder both end, and the list has all."""
    shelf = Shelf()

    def fault(operation, name):
        if (operation, name) == ("commit", MANIFEST) and not shelf.files.get("theirs"):
            shelf.put("theirs", b"theirs")
            shelf.put(MANIFEST, list_text({"theirs": Digest.of(b"theirs")}))

    shelf.fault = fault
    _publish(shelf, folder)
    assert (_expected(theirs=b"theirs"), {}) == (shelf.all(), shelf.staged)


def test_list_that_contradicts_ends_the_publication(folder):
    """Another publication that lists other bytes under our name is not overruled."""
    shelf = Shelf()
    theirs = list_text({"d": Digest.of(b"another's")})

    def fault(operation, name):
        if (operation, name) == ("commit", "d"):
            shelf.put(MANIFEST, theirs)

    shelf.fault = fault
    with pytest.raises(ExistsError, match="another publication"):
        _publish(shelf, folder)
    assert {MANIFEST: theirs} == shelf.all()


def test_what_was_replaced_comes_back_where_versions_are_kept(folder):
    """After a failure a server with versions shows what was there before."""
    shelf = Shelf(versions=True)
    shelf.put("a.txt", b"mine")
    shelf.fault = _raise(DeniedError("no"), at=("commit", MANIFEST))
    with pytest.raises(DeniedError):
        _publish(shelf, folder, replace=True)
    assert {"a.txt": b"mine"} == shelf.all()


def test_what_was_replaced_stays_where_nothing_would_be_left(folder):
    """Without versions a replacement is not removed after a failure, and that is told; the rest goes."""
    shelf, told = Shelf(), []
    shelf.put("a.txt", b"mine")
    shelf.fault = _raise(DeniedError("no"), at=("commit", MANIFEST))
    with pytest.raises(DeniedError):
        _publish(shelf, folder, replace=True, sink=told.append)
    assert {"a.txt": b"alpha"} == shelf.all()
    assert any("1 files" in event.text for event in told if isinstance(event, Notice))
    shelf.fault = None
    _publish(shelf, folder)
    assert _expected() == shelf.all()


def test_several_targets_are_one(folder):
    """Where the second target fails at the end, nothing remains at the first, and its list is as before."""
    first, second = Shelf(digests=False), Shelf()
    before = list_text({"old": Digest.of(b"old")})
    first.put(MANIFEST, before)
    second.fault = _raise(DeniedError("no"), at=("committed", "d"))
    both = [_publication(first, folder), _publication(second, folder, state="other")]
    with pytest.raises(DeniedError):
        publish(both, replace=False, sink=ignore)
    assert ({MANIFEST: before}, {}) == (first.all(), second.all())
    second.fault = None
    both = [_publication(first, folder), _publication(second, folder, state="other")]
    publish(both, replace=False, sink=ignore)
    listed = {"old": Digest.of(b"old"), **{name: Digest.of(data) for name, data in BYTES.items()}}
    assert ({**BYTES, MANIFEST: list_text(listed)}, _expected()) == (first.all(), second.all())


def test_server_that_dies_while_files_are_taken_back_is_told(folder):
    """What cannot be taken back is told, the first error is the one that is raised, and the next attempt completes."""
    shelf, told = Shelf(), []

    def fault(operation, name):
        if (operation, name) == ("commit", MANIFEST):
            raise DeniedError("no")
        if operation == "withdraw":
            raise Broken("a cable")

    shelf.fault = fault
    with pytest.raises(DeniedError):
        _publish(shelf, folder, sink=told.append)
    assert any("could not be taken back" in event.text for event in told if isinstance(event, Notice))
    shelf.fault = None
    _publish(shelf, folder)
    assert _expected() == shelf.all()


@pytest.mark.parametrize("count", [1, 7])
def test_what_is_somebody_elses_by_now_is_told_and_stays(folder, count):
    """Where the target finds other bytes than were put there, they are not taken back, and named; the rest goes."""
    shelf, told = Shelf(), []
    names = [f"f{number}" for number in range(count)]
    for name in (*names, "ours"):
        (folder / "made" / name).write_bytes(b"ours")

    def fault(operation, name):
        if (operation, name) == ("commit", MANIFEST):
            for one in names:
                shelf.put(one, b"theirs")
            raise DeniedError("no")
        if operation == "withdraw" and name in names:
            raise ExistsError(f"{name} is not known to be what was put there")

    shelf.fault = fault
    items = _items(folder, (*names, "ours"))
    with pytest.raises(DeniedError):
        _publish(shelf, folder, items, sink=told.append)
    assert dict.fromkeys(names, b"theirs") == shelf.all()
    named = "f0" if count == 1 else "f0, f1, f2, f3, f4 and 2 more"
    text = f"somebody else wrote at shelf://all/ meanwhile, which stays: {named}"
    assert [Notice("warning", text)] == [event for event in told if isinstance(event, Notice)]
    shelf.fault = None
    with pytest.raises(ExistsError, match="other files are there"):
        _publish(shelf, folder, items)
    _publish(shelf, folder, items, replace=True)
    assert dict.fromkeys((*names, "ours"), b"ours") == {name: shelf.get(name) for name in (*names, "ours")}


@pytest.mark.parametrize("fails", [False, True])
def test_server_without_conditional_writes_is_told_once(folder, fails):
    """Once for all addresses, also when the publication fails; never for those that have them, or that got nothing."""
    shelves = {"all": Shelf(unguarded=True), "more": Shelf(unguarded=True), "guarded": Shelf()}
    if fails:
        shelves["guarded"].fault = _raise(DeniedError("no"), at=("commit", MANIFEST))
    told, publications = [], []
    for name, shelf in shelves.items():
        publications.append(_publication(shelf, folder, state=name))
        publications[-1].address = f"shelf://{name}/"
    try:
        publish(publications, replace=False, sink=told.append)
    except DeniedError:
        assert fails
    (notice,) = [event for event in told if isinstance(event, Notice)]
    assert ("warning", True) == (notice.level, "If-None-Match" in notice.text)
    assert notice.text.endswith(" shelf://all/, shelf://more/")


def test_only_one_at_a_time_here(folder):
    """A publication of the same by another process of this machine is refused, by name."""
    with _publication(Shelf(), folder, owner="somebody"), pytest.raises(BusyError) as caught:
        _publish(Shelf(), folder)
    assert "somebody" in (caught.value.why or "")


def test_of_two_publishers_one_wins(folder):
    """Two machines that publish other bytes at once: one is told, and what is there is whole and the other's."""
    for round_ in range(10):
        shelf, told = Shelf(digests=round_ % 2 == 0), {}
        barrier = threading.Barrier(2)

        def run(who, shelf=shelf, told=told, barrier=barrier, round_=round_):
            (folder / who).mkdir(exist_ok=True)
            items = []
            for name in BYTES:
                path = folder / who / name.replace("/", "-")
                path.write_bytes(f"{who} {name}".encode())
                items.append(Item(name, path, Digest.of_file(path), path.stat().st_size))
            barrier.wait()
            try:
                _publish(shelf, folder, items, state=f"{who}-state-{round_}")
            except ExistsError as error:
                told[who] = error

        threads = [threading.Thread(target=run, args=(who,)) for who in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (loser,) = told
        winner = "two" if loser == "one" else "one"
        files = {name: f"{winner} {name}".encode() for name in BYTES}
        listed = list_text({name: Digest.of(data) for name, data in files.items()})
        assert ({**files, MANIFEST: listed}, {}) == (shelf.all(), shelf.staged)


# ---- kills


def _steps(folder, **options):
    shelf = Shelf(**options)
    _publish(shelf, folder, state="counted")
    return len(shelf.said)


@pytest.mark.parametrize("digests", [True, False])
def test_killed_anywhere_goes_on(folder, digests):
    """Killed at any of its steps, a publication is completed by the next: nothing foreign, nothing whole sent twice."""
    for number in range(_steps(folder, digests=digests)):
        shelf, state = Shelf(digests=digests), f"killed-{number}"
        die_at(shelf, number)
        with pytest.raises(Killed):
            _publish(shelf, folder, state=state)
        shelf.fault = None
        held, arrived = {name: shelf.held(name) for name in BYTES}, dict(shelf.arrived)
        _publish(shelf, folder, state=state)
        assert (_expected(), {}) == (shelf.all(), shelf.staged)
        assert _missing(held, arrived) == {name: shelf.arrived.get(name, 0) for name in BYTES}


def test_killed_and_other_bytes_since(folder):
    """What a killed publication left is taken back where other bytes are to be published now."""
    for number in range(_steps(folder)):
        shelf, state = Shelf(), f"killed-{number}"
        (folder / "made/a.txt").write_bytes(b"first")
        die_at(shelf, number)
        with pytest.raises(Killed):
            _publish(shelf, folder, state=state)
        shelf.fault = None
        (folder / "made/a.txt").write_bytes(b"then")
        listed = shelf.get(MANIFEST) is not None
        if listed:  # it had ended, and these bytes are published ones
            with pytest.raises(ExistsError):
                _publish(shelf, folder, state=state)
            continue
        _publish(shelf, folder, state=state)
        assert (_expected(**{"a.txt": b"then"}), {}) == (shelf.all(), shelf.staged)


def test_damaged_state_costs_work_only(folder):
    """State that a disk garbled counts as none: everything is looked at and sent again."""
    shelf = Shelf(digests=False)
    shelf.fault = _raise(DeniedError("no"), at=("commit", "d"))
    with pytest.raises(DeniedError):
        _publish(shelf, folder)
    shelf.fault = None
    lines = (folder / "state/journal.jsonl").read_bytes().splitlines()
    (folder / "state/journal.jsonl").write_bytes(
        b"\n".join(line[: len(line) - 9 * (at % 2)] for at, line in enumerate(lines))
    )
    (folder / "state/known.json").write_bytes(b"[]")
    _publish(shelf, folder)
    assert _expected() == shelf.all()


def test_state_that_cannot_be_written_is_told(folder, monkeypatch):
    """A full disk of this machine ends the publication with an error in plain words, and nothing is seen."""
    shelf = Shelf()
    publication = _publication(shelf, folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("repro.data.publish_state.PublishState._append", full)
    with pytest.raises(StoreError) as caught:
        publish([publication], replace=False, sink=ignore)
    assert "No space left" in (caught.value.why or "")
    assert {} == shelf.all()


_KILLED = """
import os, sys, threading
from pathlib import Path
from repro.data.publication import Item, Publication
from repro.data.publishing import publish
from repro.data.sources.folder import FolderSource, FolderTarget
from repro.data.sources.model import Reach
from repro.digest import Digest
from repro.events import ignore

made, target, state, number = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
guard, done, sent = threading.Lock(), 0, 0

def counted(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        global done, sent
        with guard:
            done += 1
            if done == number:
                os.kill(os.getpid(), 9)
            sent += len(args[1]) if name == "pwrite" else 0
        return real(*args, **kwargs)
    setattr(os, name, call)

for name in ("pwrite", "link", "unlink", "rename", "fsync", "makedirs", "rmdir"):
    counted(name)
items = []
for path in sorted(made.rglob("*")):
    if path.is_file():
        items.append(Item(str(path.relative_to(made)), path, Digest.of_file(path), path.stat().st_size))
one = Publication(
    FolderTarget(target), items, address=f"{target}/", state=state, reach=Reach({}, 0, 0, attempts=2, pause=0.01),
    source=lambda: FolderSource(target),
)
publish([one], replace=False, sink=ignore)
print(done, sent)
"""


def _run(folder, number):
    command = [sys.executable, "-c", _KILLED, *(str(folder / name) for name in ("made", "target", "state"))]
    return subprocess.run([*command, str(number)], capture_output=True, text=True, check=False)


def _tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("points", [5, pytest.param(40, marks=pytest.mark.judge)])
def test_process_killed_at_any_moment_goes_on(folder, points):
    """kill -9 at moments of a publication to a folder: the next one completes it, and sends no byte twice."""
    (folder / "made/large").write_bytes(os.urandom(3 << 20))
    count = int(_run(folder, 0).stdout.split()[0])
    expected = _tree(folder / "target")
    assert {*_tree(folder / "made"), MANIFEST} == set(expected)
    for point in range(points):
        place = _place(folder, point)
        assert -9 == _run(place, 1 + point * count // points).returncode
        there = [path.stat() for path in (place / "target").rglob("*") if path.is_file()]
        held = {one.st_ino: one.st_size for one in there}  # a file may have its name, and its staged one still
        done = _run(place, 0)
        assert ("", 0) == (done.stderr, done.returncode)
        assert expected == _tree(place / "target")
        assert ["b"] == [path.name for path in (place / "target").iterdir() if path.is_dir()]
        missing = sum(map(len, expected.values())) - sum(held.values())
        assert int(done.stdout.split()[1]) <= missing + len(expected[MANIFEST])  # that one is made anew


def _place(folder, point):
    """Return a folder with the same files to publish, and no target yet."""
    place = folder / f"point-{point}"
    place.mkdir()
    (place / "made").symlink_to(folder / "made")
    return place


@pytest.mark.parametrize(
    ("settled", "digest", "stays"), [(True, True, False), (False, False, False), (False, True, True)]
)
def test_folder_replaces_what_was_seen(folder, settled, digest, stays):
    """Where size and time are those that were seen, the bytes decide if they can, and only where it is needed."""
    path, made, target = folder / "target/d", folder / "made/d", FolderTarget(folder / "target")
    path.parent.mkdir()
    path.write_bytes(b"seen")
    seen, status = target.find("d"), path.stat()
    assert not seen.settled
    path.write_bytes(b"then")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    token = target.stage("d", made, Digest.of(b"delta"), 5, before=None, note=lambda token: None, told=lambda n: None)
    seen = changed(seen, settled=settled, digest=Digest.of(b"seen") if digest else None)
    if stays:
        with pytest.raises(ExistsError, match="already"):
            target.commit("d", token, replaces=seen)
        seen = changed(seen, digest=Digest.of(b"then"))
    target.commit("d", token, replaces=seen)
    assert {"d": b"delta"} == _tree(folder / "target")


def test_folder_that_was_written_to_a_while_ago_is_not_read(folder):
    """Times that are older than the clock's grain vouch for the bytes."""
    (folder / "target").mkdir()
    for name, back in (("now", 0), ("before", 5)):
        path = folder / "target" / name
        path.write_bytes(b"x")
        os.utime(path, ns=(0, path.stat().st_mtime_ns - back * 10**9))
    target = FolderTarget(folder / "target")
    assert {"now": False, "before": True} == {name: target.find(name).settled for name in ("now", "before")}


def test_folder_is_published_to(folder):
    """On a real folder: published, idempotent, and drift seen by a second publisher."""
    target = folder / "target"

    def publication(state):
        return Publication(
            FolderTarget(target),
            _items(folder),
            address=f"{target}/",
            state=folder / state,
            reach=changed(REACH, attempts=1),
            source=lambda: FolderSource(target),
        )

    assert {"sent"} == {one.state for one in publish([publication("one")], replace=False, sink=ignore)}
    assert {"there"} == {one.state for one in publish([publication("one")], replace=False, sink=ignore)}
    assert {"there"} == {one.state for one in publish([publication("two")], replace=False, sink=ignore)}
    (target / "d").write_bytes(b"DELTA")
    with pytest.raises(ExistsError):
        publish([publication("one")], replace=False, sink=ignore)
