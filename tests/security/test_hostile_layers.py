"""Hostile layers: each is refused by the name of its entry, nothing outside changes, and the store stays whole."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace

import pytest

from repro.digest import Digest
from repro.errors import DataError, ReproError
from repro.oci.archive import read_layout
from tests.security.hostile_layers import BY_NAME, CASES, GOOD
from tests.security.images import image, write
from tests.security.places import FORMS


def text_of(error: ReproError) -> str:
    """Return an error's text on one line."""
    return str(error).replace("\n", " ")


@pytest.mark.parametrize("name", BY_NAME)
def test_a_hostile_layer_is_refused_by_name(name, form, shared):
    """The error says which entry and why; the store has no layer, no half of one, and nothing in progress."""
    case = BY_NAME[name]
    here = shared(form, case.limits)
    blob = here.root / "layer.tar"
    blob.write_bytes(case.make(os.fsencode(here.outside)))

    here.look()
    with pytest.raises(case.error) as caught:
        here.store.add_layer(blob)

    assert re.search(case.pattern, text_of(caught.value)), caught.value
    assert caught.value.message.isprintable()
    here.check()


@pytest.mark.parametrize("name", BY_NAME)
def test_an_image_with_a_hostile_layer_is_refused(name, shared, tmp_path):
    """In an image whose digests are right it is refused as well; the good layer below it comes, and is whole."""
    case = BY_NAME[name]
    here = shared(FORMS[0], replace(case.limits, names=case.limits.names + 1))  # another place than above
    hostile = case.make(os.fsencode(here.outside))
    layout = tmp_path / "layout"
    write(layout, image(GOOD, hostile))

    here.look()
    with pytest.raises(case.error) as caught:
        read_layout(layout, here.store)

    assert re.search(case.pattern, text_of(caught.value)), caught.value
    here.check(layers=1)


def test_there_are_as_many_cases_as_were_asked_for():
    """Thirty hostile images were asked for."""
    assert len(CASES) >= 30


def test_a_layer_of_another_diff_id_is_refused(place):
    """A good tar under another layer's name is no layer."""
    here = place()
    blob = here.root / "layer.tar"
    blob.write_bytes(GOOD)
    here.look()

    with pytest.raises(DataError, match="not its own"):
        here.store.add_layer(blob, diff_id=Digest("0" * 64))

    here.check()


def test_the_good_layer_that_the_hostile_ones_are_made_of_is_accepted(place):
    """The cases fail for what they say, not for what they have in common."""
    here = place()
    blob = here.root / "layer.tar"
    blob.write_bytes(GOOD)
    here.look()

    assert hashlib.sha256(GOOD).hexdigest() == here.store.add_layer(blob).diff_id.hex

    here.check(layers=1)
