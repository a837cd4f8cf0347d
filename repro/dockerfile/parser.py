"""A Dockerfile's text as instructions with positions: lines, continuations, comments, flags and heredocs.

Nothing is known here about what an instruction means; `instructions` types them. Follows BuildKit's `parser`
package and the Dockerfile reference ("Format", "Parser directives", "Here-Documents").
"""

from __future__ import annotations

import re

from repro.dataclass import dataclass
from repro.dockerfile.directives import Directives, read_directives
from repro.dockerfile.places import Places
from repro.dockerfile.words import Lexing, expand_words
from repro.errors import DockerfileError, Location

_KEYWORD = re.compile(r"[^\s]+")
_HEREDOC = re.compile(r"([0-9]*)<<(-?)([^<]+)")
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

    ``expand`` is false where any part of the name was quoted; ``strip_tabs`` is the dash of ``<<-``. ``line`` is
    that of the body's first line in the file.
    """

    name: str
    content: str
    expand: bool
    strip_tabs: bool
    line: int = 0

    @property
    def text(self) -> str:
        """The content that is meant: without leading tabs where ``<<-`` says so."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.strip_tabs else self.content


@dataclass(frozen=True, slots=True)
class RawInstruction:
    """One instruction: ``keyword`` in upper case, its flags, and the rest of the joined line as ``arguments``.

    ``original`` is the text as it stands in the file, ``end_line`` its last line (heredocs included).
    """

    keyword: str
    flags: tuple[Flag, ...]
    arguments: str
    heredocs: tuple[Heredoc, ...]
    where: Location
    end_line: int
    original: str
    places: Places

    def locate(self, offset: int) -> Location:
        """Return the place in the file of the character at ``offset`` in ``arguments``."""
        return self.places.at(offset)


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed file: its directives and its instructions, in order."""

    directives: Directives
    instructions: tuple[RawInstruction, ...]

    @property
    def escape(self) -> str:
        """The escape character."""
        return self.directives.escape


def parse(text: str, file: str) -> Script:
    """Return the instructions of ``text``; DockerfileError with the place of the first mistake.

    ``file`` is the name that locations carry. Lines end with LF or CR LF; a byte-order mark is dropped.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    directives = read_directives(lines, file)
    instructions = _Reader(lines, file, directives.escape).instructions()
    if not instructions:
        raise DockerfileError("the file has no instructions", where=Location(file, 1), hint="begin with FROM")
    return Script(directives, tuple(instructions))


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
            else:
                out.append(self._instruction())
        return out

    def _instruction(self) -> RawInstruction:
        """Read an instruction and its heredocs."""
        first = self._at
        joined = self._join()
        text = joined.text.rstrip()
        match = _KEYWORD.match(text)
        if match is None:
            where = Location(self._file, first + 1)
            raise DockerfileError("no instruction follows the continuation", where=where, hint="leave the line out")
        places = Places(self._file, tuple(joined.marks))
        where = places.at(0)
        flags, start = _flags(text, match.end(), places)
        arguments = text[start:]
        heredocs: tuple[Heredoc, ...] = ()
        if _takes_heredocs(match[0].upper(), arguments):
            heredocs = self._heredocs(arguments, where)
        original = "\n".join(line.rstrip("\r") for line in self._lines[first : self._at])
        return RawInstruction(
            match[0].upper(), flags, arguments, heredocs, where, self._at, original, places.since(start)
        )

    def _next(self) -> str:
        """Return the next line, which counts from here on as read; DockerfileError where it is not text."""
        line = self._lines[self._at]
        self._at += 1
        if (found := _NOT_TEXT.search(line)) is not None:
            where = Location(self._file, self._at, found.start() + 1)
            message = "not text: a NUL character, or bytes that are not UTF-8"
            raise DockerfileError(message, where=where, hint="save the file as UTF-8")
        return line

    def _join(self) -> _Joined:
        """Join the lines that continuations connect; comments and blank lines between them vanish."""
        joined = _Joined()
        first = self._at
        more = True
        while more and self._at < len(self._lines):
            stripped = self._lines[self._at].strip()
            if self._at > first and (not stripped or stripped.startswith("#")):
                self._at += 1
                continue
            line = self._next().rstrip("\r")
            column = 1
            if not joined.marks:
                column, line = len(line) - len(line.lstrip()) + 1, line.lstrip()
            more = (match := self._continuation.search(line)) is not None
            piece = line[: match.start()] if match else line
            if joined.marks or piece.strip():
                joined.add(piece, self._at, column)
        return joined

    def _heredocs(self, arguments: str, where: Location) -> tuple[Heredoc, ...]:
        """Read the bodies of the heredocs that the line names, in their order."""
        out: list[Heredoc] = []
        for word in _shell_words(arguments, where):
            found = heredoc_of(word, where)
            if found is None:
                continue
            name, expand, strip_tabs = found
            body: list[str] = []
            line = self._at + 1
            while True:
                if self._at >= len(self._lines):
                    raise DockerfileError(
                        f"the heredoc <<{name} is not closed",
                        where=where,
                        hint=f"end it with a line that is {name} alone",
                    )
                text = self._next()
                if (text.lstrip("\t") if strip_tabs else text).rstrip("\r") == name:
                    break
                body.append(text + "\n")
            out.append(Heredoc(name, "".join(body), expand, strip_tabs, line))
        return tuple(out)


def _flags(text: str, at: int, places: Places) -> tuple[tuple[Flag, ...], int]:
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
        flags.append(Flag(name, value if equals else None, places.at(start)))


def _takes_heredocs(keyword: str, arguments: str) -> bool:
    if keyword == "ONBUILD":
        keyword = arguments.split(None, 1)[0].upper() if arguments.strip() else ""
    return keyword in _WITH_HEREDOCS and "<<" in arguments


def _shell_words(text: str, where: Location) -> list[str]:
    """Split at blanks outside quotes, keeping quotes and escapes; no words where BuildKit cannot lex the line.

    The escape character is a backslash here, whatever the directive says: the line is a shell's.
    """
    lexing = Lexing(keep_quotes=True, keep_escapes=True, keep_unset=True)
    try:
        return expand_words(text, {}, where=where, lexing=lexing)
    except DockerfileError:
        return []


def heredoc_of(word: str, where: Location) -> tuple[str, bool, bool] | None:
    """Return (name, expand, strip tabs) if ``word`` opens a heredoc, as in ``<<EOF``, ``3<<-"EOF"``; else None."""
    match = _HEREDOC.fullmatch(word)
    if match is None:
        return None
    try:
        names = expand_words(match[3], {}, where=where, lexing=Lexing(keep_unset=True))
        quoted = expand_words(match[3], {}, where=where, lexing=Lexing(keep_unset=True, keep_quotes=True))
    except DockerfileError:
        return None  # an unclosed quote: not a name, so not a heredoc
    if len(names) != 1 or len(quoted) != 1:
        return None
    return names[0], _quotes(names[0]) == _quotes(quoted[0]), match[2] == "-"


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
