"""The stat cache's file: what goes in comes out, and what is dropped when there is too much."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.data import statfile
from repro.data.statfile import Entries

WORD = st.integers(0, 2**64 - 1)
TIME = st.integers(-(2**63), 2**63 - 1)
KNOWN = st.tuples(WORD, WORD, TIME, TIME, st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
PATHS = (
    st.binary(min_size=1, max_size=6)
    .filter(lambda path: 0 not in path)
    .map(lambda path: path.decode("utf-8", "surrogateescape"))
)


def filled(entries):
    """Return `Entries` with these."""
    made = Entries()
    for path, known in entries.items():
        made.put(path, known)
    return made


@settings(deadline=None)
@given(st.dictionaries(PATHS, KNOWN, max_size=5), st.dictionaries(PATHS, KNOWN, max_size=5))
def test_what_is_written_is_read(old, new):
    """Entries come back as they were, the new in place of the old, for paths of any bytes."""
    first = Entries.parse(Entries().to_bytes(filled(old), (), 0))
    both = Entries.parse(first.to_bytes(filled(new), (), 0))
    assert len(both) == len(old | new)
    assert {path: both.get(path) for path in old | new} == old | new


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_a_crash(data):
    """Whatever the file holds, it is entries or none."""
    assert 0 == len(Entries.parse(data)) == len(Entries.parse(b"repro-s2" + data))


def known(day):
    """Return an entry that was last used on a day."""
    return (1, 2, 3, 4, day, bytes(32))


@pytest.mark.parametrize("count", [10, 300])
def test_a_large_project_is_never_forgotten(monkeypatch, count):
    """Above the limit only what nothing used for a month is dropped, however few files a run uses."""
    monkeypatch.setattr(statfile, "_MOST", 100)
    base = Entries.parse(Entries().to_bytes(filled({f"p{n}": known(50) for n in range(count)}), (), 50))
    later = Entries.parse(base.to_bytes(filled({"new": known(70)}), ("p0",), 70))
    assert count + 1 == len(later)
    month = Entries.parse(later.to_bytes(Entries(), ("p1",), 90))
    assert (11 if count == 10 else 3) == len(month)
    assert [70, 90, 70] == [month.get(path)[4] for path in ("p0", "p1", "new")]
