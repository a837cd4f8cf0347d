"""The table: each of our Dockerfiles built by us and by a judge, compared path by path (`README.md`)."""

from __future__ import annotations

import pytest

from tests.conformance.arena import Arena, Row
from tests.conformance.cases import Case, load_all

CASES = load_all()
# Without a judge, in seconds: one hand-written result of each kind, and one refusal of each part of the engine.
QUICK = (
    "add-unpack", "chmod-symbolic", "env-patterns", "exclude", "heredoc-copy", "heredoc-run-several", "link-over-link",
    "mount-secret-env", "onbuild-stages", "parents", "refused-copy-flag", "refused-mount-missing", "refused-run-fails",
)  # fmt: skip


def test_the_table_is_as_large_as_promised() -> None:
    """At least 100 Dockerfiles are compared by a judge, and 20 refused."""
    built = [case for case in CASES if case.refused is None]
    assert 100 <= sum(case.judge != "written" for case in built)
    assert 20 <= sum(case.refused is not None for case in CASES)


def test_every_difference_has_a_reason() -> None:
    """A listed difference says why in words."""
    listed = [
        (case.name, *item)
        for case in CASES
        for kind in (case.differences, case.single, case.subordinate)
        for item in kind.items()
    ]
    assert [] == [name for name, _, reason in listed if len(reason.split()) < 4]


def test_every_case_is_read_by_somebody() -> None:
    """The quick cases exist, and need no judge."""
    known = {case.name: case for case in CASES}
    assert [] == [name for name in QUICK if name not in known]
    assert [] == [name for name in QUICK if known[name].judge != "written" and known[name].refused is None]


@pytest.mark.parametrize("case", [case for case in CASES if case.name in QUICK], ids=lambda case: case.name)
def test_what_is_written_by_hand_comes_out(case: Case, unjudged: Arena) -> None:
    """A Dockerfile newer than the judges gives what its documentation says; a wrong one is refused with its place."""
    assert [] == unjudged.run(case).faults


@pytest.mark.judge
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_docker_gives_the_same(case: Case, judged: Arena, rows: list[Row]) -> None:
    """Tree and config are the judge's, and each kind of user gets root's image ID, but for what is listed."""
    row = judged.run(case)
    rows.append(row)
    assert [] == row.faults
