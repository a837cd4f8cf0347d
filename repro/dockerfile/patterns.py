"""Shell patterns of ``${x#p} ${x%p} ${x/p/r}`` applied to a value, as BuildKit applies them.

``*`` is any run of characters and ``?`` any character, neither over a line's end. A pattern is run as a set of
positions in it (one bit each) over the value, so that no pattern, however many ``*`` it has, takes longer than
the product of both lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STAR = None  # token of `*`; `?` is the empty string, a literal character is itself
_ANY = ""


class PatternError(ValueError):
    """A pattern has an escape that BuildKit does not know."""


@dataclass(frozen=True, slots=True)
class ShellPattern:
    """A pattern as tokens."""

    tokens: tuple[str | None, ...]

    def trimmed(self, value: str, *, longest: bool) -> str:
        """Return ``value`` without the shortest or longest beginning that matches; ``value`` if none does."""
        ends = _ends(self.tokens, value, 0)
        end = max(ends, default=0) if longest else next(ends, 0)
        return value[end:]

    def trimmed_behind(self, value: str, *, longest: bool) -> str:
        """Return ``value`` without the shortest or longest end that matches."""
        backwards = ShellPattern(self.tokens[::-1])
        return backwards.trimmed(value[::-1], longest=longest)[::-1]

    def replaced(self, value: str, replacement: str, *, everywhere: bool) -> str:
        """Return ``value`` with the first match, or all that do not overlap, replaced; matches are the longest.

        An empty match right behind another match is none (Go's ``ReplaceAllString``).
        """
        starts = _starts(self.tokens, value)
        out: list[str] = []
        done = at = 0
        while (start := next((i for i in range(at, len(value) + 1) if starts[i]), None)) is not None:
            end = max(_ends(self.tokens, value, start))
            out.append(value[done:start])
            if end > done or start == 0:
                out.append(replacement)
            done = end
            at = max(end, at + 1)
            if not everywhere:
                break
        return "".join([*out, value[done:]])


def shell_pattern(text: str) -> ShellPattern:
    r"""Return the pattern that ``text`` spells.

    A backslash makes ``*``, ``?``, ``\``, ``/`` and ``}`` literal.

    Raises:
        PatternError: a backslash before anything else, or at the end.
    """
    tokens: list[str | None] = []
    characters = iter(text)
    for character in characters:
        if character == "*":
            if tokens[-1:] != [_STAR]:  # two in a row mean the same as one
                tokens.append(_STAR)
        elif character == "?":
            tokens.append(_ANY)
        elif character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in "*?\\/}":
                raise PatternError(f"\\{escaped} is no escape in a pattern")
            tokens.append(escaped)
        else:
            tokens.append(character)
    return ShellPattern(tuple(tokens))


def _ends(tokens: Sequence[str | None], value: str, start: int) -> Iterator[int]:
    """Yield, rising, where a match that begins at ``start`` can end."""
    machine = _Machine(tokens)
    states = machine.start
    for at in range(start, len(value)):
        if states & machine.accept:
            yield at
        states = machine.step(states, value[at])
        if not states:
            return
    if states & machine.accept:
        yield len(value)


def _starts(tokens: Sequence[str | None], value: str) -> list[bool]:
    """Return for each offset, the end included, whether a match begins there."""
    machine = _Machine(tokens[::-1])
    states = machine.start
    found = [bool(states & machine.accept)]
    for character in reversed(value):
        states = machine.step(states, character) | machine.start
        found.append(bool(states & machine.accept))
    return found[::-1]


class _Machine:
    """Positions in a pattern as bits of a number: bit i is "before token i", the highest is "matched"."""

    def __init__(self, tokens: Sequence[str | None]) -> None:
        self._stars = sum(1 << i for i, token in enumerate(tokens) if token is _STAR)
        self._any = sum(1 << i for i, token in enumerate(tokens) if token == _ANY)
        self._literals: dict[str, int] = {}
        for i, token in enumerate(tokens):
            if token:
                self._literals[token] = self._literals.get(token, 0) | 1 << i
        self.accept = 1 << len(tokens)
        self.start = self._closed(1)

    def _closed(self, states: int) -> int:
        """Add the positions behind each ``*``, which may match nothing."""
        return states | (states & self._stars) << 1

    def step(self, states: int, character: str) -> int:
        """Return the positions after ``character``."""
        literal = self._literals.get(character, 0)
        if character == "\n":
            return self._closed((states & literal) << 1)
        return self._closed((states & self._stars) | (states & (literal | self._any)) << 1)
