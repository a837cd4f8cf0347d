"""What a workflow asks of conda, read from where it stands: the workflow, an ``environment.yml``, an explicit list."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import Location, Problem, WorkflowError
from repro.workflow import fields
from repro.workflow.parser import parse
from repro.workflow.paths import mistake, normal
from repro.workflow.source import MapNode, Source

if TYPE_CHECKING:
    from pathlib import Path

    from repro.workflow.fields import Problems
    from repro.workflow.model import CondaSpec
    from repro.workflow.source import Node

_EXPLICIT: Final = "@EXPLICIT"
_PACKAGE: Final = re.compile(r"[a-z0-9_.][a-z0-9_.-]*-[^-/]+-[^-/]+\.(?:conda|tar\.bz2)")
_ADDRESS: Final = re.compile(
    r"(?P<url>(?:https?|file)://[^\s#]+)(?:#(?:(?P<sha>(?:sha256:)?[0-9a-f]{64})|(?P<md5>[0-9a-f]{32})))?"
)
_CHANNEL: Final = re.compile(r"(?:https?://[^\s/]+/|file:///)\S*|[A-Za-z0-9][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.-]+)*")
_KEYS: Final = ("name", "channels", "dependencies", "prefix")
_LATER: Final = {"variables": "write them as `env:` of the environment in workflow.yaml"}


@dataclass(frozen=True, slots=True)
class Explicit:
    """A line of an explicit list: a package's address, and the digest that the list gives for it, if any."""

    url: str
    digest: Digest | None
    md5: str | None  # 32 hex digits
    where: Location

    @property
    def file(self) -> str:
        """The package's file name."""
        return unquote(posixpath.basename(urlsplit(self.url).path))

    @property
    def parts(self) -> tuple[str, str, str]:
        """The package's name, version and build, as its file name has them."""
        stem = self.file.removesuffix(".conda").removesuffix(".tar.bz2")
        name, version, build = stem.rsplit("-", 2)
        return name, version, build

    @property
    def subdir(self) -> str:
        """The platform's folder that the package lies in: ``linux-64``, ``noarch``."""
        return posixpath.basename(posixpath.dirname(urlsplit(self.url).path))

    @property
    def channel(self) -> str:
        """The last part of the channel's address."""
        return posixpath.basename(posixpath.dirname(posixpath.dirname(urlsplit(self.url).path)))


@dataclass(frozen=True, slots=True)
class CondaFile:
    """What is asked for: match specs and channels, first one first, or an ``explicit`` list, which needs no solver.

    ``pip`` holds what an ``environment.yml`` leaves to pip, as requirements and files of them, from the project's root.
    """

    channels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    explicit: tuple[Explicit, ...] = ()


def read_spec(spec: CondaSpec, root: Path) -> CondaFile:
    """Return what ``spec`` asks for; the file that it may name is read from the project at ``root``.

    Raises:
        WorkflowError: the file has mistakes, or cannot be read.
    """
    if spec.file is None:
        return CondaFile(spec.channels, spec.packages)
    try:
        text = (root / spec.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        message = f"the list of conda packages cannot be read: {why}"
        raise WorkflowError([Problem(Location(spec.file, 1), "", message)]) from error
    return read_conda_file(text, spec.file)


def read_conda_file(text: str, file: str) -> CondaFile:
    """Return what an ``environment.yml`` or an explicit list (conda's ``list --explicit``) asks for.

    ``nodefaults`` among the channels is left out: no channel is there but those that are named. ``name`` and
    ``prefix`` say nothing about what is installed.

    Args:
        text: the file's content.
        file: its path from the project's root, for messages and for the paths in it.

    Raises:
        WorkflowError: every mistake in it, located.
    """
    if any(line.strip() == _EXPLICIT for line in text.splitlines()):
        return _explicit(Source.read(text, file))
    document = parse(text, file)
    problems = fields.Problems(document.source)
    problems.found.extend(document.problems)
    result = CondaFile()
    if document.root is None:
        problems.add(Location(file, 1), "", "the file is empty", "write channels and dependencies")
    else:
        result = _environment(document.root, posixpath.dirname(file), problems)
    if problems.found:
        raise WorkflowError(problems.found)
    return result


def _explicit(source: Source) -> CondaFile:
    """Return the addresses in an explicit list."""
    problems = fields.Problems(source)
    found = []
    for number, line in enumerate(source.text.splitlines(), 1):
        given = line.strip()
        where = Location(source.file, number, len(line) - len(line.lstrip()) + 1)
        if not given or given.startswith("#") or given == _EXPLICIT:
            continue
        read = _ADDRESS.fullmatch(given)
        if read is None:
            hint = "one a line: URL#md5 or URL#sha256, as `conda list --explicit` prints them"
            problems.add(where, "", f"{given!r} is not the address of a package", hint)
            continue
        digest = Digest(read["sha"].removeprefix("sha256:")) if read["sha"] else None
        item = Explicit(read["url"], digest, read["md5"], where)
        if _PACKAGE.fullmatch(item.file) is None or not item.subdir or not item.channel:
            hint = "CHANNEL/PLATFORM/NAME-VERSION-BUILD.conda, or .tar.bz2"
            problems.add(where, "", f"{given!r} does not end as a package's address does", hint)
        else:
            found.append(item)
    if problems.found:
        raise WorkflowError(problems.found)
    return CondaFile(explicit=tuple(found))


def _environment(root: Node, folder: str, problems: Problems) -> CondaFile:
    """Return what an ``environment.yml`` asks for."""
    entries = fields.entries(root, "", problems, "channels and dependencies as a mapping") or ()
    found = fields.keys(entries, "", problems, _KEYS, _LATER)
    channels: list[str] = []
    nodes = fields.items(found["channels"], "channels", problems, "channels") if "channels" in found else ()
    for number, node in enumerate(nodes or ()):
        channel = _channel(node, f"channels.{number}", folder, problems)
        if channel is not None and channel != "nodefaults":
            channels.append(channel)
    packages: list[str] = []
    pip: list[str] = []
    if "dependencies" not in found:
        problems.add(root.where, "", "'dependencies' is missing", "write a list of packages, as in samtools=1.21")
        return CondaFile()
    for number, node in enumerate(fields.items(found["dependencies"], "dependencies", problems, "packages") or ()):
        path = f"dependencies.{number}"
        if isinstance(node, MapNode):
            inner = fields.keys(node.entries, path, problems, ("pip",))
            given = fields.texts(inner["pip"], f"{path}.pip", problems, "requirements") if "pip" in inner else None
            pip.extend(_requirement(item, folder) for item in given or ())
        elif (package := fields.text(node, path, problems, "a package")) is not None:
            packages.append(package.strip())
    if packages and not channels and not problems.found:
        hint = "name them in order of priority, as in channels: [conda-forge, bioconda]"
        problems.add(root.where, "channels", "no channel is named, and none is meant by itself", hint)
    return CondaFile(tuple(channels), tuple(packages), tuple(pip))


def _channel(node: Node, path: str, folder: str, problems: Problems) -> str | None:
    """Return a channel as the workflow would spell it: a relative path is from the project's root."""
    given = fields.text(node, path, problems, "a channel")
    if given is None:
        return None
    if given.startswith(("./", "../")):
        clean = normal(posixpath.join(folder, given))
        if wrong := mistake(clean):
            problems.add(node.where, path, f"{given!r}: {wrong[0]}", wrong[1])
            return None
        return f"./{clean}"
    if _CHANNEL.fullmatch(given) is None:
        hint = "a channel is a name, a URL, or a folder that starts with ./"
        problems.add(node.where, path, f"{given!r} is not a channel", hint)
        return None
    return given


def _requirement(given: str, folder: str) -> str:
    """Return a line of ``pip:`` as the workflow would spell it: ``-r FILE`` is the file, from the project's root."""
    option = re.fullmatch(r"(?:-r\s*|--requirement[\s=]+)(?P<file>\S+)", given.strip())
    return normal(posixpath.join(folder, option["file"])) if option is not None else given.strip()
