"""Which files a published path stands for: outputs, as recorded jobs left them, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.data.checksum import Signature, signature, walk
from repro.data.publication import Item
from repro.dataclass import dataclass
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from repro.data.checksum import StatCache
    from repro.digest import Digest
    from repro.execution.run import JobState
    from repro.workflow.model import Job, JobOutput, Plan

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """Outputs of jobs that a published path means, with the stamps of their files before the jobs were assessed."""

    path: str
    outputs: tuple[JobOutput, ...]
    jobs: tuple[Job, ...]
    stamps: tuple[Signature, ...]

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.endswith("/")


def claim(plan: Plan, path: str, root: Path) -> Claim:
    """Return what ``path`` stands for: an output, something in one, or all outputs below a folder."""
    pairs = [(job, output) for job in plan.jobs for output in job.outputs.values() if _means(path, output.path)]
    jobs = tuple({job.id: job for job, _ in pairs}.values())
    outputs = tuple(output for _, output in pairs)
    return Claim(path, outputs, jobs, tuple(_stamps(root, output) for output in outputs))


def _means(path: str, output: str) -> bool:
    return output == path or (path.endswith("/") and output.startswith(path)) or _inside(path, output)


def _inside(path: str, output: str) -> bool:
    return output.endswith("/") and path.startswith(output)


def _stamps(root: Path, output: JobOutput) -> Signature:
    try:
        return signature(root / output.path, folder=output.folder)
    except DataError:  # then its job is not up to date, which is told in the words of a plan
        return ()


def require_made(claims: Iterable[Claim], states: Iterable[JobState], workflow: str) -> None:
    """Raise DataError where a job that makes something to be published is not up to date."""
    wanted = {job.id for one in claims for job in one.jobs}
    stale = [state for state in states if state.job.id in wanted and state.status != "cached"]
    if stale:
        named = [f"{state.job.id}: {state.why}" for state in stale[:_MOST_NAMED]]
        named += [f"and {len(stale) - _MOST_NAMED} more"] if len(stale) > _MOST_NAMED else []
        raise DataError(
            f"what is to be published is not up to date: {len(stale)} of {len(wanted)} jobs must run",
            why="\n       ".join(named),
            hint=f"run `repro run {workflow}` first, or publish with `repro run --publish`",
        )


def items(one: Claim, name: str, root: Path, cache: StatCache) -> tuple[Item, ...]:
    """Return the files of a claim whose jobs are up to date, sorted; ``name`` is that of a single file at the target.

    Raises:
        DataError: a file was written since the jobs were assessed, or has a name that is no text.
    """
    paths = dict(sorted(_made(one, root))) if one.folder else {name: os.path.join(root, one.path)}
    for each in paths:
        if not each.isprintable():
            raise DataError(f"{one.path}{each!r} has a name that cannot be published", hint="rename it in its step")
    digests = cache.digest_files(list(paths.values()))
    if tuple(_stamps(root, output) for output in one.outputs) != one.stamps:
        raise DataError(f"{one.path} changed while it was looked at", hint="wait until nothing writes to it")
    return tuple(
        Item(each, root / path, digest, size)
        for (each, path), (digest, size) in zip(paths.items(), digests, strict=True)
    )


def _made(one: Claim, root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and host path of each file that jobs made below a folder; links count where they lead to such."""
    for output in one.outputs:
        if not output.folder:
            yield output.path[len(one.path) :], os.path.join(root, output.path)
            continue
        top = output.path if output.path.startswith(one.path) else one.path
        within = f"{os.path.realpath(os.path.join(root, output.path))}/"
        for entry in walk(os.path.join(root, top)):
            real = os.path.realpath(entry.path) if entry.kind == "link" else entry.path
            if entry.kind == "file" or (entry.kind == "link" and real.startswith(within) and os.path.isfile(real)):
                yield f"{top}{entry.name}"[len(one.path) :], real


def left_out(one: Claim, root: Path, published: Sequence[Item]) -> str:
    """Return in words which other files and links lie below a published folder; empty for none."""
    if not one.folder:
        return ""
    names = {item.name for item in published}
    other = sorted(name for name in _names_below(os.path.join(root, one.path)) if name not in names)
    if not other:
        return ""
    more = f" and {len(other) - _MOST_NAMED} more" if len(other) > _MOST_NAMED else ""
    return f"not published, for no job made them: {', '.join(one.path + name for name in other[:_MOST_NAMED])}{more}"


def _names_below(top: str) -> Iterator[str]:
    for place, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(place, name), top)


def refuse_private(published: Iterable[Item], private: Mapping[Digest, str]) -> None:
    """Raise DataError where a file has the bytes of an input that must not leave this site; ``private`` names those."""
    for item in published:
        if item.size and item.digest in private:
            raise DataError(
                f"{item.path} is a copy of {private[item.digest]}, which is private",
                hint="have its step make something else of it, or take it out of `publish:`",
            )
