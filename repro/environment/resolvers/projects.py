"""What a project declares for pip: ``pyproject.toml``, ``pylock.toml``, and packages of the project itself.

Nothing of a project runs on the host: what only its build backend could tell is an error.
"""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any, Final

from repro.dataclass import dataclass
from repro.environment.resolvers.requirement_files import normalized, parse_requirement
from repro.errors import Location, LockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from repro.environment.resolvers.python import Interpreter
    from repro.environment.resolvers.requirement_files import RequirementsReader

_LEGACY_BACKEND: Final = ("setuptools>=40.8.0",)  # where [build-system] is missing (PEP 518)


@dataclass(frozen=True, slots=True)
class Project:
    """A package of the project: built in the image from ``folder``, a project path, with ``requires`` installed.

    ``name`` is normalised (PEP 503); `dependencies` and `extras` are as declared.
    """

    name: str
    folder: str
    requires: tuple[str, ...]
    dependencies: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]

    @property
    def file(self) -> str:
        """The project path of its pyproject.toml."""
        return os.path.normpath(os.path.join(self.folder, "pyproject.toml"))


def read_project(folder: str, reader: RequirementsReader) -> Project:
    """Return what ``pyproject.toml`` in ``folder`` says; ``reader`` notes the files looked at.

    Raises:
        UsageError: it is missing or cannot be read.
        LockError: it is not TOML, has no ``[project]``, or leaves its dependencies to its build backend.
    """
    file = os.path.normpath(os.path.join(folder, "pyproject.toml"))
    where = Location(file, 1)
    content = parse_toml(reader.text(file), where)
    table = content.get("project")
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise LockError(
            "there is no [project] with a name (PEP 621)",
            where=where,
            hint="declare name, version and dependencies in [project]; no build backend is run to learn them",
        )
    dynamic = _strings(table.get("dynamic", []), "project.dynamic", where)
    if "dependencies" in dynamic:
        dependencies = _from_files(content, "dependencies", reader, where)
    else:
        dependencies = _strings(table.get("dependencies", []), "project.dependencies", where)
    optional = table.get("optional-dependencies", {})
    if not isinstance(optional, dict):
        raise LockError("project.optional-dependencies is no table", where=where)
    build = content.get("build-system", {})
    requires = build.get("requires", []) if isinstance(build, dict) else []
    return Project(
        normalized(table["name"]),
        os.path.normpath(folder),
        _strings(requires, "build-system.requires", where) if "build-system" in content else _LEGACY_BACKEND,
        dependencies,
        {
            normalized(extra): _strings(value, f"project.optional-dependencies.{extra}", where)
            for extra, value in optional.items()
        },
    )


def needed(project: Project, extras: Sequence[str], where: Location) -> Iterator[str]:
    """Yield the requirements of ``project`` with ``extras``; those that name the project itself are followed.

    Raises:
        LockError: an extra is not declared, at ``where``; a requirement is none, in pyproject.toml.
    """
    done: set[str] = set()
    waiting = ["", *map(normalized, extras)]
    while waiting:
        extra = waiting.pop(0)
        if extra in done:
            continue
        done.add(extra)
        if extra and extra not in project.extras:
            known = ", ".join(sorted(project.extras)) or "none"
            raise LockError(f"{project.file} declares no extra {extra!r}", where=where, hint=f"declared are: {known}")
        for text in project.extras[extra] if extra else project.dependencies:
            requirement = parse_requirement(text, Location(project.file, 1))
            if normalized(requirement.name) == project.name:
                waiting += sorted(map(normalized, requirement.extras))
            else:
                yield text


def locked_requirements(text: str, where: Location, interpreter: Interpreter) -> Iterator[tuple[str, set[str]]]:
    """Yield what a ``pylock.toml`` (PEP 751) locks for ``interpreter``: ``name==version`` and its wheels' sha256 sums.

    Raises:
        LockError: at ``where``: it is no such file, or a package of it has no wheel and so no place in a lock.
    """
    content = parse_toml(text, where)
    packages = content.get("packages")
    if str(content.get("lock-version", "")).partition(".")[0] != "1" or not isinstance(packages, list):
        raise LockError("not a lock file of version 1 (PEP 751)", where=where)
    for package in packages:
        if not isinstance(package, dict) or not isinstance(package.get("name"), str):
            raise LockError("a package without a name", where=where)
        if not _wanted(package.get("marker"), where, interpreter):
            continue
        name, version, wheels = package["name"], package.get("version"), package.get("wheels")
        if not isinstance(version, str) or not isinstance(wheels, list):
            raise LockError(
                f"{name} has no wheel in it",
                where=where,
                why="folders, archives, sources and repositories would have to be built",
                hint="a package of the project is named in workflow.yaml, as in pip: [pylock.toml, .]",
            )
        sums = {str(hashes["sha256"]).lower() for wheel in wheels if (hashes := _hashes(wheel)).get("sha256")}
        yield f"{name}=={version}", sums


def parse_toml(text: str, where: Location) -> dict[str, Any]:
    """Return the content of a TOML file; LockError, at ``where``, says what it is not."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LockError("not a TOML file", where=where, why=str(error)) from error


def _wanted(marker: object, where: Location, interpreter: Interpreter) -> bool:
    """Return whether a package of a pylock.toml is for ``interpreter``, with no extras and no groups asked for."""
    from packaging.markers import InvalidMarker, Marker  # noqa: PLC0415 - only to lock

    if marker is None:
        return True
    try:
        return Marker(str(marker)).evaluate(dict(interpreter.markers()), context="lock_file")
    except InvalidMarker as error:
        raise LockError(f"{marker!r} is not a marker", where=where, why=str(error).splitlines()[0]) from error


def _hashes(wheel: object) -> dict[str, object]:
    hashes = wheel.get("hashes") if isinstance(wheel, dict) else None
    return hashes if isinstance(hashes, dict) else {}


def _from_files(content: dict[str, Any], key: str, reader: RequirementsReader, where: Location) -> tuple[str, ...]:
    """Return dependencies that setuptools reads from files (``[tool.setuptools.dynamic]``)."""
    declared: Any = content.get("tool", {})
    for part in ("setuptools", "dynamic", key, "file"):
        declared = declared.get(part) if isinstance(declared, dict) else None
    if declared is None:
        raise LockError(
            f"its {key} are dynamic",
            where=where,
            why="only the build backend could tell them, and nothing of a project runs on this host",
            hint=f"list them in [project] {key}, or in a file that [tool.setuptools.dynamic] names",
        )
    names = (declared,) if isinstance(declared, str) else _strings(declared, f"tool.setuptools.dynamic.{key}", where)
    lines: list[str] = []
    for name in names:
        text = reader.text(os.path.normpath(os.path.join(os.path.dirname(where.file), name)))
        lines += [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    return tuple(lines)


def _strings(value: object, what: str, where: Location) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise LockError(f"{what} is not a list of strings", where=where)
    return tuple(value)
