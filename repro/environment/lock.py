"""``workflow.lock``: the one text of a `Lock`, read back with located errors, written only when it changes.

JSON with one entry per line and everything sorted, so that a diff shows what moved and git can merge two
additions. Equal locks have equal text; no host name and no path of a machine is in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from repro.digest import record_digest
from repro.environment.lockread import FORMAT, RELOCK, VERSION_KEY, parse_lock
from repro.environment.model import Lock
from repro.errors import Location, LockError
from repro.events import as_json
from repro.files import write_atomic
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from repro.digest import Digest, Json
    from repro.environment.model import ArchiveLock, EnvironmentLock, Package
    from repro.workflow.model import Environment


def origin(env: Environment, files: Mapping[str, Digest] | None = None) -> Digest:
    """Return the checksum of what decides an environment's resolution.

    For a template that is its base and its ``apt`` names, in any order: ``env``, ``run`` and the template
    change the image, not the packages. For a Dockerfile it is its target, its args and ``files``: the digests
    of the Dockerfile and of what its build reads.
    """
    digests = {name: str(digest) for name, digest in (files or {}).items()}
    declared: Json
    match env:
        case TemplateEnvironment():
            base = env.base.name if isinstance(env.base, ArchiveBase) else env.base.reference
            declared = {"base": base, "apt": sorted(set(env.apt)), "files": digests}
        case DockerfileEnvironment():
            declared = {"target": env.target, "args": dict(env.args), "files": digests}
        case ImageEnvironment():
            declared = {"image": env.reference}
    return record_digest("environment-origin/1", declared)


def archive_digest(entry: ArchiveLock) -> Digest:
    """Return the checksum of a locked base: the same packages and epoch, the same base, whatever day it is."""
    return record_digest("archive-lock/1", as_json((entry.name, entry.epoch, entry.packages)))


def lock_text(lock: Lock) -> str:
    """Return the text of ``lock``: equal locks, equal text."""
    archives = [(entry.name, _archive_lines(entry)) for entry in lock.archives.values()]
    environments = [(entry.name, _environment_lines(entry)) for entry in lock.environments.values()]
    lines = ["{", f'  "{VERSION_KEY}": {FORMAT},']
    lines += _group("archives", archives)
    lines[-1] += ","
    lines += _group("environments", environments)
    return "\n".join([*lines, "}", ""])


def write_lock(path: Path, lock: Lock) -> bool:
    """Return whether ``path`` had to change to hold ``lock``; it is written atomically, or not at all."""
    data = lock_text(lock).encode()
    if path.exists() and path.read_bytes() == data:
        return False
    write_atomic(path, data)
    return True


def read_lock(path: Path) -> Lock:
    """Return the lock in ``path``, an empty one where there is none; LockError, located, for damage."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Lock()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        where = Location(path.name, data.count(b"\n", 0, error.start) + 1)
        raise LockError("not UTF-8 text", where=where, hint=RELOCK) from error
    return parse_lock(text, path.name)


def _group(name: str, entries: list[tuple[str, list[str]]]) -> Iterator[str]:
    """Yield the lines of a top-level object whose members were rendered already, sorted by name."""
    if not entries:
        yield f'  "{name}": {{}}'
        return
    yield f'  "{name}": {{'
    for number, (key, lines) in enumerate(sorted(entries), 1):
        yield f"    {_json(key)}: {{"
        yield from lines
        yield "    }" + ("," if number < len(entries) else "")
    yield "  }"


def _archive_lines(entry: ArchiveLock) -> list[str]:
    releases = [
        {
            "label": release.label,
            "suite": release.suite,
            "codename": release.codename,
            "date": release.date,
            "sha256": release.digest.hex,
        }
        for release in entry.releases
    ]
    lines = [f'      "epoch": {entry.epoch},', *_list("releases", releases)]
    lines[-1] += ","
    return [*lines, *_list("packages", _package_objects(entry.packages))]


def _environment_lines(entry: EnvironmentLock) -> list[str]:
    images = {mode: str(image) for mode, image in sorted(entry.images.items())}
    return [
        f'      "base": {_json(entry.base)},',
        f'      "origin": {_json(str(entry.origin))},',
        f'      "declaration": {_json(str(entry.declaration) if entry.declaration else None)},',
        f'      "images": {_json(images)},',
        *_list("packages", _package_objects(entry.packages)),
    ]


def _package_objects(packages: Sequence[Package]) -> list[Mapping[str, Json]]:
    return [
        {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "archive": package.archive,
            "path": package.path,
            "size": package.size,
            "sha256": package.digest.hex,
        }
        for package in packages
    ]


def _list(name: str, items: Sequence[Mapping[str, Json]]) -> list[str]:
    if not items:
        return [f'      "{name}": []']
    body = [f"        {_json(item)}," for item in items]
    body[-1] = body[-1].removesuffix(",")
    return [f'      "{name}": [', *body, "      ]"]


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
