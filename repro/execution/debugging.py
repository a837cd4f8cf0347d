"""A job's world laid out again, with a shell in it: for looking at why the job fails."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import BusyError, DataError
from repro.execution.commands import control_files, job_command
from repro.execution.fetched import Unlocked
from repro.execution.programs import COMMAND_FILE, Programs
from repro.execution.runner import Assignment, job_spec
from repro.execution.secrets import Vault
from repro.execution.terminal import join
from repro.execution.world import lay_out, wanted_paths
from repro.files import Lock, locked, remove_tree
from repro.workflow.resources import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.execution.assess import Files
    from repro.execution.image import Image
    from repro.execution.state import State
    from repro.runtime.container import Launcher
    from repro.runtime.spec import ContainerSpec
    from repro.workflow.model import Job
    from repro.workflow.resources import Granted


@dataclass(frozen=True, slots=True)
class Debugging:
    """What a shell in a job's world takes.

    Attributes:
        job: the job.
        image: its environment's image.
        granted: what it is told of its resources.
        state: the project's.
        files: the project's, and the pinned inputs.
        secrets: what its step names, by name.
    """

    job: Job
    image: Image
    granted: Granted
    state: State
    files: Files
    secrets: Mapping[str, bytes]

    def how_to_run(self) -> str:
        """Return what the job's command is called in there."""
        step = self.job.step
        if step.script is not None:
            return f"the job runs the script {step.script}"
        if step.run is not None and not isinstance(step.run, str):
            return f"the job executes {' '.join(self._command())}"
        return f"the job's command is {COMMAND_FILE}"

    def open(
        self, launcher: Launcher, *, stdin: int, stdout: int, stderr: int, term: str = "", command: tuple[str, ...] = ()
    ) -> int:
        """Run a shell, or ``command``, in the job's world and return its exit status; nothing of it is kept.

        A terminal is joined to the container's own (``term`` is its kind, $TERM); other descriptors are passed on.

        Raises:
            DataError: an input is not there; the hint says how to get it.
            NoProgram: the image has no shell.
        """
        for path in wanted_paths(self.job):
            if self.files.gone(path) is not None:
                hint = f"make it again: repro run {path}"
                raise DataError(f"input {path} was temporary, and is gone", hint=hint)
        with _room(self.state) as folder, contextlib.ExitStack() as stack:
            work = self._assignment(folder)
            world = lay_out(
                work.scratch,
                project=self.state.project,
                job=self.job,
                control=work.control,
                places=work.places,
                checkpoint=work.checkpoint,
            )
            if self.secrets:
                stack.callback(work.vault.sweep)
                world = replace(world, secrets=stack.enter_context(work.vault.hold(work.scratch, self.secrets)))
            spec = job_spec(work, world, launcher)
            terminal = os.isatty(stdin) and os.isatty(stdout)
            spec = self._with_shell(spec, launcher, command, terminal=terminal, term=term)
            if terminal:
                return join(
                    lambda end: launcher.start(spec, stdin=end, stdout=end, stderr=end), stdin, stdout
                ).exit_status
            return launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr).exit_status

    def _command(self) -> str | tuple[str, ...]:
        return job_command(self.job, told(self.job, self.granted))

    def _assignment(self, folder: Path) -> Assignment:
        pinned = self.files.pinned
        resources = told(self.job, self.granted)
        command = self._command()
        return Assignment(
            job=self.job,
            image=self.image,
            command=command,
            control=control_files(self.job, command, resources),
            read={},
            pinned=pinned,
            places={path: pinned.place(path) for path in wanted_paths(self.job) if pinned.has(path)},
            secrets=self.secrets,
            vault=Vault(folder),
            scratch=folder / "job",
            log=folder / "log",
            foreign=frozenset(),
            shelf=folder / "shelf",
            granted=self.granted,
            fetched=Unlocked(),
            checkpoint=None if self.job.checkpoint is None else folder / "checkpoint",
        )

    def _with_shell(
        self, spec: ContainerSpec, launcher: Launcher, command: tuple[str, ...], *, terminal: bool, term: str
    ) -> ContainerSpec:
        from repro.oci.view import View  # noqa: PLC0415 - as where jobs run

        programs = Programs(View(self.image.layers, launcher.mode.value), spec.env["PATH"], self.image.environment)
        argv = command or (programs.shell()[0], *(("-i",) if terminal else ()))
        if terminal and (setsid := programs.find(["setsid"])) is not None:
            argv = (setsid, "--ctty", "--wait", *argv)  # so that Ctrl-C and Ctrl-Z reach what runs in front
        env = {**spec.env, **({"TERM": term} if term else {})}
        return replace(spec, argv=argv, env=env)


@contextlib.contextmanager
def _room(state: State) -> Iterator[Path]:
    """Give a folder that no other process uses; what killed ones left is removed."""
    state.prepare()
    top = state.debug
    top.mkdir(parents=True, exist_ok=True)
    with locked(top / "lock"):
        for other in sorted(top.glob("job-*")):
            with contextlib.suppress(BusyError), locked(other / "lock", wait=False):
                remove_tree(other)
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=top))
        own = Lock(folder / "lock")
        own.acquire()
    try:
        yield folder
    finally:
        own.release()
        remove_tree(folder)
