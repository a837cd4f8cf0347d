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

    from repro.data.model import InputFile, InputLock
    from repro.digest import Digest, Json
    from repro.environment.model import ArchiveLock, CondaPackage, EnvironmentLock, FetchedLock, Package, Release, Wheel
    from repro.workflow.model import Environment


def origin(env: Environment, files: Mapping[str, Digest] | None = None) -> Digest:
    """Return the checksum of what decides an environment's resolution.

    For a template that is its base, its ``apt`` and ``pip`` names in any order, its ``conda`` channels and packages,
    and ``files``: the digests of the files that list requirements. ``env``, ``run`` and the template change the image,
    not the packages. For a Dockerfile it is its target, its args and ``files``: the digests of the Dockerfile and of
    what its build reads.
    """
    digests = {name: str(digest) for name, digest in (files or {}).items()}
    declared: Json
    match env:
        case TemplateEnvironment():
            base = env.base.name if isinstance(env.base, ArchiveBase) else env.base.reference
            declared = {"base": base, "apt": sorted(set(env.apt)), "files": digests, **_more(env)}
        case DockerfileEnvironment():
            declared = {"target": env.target, "args": dict(env.args), "files": digests}
        case ImageEnvironment():
            declared = {"image": env.reference}
    return record_digest("environment-origin/1", declared)


def requested(env: Environment, files: Mapping[str, Digest] | None = None) -> dict[str, tuple[str, ...]]:
    """Return what decides an environment's resolution, by field and as people wrote it, for `what_changed`."""
    found: dict[str, tuple[str, ...]] = {}
    match env:
        case TemplateEnvironment():
            found["base"] = (env.base.name if isinstance(env.base, ArchiveBase) else env.base.reference,)
            found |= {"apt": tuple(sorted(set(env.apt))), "pip": tuple(sorted(set(env.pip)))}
            if env.conda is not None:
                channels = tuple(f"channel {channel}" for channel in env.conda.channels)
                found["conda"] = (*channels, *sorted(set(env.conda.packages)))
            if env.source is not None:
                found["source"] = (str(env.source.digest), *sorted(set(env.source.apt)))
        case DockerfileEnvironment():
            found |= {
                "target": (env.target or "",),
                "args": tuple(f"{key}={env.args[key]}" for key in sorted(env.args)),
            }
        case ImageEnvironment():
            found["image"] = (env.reference,)
    found["files"] = tuple(f"{name} {digest}" for name, digest in sorted((files or {}).items()))
    return {name: values for name, values in found.items() if values not in ((), ("",))}


def what_changed(entry: EnvironmentLock, now: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return what the declaration has gained and lost since ``entry`` was resolved, a line a field."""
    before = entry.requested
    if not before:  # a lock of an older version does not say
        return ()
    lines = []
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name, ()), now.get(name, ())
        shown = (lambda item: item.partition(" ")[0]) if name == "files" else str
        gone = [f"-{shown(item)}" for item in old if item not in new]
        come = [f"+{shown(item)}" for item in new if item not in old]
        both = sorted({item[1:] for item in gone} & {item[1:] for item in come})  # files of other bytes
        changes = [f"{item} has changed" for item in both]
        changes += [item for item in (*gone, *come) if item[1:] not in both]
        if not changes and old != new:
            changes = ["in another order"]
        if changes:
            lines.append(f"{name}: {' '.join(changes) if not both else ', '.join(changes)}")
    return tuple(lines)


def _more(env: TemplateEnvironment) -> dict[str, Json]:
    """Return what a template environment declares beside apt names; what it does not declare is not in it."""
    declared: dict[str, Json] = {}
    if env.pip:
        declared["pip"] = sorted(set(env.pip))
    if env.conda is not None:
        channels, packages = list(env.conda.channels), sorted(set(env.conda.packages))
        declared["conda"] = {"channels": channels, "packages": packages, "file": env.conda.file}
    if env.source is not None:
        declared["source"] = {"sha256": env.source.digest.hex, "apt": sorted(set(env.source.apt))}
    return declared


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
    if lock.inputs:
        lines[-1] += ","
        lines += _group("inputs", [(entry.path, _input_lines(entry)) for entry in lock.inputs.values()])
    if lock.fetched:
        lines[-1] += ","
        lines += _group("fetched", [(entry.path, _fetched_lines(entry)) for entry in lock.fetched.values()])
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
    lines = [f'      "epoch": {entry.epoch},', *_list("releases", _release_objects(entry.releases))]
    lines[-1] += ","
    return [*lines, *_list("packages", _package_objects(entry.packages))]


def _environment_lines(entry: EnvironmentLock) -> list[str]:
    """Return the entry's lines; parts that only some environments have are there only when they hold something."""
    images = {mode: str(image) for mode, image in sorted(entry.images.items())}
    lines = [
        f'      "base": {_json(entry.base)},',
        f'      "origin": {_json(str(entry.origin))},',
        f'      "declaration": {_json(str(entry.declaration) if entry.declaration else None)},',
        f'      "images": {_json(images)},',
    ]
    if entry.requested:
        named: Json = {name: list(values) for name, values in sorted(entry.requested.items())}
        lines.append(f'      "requested": {_json(named)},')
    if entry.interpreter:
        lines.append(f'      "interpreter": {_json(entry.interpreter)},')
    if entry.froms:
        lines.append(f'      "froms": {_json(dict(sorted(entry.froms.items())))},')
    parts: dict[str, list[Mapping[str, Json]]] = {
        "releases": _release_objects(entry.releases),
        "build_packages": _package_objects(entry.build_packages),
        "sources": [{"file": item.file, "size": item.size, "sha256": item.digest.hex} for item in entry.sources],
        "conda": [_conda_object(package) for package in entry.conda],
        "wheels": [_wheel_object(wheel) for wheel in entry.wheels],
        "tools": [_wheel_object(wheel) for wheel in entry.tools],
        "installed": [{"kind": item.kind, "name": item.name, "version": item.version} for item in entry.installed],
    }
    for name, items in parts.items():
        if items:
            lines += _list(name, items)
            lines[-1] += ","
    return [*lines, *_list("packages", _package_objects(entry.packages))]


def _input_lines(entry: InputLock) -> list[str]:
    lines = [
        f'      "uri": {_json(entry.uri)},',
        f'      "origin": {_json(str(entry.origin))},',
        f'      "digest": {_json(str(entry.digest))},',
        f'      "size": {entry.size},',
        f'      "count": {entry.count},',
    ]
    if not entry.proven:
        lines.append(f'      "fingerprint": {_json(entry.fingerprint)},')
    return [*lines, *_list("files", [_input_file(file) for file in entry.files])]


def _fetched_lines(entry: FetchedLock) -> list[str]:
    return [f'      "digest": {_json(str(entry.digest))},', f'      "size": {entry.size}']


def _input_file(file: InputFile) -> Mapping[str, Json]:
    """Return a file's members; those that say nothing are left out, for there may be 100,000 such lines."""
    named = {"name": file.name} if file.name else {}
    state = {key: text for key, text in (("version", file.version), ("etag", file.etag)) if text}
    return {**named, "size": file.size, "sha256": file.digest.hex, **state}


def _release_objects(releases: Sequence[Release]) -> list[Mapping[str, Json]]:
    return [
        {
            "label": release.label,
            "suite": release.suite,
            "codename": release.codename,
            "date": release.date,
            "sha256": release.digest.hex,
        }
        for release in releases
    ]


def _wheel_object(wheel: Wheel) -> Mapping[str, Json]:
    named = {"name": wheel.name, "version": wheel.version, "file": wheel.file}
    return {**named, "size": wheel.size, "sha256": wheel.digest.hex}


def _conda_object(package: CondaPackage) -> Mapping[str, Json]:
    named = {"name": package.name, "version": package.version, "build": package.build}
    place = {"channel": package.channel, "subdir": package.subdir, "file": package.file}
    return {**named, **place, "size": package.size, "sha256": package.digest.hex}


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
