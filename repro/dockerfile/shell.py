"""The simple commands of a shell script, for looking at what a RUN does; it never fails.

This is a reader for linters, not a shell: words come with their place and with whether the shell would put a value
into them (``$x``, ``$(…)``). Commands inside ``$(…)`` and backquotes are left alone; those in ``( … )``, ``{ … }``,
``if`` and loops are found. Bodies of the script's own here-documents are no commands.
"""

from __future__ import annotations

import re

from repro.dataclass import dataclass

_OPERATORS = re.compile(r"&&|\|\||;;|[;&|()\n]")
_REDIRECTION = re.compile(r"[0-9]*(?:<<<|<<-?|<>|<&|>>|>&|>\||&>>|&>|<|>)")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_RESERVED = frozenset(
    {"if", "then", "elif", "else", "do", "while", "until", "!", "{", "}", "time", "fi", "done", "esac"}
)
# Programs that run the rest of their words as a command, after options and words of their own.
_WRAPPERS = {
    "sudo": 0,
    "exec": 0,
    "command": 0,
    "env": 0,
    "nice": 0,
    "nohup": 0,
    "eatmydata": 0,
    "timeout": 1,
    "time": 0,
}


@dataclass(frozen=True, slots=True)
class ShellWord:
    """A word with its quotes removed; ``offset`` is where it begins; not ``literal`` if it holds a value."""

    text: str
    offset: int
    literal: bool = True


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """A program and its arguments, redirections and assignments before it left out."""

    words: tuple[ShellWord, ...]

    @property
    def program(self) -> str:
        """The program's name without its folder."""
        return self.words[0].text.rpartition("/")[2]

    @property
    def arguments(self) -> tuple[ShellWord, ...]:
        """The words after the program."""
        return self.words[1:]


def shell_commands(script: str) -> list[ShellCommand]:
    """Return the simple commands of ``script`` in order, without wrappers such as ``sudo`` and ``env``."""
    out: list[ShellCommand] = []
    words: list[ShellWord] = []
    reader = _Reader(script)
    while (token := reader.token()) is not None:
        if isinstance(token, ShellWord):
            words.append(token)
            continue
        if command := _command(words):
            out.append(command)
        words = []
    if command := _command(words):
        out.append(command)
    return out


def _command(words: list[ShellWord]) -> ShellCommand | None:
    """Return the command without reserved words, assignments and wrappers in front; None if nothing is left."""
    at = 0
    while at < len(words):
        text = words[at].text
        if text in _RESERVED or _ASSIGNMENT.match(text):
            at += 1
        elif (own := _WRAPPERS.get(text.rpartition("/")[2])) is not None:
            at += 1
            while at < len(words) and words[at].text.startswith("-"):
                at += 1
            at += own
        else:
            return ShellCommand(tuple(words[at:]))
    return None


class _Reader:
    """Cuts a script into words and operators."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._at = 0
        self._endings: list[tuple[str, bool]] = []  # here-documents whose bodies begin on the next line

    def token(self) -> ShellWord | str | None:
        """Return the next word or operator, or None at the end."""
        while True:
            self._skip_blanks()
            if self._at >= len(self._script):
                return None
            if (found := _REDIRECTION.match(self._script, self._at)) is not None:
                self._at = found.end()
                self._skip_blanks()
                target = self._word()
                if found[0].lstrip("0123456789") in ("<<", "<<-"):
                    self._endings.append((target.text, found[0].endswith("-")))
                continue
            if (found := _OPERATORS.match(self._script, self._at)) is not None:
                self._at = found.end()
                if found[0] == "\n":
                    self._skip_bodies()
                return found[0]
            return self._word()

    def _skip_blanks(self) -> None:
        script = self._script
        while self._at < len(script):
            if script[self._at] in " \t\r":
                self._at += 1
            elif script.startswith("\\\n", self._at):
                self._at += 2
            elif script[self._at] == "#":
                end = script.find("\n", self._at)
                self._at = len(script) if end < 0 else end
            else:
                return

    def _skip_bodies(self) -> None:
        for ending, strip_tabs in self._endings:
            while self._at < len(self._script):
                end = self._script.find("\n", self._at)
                end = len(self._script) if end < 0 else end
                line = self._script[self._at : end]
                self._at = end + 1
                if (line.lstrip("\t") if strip_tabs else line) == ending:
                    break
        self._endings = []

    def _word(self) -> ShellWord:
        script = self._script
        start = self._at
        out: list[str] = []
        literal = True
        while self._at < len(script) and script[self._at] not in " \t\r\n;&|()<>":
            character = script[self._at]
            self._at += 1
            if character == "\\":
                if not script.startswith("\n", self._at):
                    out.append(script[self._at : self._at + 1])
                self._at += 1
            elif character == "'":
                out.append(self._up_to("'"))
            elif character == '"':
                text = self._up_to('"')
                literal = literal and "$" not in text and "`" not in text
                out.append(text)
            elif character == "`":
                literal = False
                out.append(f"`{self._up_to('`')}`")
            elif character == "$" and script.startswith(("(", "{"), self._at):
                literal = False
                out.append(f"${self._nested()}")
            else:
                literal = literal and character != "$"
                out.append(character)
        if self._at == start:  # an operator where a word was expected
            self._at += self._at < len(script)
        return ShellWord("".join(out), start, literal)

    def _up_to(self, quote: str) -> str:
        """Return the text up to the closing quote, and step over it; to the end where there is none."""
        start = self._at
        script = self._script
        while self._at < len(script) and script[self._at] != quote:
            self._at += 2 if script[self._at] == "\\" and quote != "'" else 1
        text = script[start : min(self._at, len(script))]
        self._at += 1
        return text

    def _nested(self) -> str:
        """Return ``(…)`` or ``{…}`` with what is nested in it, and step over it."""
        start = self._at
        opening = self._script[self._at]
        closing = {"(": ")", "{": "}"}[opening]
        depth = 0
        while self._at < len(self._script):
            character = self._script[self._at]
            self._at += 1
            if character == opening:
                depth += 1
            elif character == closing:
                depth -= 1
                if depth == 0:
                    break
            elif character in "'\"":
                self._up_to(character)
        return self._script[start : self._at]
