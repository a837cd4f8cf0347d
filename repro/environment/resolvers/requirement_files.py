"""Requirements files as pip reads them (its reference, "Requirements File Format"), without asking any index.

Nested files are followed (``-r``, ``-c``), hashes and indexes are kept. What names a folder, an address or a version
control system is refused: what is locked comes from an index, by project and file name.
"""

from __future__ import annotations

import os
import re
from dataclasses import field
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.resolvers.indexes import Indexes, parse_options
from repro.errors import Location, LockError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from packaging.requirements import Requirement

_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_HASH: Final = re.compile(r"\s--hash[=\s]\s*sha256:(?P<sha256>[0-9a-fA-F]{64})")
_OPTIONS: Final = re.compile(r"\s--(?:hash|config-settings?|global-option)\b.*")  # after a requirement
_SHORT: Final = {"-r": "--requirement", "-c": "--constraint", "-i": "--index-url", "-f": "--find-links"}
_INDEXES: Final = frozenset({"--index-url", "--extra-index-url", "--find-links", "--no-index"})
_PASSED_OVER: Final = frozenset(
    {"--only-binary", "--prefer-binary", "--require-hashes", "--trusted-host", "--use-feature"}
)
_FOLDER: Final = re.compile(r"\.{0,2}/|\.{1,2}($|\[)|file:")


@dataclass(frozen=True, slots=True)
class Listed:
    """What requirements files say: all of them, in their order.

    Attributes:
        requirements, constraints: one a line (PEP 508), markers included.
        hashes: project to the sha256 sums allowed for its files; a project without any may have all.
        indexes: those that the files name; folders are absolute.
        pre: whether pre-releases are wanted.
    """

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    hashes: dict[str, set[str]] = field(default_factory=dict)
    indexes: list[Indexes] = field(default_factory=list)
    pre: list[str] = field(default_factory=list)  # the files that ask for pre-releases


class RequirementsReader:
    """Reads project files into ``listed`` and notes the digest of each in ``files``, by project path.

    ``root`` is the project's folder; ``where`` and ``what`` (``environments.x.pip``) are for messages.
    """

    def __init__(self, root: Path, where: Location, what: str) -> None:
        self.listed = Listed()
        self.files: dict[str, Digest] = {}
        self._read: set[str] = set()
        self._root = root
        self._where = where
        self._what = what

    def text(self, path: str) -> str:
        """Return the text of a project file and note its digest; UsageError, at ``where``, if it cannot be read."""
        try:
            data = (self._root / path).read_bytes()
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"{self._what}: {path} cannot be read", where=self._where, why=reason) from error
        self.files[path] = Digest.of(data)
        return text

    def read(self, path: str, *, constraints: bool = False) -> None:
        """Read a requirements file, with those it names.

        Raises:
            UsageError: one of the files cannot be read.
            LockError: located in the file: a line is no requirement, or one that cannot be locked.
        """
        if path in self._read:
            return  # files may name each other
        self._read.add(path)
        self.take(self.text(path), path, constraints=constraints)

    def take(self, text: str, path: str, *, constraints: bool = False) -> None:
        """Take the lines of a requirements file; see `read` for what is raised."""
        for number, line in _lines(text):
            self.add(line, Location(path, number), constraints=constraints)

    def add(self, line: str, where: Location, *, constraints: bool = False) -> None:
        """Take one logical line; see `read` for what is raised."""
        if line.startswith("-"):
            self._option(line, where)
            return
        text = _OPTIONS.sub("", line).strip()
        requirement = parse_requirement(text, where)
        sums = {match["sha256"].lower() for match in _HASH.finditer(line)}
        if sums:
            self.listed.hashes.setdefault(normalized(requirement.name), set()).update(sums)
        (self.listed.constraints if constraints else self.listed.requirements).append(str(requirement))

    def _option(self, line: str, where: Location) -> None:
        name, _, value = re.sub(r"^(-\w)(?=[^\s=])", r"\1 ", line).replace("=", " ", 1).partition(" ")
        name, value = _SHORT.get(name, name), value.strip().strip("'\"")
        folder = "" if where is self._where else os.path.dirname(where.file)  # a file's paths are relative to itself
        if name in ("--requirement", "--constraint"):
            if "://" in value or os.path.isabs(value):
                raise LockError(
                    f"{value}: not a file of the project", where=where, hint="put the file into the project"
                )
            path = os.path.normpath(os.path.join(folder, value))
            self.read(path, constraints=name == "--constraint")
        elif name in _INDEXES:
            if name == "--find-links" and "://" not in value:
                value = str(self._root / folder / value)
            self.listed.indexes.append(parse_options([f"{name} {value}"]))
        elif name == "--pre":
            self.listed.pre.append(where.file)
        elif name in ("-e", "--editable"):
            raise _folder(value, where)
        elif name not in _PASSED_OVER:
            raise LockError(f"the option {name} cannot be honoured", where=where, hint="wheels are locked; remove it")


def parse_requirement(text: str, where: Location) -> Requirement:
    """Return a requirement that an index can satisfy; LockError, at ``where``, for anything else."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - only to lock

    if _FOLDER.match(text):
        raise _folder(text, where)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise LockError(
            f"{text!r} is not a requirement",
            where=where,
            why=str(error).splitlines()[0],
            hint="as in numpy==2.1.0, or pandas[parquet]>=2 ; python_version >= '3.11' (PEP 508)",
        ) from error
    if requirement.url is not None:
        raise LockError(
            f"{requirement.name} is wanted from an address",
            where=where,
            why="wheels are locked by project and file name, to be had from any index",
            hint="name a version that an index has, or install it in a Dockerfile of your own",
        )
    return requirement


def normalized(name: str) -> str:
    """Return a project's name as indexes compare it (PEP 503, "Normalized Names")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def expanded(indexes: Indexes, variable: Callable[[str], str | None]) -> Indexes:
    """Return ``indexes`` with each ``${NAME}`` replaced by what ``variable`` knows, as pip does."""

    def text(value: str) -> str:
        return re.sub(r"\$\{([A-Z0-9_]+)\}", lambda match: variable(match[1]) or match[0], value)

    return Indexes(
        None if indexes.index is None else text(indexes.index),
        tuple(map(text, indexes.extra)),
        tuple(map(text, indexes.find_links)),
        indexes.no_index,
    )


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield logical lines with the number of their first one: continued ones joined, comments and blank ones gone."""
    held, start = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if not held:
            start = number
        if line.endswith("\\") and not _COMMENT.match(line):
            held += line[:-1]
            continue
        logical = _COMMENT.sub("", held + line).strip()
        held = ""
        if logical:
            yield start, logical
    if held.strip():
        yield start, held.strip()


def _folder(text: str, where: Location) -> LockError:
    return LockError(
        f"{text!r} is a folder or a file, and an index is asked for projects",
        where=where,
        hint="a package of the project is named in workflow.yaml, as in pip: [requirements.txt, ./tools]",
    )
