"""Reading the text of ``workflow.lock``: every value checked, every mistake located.

A lock may come from a stranger, a merge or an editor: nothing in it is trusted to have the right type.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeVar

from repro.data.model import InputFile, InputLock
from repro.digest import Digest
from repro.environment.model import (
    ArchiveLock,
    CondaPackage,
    EnvironmentLock,
    FetchedLock,
    Installed,
    Lock,
    Package,
    Release,
    SourceFile,
    Wheel,
)
from repro.errors import DataError, Location, LockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

T = TypeVar("T")

FORMAT = 1  # raised when an older repro could not read the file any more
VERSION_KEY = "repro-lock"
_FINGERPRINTS = ("sha256", "stat", "manifest", "label")
_LAST_SECOND = 253_402_300_799  # of the year 9999: an image's creation time has four digits for it (RFC 3339)
RELOCK = "restore workflow.lock from version control, or remove it and run `repro lock`"
_CONFLICT = re.compile(r"^(<{7} |={7}$|>{7} |\|{7} )", re.MULTILINE)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def parse_lock(text: str, file: str) -> Lock:
    """Return the lock that ``text`` holds; LockError, located, for any damage.

    ``parse_lock(lock_text(lock), …) == lock``.
    """
    conflict = _CONFLICT.search(text) if any(sign * 7 in text for sign in "<=>|") else None
    if conflict is not None:
        raise LockError(
            "an unresolved merge conflict",
            where=Location(file, text.count("\n", 0, conflict.start()) + 1),
            hint="keep both sides where they add entries, else one of them; remove the marker lines",
        )
    try:
        document = json.loads(text, object_pairs_hook=_unique)
        return _lock(_Field(document))
    except json.JSONDecodeError as error:
        where = Location(file, error.lineno, error.colno)
        raise LockError(f"not JSON: {error.msg}", where=where, hint=RELOCK) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise LockError(f"not a lock: {error}", where=Location(file, 1), hint=RELOCK) from error
    except _Twice as error:
        raise _repeated(text, file) from error
    except _Damage as damage:
        dotted = _dotted(damage.path)
        message = f"{dotted}: {damage}" if dotted else str(damage)
        raise LockError(message, where=_locate(text, file, damage.path), hint=damage.hint or RELOCK) from damage


class _Damage(Exception):  # noqa: N818 - never leaves this module
    """A value is not what it must be; ``path`` leads to it from the top."""

    def __init__(self, message: str, path: tuple[str | int, ...], hint: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


class _Twice(Exception):  # noqa: N818 - never leaves this module
    """A name stands twice in one object."""


class _Field:
    """A value of the document under ``key`` of the one ``around`` it; each getter checks what it returns."""

    __slots__ = ("_around", "_key", "_value")

    def __init__(self, value: object, around: _Field | None = None, key: str | int = "") -> None:
        self._value = value
        self._around = around
        self._key = key

    def fail(self, message: str, hint: str | None = None) -> NoReturn:
        path: list[str | int] = []
        one = self
        while one._around is not None:
            path.append(one._key)
            one = one._around
        raise _Damage(message, tuple(reversed(path)), hint)

    def get(self, key: str) -> _Field:
        value = self._value
        if not isinstance(value, dict):
            self.fail("not an object")
        if key not in value:
            self.fail(f"{key!r} is missing")
        return _Field(value[key], self, key)

    def has(self, key: str) -> bool:
        return isinstance(self._value, dict) and key in self._value

    def part(self, key: str, convert: Callable[[_Field], T]) -> tuple[T, ...]:
        """Return the list under ``key``; empty where it is not there."""
        return self.get(key).each(convert) if self.has(key) else ()

    def members(self) -> Iterator[tuple[str, _Field]]:
        if not isinstance(self._value, dict):
            self.fail("not an object")
        for key, value in self._value.items():
            yield key, _Field(value, self, key)

    def each(self, convert: Callable[[_Field], T]) -> tuple[T, ...]:
        if not isinstance(self._value, list):
            self.fail("not a list")
        return tuple(convert(_Field(value, self, index)) for index, value in enumerate(self._value))

    def text(self) -> str:
        if not isinstance(self._value, str):
            self.fail("not a string")
        return self._value

    def optional_text(self, key: str) -> str:
        """Return the text under ``key``; empty where it is not there."""
        return self.get(key).text() if self.has(key) else ""

    def relative_path(self) -> str:
        """Return the path of a file in a folder, which it does not leave."""
        path = self.text()
        if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
            self.fail("not a path in a folder")
        return path

    def file_name(self) -> str:
        """Return a name that becomes a file's: a lock may come from a stranger."""
        name = self.text()
        if "/" in name or "\0" in name or name in ("", ".", ".."):
            self.fail("not a file's name")
        return name

    def integer(self, most: int = 1 << 63) -> int:
        if not isinstance(self._value, int) or isinstance(self._value, bool) or not 0 <= self._value <= most:
            self.fail(f"not a whole number from 0 to {most}")
        return self._value

    def hex(self) -> Digest:
        try:
            return Digest(self.text())
        except DataError as error:
            self.fail(error.message)

    def digest(self) -> Digest:
        try:
            return Digest.parse(self.text())
        except DataError as error:
            self.fail(error.message)

    def optional_digest(self) -> Digest | None:
        return None if self._value is None else self.digest()


def _lock(top: _Field) -> Lock:
    version = top.get(VERSION_KEY)
    if version.integer() != FORMAT:
        version.fail(f"format {version.integer()} is not known to this repro", hint="use a newer repro")
    archives = {name: _archive(name, entry) for name, entry in top.get("archives").members()}
    environments = {name: _environment(name, entry) for name, entry in top.get("environments").members()}
    inputs: dict[str, InputLock] = {}
    if top.has("inputs"):
        inputs = {path: _input(path, entry) for path, entry in top.get("inputs").members()}
    fetched: dict[str, FetchedLock] = {}
    if top.has("fetched"):
        fetched = {path: _fetched(path, entry) for path, entry in top.get("fetched").members()}
    return Lock(archives, environments, inputs, fetched)


def _archive(name: str, entry: _Field) -> ArchiveLock:
    return ArchiveLock(
        name=name,
        epoch=entry.get("epoch").integer(_LAST_SECOND),
        releases=entry.get("releases").each(_release),
        packages=entry.get("packages").each(_package),
    )


def _environment(name: str, entry: _Field) -> EnvironmentLock:
    has = {key for key, _ in entry.members()}
    return EnvironmentLock(
        name=name,
        origin=entry.get("origin").digest(),
        base=entry.get("base").text(),
        packages=entry.get("packages").each(_package),
        images={mode: image.digest() for mode, image in entry.get("images").members()},
        declaration=entry.get("declaration").optional_digest(),
        build_packages=entry.part("build_packages", _package),
        sources=entry.part("sources", _source),
        conda=entry.part("conda", _conda),
        interpreter=entry.get("interpreter").text() if "interpreter" in has else "",
        wheels=entry.part("wheels", _wheel),
        tools=entry.part("tools", _wheel),
        froms={base: pinned.text() for base, pinned in entry.get("froms").members()} if "froms" in has else {},
        installed=entry.part("installed", _installed),
        releases=entry.part("releases", _release),
        requested=_requested(entry.get("requested")) if "requested" in has else {},
    )


def _input(path: str, entry: _Field) -> InputLock:
    fingerprint = entry.optional_text("fingerprint") or "sha256"
    if fingerprint not in _FINGERPRINTS:
        entry.get("fingerprint").fail(f"not one of {', '.join(_FINGERPRINTS)}")
    files = entry.get("files").each(_file_below if path.endswith("/") else _whole_file)
    if len({file.name for file in files}) != len(files):
        entry.get("files").fail("a file is there twice", hint="remove one of its two lines, or run `repro lock`")
    return InputLock(
        path=path,
        uri=entry.get("uri").text(),
        origin=entry.get("origin").digest(),
        digest=entry.get("digest").digest(),
        size=entry.get("size").integer(),
        count=entry.get("count").integer(),
        fingerprint=fingerprint,
        files=files,
    )


def _fetched(path: str, entry: _Field) -> FetchedLock:
    return FetchedLock(path, entry.get("digest").digest(), entry.get("size").integer())


def _file_below(entry: _Field) -> InputFile:
    return _input_file(entry, entry.get("name").relative_path())


def _whole_file(entry: _Field) -> InputFile:
    if entry.has("name"):
        entry.get("name").fail("the input is a file, and has no files in it")
    return _input_file(entry, "")


def _input_file(entry: _Field, name: str) -> InputFile:
    return InputFile(
        name=name,
        digest=entry.get("sha256").hex(),
        size=entry.get("size").integer(),
        version=entry.optional_text("version"),
        etag=entry.optional_text("etag"),
    )


def _requested(entry: _Field) -> dict[str, tuple[str, ...]]:
    return {name: values.each(_Field.text) for name, values in entry.members()}


def _wheel(entry: _Field) -> Wheel:
    return Wheel(
        name=entry.get("name").text(),
        version=entry.get("version").text(),
        file=entry.get("file").file_name(),
        digest=entry.get("sha256").hex(),
        size=entry.get("size").integer(),
    )


def _conda(entry: _Field) -> CondaPackage:
    return CondaPackage(
        name=entry.get("name").file_name(),
        version=entry.get("version").text(),
        build=entry.get("build").text(),
        channel=entry.get("channel").text(),
        subdir=entry.get("subdir").file_name(),
        file=entry.get("file").file_name(),
        digest=entry.get("sha256").hex(),
        size=entry.get("size").integer(),
    )


def _source(entry: _Field) -> SourceFile:
    size = entry.get("size").integer()
    return SourceFile(entry.get("file").file_name(), entry.get("sha256").hex(), size)


def _installed(entry: _Field) -> Installed:
    return Installed(entry.get("kind").text(), entry.get("name").text(), entry.get("version").text())


def _release(entry: _Field) -> Release:
    return Release(
        label=entry.get("label").text(),
        suite=entry.get("suite").text(),
        codename=entry.get("codename").text(),
        date=entry.get("date").text(),
        digest=entry.get("sha256").hex(),
    )


def _package(entry: _Field) -> Package:
    path = entry.get("path")
    # The path becomes part of an address and its last part a file's name: a lock may come from a stranger.
    if path.text().startswith("/") or not {"", ".", ".."}.isdisjoint(path.text().split("/")):
        path.fail("not a path below an archive's root")
    return Package(
        name=entry.get("name").text(),
        version=entry.get("version").text(),
        architecture=entry.get("architecture").text(),
        digest=entry.get("sha256").hex(),
        size=entry.get("size").integer(),
        path=path.text(),
        archive=entry.get("archive").text(),
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object; a name that stands twice, as after a careless merge, is damage."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Twice
    return members


def _dotted(path: tuple[str | int, ...]) -> str:
    """Return ``environments.align.packages[3].size``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _values(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Yield the path and the offset of each value, in the order of the text, which is JSON."""
    path: list[str | int | None] = []  # one part per open container; None: its next token is a name
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word in ("}", "]"):
            path.pop()
        elif word == ",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else None
        elif path and path[-1] is None:
            path[-1] = json.loads(word)
        elif word != ":":
            yield tuple(part for part in path if part is not None), token.start()
            if word in ("{", "["):
                path.append(None if word == "{" else 0)


def _locate(text: str, file: str, path: tuple[str | int, ...]) -> Location:
    """Return where the value at ``path`` stands, or what is nearest around it."""
    offsets = dict(_values(text))
    while path and path not in offsets:
        path = path[:-1]
    return _location(text, file, offsets.get(path, 0))


def _repeated(text: str, file: str) -> LockError:
    """Return the error for the first name that stands twice in one object."""
    seen: set[tuple[str | int, ...]] = set()
    for path, offset in _values(text):
        if path in seen:
            where = _location(text, file, offset)
            return LockError(f"{_dotted(path)}: is there twice", where=where, hint="remove one of the two entries")
        seen.add(path)
    raise AssertionError("unreachable: the parser found one")


def _location(text: str, file: str, offset: int) -> Location:
    return Location(file, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))
