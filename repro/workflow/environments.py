"""The ``environments:`` section: nodes to environments."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import TYPE_CHECKING

from repro.errors import ReproError
from repro.names import Reference
from repro.workflow import fields
from repro.workflow.model import (
    ArchiveBase,
    DockerfileEnvironment,
    ImageBase,
    ImageEnvironment,
    SourceBuild,
    TemplateEnvironment,
)
from repro.workflow.paths import read_path
from repro.workflow.software import read_commands, read_conda, read_files, read_pip, read_source
from repro.workflow.source import Entry, MapNode, Node, Scalar

if TYPE_CHECKING:
    from repro.workflow.fields import Problems
    from repro.workflow.model import Environment

_TEMPLATED = ("base", "apt", "conda", "pip", "source", "files", "env", "run", "template")
_OWN = ("dockerfile", "context", "target", "args")
_WHOLE = "image"
ENVIRONMENT_KEYS = (*_TEMPLATED, *_OWN, _WHOLE)
ARCHIVE_KEYS = ("archive", "suite", "components", "snapshot", "mirror")
_LATER = {"platform": "remove it: images are for this machine's platform"}
ARCHIVES = ("debian", "ubuntu")
_COMPONENT = re.compile(r"[a-z][a-z0-9-]*")
_SNAPSHOT = re.compile(r"(\d{4})-?([01]\d)-?([0-3]\d)(?:[T ]([0-2]\d):?([0-5]\d):?([0-5]\d)Z?)?")
_SUITE = re.compile(r"[a-z][a-z0-9-]*")
_MIRROR = re.compile(r"(?:https?://[^\s/]+|file:///)\S*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Debian policy 5.6.1 and 5.6.12: names and versions
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[0-9][A-Za-z0-9.+:~-]*)?")
_TEMPLATE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def read_environment(name: str, node: Node, problems: Problems) -> Environment | None:
    """Return the environment; None where it is too broken to be one. Mistakes are left in ``problems``."""
    path = f"environments.{name}"
    entries = fields.entries(node, path, problems, "an environment as a mapping")
    if entries is None:
        return None
    found = fields.keys(entries, path, problems, ENVIRONMENT_KEYS, _LATER)
    if _WHOLE in found:
        others = (*_TEMPLATED, *_OWN)
        _refuse_mix(entries, path, problems, _WHOLE, others, "to add to an image, make it the `base`")
        reference = _reference(found[_WHOLE], f"{path}.{_WHOLE}", problems)
        return None if reference is None else ImageEnvironment(name, node.where, reference)
    if "dockerfile" in found:
        _refuse_mix(entries, path, problems, "dockerfile", _TEMPLATED, "put it into the Dockerfile")
        return _own(name, node, found, problems)
    for key in _OWN[1:]:
        if key in found:
            problems.add(found[key].where, f"{path}.{key}", f"{key!r} goes with a `dockerfile`, and there is none")
    return _templated(name, node, found, problems)


def _refuse_mix(
    entries: tuple[Entry, ...], path: str, problems: Problems, beside: str, keys: tuple[str, ...], hint: str
) -> None:
    for entry in entries:
        if entry.key.text in keys:
            message = f"{entry.key.text!r} cannot stand beside `{beside}`"
            problems.add(entry.key.where, f"{path}.{entry.key.text}", message, hint)


def _own(name: str, node: Node, found: dict[str, Node], problems: Problems) -> DockerfileEnvironment | None:
    path = f"environments.{name}"
    dockerfile = read_path(found["dockerfile"], f"{path}.dockerfile", problems)
    context: str | None = "."
    if "context" in found:
        given = found["context"]
        whole_folder = isinstance(given, Scalar) and given.text in (".", "./")
        context = "." if whole_folder else read_path(given, f"{path}.context", problems)
    target = fields.text(found["target"], f"{path}.target", problems, "a stage's name") if "target" in found else None
    args = fields.text_map(found["args"], f"{path}.args", problems, variable_mistake) if "args" in found else {}
    if dockerfile is None or context is None:
        return None
    return DockerfileEnvironment(name, node.where, dockerfile.rstrip("/"), context.rstrip("/"), target, args)


def _templated(name: str, node: Node, found: dict[str, Node], problems: Problems) -> TemplateEnvironment | None:
    path = f"environments.{name}"
    base: ArchiveBase | ImageBase | None = None
    if "base" in found:
        base = _base(found["base"], f"{path}.base", problems)
    else:
        hint = "write `base: {archive: debian, suite: bookworm}`, `base: NAME`, `image: NAME` or `dockerfile: PATH`"
        problems.add(node.where, path, "the environment has neither `base` nor `image` nor `dockerfile`", hint)
    apt = _packages(found["apt"], f"{path}.apt", problems) if "apt" in found else ()
    env = fields.text_map(found["env"], f"{path}.env", problems, variable_mistake) if "env" in found else {}
    run = read_commands(found["run"], f"{path}.run", problems) if "run" in found else ()
    pip = read_pip(found["pip"], f"{path}.pip", problems) if "pip" in found else ()
    conda = read_conda(found["conda"], f"{path}.conda", problems) if "conda" in found else None
    files = read_files(found["files"], f"{path}.files", problems) if "files" in found else {}
    source = _source(found["source"], f"{path}.source", problems) if "source" in found else None
    template = _template(found["template"], f"{path}.template", problems) if "template" in found else "debian"
    if base is None or template is None:
        return None
    if template == "source-build" and "source" not in found:
        problems.add(
            node.where, path, "'source' is missing", "the template source-build compiles the tarball of `source`"
        )
    return TemplateEnvironment(
        name, node.where, base, apt, env, run, template, pip=pip, conda=conda, files=files, source=source
    )


def _source(node: Node, path: str, problems: Problems) -> SourceBuild | None:
    found = {entry.key.text: entry.value for entry in node.entries} if isinstance(node, MapNode) else {}
    apt = _packages(found["apt"], f"{path}.apt", problems) if "apt" in found else ()
    return read_source(node, path, problems, apt)


def _base(node: Node, path: str, problems: Problems) -> ArchiveBase | ImageBase | None:
    if isinstance(node, MapNode):
        return _archive(node, path, problems)
    reference = _reference(node, path, problems, "an image's name, or {archive: debian, suite: bookworm},")
    return None if reference is None else ImageBase(reference)


def _reference(node: Node, path: str, problems: Problems, what: str = "an image's name") -> str | None:
    reference = fields.text(node, path, problems, what)
    if reference is None:
        return None
    if reference.startswith("archive:"):
        archive, _, suite = reference.removeprefix("archive:").partition("/")
        hint = f"write it as {{archive: {archive or 'debian'}, suite: {suite or 'bookworm'}}}"
        problems.add(node.where, path, "a base from an archive is a mapping", hint)
        return None
    try:
        Reference.parse(reference)
    except ReproError as error:
        problems.add(node.where, path, error.message, error.hint or "")
        return None
    return reference


def _archive(node: MapNode, path: str, problems: Problems) -> ArchiveBase | None:
    found = fields.keys(node.entries, path, problems, ARCHIVE_KEYS)
    read: dict[str, str] = {}
    for key in ("archive", "suite"):
        if key not in found:
            problems.add(node.where, path, f"{key!r} is missing", "write {archive: debian, suite: bookworm}")
        elif value := fields.text(found[key], f"{path}.{key}", problems):
            read[key] = value
    if "archive" in read and read["archive"] not in ARCHIVES:
        where = found["archive"].where
        problems.add(
            where,
            f"{path}.archive",
            f"no archive {read['archive']!r} is known",
            fields.near(read["archive"], ARCHIVES),
        )
    if "suite" in read and _SUITE.fullmatch(read["suite"]) is None:
        problems.add(
            found["suite"].where, f"{path}.suite", f"{read['suite']!r} is not a suite's name", "as in bookworm"
        )
    mirror = fields.text(found["mirror"], f"{path}.mirror", problems, "a URL") if "mirror" in found else None
    if mirror is not None and _MIRROR.fullmatch(mirror) is None:
        problems.add(found["mirror"].where, f"{path}.mirror", f"{mirror!r} is not a URL", "as in https://host/debian")
    components = _components(found["components"], f"{path}.components", problems) if "components" in found else ()
    snapshot = _snapshot(found["snapshot"], f"{path}.snapshot", problems) if "snapshot" in found else None
    if len(read) < 2:
        return None
    return ArchiveBase(read["archive"], read["suite"], mirror, components or ("main",), snapshot)


def _components(node: Node, path: str, problems: Problems) -> tuple[str, ...]:
    """Return the archive's components, sorted; ``main`` is always one: the base is made of it."""
    given = fields.texts(node, path, problems, "components") or ()
    for number, name in enumerate(given):
        if _COMPONENT.fullmatch(name) is None:
            problems.add(node.where, f"{path}.{number}", f"{name!r} is not a component's name", "as in contrib")
    return tuple(sorted({"main", *(name for name in given if _COMPONENT.fullmatch(name))}))


def _snapshot(node: Node, path: str, problems: Problems) -> str | None:
    """Return the moment as snapshot archives name it: ``20260131T000000Z``."""
    given = fields.text(node, path, problems, "a date")
    match = None if given is None else _SNAPSHOT.fullmatch(given)
    if match is not None:
        year, month, day, *time = match.groups("00")
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(f"{year}-{month}-{day}T{':'.join(time)}").strftime("%Y%m%dT%H%M%SZ")
    if given is not None:
        problems.add(node.where, path, f"{given!r} is not a date", "as in 2026-01-31, or 2026-01-31T12:00:00Z")
    return None


def _packages(node: Node, path: str, problems: Problems) -> tuple[str, ...]:
    packages: list[str] = []
    for number, item in enumerate(fields.items(node, path, problems, "package names") or ()):
        name = fields.text(item, f"{path}.{number}", problems, "a package's name")
        if name is None:
            continue
        if _PACKAGE.fullmatch(name) is None:
            hint = "write `name` or `name=version`; names are in lower case"
            problems.add(item.where, f"{path}.{number}", f"{name!r} is not a Debian package", hint)
        elif name in packages:
            problems.add(item.where, f"{path}.{number}", f"{name!r} stands here a second time", "keep one of the two")
        else:
            packages.append(name)
    return tuple(packages)


def _template(node: Node, path: str, problems: Problems) -> str | None:
    name = fields.text(node, path, problems, "a template's name or path")
    if name is None:
        return None
    if "/" not in name and not name.endswith(".j2"):
        if _TEMPLATE_NAME.fullmatch(name):
            return name
        problems.add(node.where, path, f"{name!r} cannot name a template", "as in debian, or docker/my.Dockerfile.j2")
        return None
    return read_path(node, path, problems)


def variable_mistake(entry: Entry, value: str) -> str | None:
    """Return why this cannot be an environment variable."""
    if _VARIABLE.fullmatch(entry.key.text) is None:
        return f"{entry.key.text!r} cannot name an environment variable: letters, digits and '_', no digit first"
    if "{{" in value:
        return "templates are not expanded in environment variables; use the value in `run` instead"
    return None
