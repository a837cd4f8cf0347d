"""Reading one raw instruction: its flags by name, its arguments as words, strings, a command or assignments."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

from repro.dockerfile.instructions import Assignment, Command, Word
from repro.errors import DockerfileError, Location

if TYPE_CHECKING:
    from repro.dockerfile.parser import RawInstruction

_UNITS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ns": 1,
}
_BLANKS = r"[\t\v\f\r ]+"  # what splits words where quotes mean nothing; other spaces of Unicode do not
_DURATION = re.compile(r"[-+]?((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:h|ms|m|s|us|µs|μs|ns))+")
_SHORTEST = 1_000_000  # nanoseconds: what Docker takes at least, other than 0
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: JSON can spell it, UTF-8 cannot
_REPEATABLE = frozenset({"mount", "exclude"})


class Reading:
    """One raw instruction, being typed. ``where`` is its place, ``text`` all of it on one line."""

    def __init__(self, raw: RawInstruction, escape: str) -> None:
        self.raw = raw
        self.where = raw.where
        self.escape = escape
        flags = [f"--{flag.name}" + ("" if flag.value is None else f"={flag.value}") for flag in raw.flags]
        self.text = " ".join([raw.keyword, *flags, *([raw.arguments] if raw.arguments else [])])

    def flag_words(self, name: str) -> list[Word]:
        """Return the values of every ``--name=value``, in order; an empty value counts."""
        found = [flag for flag in self.raw.flags if flag.name == name]
        if len(found) > 1 and name not in _REPEATABLE:
            raise DockerfileError(f"--{name} is given twice", where=found[1].where, hint="leave one out")
        for flag in found:
            if flag.value is None:
                raise DockerfileError(f"--{name} needs a value", where=flag.where, hint=f"--{name}=…")
        return [Word(flag.value or "", flag.where) for flag in found]

    def flag(self, name: str) -> Word | None:
        """Return the value of ``--name=value``, or None; an empty value means that the flag is not there."""
        found = self.flag_words(name)
        return found[0] if found and found[0].text else None

    def on(self, name: str) -> bool:
        """Say whether the switch ``--name`` (or ``--name=true``) is on."""
        found = [flag for flag in self.raw.flags if flag.name == name]
        if len(found) > 1:
            raise DockerfileError(f"--{name} is given twice", where=found[1].where, hint="leave one out")
        if not found:
            return False
        value = "true" if found[0].value is None else found[0].value.lower()
        if value not in ("true", "false"):
            message = f"neither true nor false: {found[0].value!r}"
            raise DockerfileError(message, where=found[0].where, hint=f"--{name}, or --{name}=false")
        return value == "true"

    def finish(self, *known: str) -> None:
        """Refuse any flag that is not ``known``, with the nearest right spelling."""
        for flag in self.raw.flags:
            if flag.name in known:
                continue
            near = difflib.get_close_matches(flag.name, known, n=1)
            hint = "it takes no flags"
            if known:
                hint = f"did you mean --{near[0]}?" if near else f"known are --{', --'.join(known)}"
            message = f"{self.raw.keyword} has no flag --{flag.name}"
            raise DockerfileError(message, where=flag.where, hint=hint)

    def whole(self) -> Word:
        """Return all of the arguments as one word."""
        return Word(self.raw.arguments, self.raw.locate(0))

    def words(self) -> tuple[Word, ...]:
        """Return the arguments split at blanks; quotes mean nothing (COPY, VOLUME: the JSON form is for blanks)."""
        matches = re.finditer(r"[^\t\v\f\r ]+", self.raw.arguments)
        return tuple(Word(match[0], self.raw.locate(match.start())) for match in matches)

    def quoted_words(self) -> list[Word]:
        """Return the arguments split at blanks outside quotes; quotes and escapes stay for the expansion."""
        out: list[Word] = []
        start = -1
        quote = ""
        at = 0
        text = self.raw.arguments
        while at < len(text):
            character = text[at]
            if start < 0 and not character.isspace():
                start = at
            if start >= 0 and not quote and character.isspace():
                out.append(Word(text[start:at], self.raw.locate(start)))
                start = -1
            elif character == quote:
                quote = ""
            elif character == self.escape and quote != "'":
                at += 1
            elif not quote and character in "'\"":
                quote = character
            at += 1
        if start >= 0:
            out.append(Word(text[start:], self.raw.locate(start)))
        return out

    def strings(self) -> tuple[str, ...] | None:
        """Return the strings of the JSON form, or None where the arguments are no JSON list.

        Raises:
            DockerfileError: it is a list, but not all of it are strings.
        """
        return _strings(self.raw.arguments, self.where)

    def command(self, text: str | None = None) -> Command:
        """Return the command that the arguments, or ``text``, say: exec form or shell form."""
        body = self.raw.arguments if text is None else text
        words = _strings(body, self.where)
        return Command((body,), for_shell=True) if words is None else Command(words, for_shell=False)

    def assignments(self) -> tuple[Assignment, ...]:
        """Return ``name=value …``, or the old ``name rest of the line``."""
        words = self.quoted_words()
        if "=" not in words[0].text:
            return (self._old_assignment(words[0].where),)
        out: list[Assignment] = []
        for word in words:
            name, equals, value = word.text.partition("=")
            if not equals or not name:
                hint = "quote values that hold blanks"
                raise DockerfileError(f"{word.text!r} is not name=value", where=word.where, hint=hint)
            place = Location(word.where.file, word.where.line, word.where.column + len(name) + 1)
            out.append(Assignment(Word(name, word.where), Word(value, place)))
        return tuple(out)

    def _old_assignment(self, where: Location) -> Assignment:
        name, *rest = re.split(_BLANKS, self.raw.arguments, maxsplit=1)
        if not rest:
            raise DockerfileError(f"{self.raw.keyword} {name} has no value", where=where, hint="write name=value")
        start = len(self.raw.arguments) - len(rest[0])
        return Assignment(Word(name, where), Word(rest[0], self.raw.locate(start)))


def _strings(text: str, where: Location) -> tuple[str, ...] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        hint = 'quote each of them: ["a", "1"]'
        raise DockerfileError("the JSON form takes strings only", where=where, hint=hint)
    if any("\0" in item for item in value):
        raise DockerfileError("a string of the JSON form has a NUL character", where=where, hint="leave it out")
    return tuple(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", item) for item in value)


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which only Python takes for JSON."""
    raise ValueError(name)


def boolean(text: str, where: Location) -> bool:
    """Return what ``true`` or ``false`` (and Go's other spellings) says."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise DockerfileError(f"neither true nor false: {text!r}", where=where, hint="write true or false")


def duration(word: Word | None) -> int:
    """Return nanoseconds for ``1m30s``, ``1.5s``, ``300ms`` (Go's spellings); 0 for None."""
    if word is None or word.text in ("0", "+0", "-0"):
        return 0
    if _DURATION.fullmatch(word.text) is None:
        raise DockerfileError(f"not a duration: {word.text!r}", where=word.where, hint="as in 30s or 1m30s")
    total = 0
    for whole, part, unit in re.findall(r"([0-9]*)(?:\.([0-9]*))?(h|ms|m|s|us|µs|μs|ns)", word.text):
        total += int(whole[:30] or "0") * _UNITS[unit]
        total += int(part[:30] or "0") * _UNITS[unit] // 10 ** len(part[:30])
    if total and (word.text.startswith("-") or not _SHORTEST <= total < 1 << 63):
        hint = "at least 1ms"
        raise DockerfileError(f"the duration {word.text!r} is out of range", where=word.where, hint=hint)
    return total
