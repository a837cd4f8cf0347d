"""Use cases on a Dockerfile alone: what its instructions are, and what the lint rules find in it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.api.host import Host
    from repro.build.lint import Finding
    from repro.dockerfile.parser import RawInstruction


@dataclass(frozen=True, slots=True)
class ParsedFlag:
    """``--name=value``; ``value`` is None without an equals sign."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class ParsedHeredoc:
    """A here-document; ``line`` is that of its body's first line, ``content`` as written."""

    name: str
    content: str
    expand: bool
    strip_tabs: bool
    line: int


@dataclass(frozen=True, slots=True)
class ParsedInstruction:
    """An instruction; ``stage`` is the number of its stage, None before the first FROM.

    ``arguments`` are what follows the flags, continuations joined; ``strings`` are those of the JSON form, else None.
    ``original`` is the text of lines ``line`` to ``end_line``.
    """

    name: str
    stage: int | None
    flags: tuple[ParsedFlag, ...]
    arguments: str
    strings: tuple[str, ...] | None
    heredocs: tuple[ParsedHeredoc, ...]
    line: int
    column: int
    end_line: int
    original: str


@dataclass(frozen=True, slots=True)
class ParsedDockerfile:
    """A whole file; ``file`` as the user named it."""

    file: str
    escape: str
    directives: Mapping[str, str]
    instructions: tuple[ParsedInstruction, ...]


def parse_dockerfile(host: Host, named: str) -> ParsedDockerfile:
    """Return the instructions of the Dockerfile ``named``, ``-`` for stdin.

    Raises:
        DockerfileError: it has a mistake, located.
        UsageError: there is no such file.
    """
    from repro.dockerfile.grammar import typed  # noqa: PLC0415 - small commands stay quick
    from repro.dockerfile.parser import parse  # noqa: PLC0415

    text, shown = _read(host, named)
    script = parse(text, shown)
    instructions: list[ParsedInstruction] = []
    stage: int | None = None
    for raw in script.instructions:
        typed(raw, script.escape)  # its mistakes are told here
        if raw.keyword == "FROM":
            stage = 0 if stage is None else stage + 1
        instructions.append(_parsed(raw, stage, script.escape))
    directives = {one.name: one.value for one in script.directives.found}
    return ParsedDockerfile(shown, script.escape, directives, tuple(instructions))


def check_dockerfile(
    host: Host, named: str, *, target: str | None = None, args: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Return what the lint rules find in the Dockerfile ``named``, ``-`` for stdin, in its order.

    Raises:
        DockerfileError: it has a mistake, or its ``check`` directive makes a finding one.
        UsageError: there is no such file.
    """
    from repro.build.lint import enforce, lint  # noqa: PLC0415 - small commands stay quick
    from repro.build.stages import architecture, plan_build  # noqa: PLC0415
    from repro.dockerfile.grammar import read  # noqa: PLC0415

    text, shown = _read(host, named)
    dockerfile = read(text, shown)
    plan = plan_build(dockerfile, target=target, arguments=args or {}, arch=architecture())
    findings = lint(plan, dockerfile)
    enforce(findings, dockerfile)
    return findings


def _parsed(raw: RawInstruction, stage: int | None, escape: str) -> ParsedInstruction:
    from repro.dockerfile.reading import Reading  # noqa: PLC0415

    return ParsedInstruction(
        raw.keyword,
        stage,
        tuple(ParsedFlag(flag.name, flag.value) for flag in raw.flags),
        raw.arguments,
        Reading(raw, escape).strings() if raw.keyword in _JSON_FORM else None,
        tuple(
            ParsedHeredoc(one.name, one.content, one.expand, one.strip_tabs, one.line) for one in raw.heredocs
        ),
        raw.where.line,
        raw.where.column,
        raw.end_line,
        raw.original.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),  # a comment may hold any bytes
    )  # fmt: skip


_JSON_FORM = frozenset({"RUN", "CMD", "ENTRYPOINT", "SHELL", "COPY", "ADD", "VOLUME"})


def _read(host: Host, named: str) -> tuple[str, str]:
    """Return the file's text and its name in messages; bytes that are not UTF-8 stay, the parser judges them."""
    if named == "-":
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape"), "-"
    path = host.cwd / named
    if path.is_dir():
        path, named = path / "Dockerfile", f"{named.rstrip('/')}/Dockerfile"
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape"), named
    except FileNotFoundError as error:
        raise UsageError(f"there is no Dockerfile {named}", hint="name a file, a folder with one, or -") from error
