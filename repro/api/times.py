"""Points in time as users write them: so long ago, a date, or seconds since 1970; as Docker's ``until`` filter does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from repro.errors import UsageError

_UNITS: Final = {  # of a Go duration (time.ParseDuration), in seconds; days and weeks are ours
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
}
_NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PART: Final = re.compile(rf"({_NUMBER})({'|'.join(sorted(_UNITS, key=len, reverse=True))})")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+|0")
_TIMESTAMP: Final = re.compile(r"[0-9]+(?:\.[0-9]{1,9})?")
_DATE: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:T([0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)?))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_HINT: Final = "write 24h, 7d, 2024-05-31, 2024-05-31T12:00:00Z or seconds since 1970"


def moment(text: str, now: datetime) -> datetime:
    """Return the time that ``text`` means; it bears a zone.

    - a span before ``now``, as Go writes it (``1h30m``, ``1.5h``), also of days and weeks (``2w3d``), without a sign;
    - a date, or a date and time, as RFC 3339 has them, from the end of which parts may be missing; without a zone it is
      in this machine's;
    - seconds since 1970, also with a fraction.

    Raises:
        UsageError: it is none of these, or out of the reach of dates.
    """
    try:
        return _parsed(text, now)
    except (OverflowError, OSError) as error:
        raise UsageError(f"{text} is further away than dates reach", hint=_HINT) from error
    except ValueError as error:
        raise UsageError(f"not a time: {text!r}", hint=_HINT) from error


def age(text: str, now: datetime) -> float:
    """Return how many seconds before ``now`` that is what `moment` makes of ``text``; UsageError as there."""
    return (now - moment(text, now)).total_seconds()


def _parsed(text: str, now: datetime) -> datetime:
    """Return what `moment` does; ValueError where it makes no sense, OverflowError out of reach."""
    if _DURATION.fullmatch(text):
        return now - timedelta(seconds=sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text)))
    if _TIMESTAMP.fullmatch(text):
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=float(text))
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    date, time, zone = match.groups()
    found = datetime.fromisoformat(f"{date}T{time or '00'}{zone or ''}")
    return found if zone else found.astimezone()
