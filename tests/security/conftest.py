"""Fixtures of the security tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from repro.files import remove_tree
from repro.oci.limits import DEFAULT_LIMITS
from tests.security.places import FORMS, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repro.oci.limits import Limits


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """Each form that this user can work in."""
    return str(request.param)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Limits], Place]]:
    """A giver of places that all tests of a module attack, one for each form and limits: it must bear all of them."""
    made: dict[tuple[str, Limits], Place] = {}
    root = tmp_path_factory.mktemp("places")

    def give(form: str, limits: Limits = DEFAULT_LIMITS) -> Place:
        if (form, limits) not in made:
            made[form, limits] = Place(root / str(len(made)), form, limits)
        return made[form, limits]

    yield give
    remove_tree(root)


@pytest.fixture
def place(tmp_path: Path, form: str) -> Iterator[Callable[..., Place]]:
    """A maker of the one place of a test; what is in it is removed afterwards, whatever modes it has."""
    yield lambda **more: Place(tmp_path / "place", form, **more)
    remove_tree(tmp_path / "place")
