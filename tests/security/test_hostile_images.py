"""Hostile images: documents that lie or break a reader are refused, nothing outside changes, the store stays whole."""

from __future__ import annotations

import re

import pytest

from repro.errors import DataError
from repro.oci.archive import read_layout
from tests.security.hostile_images import BY_NAME
from tests.security.hostile_layers import GOOD
from tests.security.images import image, write
from tests.security.places import FORMS


@pytest.mark.parametrize("name", BY_NAME)
def test_a_hostile_image_is_refused(name, shared, tmp_path):
    """The error says what is wrong, in characters that a terminal only shows; the store has no image of it."""
    case = BY_NAME[name]
    here = shared(FORMS[0])
    layers = here.layers()
    layout = tmp_path / "layout"
    write(layout, case.make())
    case.spoil(layout)

    here.look()
    with pytest.raises(DataError) as caught:
        read_layout(layout, here.store)

    text = str(caught.value)
    assert re.search(case.says, text), text
    assert all(line.isprintable() for line in text.splitlines())
    here.check(layers=len(here.layers() | layers))


def test_the_image_that_the_hostile_ones_are_made_of_is_accepted(place):
    """The cases fail for what they say, not for what they have in common."""
    here = place()
    write(here.root / "layout", image(GOOD))
    here.look()

    image_id = read_layout(here.root / "layout", here.store)

    assert {image_id} == here.store.images()
    here.check(layers=1, images=1)


def test_refused_images_do_not_keep_a_good_one_out(place):
    """After an attack under its name, the sound image comes in and is whole."""
    here = place()
    write(here.root / "evil", BY_NAME["a blob of other bytes"].make())
    BY_NAME["a blob of other bytes"].spoil(here.root / "evil")
    write(here.root / "layout", image(GOOD))
    here.look()
    with pytest.raises(DataError):
        read_layout(here.root / "evil", here.store)

    read_layout(here.root / "layout", here.store)

    here.check(layers=1, images=1)
