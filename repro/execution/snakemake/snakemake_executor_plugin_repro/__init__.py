"""Snakemake's Slurm executor with jobs that are `repro job exec` as it is: no Snakemake runs on the nodes.

Found by Snakemake through PYTHONPATH, which `repro.execution.snakefile` sets for its process. It differs from the
executor it is made of in five things: the command goes to sbatch as the rule has it; all Slurm jobs of a run have one
name, the run's tag, by which they are found and cancelled; the queue is looked at every few seconds, however long
nothing ends; a batch whose result is there is done, whatever the queue still knows of it; and cancelling leaves none.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings, common_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

_LONGEST_POLL = 4  # seconds
_PR_SET_PDEATHSIG = 1  # prctl(2)
_STATE = re.compile(r"SLURM status is:\s*'(\w+)")
_REFUSED = re.compile(r"SLURM sbatch failed\. The error message was '(.*?)'\.\n", re.DOTALL)


def _follow_driver() -> None:
    """End as Ctrl-C does when the driver dies, however it dies; a driver that ignores SIGINT does not hand that on.

    Called before any job is given away, so that a driver that is dead by now leaves none.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != int(os.environ["REPRO_DRIVER"]):
        raise KeyboardInterrupt


if "REPRO_DRIVER" in os.environ:
    _follow_driver()


class Executor(SlurmExecutor):  # type: ignore[misc]  # Snakemake and its plugins have no types
    """The Slurm executor for batches; the rules are those of `repro.execution.snakefile`."""

    def __post_init__(self, test_mode: bool = False) -> None:
        super().__post_init__(test_mode)
        self.run_uuid = os.environ["REPRO_TAG"]

    @property
    def next_seconds_between_status_checks(self) -> float:
        """The seconds until the queue is looked at again."""
        return min(float(super().next_seconds_between_status_checks), _LONGEST_POLL)

    @next_seconds_between_status_checks.setter
    def next_seconds_between_status_checks(self, value: float) -> None:
        self._next_seconds_between_status_checks = value

    def format_job_exec(self, job: Any) -> str:
        """Return the command of the rule."""
        return str(job.shellcmd)

    def report_job_submission(self, job_info: Any, *, register_job: bool = True) -> None:
        """Tell the driver the number that Slurm gave the batch."""
        _tell(batch=job_info.job.wildcards.name, slurm=job_info.external_jobid)
        super().report_job_submission(job_info, register_job=register_job)

    def report_job_error(self, job_info: Any, msg: str | None = None, **more: object) -> None:
        """Tell the driver how a batch without a result ended."""
        told = {"state": _STATE.search(msg or ""), "refused": _REFUSED.search(msg or "")}
        found = {name: match[1].strip() for name, match in told.items() if match}
        _tell(batch=job_info.job.wildcards.name, slurm=job_info.external_jobid, **found)
        super().report_job_error(job_info, msg=msg, **more)

    def cancel(self) -> None:
        """Cancel all Slurm jobs of the run, also those that are being given away just now."""
        self._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        super().cancel()
        name = ["--name", self.run_uuid, "--user", str(os.getuid())]
        subprocess.run(["scancel", *name], check=False, timeout=60)

    async def check_active_jobs(self, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        """Yield the batches that are still running, having reported those that ended."""
        running = []
        for job_info in active_jobs:
            if Path("results", f"{job_info.job.wildcards.name}.json").exists():
                self.report_job_success(job_info)
            else:
                running.append(job_info)
        if running:
            async for job_info in super().check_active_jobs(running):
                yield job_info


def _tell(**what: object) -> None:
    with open("told.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")
