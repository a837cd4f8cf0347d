"""A job's command as its key holds it and as its container runs it, and the files in its /run/repro."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from repro.execution.secrets import secret_path
from repro.execution.world import CONTROL
from repro.workflow.expand import input_lists, job_document, render_argv, render_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.workflow.model import Job


def key_command(job: Job) -> str | tuple[str, ...]:
    """Return what the key holds, resources symbolic: the text of ``run``, its words, or the script's path."""
    if isinstance(job.step.run, tuple):
        return render_argv(job, resources=None)
    return render_command(job, resources=None)


def job_command(job: Job, resources: Mapping[str, str]) -> str | tuple[str, ...]:
    """Return what the container runs: the text of ``run``, its words where it is a list, or the script's path."""
    if isinstance(job.step.run, tuple):
        return render_argv(job, resources=resources)
    return render_command(job, resources=resources)


def control_files(job: Job, command: str | tuple[str, ...], resources: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files that the job sees below /run/repro, by their names there."""
    secrets = {name: secret_path(name) for name in job.step.secrets}
    document = {**job_document(job, resources), "secrets": secrets}
    lines = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items()
    )
    files = {"job.json": f"{{\n{lines}\n}}\n".encode()}
    files |= {path.removeprefix(f"{CONTROL}/"): data for path, data in input_lists(job).items()}
    if isinstance(command, str) and job.step.script is None:
        files["command.sh"] = command.encode() + (b"" if command.endswith("\n") else b"\n")
    return files
