"""The limits of a layer: what the setting says, and that what is raised lets through what was refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from dataclasses import replace

import pytest

from repro.build.unzip import decompressed
from repro.errors import DataError, StoreError, UsageError
from repro.oci import apply, compression
from repro.oci.compression import Measured
from repro.oci.limits import DEFAULT_LIMITS, Limits, Swelling, limits_from, raised
from tests.security.hostile_layers import BOMBS
from tests.security.tars import file, tar


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("entries=9", {"entries": 9}),
        ("size=2TiB", {"size": 2 << 40}),
        ("size=2TB names=3KiB", {"size": 2 * 10**12, "names": 3 << 10}),
        (" entries=1,,size=5 ", {"entries": 1, "size": 5}),
        ("ratio=7", {"swelling": replace(DEFAULT_LIMITS.swelling, ratio=7)}),
    ],
)
def test_the_setting_names_what_it_changes(text, expected):
    """What REPRO_LIMITS does not name stays as it is."""
    assert replace(DEFAULT_LIMITS, **expected) == limits_from({"REPRO_LIMITS": text})


@pytest.mark.parametrize("text", ["entries", "entries=", "entries=-1", "entries=1.5", "files=3", "size=1PB", "size=٣"])
def test_a_setting_that_is_not_understood_is_an_error(text):
    """A typing mistake does not leave a host without the limit that was meant."""
    with pytest.raises(UsageError, match="REPRO_LIMITS is not understood"):
        limits_from({"REPRO_LIMITS": text})


def test_no_setting_is_the_default():
    """Without the variable the defaults hold."""
    assert DEFAULT_LIMITS == limits_from({})


@pytest.mark.parametrize("name", ["entries", "size", "names"])
def test_a_raised_limit_lets_through_what_was_refused(name, place):
    """The hint of the error, followed, takes the layer in."""
    layer = tar(*(file(b"%0100d" % number, b"x") for number in range(30)))
    low = Limits(**{name: 20})
    here = place(limits=low)
    blob = here.root / "layer.tar"
    blob.write_bytes(layer)
    here.look()
    with pytest.raises(DataError) as caught:
        here.store.add_layer(blob)
    assert raised(name) == caught.value.hint
    here.check()

    here.reopen(limits_from({"REPRO_LIMITS": f"{name}=1MiB"}))

    here.store.add_layer(blob)
    here.check(layers=1)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_that_swells_is_refused_however_it_is_compressed(pack, tmp_path, monkeypatch):
    """What users add or load is measured as layers are: bzip2 makes 64 MiB of 80 bytes."""
    for function in (Measured.__init__, compression.decompressed):
        monkeypatch.setattr(function, "__defaults__", (Swelling(free=1 << 20, ratio=100), ""))
    (tmp_path / "archive").write_bytes(pack(bytes(8 << 20)))

    with open(tmp_path / "archive", "rb") as archive:
        stream = decompressed(archive)
        with pytest.raises(DataError, match=r"swell to more than(.|\n)*decompress it yourself"):
            while stream.read(1 << 18):
                pass


@pytest.mark.parametrize(("room", "what"), [((100, 1 << 30), "room for the layer"), ((1 << 30, 5), "so many files")])
def test_a_layer_for_which_there_is_no_room_is_refused(room, what, place, monkeypatch):
    """Bytes and inodes are counted against what was free: the disk that others use is not filled first."""
    monkeypatch.setattr(apply, "free_room", lambda _: room)
    here = place()
    blob = here.root / "layer.tar"
    blob.write_bytes(tar(*(file(b"%d" % number, b"x" * 60) for number in range(8))))
    here.look()

    with pytest.raises(StoreError, match=what) as caught:
        here.store.add_layer(blob)

    assert "make room" in (caught.value.hint or "")
    here.check()


def test_every_limit_of_a_setting_has_a_bomb():
    """No limit is without a layer that meets it."""
    met = {one.limits for one in BOMBS}
    for changed in ("entries", "size", "names", "swelling"):
        assert any(getattr(one, changed) != getattr(DEFAULT_LIMITS, changed) for one in met)
