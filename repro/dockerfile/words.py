"""Variable expansion in the words of an instruction, as BuildKit's `shell` package does it.

Forms: ``$x ${x} ${x:-y} ${x-y} ${x:+y} ${x+y} ${x:?m} ${x?m} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}``,
single and double quotes, and the escape character (Dockerfile reference, "Environment replacement").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location

_SPECIAL = frozenset("@*#?-$!0")  # one-character parameters; a build has none of them set
_DEEPEST = 64  # nesting of ${a:-${b:-...}}; beyond it is a mistake, not a Dockerfile


def expand(text: str, variables: Mapping[str, str], *, where: Location, escape: str = "\\") -> str:
    """Return ``text`` with variables put in and quotes and escapes taken away; an unset variable is empty.

    Raises:
        DockerfileError: at ``where``, for an unclosed quote or brace, an unknown modifier, or ``${x:?message}``.
    """
    scanner = _Scanner(text, variables, where, escape)
    return "".join(piece for piece, _ in scanner.pieces(None))


def expand_words(text: str, variables: Mapping[str, str], *, where: Location, escape: str = "\\") -> list[str]:
    """Return the words of ``text`` after expansion: blanks outside quotes split, also those from a variable."""
    words: list[str] = []
    current: list[str] | None = None
    for piece, splits in _Scanner(text, variables, where, escape).pieces(None):
        if not splits:
            current = [] if current is None else current
            current.append(piece)
            continue
        for part in re.split(r"(\s+)", piece):
            if part.isspace():
                if current is not None:
                    words.append("".join(current))
                current = None
            elif part:
                current = [] if current is None else current
                current.append(part)
    if current is not None:
        words.append("".join(current))
    return words


def pattern_regex(pattern: str) -> str:
    """Return the regular expression of a shell pattern: ``*``, ``?`` and backslash; all else stands for itself."""
    out: list[str] = []
    characters = iter(pattern)
    for character in characters:
        match character:
            case "*":
                out.append(".*")
            case "?":
                out.append(".")
            case "\\":
                out.append(re.escape(next(characters, "\\")))
            case _:
                out.append(re.escape(character))
    return "".join(out)


class _Scanner:
    """One pass over a text; `pieces` yields (string, may it be split at blanks)."""

    def __init__(self, text: str, variables: Mapping[str, str], where: Location, escape: str) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._where = where
        self._escape = escape
        self._depth = 0

    def pieces(self, stop: str | None, *, raw_escapes: bool = False) -> list[tuple[str, bool]]:
        """Scan up to ``stop`` (taken, not returned; missing is an error) or, if None, to the end."""
        out: list[tuple[str, bool]] = []
        while (character := self._peek()) != "":
            if character == stop:
                self._at += 1
                return out
            if character == "$":
                out.append((self._dollar(), True))
            elif character == "'":
                out.append((self._single(), False))
            elif character == '"':
                out.append((self._double(raw_escapes=raw_escapes), False))
            elif character == self._escape:
                self._at += 1
                kept = character if raw_escapes else ""
                out.append((kept + self._take(), False))
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
        return DockerfileError(f"{message} in {self._text!r}", where=self._where)

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._error("a single quote is not closed")
        start, self._at = self._at + 1, end + 1
        return self._text[start:end]

    def _double(self, *, raw_escapes: bool) -> str:
        self._at += 1
        out: list[str] = []
        while (character := self._peek()) != '"':
            if character == "":
                raise self._error("a double quote is not closed")
            if character == "$":
                out.append(self._dollar())
                continue
            self._at += 1
            if character == self._escape:
                if raw_escapes:
                    out.append(character)
                if self._peek() == "":
                    continue
                if self._peek() in ('"', "$", self._escape):
                    character = self._take()
                elif raw_escapes:
                    continue
            out.append(character)
        self._at += 1
        return "".join(out)

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first in _SPECIAL and first:
            self._at += 1
        else:
            while (character := self._peek()) and (character.isalnum() or character == "_"):
                self._at += 1
        return self._text[start : self._at]

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise self._error("bad substitution: a name is missing after '${'")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("substitutions are nested too deeply")
        value = self._braced(self._name())
        self._depth -= 1
        return value

    def _braced(self, name: str) -> str:
        """Scan what follows the name in ``${name…}``."""
        modifier = self._take()
        if modifier == "}":
            return self._variables.get(name, "")
        empty_is_unset = modifier == ":"
        if empty_is_unset:
            modifier = self._take()
        if modifier == "/" and not empty_is_unset:
            return self._replaced(name)
        if modifier in ("#", "%") and modifier and not empty_is_unset:
            return self._trimmed(name, modifier)
        if modifier == "" or modifier not in "+-?":
            spelling = (":" if empty_is_unset else "") + modifier
            raise self._error(f"unknown modifier {spelling!r} in ${{{name}…}}" if spelling else "missing '}'")
        word = self._word("}")
        value = self._variables.get(name)
        if value is None or (empty_is_unset and value == ""):
            if modifier == "?":
                state = "set and not empty" if empty_is_unset else "set"
                raise DockerfileError(f"{name}: {word or f'must be {state}'}", where=self._where)
            return word if modifier == "-" else ""
        return word if modifier == "+" else value

    def _word(self, stop: str, *, raw_escapes: bool = False) -> str:
        return "".join(piece for piece, _ in self.pieces(stop, raw_escapes=raw_escapes))

    def _trimmed(self, name: str, modifier: str) -> str:
        longest = self._peek() == modifier
        if longest:
            self._at += 1
        pattern = re.compile(pattern_regex(self._word("}", raw_escapes=True)), re.DOTALL)
        value = self._variables.get(name, "")
        lengths = range(len(value), -1, -1) if longest else range(len(value) + 1)
        for length in lengths:
            if modifier == "#" and pattern.fullmatch(value[:length]):
                return value[length:]
            if modifier == "%" and pattern.fullmatch(value[len(value) - length :]):
                return value[: len(value) - length]
        return value

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        pattern = pattern_regex(self._word("/", raw_escapes=True))
        replacement = self._word("}")
        value = self._variables.get(name, "")
        if not pattern:
            return value
        return re.sub(pattern, lambda _: replacement, value, count=0 if everywhere else 1, flags=re.DOTALL)
