"""Digests of files: the same bytes give the same digest however large the file is and whoever reads it."""

from __future__ import annotations

import hashlib
import io
import os
import threading

import pytest

from repro.digest import Digest

SMALL = 1 << 16


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, 2 * SMALL + 1, 1 << 20, (1 << 20) + 7])
def test_a_file_of_any_size(tmp_path, size):
    """Around the sizes at which reading changes its way, the digest is that of hashlib over all bytes."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    expected = Digest(hashlib.sha256(data).hexdigest())
    assert expected == Digest.of_file(tmp_path / "file")
    assert expected == Digest.of_stream(io.BytesIO(data))
    assert expected == Digest.of(data)


def test_what_comes_in_small_pieces(tmp_path):
    """A pipe gives less than was asked for, and is read to its end all the same."""
    reading, writing = os.pipe()

    def write() -> None:
        for piece in range(50):
            os.write(writing, b"%d" % piece * 100)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = Digest.of_open_file(reading)
    finally:
        writer.join()
        os.close(reading)
    assert Digest.of(b"".join(b"%d" % piece * 100 for piece in range(50))) == found


def test_a_file_is_read_from_where_it_stands(tmp_path):
    """An open file's digest is that of what is left in it."""
    (tmp_path / "file").write_bytes(b"head" + b"tail")
    with open(tmp_path / "file", "rb") as file:
        os.lseek(file.fileno(), 4, os.SEEK_SET)
        assert Digest.of(b"tail") == Digest.of_open_file(file.fileno())
