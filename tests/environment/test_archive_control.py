"""Control data and dependency fields are read as dpkg reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.environment.resolvers.control import Relation, parse_relations, parse_stanza, parse_stanzas
from repro.errors import DataError


def test_stanza_with_continuations():
    """A continued field keeps its lines, and a value may hold colons."""
    fields = parse_stanza("Package: x\nDescription: short\n long: one\n .\nHomepage: https://x.invalid\n")
    assert {"Package": "x", "Description": "short\nlong: one\n.", "Homepage": "https://x.invalid"} == fields


@pytest.mark.parametrize("text", ["no colon here", " leading blank", "Package: a\nPackage: b"])
def test_broken_stanza(text):
    """A line that is no field, a lone continuation and a repeated field are errors."""
    with pytest.raises(DataError):
        parse_stanza(text)


def test_stanzas_of_a_sources_file():
    """Blank lines, also ones with blanks in them, separate stanzas; comments do not count."""
    assert [{"A": "1"}, {"B": "2"}] == parse_stanzas("# head\nA: 1\n \t\n\n# comment\n\nB: 2\n")


def test_relations():
    """Groups, alternatives, versions and architecture qualifiers are taken apart."""
    groups = parse_relations("libc6 (>= 2.34), python3:any, awk | mawk (<< 2)")
    assert groups == (
        (Relation("libc6", ">=", "2.34"),),
        (Relation("python3"),),
        (Relation("awk"), Relation("mawk", "<<", "2")),
    )


@pytest.mark.parametrize("field", ["a (>> )", "a b", "a (~ 1)", "_a"])
def test_broken_relations(field):
    """What is no relation is an error, and is not skipped."""
    with pytest.raises(DataError, match="not a relation"):
        parse_relations(field)


_relations = st.builds(
    Relation,
    st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,6}", fullmatch=True),
    st.just(""),
) | st.builds(
    Relation,
    st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,6}", fullmatch=True),
    st.sampled_from(["<<", "<=", "=", ">=", ">>"]),
    st.from_regex(r"[0-9][a-z0-9.+~:-]{0,6}", fullmatch=True),
)


@given(st.lists(st.lists(_relations, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple))
def test_relations_round_trip(groups):
    """Whatever is written as a dependency field is read back."""
    field = ", ".join(" | ".join(map(str, group)) for group in groups)
    assert groups == parse_relations(field)
