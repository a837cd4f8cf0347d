"""The arena that the table's tests share, and the table at the end of the session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conformance.arena import MAKERS, Arena, Row, arena
from tests.conformance.table import render

_ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def judged() -> Iterator[Arena]:
    """All judges and every kind of user; only root can start and make them."""
    if os.geteuid() != 0:
        pytest.skip("the judges need root")
    with arena(modes=tuple(MAKERS)) as made:
        yield made


@pytest.fixture(scope="session")
def unjudged() -> Iterator[Arena]:
    """Our side alone, for results that are written by hand."""
    if os.geteuid() != 0:
        pytest.skip("unpacking an image with its owners needs root")
    with arena(judges=False) as made:
        yield made


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """The table of this session, to add to."""
    return request.config.stash.setdefault(_ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, if a row of it was made."""
    found = config.stash.get(_ROWS, [])
    if found:
        terminalreporter.section("conformance with Docker")
        for line in render(found):
            terminalreporter.write_line(line)
