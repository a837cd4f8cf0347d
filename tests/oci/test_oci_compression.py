"""Compressed layers: every way to cut and join gzip and zstd, and what is refused."""

from __future__ import annotations

import gzip
import io
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import DataError, HostError
from repro.oci import compression
from repro.oci.compression import decompressed
from repro.oci.limits import Swelling

zstandard = pytest.importorskip("zstandard")


def read_all(stream, size: int) -> bytes:
    """Read in pieces of ``size`` to the end, which is an end for good."""
    pieces = []
    while piece := stream.read(size):
        assert len(piece) <= size
        pieces.append(piece)
    assert b"" == stream.read(size)
    return b"".join(pieces)


class Trickle:
    """Gives a few bytes at a time, as a socket does."""

    def __init__(self, data: bytes, most: int) -> None:
        self._stream = io.BytesIO(data)
        self._most = most

    def read(self, size: int, /) -> bytes:
        """Return fewer bytes than were asked for."""
        return self._stream.read(min(size, self._most))


COMPRESSORS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "plain": bytes}
texts = st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=40).map(lambda piece: piece * 3000))


@given(
    st.lists(texts, min_size=1, max_size=3),
    st.sampled_from(["gzip", "zstd"]),
    st.integers(1, 9000),
    st.integers(1, 70000),
)
def test_any_cut_of_any_members_gives_the_same_bytes(parts, kind, most, size):
    """Members and frames follow each other; how they are fed and asked for does not matter."""
    packed = b"".join(COMPRESSORS[kind](part) for part in parts)
    assert b"".join(parts) == read_all(decompressed(Trickle(packed, most)), size)


@given(texts, st.integers(1, 9000))
def test_zlib_reads_the_same_where_isal_is_not_there(text, most):
    """Without the faster library the slower one gives the same bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "isal", None)
        assert text == read_all(decompressed(Trickle(gzip.compress(text), most)), 1 << 16)


@pytest.mark.parametrize("library", ["isal", "zlib"])
@pytest.mark.parametrize("cut", [5, 12, 100, 200, -1, -8, -9])
def test_a_gzip_that_is_cut_short_is_told(library, cut, monkeypatch):
    """Within the header, the data, the checksum: never an end without a word."""
    if library == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    packed = gzip.compress(bytes(range(256)) * 4 + b"x" * 100_000)
    with pytest.raises(DataError, match="cut short"):
        read_all(decompressed(io.BytesIO(packed[:cut])), 4096)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_broken_stream_is_told(kind):
    """A changed byte in the middle is a DataError."""
    packed = bytearray(COMPRESSORS[kind](bytes(range(256)) * 64))
    packed[5:40] = b"\xff" * 35
    with pytest.raises(DataError, match="broken"):
        read_all(decompressed(io.BytesIO(packed)), 4096)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_what_swells_beyond_measure_is_refused(kind):
    """Beyond what is free, more than the ratio is refused before it was all made; below it, nothing is."""
    packed = COMPRESSORS[kind](bytes(8 << 20))
    stream = decompressed(io.BytesIO(packed), Swelling(free=1 << 20, ratio=100))
    with pytest.raises(DataError, match="swell"):
        read_all(stream, 1 << 16)
    assert 8 << 20 == len(read_all(decompressed(io.BytesIO(packed), Swelling(free=8 << 20, ratio=1)), 1 << 20))
    plain = b"".join(zlib.compress(bytes([number]) * 9) for number in range(200)) * 50
    assert plain == read_all(decompressed(io.BytesIO(COMPRESSORS[kind](plain)), Swelling(free=0, ratio=300)), 1 << 16)


def test_zstd_without_the_means_says_what_to_install(monkeypatch):
    """The error names the package."""
    for name in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HostError) as caught:
        decompressed(io.BytesIO(COMPRESSORS["zstd"](b"x")))
    assert "zstandard" in (caught.value.hint or "")


@pytest.fixture
def work(monkeypatch) -> dict[str, int]:
    """What a gzip costs: engines made, calls of them, and bytes fed to them."""
    done = {"engines": 0, "calls": 0, "fed": 0}
    new, error = compression._inflater()

    class Counting:
        def __init__(self) -> None:
            self._engine = new()
            done["engines"] += 1

        def __getattr__(self, name: str) -> object:
            return getattr(self._engine, name)

        def decompress(self, data: bytes, most: int, /) -> bytes:
            done["calls"] += 1
            done["fed"] += len(data)
            return self._engine.decompress(data, most)

    monkeypatch.setattr(compression, "_inflater", lambda: (Counting, error))
    return done


def test_a_small_member_costs_little(work):
    """What follows a member is not handed over with it, again and again: members of 100 bytes cost their own size."""
    packed = gzip.compress(bytes(range(100)), 1)
    assert 5000 * 100 == len(read_all(decompressed(io.BytesIO(packed * 5000)), 1 << 20))
    assert 5001 == work["engines"]
    assert work["fed"] <= 5000 * 4096  # not 5000 times half a megabyte


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_flood_of_empty_members_is_refused(content, work):
    """Each costs as much as kilobytes of data: no writer makes them, and it ends after the first 10,000."""
    packed = gzip.compress(content)
    with pytest.raises(DataError, match="10001 gzip members"):
        read_all(decompressed(io.BytesIO(packed * 100_000)), 1 << 20)
    assert 10_001 >= work["engines"]


def test_empty_members_among_others_are_read(work):
    """Writers of blocks end with an empty one: they are no flood, however many blocks there are."""
    packed = gzip.compress(bytes(300)) + gzip.compress(b"")
    assert 6000 * 300 == len(read_all(decompressed(io.BytesIO(packed * 6000)), 1 << 20))
    assert 12_001 == work["engines"]


def test_a_large_member_is_handed_over_in_large_pieces(work):
    """A member of megabytes takes a few calls, and little is handed over twice."""
    packed = gzip.compress(bytes(range(256)) * (16 << 10), 0)
    assert 4 << 20 == len(read_all(decompressed(io.BytesIO(packed)), 1 << 20))
    assert work["fed"] <= 2 * len(packed)
    assert work["calls"] <= 40  # from 4 KiB on, each twice as much
