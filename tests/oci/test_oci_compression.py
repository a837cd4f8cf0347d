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
