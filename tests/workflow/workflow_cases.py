"""The golden cases: a folder each, with a workflow and its project's files, and what planning it says.

``python tests/workflow/workflow_cases.py`` writes every ``expected.txt`` anew; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import WorkflowError
from repro.workflow.expand import job_document, render_argv, render_command
from repro.workflow.plan import read
from repro.workflow.project import FolderProject

if TYPE_CHECKING:
    from repro.workflow.model import Job, Plan

CASES = Path(__file__).parent / "cases"
RESOURCES = {"cpus": "4", "memory": "16000000000"}


def folders(kind: str) -> list[Path]:
    """Return the folders of the ``good`` or ``bad`` cases."""
    return sorted(path.parent for path in (CASES / kind).glob("*/workflow.yaml"))


def outcome(folder: Path) -> str:
    """Return what a person would be told about the case: all mistakes, or all jobs."""
    try:
        plan = read((folder / "workflow.yaml").read_text(), "workflow.yaml", FolderProject(folder))
    except WorkflowError as error:
        return f"{error}\n"
    return described(plan)


def described(plan: Plan) -> str:
    """Return a plan as text."""
    return "\n".join(_described(job) for job in plan.jobs)


def _described(job: Job) -> str:
    document = job_document(job, RESOURCES)
    lines = [job.id]
    lines += [f"  {key}: {document[key]!r}" for key in ("inputs", "outputs", "params", "foreach") if document[key]]
    lines += [f"  {key}: {' '.join(value)}" for key, value in (("needs", job.needs), ("code", job.code)) if value]
    if argv := render_argv(job, resources=RESOURCES):
        lines.append(f"  argv: {argv!r}")
    lines += [f"  $ {line}" for line in render_command(job, resources=None).rstrip("\n").split("\n")]
    return "\n".join(lines) + "\n"


def regenerate() -> None:
    """Write what every case says now."""
    for folder in (*folders("good"), *folders("bad")):
        (folder / "expected.txt").write_text(outcome(folder))


if __name__ == "__main__":
    regenerate()
