"""Amounts as a workflow writes them: numbers, sizes with a unit, times as people and as Slurm write them."""

from __future__ import annotations

import re
from enum import Enum

from repro.workflow.template import TemplateError

UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?B|B)")
_COUNT = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
# sbatch(1), --time: "days-hours", "days-hours:minutes", "days-hours:minutes:seconds", "hours:minutes:seconds"
_DAYS = re.compile(r"([0-9]+)-([0-9]{1,2})(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?")
_CLOCK = re.compile(r"([0-9]+):([0-9]{1,2}):([0-9]{1,2})")
_SPOKEN = re.compile(r"(?=[0-9])(?:([0-9.]+)d)? ?(?:([0-9.]+)h)? ?(?:([0-9.]+)m)? ?(?:([0-9.]+)s)?")
_SECONDS = (86400, 3600, 60, 1)


class Kind(Enum):
    """What an amount counts: ``COUNT`` things, ``SIZE`` in bytes, ``TIME`` in seconds."""

    COUNT = "a whole number"
    SIZE = "a number with a unit"
    TIME = "a time"


def parse_amount(text: str, kind: Kind, least: int = 0) -> int:
    """Return the things, bytes or seconds that ``text`` says; at least ``least`` of them.

    Raises:
        TemplateError: it is no such amount; the hint shows how one is written.
    """
    text = text.strip()
    amount = _READ[kind](text)
    if amount < least:
        raise TemplateError(f"{text!r} is too little: at least {least} is needed here")
    return amount


def _count(text: str) -> int:
    if _COUNT.fullmatch(text):
        return int(text)
    hint = "round it, as in {{ (2.5 * attempt) | int }}" if _DECIMAL.fullmatch(text) else None
    raise TemplateError(f"{text!r} is not a whole number", hint=hint)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise TemplateError(f"{text!r} is not a number with a unit", hint="write it as in 512MiB or 2GB")
    return round(float(match[1]) * UNITS[match[2]])


def _time(text: str) -> int:
    if (days := _DAYS.fullmatch(text)) is not None:
        return _seconds(text, days.groups())
    if (clock := _CLOCK.fullmatch(text)) is not None:
        return _seconds(text, (None, *clock.groups()))
    spoken = _SPOKEN.fullmatch(text)
    parts = spoken.groups() if spoken is not None else ()
    try:
        if any(parts):
            return round(sum(float(part) * unit for part, unit in zip(parts, _SECONDS, strict=True) if part))
    except ValueError:
        pass  # "1.2.3h"
    hint = "write 90m, 2h, 1h30m, 2:00:00 (hours, minutes, seconds) or 1-12:00:00 (days before the hours)"
    if _COUNT.fullmatch(text):
        hint = f"say of what: {text}s, {text}m or {text}h"
    elif re.fullmatch(r"[0-9]+:[0-9]{2}", text):
        hint = f"write all three of hours, minutes and seconds: {text}:00 or 0:{text}"
    raise TemplateError(f"{text!r} is not a time", hint=hint)


def _seconds(text: str, parts: tuple[str | None, ...]) -> int:
    """Return the seconds of days, hours, minutes, seconds; minutes and seconds end at 59, as do hours after days."""
    numbers = [int(part or 0) for part in parts]
    most = (None, 23 if parts[0] is not None else None, 59, 59)
    if any(limit is not None and number > limit for number, limit in zip(numbers, most, strict=True)):
        raise TemplateError(f"{text!r} is not a time", hint="hours end at 23 after days, minutes and seconds at 59")
    return sum(number * unit for number, unit in zip(numbers, _SECONDS, strict=True))


_READ = {Kind.COUNT: _count, Kind.SIZE: _size, Kind.TIME: _time}
