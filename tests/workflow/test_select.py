"""Parts of a plan: targets, from, until; also of steps whose jobs are not known yet."""

from __future__ import annotations

import dataclasses

import pytest

from repro.errors import UsageError
from repro.workflow.model import Deferred
from repro.workflow.plan import read
from repro.workflow.project import FolderProject
from repro.workflow.select import following, select

TEXT = """\
repro: 1
name: samples
environments: {e: {image: base}}
defaults: {environment: e}
steps:
  index:
    outputs: {i: work/index/}
    run: index
  align:
    foreach: {sample: [a, b]}
    inputs: {i: {from: index.i}}
    outputs: {bam: "work/{{ sample }}.bam"}
    run: align
  call:
    foreach: {sample: [a, b]}
    inputs: {bam: {from: align.bam}}
    outputs: {vcf: "results/{{ sample }}.vcf"}
    run: call
  plot:
    inputs: {vcf: {from: call.vcf}}
    outputs: {png: results/figures/plot.png}
    run: plot
  other:
    outputs: {t: other.txt}
    run: other
"""
A = ["index", "align[sample=a]"]


@pytest.fixture
def plan(tmp_path):
    """The plan of that text."""
    return read(TEXT, "workflow.yaml", FolderProject(tmp_path))


def ids(plan) -> list[str]:
    """Return the plan's jobs."""
    return [job.id for job in plan.jobs]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("results/a.vcf", [*A, "call[sample=a]"]),
        ("align[sample=a]", A),
        ("work/index", ["index"]),
        ("work/index/", ["index"]),
        ("work/index/part/one.idx", ["index"]),
        ("step:align", ["index", "align[sample=a]", "align[sample=b]"]),
        ("other", ["other"]),
    ],
)
def test_a_target_brings_what_it_needs_and_no_more(plan, target, expected):
    """An output, a file in a folder output, a job and a step; jobs stay in the plan's order."""
    assert sorted(expected) == sorted(ids(select(plan, [target])))
    assert [name for name in ids(plan) if name in expected] == ids(select(plan, [target]))


def test_a_folder_means_all_outputs_in_it(plan):
    """`results` and `results/` are the same; the project's root is everything; targets add up."""
    whole = [name for name in ids(plan) if name != "other"]
    assert whole == ids(select(plan, ["results"])) == ids(select(plan, ["results/"]))
    assert ids(plan) == ids(select(plan, ["."])) == ids(select(plan, []))
    assert [name for name in ids(plan) if name in {*A, "other"}] == ids(select(plan, ["other.txt", "work/a.bam"]))


def test_from_and_until_cut_the_plan(plan):
    """`until` ends at a step; `from` leaves out what has nothing to do with it, and keeps what is needed."""
    assert ["index", "align[sample=a]", "align[sample=b]"] == ids(select(plan, [], until=["align"]))
    assert A == ids(select(plan, ["results/a.vcf"], until=["align"]))
    assert [name for name in ids(plan) if name != "other"] == ids(select(plan, [], from_steps=["call"]))
    assert ["other"] == ids(select(plan, [], from_steps=["other"]))
    assert [*A, "call[sample=a]"] == ids(select(plan, ["results/a.vcf"], from_steps=["align"]))
    assert frozenset(("call[sample=a]", "call[sample=b]", "plot")) == following(plan, ["call"])


@pytest.mark.parametrize(
    ("targets", "options", "message", "hint"),
    [
        (["results/c.vcf"], {}, "no step makes results/c.vcf", "did you mean results/"),
        (["align"], {}, "align is a step", "step:align"),
        (["step:aling"], {}, "there is no step 'aling'", "did you mean align"),
        (["step:x"], {}, "there is no step 'x'", "the steps are index, align"),
        (["align[sample=c]"], {}, r"no step makes align\[sample=c\]", "did you mean align"),
        ([], {"until": ["plots"]}, "no step 'plots'", "did you mean plot"),
        (["other.txt"], {"until": ["plot"]}, "--until plot leaves nothing to do", None),
        (["other.txt"], {"from_steps": ["plot"]}, "--from plot leaves nothing to do", None),
    ],
)
def test_a_mistake_names_what_may_be_meant(plan, targets, options, message, hint):
    """Unknown targets and steps, and a selection that leaves nothing, are errors with a way out."""
    with pytest.raises(UsageError, match=message) as error:
        select(plan, targets, **options)
    assert hint is None or hint in (error.value.hint or "")


def test_a_step_without_jobs_yet_is_chosen_by_the_shape_of_its_outputs(plan):
    """What waits for a step needs all its jobs; a target that only such a step could make is kept for later."""
    jobs = tuple(job for job in plan.jobs if job.step.name not in {"call", "plot"})
    early = dataclasses.replace(plan, jobs=jobs, deferred=(Deferred("call", ("align",)), Deferred("plot", ("align",))))
    for target in ("results/a.vcf", "step:call"):
        found = select(early, [target])
        assert (["index", "align[sample=a]", "align[sample=b]"], ["call"]) == (
            ids(found), [one.step for one in found.deferred],
        )  # fmt: skip
    assert ["call", "plot"] == [one.step for one in select(early, ["results/figures/plot.png"]).deferred]
    assert ["call", "plot"] == [one.step for one in select(early, [], from_steps=["align"]).deferred]
    assert [] == list(select(early, ["other.txt"]).deferred)
    with pytest.raises(UsageError):
        select(early, ["elsewhere/a.vcf"])
