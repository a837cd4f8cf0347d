"""`repro env diff`: the packages that two environments, locks, images or runs do not have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro.api.engine import opened
from repro.api.image_lookup import resolve
from repro.api.project import open_project
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.lock import read_lock
from repro.environment.model import Installed
from repro.errors import StoreError, UsageError
from repro.events import ignore
from repro.execution.state import State
from repro.provenance import journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.project import Project
    from repro.environment.model import EnvironmentLock, Lock

_LOCK_ONLY: Final = frozenset({"base", "source", "tool"})  # what no package database of an image tells


@dataclass(frozen=True, slots=True)
class SoftwareChange:
    """Something that two sides have in different versions; ``before`` or ``after`` is empty where one lacks it.

    ``kind`` is ``deb``, ``pip``, ``conda`` (version and build), ``r`` or ``apk``; between locks also ``base`` and
    ``source`` (digests), and ``tool`` (what builds the project's own packages). ``environment`` is empty where each
    side is one environment. Several versions of one name are joined by commas.
    """

    environment: str
    kind: str
    name: str
    before: str
    after: str

    @property
    def change(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        if self.before and self.after:
            return "changed"
        return "removed" if self.before else "added"


@dataclass(frozen=True, slots=True)
class EnvironmentDifference:
    """How ``second`` differs from ``first``, both as they were named; sorted by environment, kind and name."""

    first: str
    second: str
    changes: tuple[SoftwareChange, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    """What one argument means: the packages of each environment; ``locked``: as a lock has them."""

    environments: Mapping[str, tuple[Installed, ...]]
    locked: bool


def diff_environments(host: Host, named: str | None, first: str, second: str) -> EnvironmentDifference:
    """Return what differs between two environments; nothing is locked, built or fetched.

    Args:
        host: the machine and the caller.
        named: the workflow file; only names of environments and runs need one.
        first: ``NAME``, an environment of the workflow as locked; a lock file, or ``LOCK#NAME``; ``RUN#NAME``, what a
            run used; else an image, by name or ID.
        second: the same; a lock file without a name stands for the environment that the other side names.

    Raises:
        UsageError: one of them means nothing, or several things.
        LockError: a lock file is damaged.
        StoreError: an image is not in the store.
    """
    with opened(host, ignore) as engine:
        reader = _Reader(host, named, engine)
        one, two = reader.side(first), reader.side(second)
    pairs = list(_pairs(one, two, first, second))
    skipped = frozenset() if one.locked and two.locked else _LOCK_ONLY
    changes = tuple(change for pair in pairs for change in _changes(*pair, skipped))
    return EnvironmentDifference(first, second, changes)


class _Reader:
    """Finds out what an argument means; looks into the store only for images."""

    def __init__(self, host: Host, named: str | None, engine: Engine) -> None:
        self._host = host
        self._named = named
        self._engine = engine
        self._project: Project | None = None

    def side(self, text: str) -> _Side:
        """Return what ``text`` means."""
        before, hash_sign, name = text.rpartition("#")
        if hash_sign:
            return self._lock(before, name) if self._is_lock(before) else self._run(before, name)
        if self._is_lock(text):
            return self._lock(text)
        project = self._found_project()
        if project is not None and text in project.workflow.environments:
            return self._lock_side(read_lock(project.lock_file), text, project.lock_file.name)
        return self._image(text, project)

    def _is_lock(self, text: str) -> bool:
        return text.endswith(".lock") or (self._host.cwd / text).is_file()

    def _found_project(self) -> Project | None:
        """Return the workflow's project; None where none was named and none is here."""
        if self._project is None and (self._named is not None or (self._host.cwd / "workflow.yaml").exists()):
            self._project = open_project(self._host, self._named)
        return self._project

    def _lock(self, file: str, name: str | None = None) -> _Side:
        path = self._host.cwd / file
        if not path.is_file():
            raise UsageError(f"there is no lock file {file}", hint="check the path")
        return self._lock_side(read_lock(path), name, file)

    def _lock_side(self, lock: Lock, name: str | None, shown: str) -> _Side:
        if name is not None and name not in lock.environments:
            known = ", ".join(sorted(lock.environments)) or "none"
            raise UsageError(f"{shown} has no environment {name!r}", hint=f"it has: {known}; `repro lock` adds others")
        names = sorted(lock.environments) if name is None else [name]
        return _Side({one: tuple(_locked(lock, lock.environments[one])) for one in names}, locked=True)

    def _run(self, run: str, name: str) -> _Side:
        """Return what the environment ``name`` was in a run; its records give the image."""
        project = self._found_project() or open_project(self._host, self._named)
        folder = State(project.root).runs
        known = [summary.run for summary in journal.runs(folder)]
        found = known[-1:] if run == "last" else [one for one in known if one.startswith(run)]
        if len(found) != 1:
            what = f"{run!r} means {len(found)} runs" if found else f"there is no lock file and no run {run!r}"
            raise UsageError(what, hint="`repro log` lists runs; a lock file is given by its path")
        entries = journal.read(folder / found[0] / journal.JOURNAL)
        images = {str(entry["environment"]): str(entry["image"]) for entry in entries if entry["kind"] == "image-used"}
        if name not in images:
            used = ", ".join(sorted(images)) or "none: all its jobs were cached"
            raise UsageError(f"the run {found[0]} used no environment {name!r}", hint=f"it used: {used}")
        return self._installed(Digest.parse(images[name]), f"{run}#{name}")

    def _image(self, text: str, project: Project | None) -> _Side:
        try:
            image_id = resolve(self._engine.store, text)
        except StoreError as error:
            known = "" if project is None else f"; environments are: {', '.join(project.workflow.environments)}"
            hint = f"see `repro image ls`{known}"
            raise UsageError(f"{text} is no environment, lock file or image", why=error.message, hint=hint) from error
        return self._installed(image_id, text)

    def _installed(self, image_id: Digest, shown: str) -> _Side:
        from repro.environment.installed import installed  # noqa: PLC0415 - only where an image is looked into

        store = self._engine.store
        if not store.has_image(image_id):
            hint = "`repro build` makes the images of environments as they are locked"
            raise StoreError(f"the image of {shown}, {image_id}, is not in the store", hint=hint)
        self._engine.enter()
        return _Side({"": installed(store.image_layers(image_id), store.form)}, locked=False)


def _locked(lock: Lock, entry: EnvironmentLock) -> Iterable[Installed]:
    """Give what an entry pins: an archive base's packages and its own; of a base image its digest."""
    archive = lock.archives.get(entry.base)
    if archive is not None:
        yield from (Installed("deb", package.name, package.version) for package in archive.packages)
    elif entry.base:
        name, _, digest = entry.base.partition("@")
        yield Installed("base", name, digest or "no digest")
    for name, pinned in entry.froms.items():
        yield Installed("base", name.partition("@")[0], pinned.partition("@")[2] or "no digest")
    yield from (Installed("deb", package.name, package.version) for package in entry.packages)
    yield from (Installed("source", source.file, source.digest.short) for source in entry.sources)
    yield from (Installed("conda", package.name, f"{package.version}={package.build}") for package in entry.conda)
    yield from (Installed("pip", wheel.name, wheel.version) for wheel in entry.wheels)
    yield from (Installed("tool", wheel.name, wheel.version) for wheel in entry.tools)
    yield from entry.installed


def _pairs(
    one: _Side, two: _Side, first: str, second: str
) -> Iterable[tuple[str, tuple[Installed, ...], tuple[Installed, ...]]]:
    """Give what is to be compared with what: environment (empty: the only one), packages of each."""
    sides = one.environments, two.environments
    if len(sides[0]) == len(sides[1]) == 1:
        yield "", next(iter(sides[0].values())), next(iter(sides[1].values()))
        return
    for side, other, text in ((sides[0], sides[1], first), (sides[1], sides[0], second)):
        if len(other) == 1 and len(side) != 1:  # a lock of several, or none: which one the other side says
            name = next(iter(other))
            if name not in side:
                hint = f"name it as in {text}#{next(iter(sorted(side)), 'NAME')}"
                raise UsageError(f"{text} has {len(side)} environments: which one is meant?", hint=hint)
            yield "", sides[0][name], sides[1][name]
            return
    for name in sorted(sides[0].keys() | sides[1].keys()):
        yield name, sides[0].get(name, ()), sides[1].get(name, ())


def _changes(
    environment: str, first: Iterable[Installed], second: Iterable[Installed], skipped: frozenset[str]
) -> Iterable[SoftwareChange]:
    before, after = _versions(first), _versions(second)
    for key in sorted(before.keys() | after.keys()):
        versions = [", ".join(sorted(side.get(key, ()))) for side in (before, after)]
        if versions[0] != versions[1] and key[0] not in skipped:
            yield SoftwareChange(environment, *key, *versions)


def _versions(packages: Iterable[Installed]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for package in packages:
        found.setdefault((package.kind, package.name), set()).add(package.version)
    return found
