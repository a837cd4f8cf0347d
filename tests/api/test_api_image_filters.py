"""Times that filters take, and what no filter is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from repro.api.image_filters import created_at, moment
from repro.errors import UsageError
from repro.oci.model import ImageConfig

NOW = datetime(2024, 5, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [("30s", 30), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("7d", 7 * 86400), ("2w1d", 15 * 86400)],
)
def test_spans_are_counted_back_from_now(text, ago):
    """Docker's spans, and days and weeks."""
    assert NOW - timedelta(seconds=ago) == moment(text, NOW)


def test_dates_and_times_are_read():
    """With a zone or in this machine's, a day means its beginning."""
    assert datetime(2024, 5, 1, 10, tzinfo=UTC) == moment("2024-05-01T12:00:00+02:00", NOW)
    assert datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC) == moment("2024-05-01T12:00:00.123456789Z", NOW)
    assert datetime(2024, 5, 1).astimezone() == moment("2024-05-01", NOW)  # in local time


@pytest.mark.parametrize("text", ["", "soon", "5", "5y", "-5h", "99999999999w", "2024-13-01"])
def test_what_is_no_time_is_refused(text):
    """The error shows how one is written."""
    with pytest.raises(UsageError):
        moment(text, NOW)


@pytest.mark.parametrize("created", [None, "", "yesterday"])
def test_an_image_may_bear_no_time(created):
    """Then no filter of times knows where it belongs, and nothing fails."""
    assert created_at(ImageConfig("amd64", created=created)) is None
