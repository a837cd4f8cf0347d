"""Patience: what breaks goes on, what is down is said to be down, and no two states become one file."""

from __future__ import annotations

import threading

import pytest

from repro.data.answers import Broken, NotThereError, UnreachableError
from repro.data.origin import Origin, patiently, read_small
from repro.data.sources.model import ChangedError, DeniedError, SourceFile
from repro.errors import FetchError, Interrupted
from tests.data.memory import PIECE, REACH, MemorySource, broken, doing, short

DATA = bytes(range(256)) * 40  # 10 pieces and a bit
ADDRESS = "s3://bucket/file"


class Out:
    """Takes bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.data += data

    def tell(self) -> int:
        """Return how many there are."""
        return len(self.data)

    def restart(self) -> None:
        """Forget them."""
        self.data.clear()


def origin(source: MemorySource, address: str = ADDRESS) -> Origin:
    """Return the one file of ``source``."""
    return Origin(source, source.stat(), REACH, address)


def test_a_transfer_that_breaks_goes_on_where_it_broke() -> None:
    """Nothing is asked for twice, and the bytes are right."""
    source, out = MemorySource({"": DATA}), Out()
    source.faults = [broken(2), broken(3), short(1)]
    origin(source).download(out, size=len(DATA))
    assert DATA == bytes(out.data)
    assert [("", at * PIECE) for at in (0, 2, 5, 6)] == source.asked


def test_a_slow_but_moving_transfer_has_all_the_attempts_it_needs() -> None:
    """Ten connections that each bring one piece are more than the attempts allowed, and are no failure."""
    source, out = MemorySource({"": DATA}), Out()
    source.faults = [broken(1)] * 10
    origin(source).download(out, size=len(DATA))
    assert DATA == bytes(out.data)
    assert 11 == len(source.asked)


def test_a_server_that_is_down_ends_it_with_what_happened() -> None:
    """After as many attempts as allowed the error names the address, without the login in it, and the reason."""
    source, out = MemorySource({"": DATA}), Out()
    source.faults = [broken(2), *[broken()] * 10]
    with pytest.raises(UnreachableError) as caught:
        origin(source, "sftp://ada:secret@host/file").download(out, size=len(DATA))
    assert "cannot fetch sftp://host/file" in str(caught.value)
    assert "the connection broke (tried 3 times)" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert 1 + REACH.attempts == len(source.asked)
    assert DATA[: 2 * PIECE] == bytes(out.data)


def test_pauses_double_unless_the_server_asks_for_one() -> None:
    """What a server asks for is kept, up to a minute."""
    waits: list[float] = []
    reasons = iter([Broken("a"), Broken("b"), Broken("c", pause=7.0), Broken("d", pause=1e9)])

    def ask() -> None:
        raise next(reasons)

    patient = type(REACH)({}, 0, 0, attempts=5, pause=0.5)
    with pytest.raises(StopIteration):
        patiently(ask, patient, ADDRESS, waits.append)
    assert [0.5, 1.0, 7.0, 60.0] == waits


@pytest.mark.parametrize("error", [NotThereError("x"), ChangedError("x"), DeniedError("x"), FetchError("x")])
def test_what_is_final_is_not_tried_again(error: FetchError) -> None:
    """The error comes as it is, after one attempt."""
    source = MemorySource({"": DATA})

    def refuse(pieces):
        raise error
        yield

    source.faults = [refuse]
    with pytest.raises(type(error)):
        origin(source).download(Out(), size=len(DATA))
    assert 1 == len(source.asked)


def test_more_bytes_than_listed_are_refused() -> None:
    """A server that sends more does so to no end, and none of it is taken."""
    source, out = MemorySource({"": DATA}), Out()

    def more(pieces):
        yield from pieces
        yield b"more"

    source.faults = [more]
    with pytest.raises(FetchError, match="more than the 10240 bytes expected came"):
        origin(source).download(out, size=len(DATA))
    assert len(DATA) >= len(out.data)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_another_size_is_a_change_and_is_told_at_once(size: int) -> None:
    """Where the server says itself that the size is another, no attempt is repeated."""
    source = MemorySource({"": DATA})
    with pytest.raises(ChangedError, match="it has 10240 bytes"):
        Origin(source, SourceFile("", size), REACH, ADDRESS).download(Out(), size=size)
    assert 1 == len(source.asked)


def test_too_much_held_is_forgotten() -> None:
    """A left-over that is larger than the file cannot be its beginning."""
    source, out = MemorySource({"": DATA}), Out(b"x" * (len(DATA) + 1))
    origin(source).download(out, size=len(DATA))
    assert DATA == bytes(out.data)


def test_without_version_and_etag_nothing_is_joined_that_nobody_verifies() -> None:
    """A file that changes between two attempts, unnoticed by its server, is had in one of its states."""
    other = DATA[::-1]
    source, out = MemorySource({"": DATA}, etags=False), Out()
    source.faults = [lambda pieces: _then(broken(3)(pieces), lambda: source.put.update({"": other}))]
    origin(source).download(out, size=len(DATA), verified=False)
    assert other == bytes(out.data)
    assert [("", 0), ("", 0)] == source.asked


def _then(pieces, action):
    try:
        yield from pieces
    finally:
        action()


@pytest.mark.parametrize("silent", [{"etags": False}, {"settled": False}])
def test_without_a_state_that_vouches_each_break_counts(silent) -> None:
    """As nothing can be continued, a transfer that always breaks ends."""
    source = MemorySource({"": DATA}, **silent)
    source.faults = [broken(3)] * 10
    with pytest.raises(UnreachableError):
        origin(source).download(Out(), size=len(DATA), verified=False)
    assert REACH.attempts == len(source.asked)


def test_a_file_that_changes_while_it_is_read_is_refused() -> None:
    """Its state after the transfer must be the one listed, where no digest tells."""
    source = MemorySource({"": DATA})
    source.faults = [doing(lambda: source.put.update({"": DATA[::-1]}), after=5)]
    with pytest.raises(ChangedError, match="changed while it was read"):
        origin(source).download(Out(), size=len(DATA), verified=False)


def test_a_server_that_replaces_files_as_a_whole_is_not_asked_again() -> None:
    """S3 reads by ETag; one question more for each of many small files would double their number."""
    source = MemorySource({"": DATA})
    asked, stat = [], source.stat
    file = source.stat()
    source.stat = lambda name="", version="": asked.append(name) or stat(name, version)  # type: ignore[method-assign]
    for whole in (True, False):
        Origin(source, file, REACH, ADDRESS, whole=whole).download(Out(), size=len(DATA), verified=False)
        assert (1 if whole else 2) == len(asked)  # one is that of the transfer itself
        asked.clear()


def test_a_pause_can_be_interrupted() -> None:
    """What sleeps may raise, and that ends the transfer."""
    source = MemorySource({"": DATA})
    source.faults = [broken()] * 10

    def interrupted(seconds: float) -> None:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        origin(source).download(Out(), size=len(DATA), sleep=interrupted)


def test_a_list_of_checksums_is_small() -> None:
    """Something large is not read into memory."""
    assert DATA == read_small(MemorySource({"": DATA}), REACH, ADDRESS, len(DATA))
    with pytest.raises(FetchError, match="it has more than 5000 bytes"):
        read_small(MemorySource({"": DATA}), REACH, ADDRESS, 5000)


def test_many_threads_use_one_source() -> None:
    """Transfers do not disturb each other."""
    source = MemorySource({str(number): bytes([number]) * 5000 for number in range(16)})
    outs = [Out() for _ in range(16)]
    threads = [
        threading.Thread(
            target=Origin(source, source.stat(str(number)), REACH, "s3://bucket/").download,
            args=(outs[number],),
            kwargs={"size": 5000},
        )
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [bytes([number]) * 5000 for number in range(16)] == [bytes(out.data) for out in outs]
