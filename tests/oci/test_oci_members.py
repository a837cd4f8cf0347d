"""Members of archives: what tarfile writes is found without reading it; nothing leads out of an archive."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import DataError
from repro.oci import members
from repro.oci.members import FolderMembers, TarMembers

NAMES = st.lists(st.sampled_from(["a", "b.json", "ü", "n" * 120]), min_size=1, max_size=3).map("/".join)


def written(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    """Return a tar of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out


def read(found, name: str, size: int = 7) -> bytes:
    """Read a member in small pieces."""
    pieces = []
    with found.open(name) as file:
        while piece := file.read(size):
            pieces.append(piece)
    return b"".join(pieces)


@given(
    st.dictionaries(NAMES, st.binary(max_size=30) | st.just(b"x" * 3_000_000), max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_every_member_is_found_where_it_lies(files, form):
    """Of any sizes, with long names, in any order and more than once; what is not there is not."""
    found = TarMembers(written(files, form), "x")
    for name in [*reversed(files), *files]:
        assert (len(files[name]), files[name]) == (found.size(name), read(found, f"./{name}", 1 << 16))
    assert found.size("nothing") is None
    with pytest.raises(DataError, match="no file nothing"):
        read(found, "nothing")


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes and count them."""
        data = super().read(size)
        self.count += len(data)
        return data


def test_only_headers_are_read():
    """Of a large member no more than what came along with its header."""
    file = CountingFile(written({"large": bytes(64 << 20), "small": b"x"}).getvalue())
    found = TarMembers(file, "x")
    assert file.count < 4 << 20
    assert b"x" == read(found, "small")


@pytest.mark.parametrize("cut", [100, 511, 513, 1500, 3000])
def test_a_tar_that_is_cut_short_is_told(cut):
    """Within a header, within data, between members: never an archive of less."""
    with pytest.raises(DataError):
        TarMembers(io.BytesIO(written({"a": b"x" * 1000, "b": b"y" * 1000}).getvalue()[:cut]), "x")


def test_what_follows_the_end_is_told():
    """Another archive behind the first is not passed over."""
    with pytest.raises(DataError):
        TarMembers(io.BytesIO(written({"a": b"x"}).getvalue() + written({"b": b"y"}).getvalue()), "x")


def test_more_members_than_an_image_has_are_refused(monkeypatch):
    """The list of names has a limit."""
    monkeypatch.setattr(members, "_MOST_MEMBERS", 3)
    TarMembers(written({"a": b"", "b": b"", "c": b""}), "x")
    with pytest.raises(DataError, match="more than 3"):
        TarMembers(written({"a": b"", "b": b"", "c": b"", "d": b""}), "x")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_names_that_lead_out_are_refused(name, tmp_path):
    """Whether they are asked for in a tar or in a folder."""
    for found in (TarMembers(written({"a": b"x"}), "x"), FolderMembers(tmp_path)):
        with pytest.raises(DataError, match="leads out"):
            found.size(name)
        with pytest.raises(DataError, match="leads out"):
            read(found, name)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(kind):
    """An archive of images has none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("x")
        info.type = kind
        tar.addfile(info)
    with pytest.raises(DataError, match="device or a pipe"):
        TarMembers(out, "x")


def test_links_are_followed_within_the_archive():
    """Symbolic ones from beside them, hard ones from the top; both to a member that comes later, too."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, target, kind in (("a/x", "../b/y", tarfile.SYMTYPE), ("c", "b/y", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        info = tarfile.TarInfo("b/y")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"hi"))
    found = TarMembers(out, "x")
    assert (b"hi", b"hi") == (read(found, "a/x"), read(found, "c"))


def test_a_folder_gives_regular_files_alone(tmp_path):
    """A folder or a pipe in a file's place is not there: nothing waits for a pipe."""
    (tmp_path / "a").write_bytes(b"hi")
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "p")
    found = FolderMembers(tmp_path)
    assert (2, None, None, None) == tuple(map(found.size, ("a", "d", "p", "a/b")))
    assert b"hi" == read(found, "a")
    with pytest.raises(DataError, match="no file p"):
        read(found, "p")
