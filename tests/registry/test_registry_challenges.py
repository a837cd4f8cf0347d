"""WWW-Authenticate: what is written is read back, and nothing else makes trouble."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.registry.challenges import Challenge, parse_challenges

_TOKENS = st.text("!#$%&'*+-.^_`|~0123456789abcxyzABC", min_size=1, max_size=8)
_PARAMETERS = st.dictionaries(_TOKENS.map(str.lower), st.text(max_size=12), max_size=4)
_CHALLENGES = st.lists(st.tuples(_TOKENS, _PARAMETERS), min_size=1, max_size=4)


def _quoted(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(_CHALLENGES, st.sampled_from([", ", ",", " , ,\t"]), st.sampled_from(["=", " = "]))
def test_what_is_written_is_read(challenges, comma, equals):
    """Any number of challenges in one field, with any text in quotes, comes back as it was."""
    written = comma.join(
        f"{scheme} " + comma.join(f"{name}{equals}{_quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    expected = tuple(Challenge(scheme.lower(), parameters) for scheme, parameters in challenges)
    assert expected == parse_challenges([written])


@given(st.lists(st.text('Basic realm="x\\",= \t\n\0é', max_size=60), max_size=3))
def test_no_text_makes_it_fail(fields):
    """Whatever a server sends, the parser ends and has no opinion."""
    assert all(challenge.scheme for challenge in parse_challenges(fields))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('Bearer realm="https://a/t",service="a,b",scope="repository:x:pull,push"',
         [("bearer", {"realm": "https://a/t", "service": "a,b", "scope": "repository:x:pull,push"})]),
        ("Basic realm=simple", [("basic", {"realm": "simple"})]),
        ('BASIC REALM="a \\"b\\" \\\\"', [("basic", {"realm": 'a "b" \\'})]),
        ('Negotiate YWJj==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Negotiate, Bearer realm="r"', [("negotiate", {}), ("bearer", {"realm": "r"})]),
        ('Bearer realm="first", realm="second"', [("bearer", {"realm": "first"})]),
        ('Bearer realm="never closed', [("bearer", {}), ("realm", {})]),
        ('realm="whose?"', []),
        ("", []),
    ],
)  # fmt: skip
def test_examples(field, expected):
    """The forms that registries and their proxies send."""
    assert expected == [(one.scheme, dict(one.parameters)) for one in parse_challenges([field])]


def test_several_fields_are_one_list():
    """Two fields mean the same as one with a comma (RFC 9110, 5.3)."""
    assert ["bearer", "basic"] == [one.scheme for one in parse_challenges(['Bearer realm="r"', "Basic"])]
