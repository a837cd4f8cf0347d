"""One job in its container: lay out its world, run it, check what it left, move its outputs out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.data.checksum import StatCache, signature
from repro.dataclass import dataclass
from repro.errors import ContainerError, DataError
from repro.events import FileRecord, Usage
from repro.execution.failure import explain, os_hint, os_text
from repro.execution.outputs import collect, publish
from repro.execution.programs import DEFAULT_PATH, NoProgram, Programs
from repro.execution.world import CONTROL, HOME, TMP, WORK, lay_out
from repro.files import remove_tree
from repro.runtime.spec import ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repro.data.checksum import Signature
    from repro.execution.assess import Checked
    from repro.execution.image import Image
    from repro.execution.world import World
    from repro.runtime.container import Launcher, Running
    from repro.runtime.spec import ContainerResult
    from repro.workflow.model import Job

_MOST_LISTED = 100  # undeclared files named at the end of a log
_MOST_DROPPED = 1000  # of them in a record: a tool may leave a million


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that one attempt at a job needs.

    Attributes:
        command: the rendered text of ``run``, or its words where it is a list; for a script, its path.
        control: files seen below /run/repro.
        read: all inputs and code by project path: digests, and the stamps taken before they were hashed.
        scratch: folder of this attempt, which does not exist yet.
        log: file that takes what the job prints.
        foreign: names of outputs at whose paths something lies that no record of the job vouches for.
        shelf: folder that keeps such things.
    """

    job: Job
    image: Image
    command: str | tuple[str, ...]
    control: Mapping[str, bytes]
    read: Mapping[str, Checked]
    scratch: Path
    log: Path
    foreign: frozenset[str]
    shelf: Path


@dataclass(frozen=True, slots=True)
class Success:
    """The outputs are in the project; ``dropped`` are undeclared files that the job wrote."""

    outputs: Mapping[str, FileRecord]
    dropped: tuple[str, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing got into the project; ``exit_status`` is None where no process was started."""

    exit_status: int | None
    message: str
    hint: str = ""


def run_job(
    work: Assignment,
    *,
    project: Path,
    launcher: Launcher,
    makers: Mapping[str, str],
    watch: Callable[[Running], None],
) -> Success | Failure:
    """Run the job and return how it went; nothing of its scratch folder is left.

    Args:
        work: the attempt.
        project: the project's folder.
        launcher: starts the container.
        makers: every output path of the plan, with ``step.output`` that makes it; used to explain failures.
        watch: told of the container once it runs, so that it can be killed.
    """
    work.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        world = lay_out(work.scratch, project=project, job=work.job, control=work.control)
        return _run(work, world, project=project, launcher=launcher, makers=makers, watch=watch)
    except NoProgram as error:
        work.log.write_text(f"repro: {error}\n")
        return Failure(127, error.message, error.hint or "")
    except (DataError, ContainerError) as error:
        why = f" ({error.why})" if error.why else ""
        return Failure(None, f"{error.message}{why}", error.hint or "")
    except OSError as error:
        return Failure(None, f"the job's files could not be handled: {os_text(error)}", os_hint(error))
    finally:
        remove_tree(work.scratch)


def _run(
    work: Assignment,
    world: World,
    *,
    project: Path,
    launcher: Launcher,
    makers: Mapping[str, str],
    watch: Callable[[Running], None],
) -> Success | Failure:
    job = work.job
    # 1. The command, in the container.
    result = _contain(_spec(work, world, launcher), work.log, launcher, watch)
    if result.exit_status != 0:
        command = work.command if isinstance(work.command, str) else " ".join(work.command)
        told = explain(
            job, exit_status=result.exit_status, log=work.log, command=command, project=project, makers=makers
        )
        return Failure(result.exit_status, told.message, told.hint)
    # 2. What it read is still what its key says.
    for path, before in work.read.items():
        if _changed(project, path, before):
            return Failure(0, f"input {path} changed while the job ran", "run again once nothing writes to it")
    # 3. What it wrote: everything declared, or nothing gets out.
    world.remove_stubs()
    collected = collect(job, world)
    if collected.missing:
        return Failure(0, "; ".join(collected.missing), "a step must make every output that it declares")
    outputs = _digests(job, collected.found, work.scratch)
    # 4. Into the project.
    publish(
        job,
        collected.found,
        project=project,
        trash=work.scratch / "trash",
        foreign=work.foreign,
        shelf=work.shelf,
    )
    _note_dropped(work.log, collected.undeclared)
    return Success(
        outputs, collected.undeclared[:_MOST_DROPPED], Usage(result.wall, result.user, result.system, result.max_rss)
    )


def _spec(work: Assignment, world: World, launcher: Launcher) -> ContainerSpec:
    from repro.oci.view import View  # noqa: PLC0415 - a no-op run looks at no image

    env = environment(work.image, work.job)
    programs = Programs(View(work.image.layers, launcher.mode.value), env["PATH"], work.image.environment)
    return ContainerSpec(
        lowers=work.image.layers,
        upper=world.upper,
        work=world.overlay,
        argv=programs.argv(work.job, work.command),
        env=env,
        cwd=WORK,
        binds=world.binds(),
        network=Network.HOST if work.job.step.network else Network.NONE,
        privileges=Privileges.STEP,
        fake_owners=True,
    )


def environment(image: Image, job: Job) -> dict[str, str]:
    """Return the whole environment of a job: the image's, ours, the step's; nothing of the host's."""
    env = {"PATH": DEFAULT_PATH}
    for pair in image.env:
        name, equals, value = pair.partition("=")
        if equals:
            env[name] = value
    env |= {"HOME": HOME, "TMPDIR": TMP, "SOURCE_DATE_EPOCH": str(image.epoch)}
    env |= job.step.env
    env["REPRO_JOB"] = f"{CONTROL}/job.json"
    return env


def _contain(spec: ContainerSpec, log: Path, launcher: Launcher, watch: Callable[[Running], None]) -> ContainerResult:
    stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            running = launcher.start(spec, stdin=stdin, stdout=output, stderr=output)
        finally:
            os.close(output)
    finally:
        os.close(stdin)
    watch(running)
    return running.wait()


def _changed(project: Path, path: str, before: Checked) -> bool:
    """Return whether the bytes may have been others than the job key says at some time since ``before``.

    A new ctime alone comes from chmod, a hard link or a rename: then the bytes are looked at.
    """
    record, stamps = before
    try:
        now = signature(project / path, folder=record.folder)
        if now == stamps:
            return False
        if _without_ctime(now) != _without_ctime(stamps):
            return True
        return StatCache(project / "unused").record(project, path).digest != record.digest
    except DataError:
        return True


def _without_ctime(stamps: Signature) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, stamp[:-1]) for name, stamp in stamps]


def _digests(job: Job, found: Mapping[str, Path], scratch: Path) -> dict[str, FileRecord]:
    """Return the outputs' records, hashed where nothing else can reach them."""
    cache = StatCache(scratch / "unused")  # never saved: these paths are gone in a moment
    plain = [name for name, output in job.outputs.items() if not output.folder]
    hashed = dict(zip(plain, cache.digest_files([str(found[name]) for name in plain]), strict=True))
    records = {}
    for name, output in job.outputs.items():
        digest, size = hashed[name] if name in hashed else cache.digest_folder(found[name])
        records[name] = FileRecord(output.path, digest, size, output.folder)
    return records


def _note_dropped(log: Path, undeclared: tuple[str, ...]) -> None:
    if not undeclared:
        return
    shown = [f"  {name}" for name in undeclared[:_MOST_LISTED]]
    if len(undeclared) > _MOST_LISTED:
        shown.append(f"  and {len(undeclared) - _MOST_LISTED} more")
    with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(["repro: written but not declared as outputs, and dropped:", *shown, ""]))
