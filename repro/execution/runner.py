"""One job in its container: lay out its world, run it, check what it left, move its outputs out."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import field, replace
from typing import TYPE_CHECKING

from repro.data.checksum import StatCache, signature
from repro.dataclass import dataclass
from repro.errors import ContainerError, DataError
from repro.events import FileRecord, Usage
from repro.execution.failure import explain, os_hint, os_text
from repro.execution.masking import Mask
from repro.execution.outputs import collect, publish
from repro.execution.programs import DEFAULT_PATH, NoProgram, Programs
from repro.execution.world import CONTROL, HOME, TMP, WORK, lay_out
from repro.files import remove_tree
from repro.runtime.spec import ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from repro.data.checksum import Signature
    from repro.execution.assess import Checked
    from repro.execution.image import Image
    from repro.execution.pinned import Pinned
    from repro.execution.secrets import Vault
    from repro.execution.world import World
    from repro.runtime.container import Launcher, Running
    from repro.runtime.spec import ContainerResult
    from repro.workflow.model import Job

_MOST_LISTED = 100  # undeclared files named at the end of a log
_MOST_DROPPED = 1000  # of them in a record: a tool may leave a million
_PIECE = 64 << 10  # bytes read at once of what a job with secrets prints


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that one attempt at a job needs.

    Attributes:
        command: the rendered text of ``run``, or its words where it is a list; for a script, its path.
        control: files seen below /run/repro.
        read: all inputs and code by project path: digests, and the stamps taken before they were hashed.
        pinned: the inputs from elsewhere.
        places: where on the host those lie that the job reads, by project path.
        secrets: what the step names, by name.
        vault: keeps them while the job runs.
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
    pinned: Pinned
    places: Mapping[str, Path]
    secrets: Mapping[str, bytes] = field(repr=False)
    vault: Vault
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
    mask = Mask(work.secrets.values())
    try:
        world = lay_out(work.scratch, project=project, job=work.job, control=work.control, places=work.places)
        return _masked(_run(work, world, mask, project=project, launcher=launcher, makers=makers, watch=watch), mask)
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
    mask: Mask,
    *,
    project: Path,
    launcher: Launcher,
    makers: Mapping[str, str],
    watch: Callable[[Running], None],
) -> Success | Failure:
    job = work.job
    # 1. The command, in the container.
    with _secrets(work, world) as shown:
        result = _contain(_spec(work, shown, launcher), work.log, launcher, watch, mask)
    if result.exit_status != 0:
        command = work.command if isinstance(work.command, str) else " ".join(work.command)
        told = explain(
            job,
            exit_status=result.exit_status,
            log=work.log,
            command=command,
            project=project,
            makers=makers,
            pinned=work.pinned,
        )
        return Failure(result.exit_status, told.message, told.hint)
    # 2. What it read is still what its key says.
    for path, before in work.read.items():
        if path in work.places:
            changed = _changed_elsewhere(work.pinned, path, before)
        else:
            changed = _changed(project, path, before)
        if changed:
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
    dropped = tuple(map(mask.text, collected.undeclared)) if mask else collected.undeclared
    _note_dropped(work.log, dropped)
    return Success(outputs, dropped[:_MOST_DROPPED], Usage(result.wall, result.user, result.system, result.max_rss))


@contextlib.contextmanager
def _secrets(work: Assignment, world: World) -> Iterator[World]:
    """Give the world with the job's secrets in it, which are gone when the block ends."""
    if not work.secrets:
        yield world
        return
    with work.vault.hold(work.scratch, work.secrets) as folder:
        yield replace(world, secrets=folder)


def _masked(outcome: Success | Failure, mask: Mask) -> Success | Failure:
    """Return the outcome without secrets in what it says; of a success, `_run` saw to that."""
    if isinstance(outcome, Success):
        return outcome
    return replace(outcome, message=mask.text(outcome.message), hint=mask.text(outcome.hint))


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


def _contain(
    spec: ContainerSpec, log: Path, launcher: Launcher, watch: Callable[[Running], None], mask: Mask
) -> ContainerResult:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    with open(os.devnull, "rb") as nothing, open(os.open(log, flags, 0o666), "wb", buffering=0) as output:
        if mask:
            return _contain_masked(spec, nothing, output, launcher, watch, mask)
        running = launcher.start(spec, stdin=nothing.fileno(), stdout=output.fileno(), stderr=output.fileno())
    watch(running)
    return running.wait()


def _contain_masked(
    spec: ContainerSpec,
    nothing: IO[bytes],
    output: IO[bytes],
    launcher: Launcher,
    watch: Callable[[Running], None],
    mask: Mask,
) -> ContainerResult:
    """Run the container with its output coming through here, to be masked."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe:
        try:
            running = launcher.start(spec, stdin=nothing.fileno(), stdout=writing, stderr=writing)
        finally:
            os.close(writing)
        watch(running)
        stream = mask.stream()
        try:
            while piece := pipe.read(_PIECE):
                _write(output, stream.feed(piece))
            _write(output, stream.finish())
        except BaseException:  # the log takes no more: the job must not wait for a reader, nor go on without a log
            running.kill(signal.SIGKILL)
            running.wait()
            raise
    return running.wait()


def _write(output: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[output.write(view) :]


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


def _changed_elsewhere(pinned: Pinned, path: str, before: Checked) -> bool:
    """Return whether what is bound in place is no longer as it was ``before``; our own cache is not looked at again."""
    record, stamps = before
    if not stamps:
        return False
    try:
        now, then = pinned.check(path)
    except DataError:
        return True
    return now.digest != record.digest or _without_ctime(then) != _without_ctime(stamps)


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
