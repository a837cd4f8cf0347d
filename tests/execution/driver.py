"""Runs a project's workflow.yaml over a ready root file system and prints every event as a line of JSON.

python -m tests.execution.driver PROJECT ROOTFS RUN_ID

PROJECT.json, where there is one, says what else is given: ``secrets`` by name, and ``near`` and ``far``, project
paths of inputs from elsewhere to the host's paths and to texts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from repro.digest import Digest
from repro.errors import ReproError
from repro.events import Event, RunFinished, event_json
from repro.execution.run import Executor, Image, JobState
from repro.runtime.container import Launcher
from repro.runtime.spec import Mode
from repro.workflow.loader import load
from repro.workflow.plan import plan
from repro.workflow.project import FolderProject
from tests.execution.elsewhere import Elsewhere

IMAGE = Digest.of(b"the test image")
PACKAGES = (("bash", "5.2.15-2+b7"), ("coreutils", "9.1-1"))


class Pipeline:
    """A project on disk and what happened in its runs."""

    def __init__(self, root: Path, rootfs: Path, *, image: Digest = IMAGE) -> None:
        self.root = root
        self.rootfs = rootfs
        self.image = image
        self.events: list[Event] = []
        self.asked: list[str] = []  # environments whose image was asked for
        self.cpus = 2
        self.memory = 1 << 30
        self.scratch: Path | None = None
        self.known: dict[str, Digest] | None = None  # image IDs; None: the right one
        self.image_error: ReproError | None = None
        self.listener = lambda event: None
        self.pinned: Elsewhere | None = None
        self.secrets: dict[str, bytes] = {}
        self.more: dict[str, object] = {}  # other arguments of the executor
        self.image_more: dict[str, object] = {}  # other fields of the image
        self._runs = 0

    def write(self, files: dict[str, str]) -> Pipeline:
        """Write files of the project."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def steps(self, text: str) -> Pipeline:
        """Write the workflow with these steps."""
        head = "repro: 1\nname: test\nenvironments: {tools: {base: {archive: debian, suite: bookworm}}}\n"
        head += "defaults: {environment: tools}\n"
        return self.write({"workflow.yaml": head + text})

    def executor(self, launcher: Launcher) -> Executor:
        """Return an executor for the workflow as it is now."""
        workflow = load((self.root / "workflow.yaml").read_text(), "workflow.yaml")

        def image(name: str) -> Image:
            self.asked.append(name)
            if self.image_error is not None:
                raise self.image_error
            env, epoch = ("PATH=/usr/bin:/bin",), 1_700_000_000
            return Image(name, self.image, (self.rootfs,), env, epoch, PACKAGES, **self.image_more)

        def listen(event: Event) -> None:
            self.events.append(event)
            self.listener(event)

        files = FolderProject(self.root) if self.pinned is None else self.pinned.project(self.root)
        return Executor(
            self.root,
            plan(workflow, project=files),
            image_ids={"tools": self.image} if self.known is None else self.known,
            images=image,
            launcher=lambda: launcher,
            sink=listen,
            now=lambda: datetime.now(UTC),
            host="testhost",
            cpus=self.cpus,
            memory=self.memory,
            scratch=self.scratch,
            pinned=self.pinned,
            secrets=self.secrets,
            replan=lambda done: plan(workflow, files, done),
            **self.more,
        )

    def run(self, run_id: str | None = None) -> RunFinished:
        """Run the workflow; `events` holds what happened in this run alone."""
        self._runs += 1
        self.events, self.asked = [], []
        with closing(Launcher(mode())) as launcher:
            return self.executor(launcher).run(run_id or f"run-{self._runs}")

    def elsewhere(self) -> Elsewhere:
        """Give the project inputs from elsewhere, none so far, with a cache beside it."""
        self.pinned = Elsewhere(self.root.with_name(f"{self.root.name}-cache"))
        return self.pinned

    def given(self, text: str) -> Pipeline:
        """Take what PROJECT.json says."""
        document = json.loads(text)
        self.secrets = {name: value.encode() for name, value in document.get("secrets", {}).items()}
        pinned = self.elsewhere()
        pinned.far = {path: value.encode() for path, value in document.get("far", {}).items()}
        for path, place in document.get("near", {}).items():
            pinned.lock(path, Path(place))
        return self

    def assess(self) -> dict[str, JobState]:
        """Return how each job stands."""
        return {state.job.id: state for state in self.executor(Launcher(mode())).assess()}

    def jobs(self, kind: str) -> list[str]:
        """Return the sorted ids of the jobs with an event of this kind in the last run."""
        found = [event for event in self.events if event.kind == kind]
        return sorted(event.record.job if kind == "job-finished" else event.job for event in found)

    def failure(self, job: str) -> object:
        """Return the JobFailed event of the job."""
        return next(event for event in self.events if event.kind == "job-failed" and event.job == job)

    def text(self, path: str) -> str:
        """Return the text of a project file."""
        return (self.root / path).read_text()


def mode() -> Mode:
    """Return the way of this user."""
    return Mode.REAL if os.getuid() == 0 else Mode.ONE


def main() -> int:
    """Run the project that the arguments name."""
    project, rootfs, run_id = sys.argv[1:]
    pipeline = Pipeline(Path(project), Path(rootfs))
    more = Path(f"{project}.json")
    if more.exists():
        pipeline.given(more.read_text())
    pipeline.listener = lambda event: print(json.dumps(event_json(event)), flush=True)
    with closing(Launcher(mode())) as launcher:
        executor = pipeline.executor(launcher)
        signal.signal(signal.SIGTERM, lambda number, frame: executor.stop())
        return 0 if executor.run(run_id).status == "succeeded" else 1


if __name__ == "__main__":
    sys.exit(main())
