"""Finds the causes of a difference between two builds of a file, in the bytes that differ."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from repro.build.causes import (
    BUILD_ID,
    ENVIRONMENT,
    EPOCH,
    HOST,
    IDENTIFIER,
    ORDER,
    PLACES,
    SIGNS,
    TIME,
    UNKNOWN,
    Finding,
)
from repro.build.formats import find_in_format, gunzipped, moment
from repro.build.spans import Spans, common_head, differing_spans
from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.build.compare import Unequal


_EARLIEST = 1_500_000_000  # seconds: no clock tells less
_LONGEST = 400 * 86_400  # seconds that a first build may lie back in the cache, to be known by its times


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of two builds: their host names, and by how many seconds the second's clock was ahead."""

    hosts: tuple[str, str]
    ahead: int


def find_causes(unequal: Unequal, known: Known) -> tuple[Finding, ...]:
    """Return the causes of a difference, the surest first, each once; `UNKNOWN` if none is found.

    Where a file's place says what it is, that is enough: what its bytes hold follows from it.
    """
    found = [Finding(cause) for cause, pattern in PLACES if pattern.match(unequal.path)][:1]
    shown = ""
    if not found and unequal.content is not None:
        found, shown = _find_in_files(unequal.content.first, unequal.content.second, known)
    elif not found and unequal.only:
        found = _find_in_name(unequal.path)
    for aspect in unequal.aspects:
        if aspect.name == "time":
            found.append(Finding(TIME, f"{moment(int(aspect.first))} and {moment(int(aspect.second))}"))
        elif aspect.name in {"target", "hard link"}:
            one, two = aspect.first.encode("utf-8", "replace"), aspect.second.encode("utf-8", "replace")
            found += _find_in_spans(Spans(one, two, reordered=False, shown=""), known)
    once: dict[str, Finding] = {}
    for finding in found:
        once.setdefault(finding.cause.code, finding)
    return tuple(once.values()) or (Finding(UNKNOWN, shown),)


def _find_in_files(one: bytes, two: bytes, known: Known) -> tuple[list[Finding], str]:
    """Return the causes that two contents show, gzipped ones also by what is inside, and where they begin to differ."""
    found = find_in_format(one, two)
    spans = differing_spans(one, two)
    shown = spans.shown
    inner = gunzipped(one), gunzipped(two)
    if inner[0] is not None and inner[1] is not None:
        found += find_in_format(inner[0], inner[1])
        spans = differing_spans(inner[0], inner[1])
    return found + (_find_in_spans(spans, known) or _binary_time(one, two, known.ahead)), shown


def _binary_time(one: bytes, two: bytes, ahead: int) -> list[Finding]:
    """Return whether the first bytes that differ are seconds since 1970 in four bytes, in either order.

    Of several readings the one counts whose two times are as far apart as the clocks were.
    """
    offset = common_head(one, two)
    readings: list[tuple[int, int]] = []
    for start in range(max(0, offset - 3), offset + 1):
        for form in ("<I", ">I"):
            if start + 4 <= min(len(one), len(two)):
                first, second = (struct.unpack_from(form, data, start)[0] for data in (one, two))
                if first >= _EARLIEST and 0 < second - first < ahead + _LONGEST:
                    readings.append((first, second))
    if not readings:
        return []
    first, second = min(readings, key=lambda times: abs(times[1] - times[0] - ahead))
    return [Finding(EPOCH, f"{moment(first)} and {moment(second)}")]


def _find_in_name(path: str) -> list[Finding]:
    """Return what the name of a file that only one build has seems to hold."""
    data = path.encode("utf-8", "replace")
    return [Finding(sign.cause, _text(match[0])) for sign in SIGNS if (match := sign.pattern.search(data))][:1]


def _find_in_spans(spans: Spans, known: Known) -> list[Finding]:
    """Return the causes that the signs in the differing bytes show."""
    found = []
    # Not as part of a path: ours are below /run/repro.
    ours, theirs = (rb"(?<![\w/])" + re.escape(name.encode()) + rb"(?![\w/])" for name in known.hosts)
    if re.search(ours, spans.first) and re.search(theirs, spans.second):
        found.append(Finding(HOST, " and ".join(known.hosts)))
    if spans.reordered:
        found.append(Finding(ORDER))
    for sign in SIGNS:
        if sign.cause is IDENTIFIER and found:  # any number may look like one
            continue
        one, two = set(sign.pattern.findall(spans.first)), set(sign.pattern.findall(spans.second))
        only = sorted(one - two), sorted(two - one)
        if (only[0] and only[1]) or (sign.cause is ENVIRONMENT and only[1]):
            found.append(Finding(sign.cause, " and ".join(_text(side[0]) for side in only if side)))
    if not found and b"GNU\0" in spans.first and b"GNU\0" in spans.second:
        found.append(Finding(BUILD_ID))
    return found


def _text(data: bytes) -> str:
    return data[:80].decode("utf-8", "backslashreplace")
