"""Variable expansion in the words of an instruction, as BuildKit's `shell` package does it.

Forms: ``$x ${x} ${x:-y} ${x-y} ${x:+y} ${x+y} ${x:?m} ${x?m} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}``,
single and double quotes, and the escape character (Dockerfile reference, "Environment replacement").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.dockerfile.patterns import PatternError, ShellPattern, shell_pattern
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location

_SPECIAL = frozenset("@*#?-$!0")  # one-character parameters; a build has none of them set
_DEEPEST = 64  # nesting of ${a:-${b:-...}}; beyond it is a mistake, not a Dockerfile


@dataclass(frozen=True, slots=True)
class Lexing:
    """How a text is scanned.

    ``quotes`` off makes quotes plain characters. ``keep_quotes``, ``keep_escapes`` and ``keep_unset`` leave quotes,
    escape characters and ``$x`` of an unset variable in the result, where only the words' limits are wanted.
    """

    escape: str = "\\"
    quotes: bool = True
    keep_quotes: bool = False
    keep_escapes: bool = False
    keep_unset: bool = False


def expand(text: str, variables: Mapping[str, str], *, where: Location, escape: str = "\\", quotes: bool = True) -> str:
    """Return ``text`` with variables put in and quotes and escapes taken away; an unset variable is empty.

    With ``quotes`` off, as in a heredoc's body, quotes are characters like others.

    Raises:
        DockerfileError: at ``where``, for an unclosed quote or brace, an unknown modifier, or ``${x:?message}``.
    """
    scanner = _Scanner(text, variables, where, Lexing(escape, quotes))
    return "".join(piece for piece, _ in scanner.pieces(None))


def expand_words(
    text: str, variables: Mapping[str, str], *, where: Location, lexing: Lexing | None = None, escape: str = "\\"
) -> list[str]:
    """Return the words of ``text`` after expansion: blanks outside quotes split, also those from a variable.

    Empty words vanish, quoted ones too. ``lexing`` takes the place of ``escape``.
    """
    words = [""]
    for piece, splits in _Scanner(text, variables, where, lexing or Lexing(escape)).pieces(None):
        parts = re.split(r"\s+", piece) if splits else [piece]
        words[-1] += parts[0]
        words.extend(parts[1:])
    return [word for word in words if word]


class _Scanner:
    """One pass over a text; `pieces` yields (string, may it be split at blanks)."""

    def __init__(self, text: str, variables: Mapping[str, str], where: Location, lexing: Lexing) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._where = where
        self._lexing = lexing
        self._escape = lexing.escape
        self._depth = 0

    def pieces(self, stop: str | None, *, raw_escapes: bool | None = None) -> list[tuple[str, bool]]:
        """Scan up to ``stop`` (taken, not returned; missing is an error) or, if None, to the end."""
        raw = self._lexing.keep_escapes if raw_escapes is None else raw_escapes
        out: list[tuple[str, bool]] = []
        while (character := self._peek()) != "":
            if character == stop:
                self._at += 1
                return out
            if character == "$":
                out.append((self._dollar(), True))
            elif character == "'" and self._lexing.quotes:
                out.append((self._single(), False))
            elif character == '"' and self._lexing.quotes:
                out.append((self._double(raw=raw), False))
            elif character == self._escape:
                self._at += 1
                out.append(((character if raw else "") + self._take(), False))
            else:
                self._at += 1
                out.append((character, True))
        if stop is not None:
            raise self._error(f"missing {stop!r}")
        return out

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _error(self, message: str) -> DockerfileError:
        shown = self._text if len(self._text) <= 200 else f"{self._text[:200]}…"
        return DockerfileError(f"{message} in {shown!r}", where=self._where)

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._error("a single quote is not closed")
        start, self._at = self._at + 1, end + 1
        return f"'{self._text[start:end]}'" if self._lexing.keep_quotes else self._text[start:end]

    def _double(self, *, raw: bool) -> str:
        quote = '"' if self._lexing.keep_quotes else ""
        self._at += 1
        out = [quote]
        while (character := self._peek()) != '"':
            if character == "":
                raise self._error("a double quote is not closed")
            if character == "$":
                out.append(self._dollar())
                continue
            self._at += 1
            if character == self._escape:
                if raw:
                    out.append(character)
                if self._peek() == "":
                    continue
                if self._peek() in ('"', "$", self._escape):
                    character = self._take()
                elif raw:
                    continue
            out.append(character)
        self._at += 1
        return "".join([*out, quote])

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first in _SPECIAL and first:
            self._at += 1
        else:
            while (character := self._peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self._at += 1
        return self._text[start : self._at]

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, self._unset(start)) if name else "$"
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise self._error("bad substitution: a name is missing after '${'")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("substitutions are nested too deeply")
        value = self._braced(self._name(), start)
        self._depth -= 1
        return value

    def _unset(self, start: int) -> str:
        """Return what stands for a variable that is not set, whose substitution began at ``start``."""
        return self._text[start : self._at] if self._lexing.keep_unset else ""

    def _braced(self, name: str, start: int) -> str:
        """Scan what follows the name in ``${name…}``."""
        modifier = self._take()
        if modifier == "}":
            return self._variables.get(name, self._unset(start))
        empty_is_unset = modifier == ":"
        if empty_is_unset:
            modifier = self._take()
        if modifier == "/" and not empty_is_unset:
            return self._replaced(name, start)
        if modifier in ("#", "%"):
            return self._trimmed(name, modifier, start)
        if modifier == "" or modifier not in "+-?":
            spelling = (":" if empty_is_unset else "") + modifier
            raise self._error(f"unknown modifier {spelling!r} in ${{{name}…}}" if spelling else "missing '}'")
        word = self._word("}", raw_escapes=False)
        value = self._variables.get(name)
        if value is None and self._lexing.keep_unset:
            return self._unset(start)
        if value is None or (empty_is_unset and value == ""):
            if modifier == "?":
                state = "set and not empty" if empty_is_unset else "set"
                raise DockerfileError(f"{name}: {word or f'must be {state}'}", where=self._where)
            return word if modifier == "-" else ""
        return word if modifier == "+" else value

    def _word(self, stop: str, *, raw_escapes: bool) -> str:
        return "".join(piece for piece, _ in self.pieces(stop, raw_escapes=raw_escapes))

    def _pattern(self, text: str) -> ShellPattern:
        try:
            return shell_pattern(text)
        except PatternError as error:
            raise self._error(f"not a pattern: {text!r}: {error}") from error

    def _trimmed(self, name: str, modifier: str, start: int) -> str:
        text = self._word("}", raw_escapes=True)
        longest = text.startswith(modifier)
        value = self._variables.get(name)
        if value is None and self._lexing.keep_unset:
            return self._unset(start)
        pattern = self._pattern(text[1:] if longest else text)
        if modifier == "#":
            return pattern.trimmed(value or "", longest=longest)
        return pattern.trimmed_behind(value or "", longest=longest)

    def _replaced(self, name: str, start: int) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        text = self._word("/", raw_escapes=True)
        replacement = self._word("}", raw_escapes=True)
        value = self._variables.get(name)
        if value is None and self._lexing.keep_unset:
            return self._unset(start)
        return self._pattern(text).replaced(value or "", replacement, everywhere=everywhere)
