"""Times that people write: spans, dates and seconds since 1970, as `docker image prune --filter until=` takes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from repro.api.times import age, moment
from repro.errors import UsageError

NOW = datetime(2024, 5, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1.h.5h", 5400),
        ("1500ms", 1.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("2000000ns", 0.002),
        ("0", 0),
        ("7d", 7 * 86400),
        ("2w1d", 15 * 86400),
    ],
)
def test_spans_are_counted_back_from_now(text, ago):
    """Go's spans, and days and weeks."""
    assert (NOW - timedelta(seconds=ago), ago) == (moment(text, NOW), age(text, NOW))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00+02:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T12:00:00.123456789Z", datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2024-05-01T12:30Z", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
        ("2024-05-01Z", datetime(2024, 5, 1, tzinfo=UTC)),
        ("1714564800", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("1714564800.5", datetime(2024, 5, 1, 12, 0, 0, 500000, tzinfo=UTC)),
        ("20240501", datetime(1970, 8, 23, 6, 21, 41, tzinfo=UTC)),  # digits are seconds, whatever they look like
    ],
)
def test_dates_and_seconds_since_1970_are_read(text, expected):
    """The zone is the one that is written."""
    assert expected == moment(text, NOW)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("2024-05-01", ()), ("2024-05-01T07", (7,)), ("2024-05-01T07:08", (7, 8)), ("2024-05-01T07:08:09", (7, 8, 9))],
)
def test_without_a_zone_it_is_this_machines(text, parts):
    """A day means its beginning, an hour its first minute."""
    assert datetime(2024, 5, 1, *parts).astimezone() == moment(text, NOW)
    assert moment(text, NOW).tzinfo is not None


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "d", "5y", "-5h", "+5h", "7 d", "७d", "5-1", "99999999999w", "9" * 400, "9" * 400 + "s", "1."),
        *("2024-13-01", "2024-W01-1", "2024-05-01 12:00", "2024-05-01T", "2024-05-01T25", "h", "\n7d", "7d\n"),
    ],
)
def test_what_is_no_time_is_refused(text):
    """The error shows how one is written."""
    with pytest.raises(UsageError) as caught:
        moment(text, NOW)
    assert "7d" in (caught.value.hint or "")
