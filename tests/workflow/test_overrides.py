"""Values in the place of a workflow's params, and steps that these switch on and off."""

from __future__ import annotations

import pytest

from repro.errors import UsageError
from repro.workflow.loader import load_all
from repro.workflow.model import Plan
from repro.workflow.overrides import overridden
from repro.workflow.plan import checked
from repro.workflow.project import FolderProject

PARAMS = {"fdr": 0.05, "trim": {"quality": 20, "adapters": {"r1": "AC", "r2": "GT"}}, "names": ("a", "b")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, PARAMS),
        ({"fdr": 1}, PARAMS | {"fdr": 1}),
        ({"names": ("c",)}, PARAMS | {"names": ("c",)}),
        ({"trim.quality": 30}, PARAMS | {"trim": {"quality": 30, "adapters": {"r1": "AC", "r2": "GT"}}}),
        ({"trim.adapters.r1": "x"}, PARAMS | {"trim": {"quality": 20, "adapters": {"r1": "x", "r2": "GT"}}}),
        ({"trim": {"adapters": {"r1": "x"}}}, PARAMS | {"trim": {"quality": 20, "adapters": {"r1": "x", "r2": "GT"}}}),
        ({"trim": None}, PARAMS | {"trim": None}),
        (
            {"trim": {"quality": 1}, "trim.quality": 2},
            PARAMS | {"trim": {"quality": 2, "adapters": {"r1": "AC", "r2": "GT"}}},
        ),
    ],
)
def test_overridden(given, expected) -> None:
    """A value takes the place of the old one; a mapping is laid over a mapping; the last one counts."""
    before = repr(PARAMS)
    assert expected == overridden(PARAMS, given)
    assert before == repr(PARAMS)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"fdrr": 1}, "the workflow has no param 'fdrr'", "did you mean 'fdr'?"),
        ({"trim.qualty": 1}, "the param 'trim' has no entry 'qualty'", "did you mean 'quality'?"),
        ({"trim": {"adapter": 1}}, "the param 'trim' has no entry 'adapter'", "did you mean 'adapters'?"),
        ({"trim.adapters.x": 1}, "the param 'trim.adapters' has no entry 'x'", "known here: r1, r2"),
        ({"fdr.x": 1}, "the param 'fdr' is no mapping, so it has no 'x'", "set fdr itself"),
        ({"": 1}, "the workflow has no param ''", "known here: fdr, trim, names"),
    ],
)
def test_unknown_names(given, message: str, hint: str) -> None:
    """A name that is not there is refused with the nearest that is."""
    with pytest.raises(UsageError) as caught:
        overridden(PARAMS, given)
    assert (message, hint) == (caught.value.message, caught.value.hint)


@pytest.mark.parametrize("value", ["{{ x }}", ["a", "{{ y }}"], {"quality": "{{"}])
def test_templates_are_refused(value) -> None:
    """No value that is set is a template; literal braces can be."""
    with pytest.raises(UsageError, match="templates are not expanded in the value of 'trim'"):
        overridden(PARAMS, {"trim": value})
    assert "\\{{" == overridden(PARAMS, {"fdr": "\\{{"})["fdr"]


TEXT = """
repro: 1
params: {paired: true, depth: 30, trim: {quality: 20}}
environments: {e: {base: debian:bookworm}}
defaults: {environment: e}
steps:
  one: {params: [depth], outputs: {o: one.txt}, run: "echo {{ params.trim.quality }} {{ params.depth }}"}
  mate: {when: params.paired and params.depth > 20, outputs: {o: mate.txt}, run: echo}
"""


def planned(tmp_path, **params) -> Plan:
    """Return the plan with params set."""
    workflow, problems = load_all(TEXT, "workflow.yaml", {name.replace("__", "."): it for name, it in params.items()})
    return checked(workflow, problems, FolderProject(tmp_path))


def test_params_reach_jobs(tmp_path) -> None:
    """What is set is what jobs see, where a step lists it as well as where it mentions it."""
    (job,) = (job for job in planned(tmp_path, depth=25, trim__quality=7).jobs if job.id == "one")
    assert {"depth": 25, "trim": {"quality": 7}} == job.params


def test_when(tmp_path) -> None:
    """A step is switched by the params that are set, not by those in the file alone."""
    assert ["mate", "one"] == [job.id for job in planned(tmp_path).jobs]
    assert ["one"] == [job.id for job in planned(tmp_path, paired=False).jobs]
    assert ["one"] == [job.id for job in planned(tmp_path, depth=20).jobs]
