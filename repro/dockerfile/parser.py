"""A Dockerfile's text as instructions with positions: lines, continuations, comments, flags and heredocs.

Nothing is known here about what an instruction means; `instructions` types them. Follows BuildKit's `parser`
package and the Dockerfile reference ("Format", "Parser directives", "Here-Documents").
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.dockerfile.words import expand_words
from repro.errors import DockerfileError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_KEYWORD = re.compile(r"[^\s]+")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # undecodable bytes come in as surrogates
_WITH_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})


@dataclass(frozen=True, slots=True)
class Flag:
    """``--name=value`` before an instruction's arguments; ``value`` is None without an equals sign."""

    name: str
    value: str | None
    where: Location


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: ``content`` as written, up to its last newline.

    ``expand`` is false where any part of the name was quoted; ``strip_tabs`` is the dash of ``<<-``.
    """

    name: str
    content: str
    expand: bool
    strip_tabs: bool

    @property
    def text(self) -> str:
        """The content that is meant: without leading tabs where ``<<-`` says so."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.strip_tabs else self.content


@dataclass(frozen=True, slots=True)
class RawInstruction:
    """One instruction: ``keyword`` in upper case, its flags, and the rest of the joined line as ``arguments``.

    ``original`` is the text as it stands in the file, ``end_line`` its last line (heredocs included).
    ``marks`` says where the pieces of ``arguments`` come from: (offset, line, column), sorted.
    """

    keyword: str
    flags: tuple[Flag, ...]
    arguments: str
    heredocs: tuple[Heredoc, ...]
    where: Location
    end_line: int
    original: str
    marks: tuple[tuple[int, int, int], ...] = ()

    def locate(self, offset: int) -> Location:
        """Return the place in the file of the character at ``offset`` in ``arguments``."""
        index = bisect_right(self.marks, (offset, 1 << 60, 0)) - 1
        if index < 0:
            return self.where
        start, line, column = self.marks[index]
        return Location(self.where.file, line, column + offset - start)


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed file: its directives (``syntax``, ``escape``, ``check``) and its instructions, in order."""

    directives: Mapping[str, str]
    instructions: tuple[RawInstruction, ...]

    @property
    def escape(self) -> str:
        """The escape character: a backslash unless the directive says a backtick."""
        return self.directives.get("escape", "\\")


def parse(text: str, file: str) -> Script:
    """Return the instructions of ``text``; DockerfileError with the place of the first mistake.

    ``file`` is the name that locations carry. Lines end with LF or CR LF; a byte-order mark is dropped.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    for number, line in enumerate(lines, start=1):
        if (found := _NOT_TEXT.search(line)) is not None:
            where = Location(file, number, found.start() + 1)
            raise DockerfileError("not text: a NUL character, or bytes that are not UTF-8", where=where)
    directives = _directives(lines, file)
    reader = _Reader(lines, file, directives.get("escape", "\\"))
    instructions = reader.instructions()
    if not instructions:
        raise DockerfileError("the file has no instructions", where=Location(file, 1), hint="begin with FROM")
    return Script(directives, tuple(instructions))


def _directives(lines: list[str], file: str) -> dict[str, str]:
    """Read ``# key=value`` lines at the very top; the first line that is none ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or (name := match[1].lower()) not in _DIRECTIVES:
            break
        if name in found:
            raise DockerfileError(f"the directive {name!r} is given twice", where=Location(file, number))
        if name == "escape" and match[2] not in ("\\", "`"):
            raise DockerfileError(f"escape={match[2]!r} is neither \\ nor `", where=Location(file, number))
        found[name] = match[2]
    return found


class _Joined:
    """The text of an instruction's lines joined, with the place that each piece came from."""

    def __init__(self) -> None:
        self.text = ""
        self.marks: list[tuple[int, int, int]] = []

    def add(self, piece: str, line: int, column: int) -> None:
        self.marks.append((len(self.text), line, column))
        self.text += piece


class _Reader:
    """Reads instruction after instruction from the lines of a file."""

    def __init__(self, lines: list[str], file: str, escape: str) -> None:
        self._lines = lines
        self._file = file
        self._escape = escape
        self._at = 0  # index of the next line
        sign = re.escape(escape)
        # The escape character at the end of a line joins it to the next, unless it is escaped itself.
        self._continuation = re.compile(rf"(?:(?<!{sign})|^){sign}[ \t]*$")

    def instructions(self) -> list[RawInstruction]:
        out: list[RawInstruction] = []
        while self._at < len(self._lines):
            stripped = self._lines[self._at].strip()
            if not stripped or stripped.startswith("#"):
                self._at += 1
                continue
            instruction = self._instruction()
            if instruction is not None:
                out.append(instruction)
        return out

    def _instruction(self) -> RawInstruction | None:
        """Read an instruction and its heredocs; None for continuation signs with nothing between them."""
        first = self._at
        joined = self._join()
        text = joined.text.rstrip()
        match = _KEYWORD.match(text)
        if match is None:
            return None
        keyword = match[0].upper()
        number, column = joined.marks[0][1:]
        where = Location(self._file, number, column)
        locate = _locator(joined, self._file)
        flags, start = _flags(text, match.end(), locate)
        arguments = text[start:]
        heredocs: tuple[Heredoc, ...] = ()
        last = self._at
        if _takes_heredocs(keyword, arguments):
            heredocs = self._heredocs(arguments, where)
            last = self._at
        marks = tuple(
            (max(offset - start, 0), line, column + max(start - offset, 0)) for offset, line, column in joined.marks
        )
        kept = tuple(mark for i, mark in enumerate(marks) if i + 1 == len(marks) or marks[i + 1][0] > 0)
        original = "\n".join(line.rstrip("\r") for line in self._lines[first:last])
        return RawInstruction(keyword, flags, arguments, heredocs, where, last, original, kept)

    def _join(self) -> _Joined:
        """Join the lines that continuations connect; comments and blank lines between them vanish."""
        joined = _Joined()
        first = self._at
        more = True
        while more and self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r")
            self._at += 1
            stripped = line.lstrip()
            if self._at > first + 1 and (not stripped or stripped.startswith("#")):
                continue
            column = 1
            if not joined.marks:
                column, line = len(line) - len(stripped) + 1, stripped
            more = (match := self._continuation.search(line)) is not None
            piece = line[: match.start()] if match else line
            if joined.marks or piece.strip():
                joined.add(piece, self._at, column)
        return joined

    def _heredocs(self, arguments: str, where: Location) -> tuple[Heredoc, ...]:
        """Read the bodies of the heredocs that the line names, in their order."""
        out: list[Heredoc] = []
        for word in _shell_words(arguments):
            found = heredoc_of(word, where)
            if found is None:
                continue
            name, expand, strip_tabs = found
            body: list[str] = []
            while True:
                if self._at >= len(self._lines):
                    raise DockerfileError(
                        f"the heredoc <<{name} is not closed",
                        where=where,
                        hint=f"end it with a line that is {name} alone",
                    )
                line = self._lines[self._at]
                self._at += 1
                if (line.lstrip("\t") if strip_tabs else line).rstrip("\r") == name:
                    break
                body.append(line + "\n")
            out.append(Heredoc(name, "".join(body), expand, strip_tabs))
        return tuple(out)


def _locator(joined: _Joined, file: str) -> RawInstruction:
    """Return a stand-in that only locates, for errors and flags before the instruction exists."""
    return RawInstruction("", (), "", (), Location(file, joined.marks[0][1]), 0, "", tuple(joined.marks))


def _flags(text: str, at: int, locate: RawInstruction) -> tuple[tuple[Flag, ...], int]:
    """Read ``--name[=value]`` words from ``at``; return them and where the arguments begin.

    Quotes and backslashes work inside a flag; ``--`` alone ends them.
    """
    flags: list[Flag] = []
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), at
        start = at
        word: list[str] = []
        quote = ""
        while at < len(text) and (quote or not text[at].isspace()):
            character = text[at]
            at += 1
            if character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
            elif character == "\\":
                word.append(text[at : at + 1])
                at += 1
            else:
                word.append(character)
        flag = "".join(word)
        if flag == "--":
            while at < len(text) and text[at].isspace():
                at += 1
            return tuple(flags), at
        name, equals, value = flag[2:].partition("=")
        flags.append(Flag(name, value if equals else None, locate.locate(start)))


def _takes_heredocs(keyword: str, arguments: str) -> bool:
    if keyword == "ONBUILD":
        keyword = arguments.split(None, 1)[0].upper() if arguments.strip() else ""
    return keyword in _WITH_HEREDOCS and "<<" in arguments


def _shell_words(text: str) -> list[str]:
    """Split at blanks outside quotes and escapes, keeping both; an unclosed quote is the shell's business."""
    words: list[str] = []
    word = ""
    quote = ""
    characters = iter(text)
    for character in characters:
        if not quote and character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += character
        if character == "\\" and quote != "'":
            word += next(characters, "")
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
    return [*words, word] if word else words


def heredoc_of(word: str, where: Location) -> tuple[str, bool, bool] | None:
    """Return (name, expand, strip tabs) if ``word`` opens a heredoc, as in ``<<EOF``, ``3<<-"EOF"``; else None."""
    match = _HEREDOC.fullmatch(word)
    if match is None:
        return None
    raw = match[3]
    try:
        names = expand_words(re.sub(r"\$", r"\\$", raw), {}, where=where)
    except DockerfileError:
        return None  # an unclosed quote: not a name, so not a heredoc
    if len(names) != 1 or not names[0]:
        return None
    return names[0], names[0] == raw, match[2] == "-"
