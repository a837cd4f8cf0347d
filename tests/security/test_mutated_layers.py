"""Layers that are reordered, repeated and spoilt at random: refused, or unpacked to what a model says; never outside."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import DataError, StoreError
from repro.files import remove_tree
from repro.oci.apply import apply_tar
from repro.oci.limits import Limits
from tests.security.layer_model import Entry, found, predicted
from tests.security.places import FORMS
from tests.security.tars import BLOCK, FIFO, FILE, FOLDER, LINK, SYMLINK, gnu_name, header, padded, pax, tar

LIMITS = Limits(entries=1000, size=1 << 20)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=30_000)


class Yard:
    """A folder to unpack into, beside canaries."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="repro-security-"))
        self.outside = self.root / "outside"
        self.outside.mkdir()
        (self.outside / "canary").write_text("alive")
        self.layer = self.root / "deep" / "er" / "layer"
        self.layer.parent.mkdir(parents=True)
        self._before = self._seen()

    def _seen(self) -> list[tuple[object, ...]]:
        out: list[tuple[object, ...]] = []
        for parent in (self.root, self.outside, self.layer.parent):
            for name in sorted(os.listdir(parent)):
                status = os.lstat(parent / name)
                out.append((parent, name, status.st_mode, status.st_size, status.st_nlink, status.st_mtime_ns))
        return [one for one in out if one[1] not in ("layer", "er")]

    def unpack(self, data: bytes, form: str) -> bool:
        """Unpack; whether that was accepted. Whatever happens, nothing outside may change."""
        remove_tree(self.layer)
        self.layer.mkdir()
        try:
            apply_tar(io.BytesIO(data), self.layer, form=form, limits=LIMITS)
        except DataError:
            return False
        except StoreError as error:
            assert "no room" in error.message
            return False
        finally:
            assert self._before == self._seen()
            assert ["er"] == os.listdir(self.root / "deep")
            assert ["layer"] == os.listdir(self.layer.parent)
            assert "alive" == (self.outside / "canary").read_text()
        return True


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    """One yard for all examples."""
    made = Yard()
    yield made
    remove_tree(made.root)


_PART = st.sampled_from(
    [b"a", b"b", b"a", b"b", b"c", b".", b"", b"..", b".wh.a", b".wh.b", b".wh..wh..opq", b".wh..wh.x"]
)
_NAME = st.lists(_PART, min_size=1, max_size=4).map(b"/".join)
_TARGET = st.one_of(_NAME, st.sampled_from([b"../../../outside/canary", b"../../../outside", b"/etc", b"."]))
_ENTRY = st.one_of(
    st.builds(Entry, _NAME, st.sampled_from([FILE, FILE, FOLDER, FOLDER, FIFO]), data=st.just(b"")),
    st.builds(Entry, _NAME, st.just(FILE), data=st.binary(max_size=20)),
    st.builds(Entry, _NAME, st.sampled_from([SYMLINK, LINK]), _TARGET),
)
_ENTRIES = st.lists(_ENTRY, max_size=12)
_SOUND = [
    Entry(b"a/", FOLDER),
    Entry(b"a/f", FILE, data=b"1" * 600),
    Entry(b"a/l", LINK, b"a/f"),
    Entry(b"a/s", SYMLINK, b"../b"),
    Entry(b"b/", FOLDER),
    Entry(b"b/.wh.x", FILE),
    Entry(b"b/.wh..wh..opq", FILE),
    Entry(b"b/p", FIFO),
    Entry(b"c/d/e", FILE, data=b"2"),
    Entry(b"n" * 120, FILE, data=b"3"),
]


def written(entry: Entry, style: int = 0) -> bytes:
    """Return an entry of a tar; its name in the header, in an extended header, or in GNU's."""
    data = entry.data if entry.kind == FILE else b""
    before = b""
    if style == 1 or len(entry.name) > 100:
        before = pax(path=entry.name)
    elif style == 2:
        before = gnu_name(entry.name)
    name = b"other" if before else entry.name
    mode = b"0000755\0" if entry.kind == FOLDER else b"0000644\0"
    return before + header(name, entry.kind, size=len(data), target=entry.target, mode=mode) + padded(data)


def compare(yard: Yard, entries: list[Entry], form: str, styles: list[int]) -> None:
    """Unpack and compare with the model, both when it refuses and when it does not."""
    data = tar(*(written(one, style) for one, style in zip(entries, styles, strict=True)))
    model = predicted(entries)
    accepted = yard.unpack(data, form)
    assert accepted == (model is not None)
    if model is not None:
        tree = found(yard.layer)
        assert (model.places, model.opaque) == (tree.places, tree.opaque)


def spoilt(data: bytes, changes: list[tuple[int, int]], *, signed: bool) -> bytes:
    """Return a tar with bytes set; ``signed``: the checksum of each spoilt header is made right again.

    Numbers are then spoilt by ASCII alone, and the device numbers of what is no device stay: Python's reader takes
    neither as Go's and ours do.
    """
    out = bytearray(data)
    for number, value in changes:
        place = number % (len(data) - 2 * BLOCK)
        start, within = place - place % BLOCK, place % BLOCK
        if not signed or data[start + 257 : start + 262] != b"ustar":
            out[place] = value
        elif not 329 <= within < 345:
            out[place] = (value & 0x7F or 1) if 100 <= within < 156 else value
            block = out[start : start + BLOCK]
            block[148:156] = b" " * 8
            out[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(out)


def compare_spoilt(yard: Yard, data: bytes, form: str) -> None:
    """Unpack spoilt bytes; what is accepted must be what Python's own reader sees in them."""
    if not yard.unpack(data, form):
        return
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        entries = []
        for member in archive.getmembers():
            if member.ischr() or member.isblk():
                return  # made by root alone: not for the model
            content = archive.extractfile(member) if member.isreg() else None
            kind = FILE if member.isreg() else member.type
            # tarfile drops the slashes at a name's end, and with them what "/" itself was.
            name = os.fsencode(member.name) or b"/"
            entries.append(Entry(name, kind, os.fsencode(member.linkname), content.read() if content else b""))
    model = predicted(entries)
    assert model is not None
    tree = found(yard.layer)
    assert (model.places, model.opaque) == (tree.places, tree.opaque)


_STYLES = st.lists(st.integers(0, 2), min_size=12, max_size=12)
_CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=3)
_BASE = tar(*(written(one) for one in _SOUND))


@pytest.mark.parametrize("form", FORMS)
@FEW
@given(entries=_ENTRIES, styles=_STYLES)
def test_any_entries_become_what_the_model_says(form, yard, entries, styles):
    """Names, links and whiteouts in any order and number: refused or accepted as the model, to the same tree."""
    compare(yard, entries, form, styles[: len(entries)])


@pytest.mark.parametrize("form", FORMS)
@FEW
@given(order=st.lists(st.sampled_from(_SOUND), max_size=14))
def test_a_sound_layer_reordered_and_repeated(form, yard, order):
    """Entries of a sound layer dropped, repeated and in another order."""
    compare(yard, order, form, [0] * len(order))


@pytest.mark.parametrize("signed", [False, True], ids=["torn", "signed"])
@FEW
@given(changes=_CHANGES)
def test_a_sound_layer_with_other_bytes(signed, yard, changes):
    """Flipped bytes, with the headers' checksums wrong or made right again, are never more than an error of ours."""
    compare_spoilt(yard, spoilt(_BASE, changes, signed=signed), FORMS[-1])


@pytest.mark.judge
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", FORMS)
def test_many_mutations(form, yard):
    """The same with two hundred times as many examples."""

    @MANY
    @given(entries=_ENTRIES, styles=_STYLES, changes=_CHANGES, signed=st.booleans())
    def campaign(entries, styles, changes, signed):
        compare(yard, entries, form, styles[: len(entries)])
        data = tar(*(written(one, style) for one, style in zip(entries, styles, strict=False)))
        if len(data) > 2 * BLOCK:
            compare_spoilt(yard, spoilt(data, changes, signed=signed), form)

    campaign()


def test_the_model_refuses_and_accepts():
    """The model is no yes-sayer: it has both answers for the layers that the tests are made of."""
    assert predicted(_SOUND) is not None
    assert predicted([Entry(b"../a", FILE)]) is None
    assert predicted([Entry(b"s", SYMLINK, b"/"), Entry(b"s/x", FILE)]) is None
