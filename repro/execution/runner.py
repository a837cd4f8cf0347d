"""One job in its container: lay out its world, run it, check what it left, move its outputs out."""

from __future__ import annotations

import contextlib
from dataclasses import field, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from repro.data.checksum import StatCache, signature
from repro.data.clocks import Clocks
from repro.dataclass import dataclass
from repro.errors import BuildError, ContainerError, DataError, LockError
from repro.events import FileRecord, Usage
from repro.execution.contained import contain
from repro.execution.failure import explain, os_hint, os_text
from repro.execution.fetched import differing
from repro.execution.masking import Mask
from repro.execution.outputs import collect, keep_logs, publish
from repro.execution.programs import DEFAULT_PATH, NoProgram, Programs
from repro.execution.world import CONTROL, HOME, TMP, WORK, lay_out
from repro.files import remove_tree
from repro.runtime.spec import ContainerSpec, Mode, Network, Privileges, Tmpfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from repro.data.checksum import Signature
    from repro.execution.assess import Checked
    from repro.execution.contained import Ended
    from repro.execution.fetched import Fetched
    from repro.execution.image import Image
    from repro.execution.pinned import Pinned
    from repro.execution.secrets import Vault
    from repro.execution.world import World
    from repro.oci.view import View
    from repro.runtime.container import Launcher, Running
    from repro.workflow.model import Job
    from repro.workflow.resources import Granted

_MOST_LISTED = 100  # undeclared files named at the end of a log
_MOST_DROPPED = 1000  # of them in a record: a tool may leave a million


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
        granted: the resources of this attempt.
        fetched: what the lock says of the outputs of fetching steps.
        checkpoint: folder that survives failed attempts, made where it is not there; None: the job has none.
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
    granted: Granted
    fetched: Fetched
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """The outputs are in the project; ``dropped`` are undeclared files that the job wrote."""

    outputs: Mapping[str, FileRecord]
    dropped: tuple[str, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing got into the project but logs; ``exit_status`` is None where no process was started.

    ``final``: another attempt would end in the same way.
    """

    exit_status: int | None
    message: str
    hint: str = ""
    final: bool = False


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
        world = lay_out(
            work.scratch,
            project=project,
            job=work.job,
            control=work.control,
            places=work.places,
            checkpoint=work.checkpoint,
        )
        return _masked(_run(work, world, mask, project=project, launcher=launcher, makers=makers, watch=watch), mask)
    except NoProgram as error:
        work.log.write_text(f"repro: {error}\n")
        return Failure(127, error.message, error.hint or "", final=True)
    except (BuildError, DataError, ContainerError, LockError) as error:
        where = f"{error.where}: " if error.where else ""
        why = f" ({error.why})" if error.why else ""
        final = not isinstance(error, ContainerError)  # the host may have room for one the next time
        return Failure(None, f"{where}{error.message}{why}", error.hint or "", final)
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
    # 1. The command, in the container; its logs are kept, however it ended.
    with _secrets(work, world) as shown:
        spec = job_spec(work, shown, launcher)
        limit = work.granted.time
        ended = contain(spec, work.log, launcher=launcher, watch=watch, mask=mask, limit=limit)
    keep_logs(job, world, project)
    result = ended.result
    if ended.late or result.exit_status != 0:
        return _ill(work, ended, project, makers)
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
    # 4. What came from outside is what it was before.
    if job.step.fetch:
        if (other := _unlike_before(work, outputs)) is not None:
            return other
        work.fetched.lock(tuple(outputs.values()))
    # 5. Into the project.
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


def _ill(work: Assignment, ended: Ended, project: Path, makers: Mapping[str, str]) -> Failure:
    """Return why a job whose container is gone has failed: its command did, or its time was over."""
    told = explain(
        work.job,
        exit_status=ended.result.exit_status,
        log=work.log,
        command=work.command if isinstance(work.command, str) else " ".join(work.command),
        project=project,
        makers=makers,
        pinned=work.pinned,
    )
    if not ended.late:
        return Failure(ended.result.exit_status, told.message, told.hint)
    step, limit = work.job.step, timedelta(seconds=work.granted.time or 0)
    hint = f"give it more in step {step.name} ({step.where.file}:{step.where.line}): resources: {{time: ...}}"
    return Failure(ended.result.exit_status, f"it was ended at its time limit of {limit}; {told.message}", hint)


def _unlike_before(work: Assignment, outputs: Mapping[str, FileRecord]) -> Failure | None:
    """Return the failure of a fetching job whose outputs are not those of the lock."""
    found = differing(tuple(outputs.values()), work.fetched)
    if not found:
        return None
    lines = (
        f"{output.path} came with other bytes: locked is {old}, now it is {output.digest}" for output, old in found
    )
    hint = f"if the new bytes are right: {work.fetched.acceptance(found[0][0].path)}"
    return Failure(0, "\n".join(lines), hint)


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


def job_spec(work: Assignment, world: World, launcher: Launcher) -> ContainerSpec:
    """Return the job's container; what is laid out belongs to the job's user from now on.

    Raises:
        NoProgram: the image lacks what the command needs.
        BuildError: the image lacks the user.
    """
    step, image = work.job.step, work.image
    env = environment(image, work.job)
    programs = _programs(image.layers, launcher.mode.value, env["PATH"], image.environment)
    user, groups = _user(work, programs.view)
    if user != (0, 0) and launcher.mode is not Mode.ONE:  # there all IDs are the caller's one
        world.give(*user)
    shm = work.granted.shm
    return ContainerSpec(
        lowers=work.image.layers,
        upper=world.upper,
        work=world.overlay,
        argv=(*(image.entrypoint if step.entrypoint else ()), *programs.argv(work.job, work.command)),
        env=env,
        cwd=WORK,
        user=user,
        groups=groups,
        binds=world.binds(),
        tmpfs=() if shm is None else (Tmpfs("/dev/shm", shm),),  # noqa: S108 - the container's own
        network=Network.HOST if step.network or step.fetch else Network.NONE,
        privileges=Privileges.STEP,
        fake_owners=True,
    )


@lru_cache(maxsize=64)
def _programs(layers: tuple[Path, ...], form: str, path: str, environment: str) -> Programs:
    """Return the programs of an image, which its jobs look for again and again."""
    from repro.oci.view import View  # noqa: PLC0415 - a no-op run looks at no image

    return Programs(View(layers, form), path, environment)


def _user(work: Assignment, view: View) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return uid and gid of the job's user in its container, and his other groups."""
    step = work.job.step
    if step.user is None:
        return (0, 0), ()
    from repro.build.users import identify  # noqa: PLC0415 - few steps name a user

    text = work.image.user if step.user == "image" else step.user
    who = identify(text, view, step.marks.get("user", step.where))
    return (who.uid, who.gid), who.groups


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


@lru_cache(maxsize=8)
def _clocks(folder: Path) -> Clocks:
    """Return the clocks of the file system on which worlds lie: what it is need not be found out for each job."""
    return Clocks(folder)


def _digests(job: Job, found: Mapping[str, Path], scratch: Path) -> dict[str, FileRecord]:
    """Return the outputs' records, hashed where nothing else can reach them."""
    cache = StatCache(scratch / "unused", clocks=_clocks(scratch.parent))  # never saved: these paths are soon gone
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
