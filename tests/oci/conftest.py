"""Fixtures of the layer and store tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from oci_trees import FORMS

from repro.files import remove_tree
from repro.oci.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """Each form that this user can work in."""
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path, form: str) -> Iterator[Store]:
    """An empty store, removed afterwards whatever modes it holds."""
    yield Store(tmp_path / "store", form)
    remove_tree(tmp_path / "store")


@pytest.fixture
def fresh() -> Iterator[object]:
    """A maker of empty folders for tests that run many examples; all are removed afterwards."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="repro-test-")))
        return made[-1]

    yield make
    for path in made:
        remove_tree(path)
