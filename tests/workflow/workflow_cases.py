"""The golden cases: a folder each, with a workflow and its project's files, and what planning it says.

``python tests/workflow/workflow_cases.py`` writes every ``expected.txt`` anew; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import WorkflowError
from repro.workflow.expand import job_document, render_argv, render_command
from repro.workflow.loader import load_all
from repro.workflow.model import Resources, Retries
from repro.workflow.plan import checked
from repro.workflow.project import FolderProject
from repro.workflow.resources import granted, told

if TYPE_CHECKING:
    from repro.workflow.model import Job, Plan

CASES = Path(__file__).parent / "cases"
POLICIES = (
    ("retries", Retries()),
    ("network", False),
    ("fetch", False),
    ("entrypoint", False),
    ("user", None),
    ("env", {}),
)


def folders(kind: str) -> list[Path]:
    """Return the folders of the ``good`` or ``bad`` cases."""
    return sorted(path.parent for path in (CASES / kind).glob("*/workflow.yaml"))


def outcome(folder: Path) -> str:
    """Return what a person would be told about the case: all mistakes, or all jobs.

    A file ``done`` in it has a line for each plan that is made, with the steps that are done in it.
    """
    text, project = (folder / "workflow.yaml").read_text(), FolderProject(folder)
    done = folder / "done"
    told = []
    try:
        for steps in done.read_text().splitlines() if done.exists() else [""]:
            if done.exists():
                told.append(f"== done: {steps}".rstrip() + "\n")
            told.append(described(checked(*load_all(text, "workflow.yaml"), project, frozenset(steps.split()))))
    except WorkflowError as error:
        return "\n".join([*told, f"{error}\n"])
    return "\n".join(told)


def described(plan: Plan) -> str:
    """Return a plan as text."""
    late = [f"{one.step}\n  waits: {' '.join(one.waits)}\n" for one in plan.deferred]
    return "\n".join([*(_described(job) for job in plan.jobs), *late])


def _described(job: Job) -> str:
    document = job_document(job, told(job, granted(job)))
    lines = [job.id]
    keys = ("inputs", "outputs", "logs", "checkpoint", "params", "foreach")
    lines += [f"  {key}: {document[key]!r}" for key in keys if document.get(key)]
    lines += [f"  with: {' '.join(bound.companions)}" for bound in job.inputs.values() if bound.companions]
    lines += [f"  temporary: {output.path}" for output in job.outputs.values() if output.temporary]
    if job.step.resources != Resources():
        lines += [f"  granted: {told(job, granted(job, attempt))!r}" for attempt in (1, 2)]
    lines += [f"  {key}: {getattr(job.step, key)!r}" for key, usual in POLICIES if getattr(job.step, key) != usual]
    lines += [f"  {key}: {' '.join(value)}" for key, value in (("needs", job.needs), ("code", job.code)) if value]
    if argv := render_argv(job, resources=told(job, granted(job))):
        lines.append(f"  argv: {argv!r}")
    lines += [f"  $ {line}" for line in render_command(job, resources=None).rstrip("\n").split("\n")]
    return "\n".join(lines) + "\n"


def regenerate() -> None:
    """Write what every case says now."""
    for folder in (*folders("good"), *folders("bad")):
        (folder / "expected.txt").write_text(outcome(folder))


if __name__ == "__main__":
    regenerate()
