"""Debian versions sort as dpkg sorts them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.environment.resolvers.version import compare, satisfies

# What dpkg accepts: an upstream version begins with a digit; a hyphen belongs to the last one in the text.
_upstream = st.from_regex(r"[0-9][A-Za-z0-9.+~]{0,8}", fullmatch=True)
_revision = st.from_regex(r"-[A-Za-z0-9.+~]{1,5}", fullmatch=True)
_epoch = st.sampled_from(["", "0:", "1:", "10:"])
versions = st.builds("".join, st.tuples(_epoch, _upstream, st.one_of(st.just(""), _revision)))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0-1"),
        ("1.9", "1.10"),
        ("1.0+dfsg", "1.0.1"),
        ("9", "1:0"),
        ("1a", "1+"),
        ("2.36-9+deb12u9", "2.36-9+deb12u14"),
        ("1.0-1~bpo12+1", "1.0-1"),
        ("1-2-1", "1-2-2"),
    ],
)
def test_known_orders(older, newer):
    """The usual traps of Debian's order come out as Policy says."""
    assert (-1, 1, 0) == (compare(older, newer), compare(newer, older), compare(older, older))


@pytest.mark.parametrize(("one", "other"), [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("1a", "1a0")])
def test_different_spellings_of_one_version(one, other):
    """A missing epoch or revision is 0, and leading zeros do not count."""
    assert compare(one, other) == 0


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is the judge")
@settings(max_examples=150, deadline=None)
@given(versions, versions)
def test_agrees_with_dpkg(left, right):
    """For any two versions dpkg says the same."""
    relation = {-1: "lt", 0: "eq", 1: "gt"}[compare(left, right)]
    assert 0 == subprocess.run(["dpkg", "--compare-versions", left, relation, right], check=False).returncode


@given(versions, versions, versions)
def test_is_an_order(one, two, three):
    """The order is antisymmetric and transitive."""
    assert compare(one, two) == -compare(two, one)
    if compare(one, two) <= 0 and compare(two, three) <= 0:
        assert compare(one, three) <= 0


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("<<", (True, False, False)),
        ("<=", (True, True, False)),
        ("=", (False, True, False)),
        (">=", (False, True, True)),
        (">>", (False, False, True)),
    ],
)
def test_relations(relation, expected):
    """Each relation of a dependency field holds for the right side of the version it names."""
    assert expected == tuple(satisfies(version, relation, "2") for version in ("1", "2", "3"))
