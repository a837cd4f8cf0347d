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


def job_resources(job: Job, cpus: int) -> dict[str, str]:
    """Return what the job is told of its resources; it has at most ``cpus``, the host's."""
    resources = {"cpus": str(min(job.step.resources.cpus, cpus))}
    if job.step.resources.memory is not None:
        resources["memory"] = str(job.step.resources.memory)
    return resources


def job_command(job: Job, resources: Mapping[str, str]) -> str | tuple[str, ...]:
    """Return what the container runs: the text of ``run``, its words where it is a list, or the script's path."""
    if isinstance(job.step.run, tuple):
        return render_argv(job, resources=resources)
    return render_command(job, resources=resources)


def control_files(job: Job, command: str | tuple[str, ...], resources: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files that the job sees below /run/repro, by their names there."""
    secrets = {name: secret_path(name) for name in job.step.secrets}
    document = json.dumps({**job_document(job, resources), "secrets": secrets}, indent=2, ensure_ascii=False)
    files = {"job.json": document.encode() + b"\n"}
    files |= {path.removeprefix(f"{CONTROL}/"): data for path, data in input_lists(job).items()}
    if isinstance(command, str) and job.step.script is None:
        files["command.sh"] = command.encode() + (b"" if command.endswith("\n") else b"\n")
    return files
