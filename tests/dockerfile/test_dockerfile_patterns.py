"""Shell patterns on values, and path patterns, against regular expressions that mean the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.dockerfile.globs import GlobError, name_regex, path_regex
from repro.dockerfile.patterns import shell_pattern

_SHELL = st.text("ab*?", max_size=6)
_VALUES = st.text("ab\n", max_size=8)


def _plain(pattern: str, star: str) -> str:
    return "".join(star if sign == "*" else "." if sign == "?" else sign for sign in pattern)


@settings(max_examples=500, deadline=None)
@given(_SHELL, _VALUES)
def test_trimming_cuts_the_shortest_or_longest_match(pattern, value):
    """At the beginning as a regular expression finds it there; at the end, the same from behind."""
    ends = [end for end in range(len(value) + 1) if re.fullmatch(_plain(pattern, ".*"), value[:end])]
    starts = [start for start in range(len(value) + 1) if re.fullmatch(_plain(pattern, ".*"), value[start:])]
    found = shell_pattern(pattern)
    assert value[min(ends, default=0) :] == found.trimmed(value, longest=False)
    assert value[max(ends, default=0) :] == found.trimmed(value, longest=True)
    assert value[: max(starts, default=len(value))] == found.trimmed_behind(value, longest=False)
    assert value[: min(starts, default=len(value))] == found.trimmed_behind(value, longest=True)


@settings(max_examples=500, deadline=None)
@given(_SHELL, _VALUES)
def test_replacing_takes_the_leftmost_longest_match(pattern, value):
    """Once, as a greedy regular expression does it."""
    expected = re.sub(_plain(pattern, ".*"), "-", value, count=1)
    assert expected == shell_pattern(pattern).replaced(value, "-", everywhere=False)


@settings(max_examples=500, deadline=None)
@given(st.text("ab", min_size=1, max_size=2), _VALUES)
def test_replacing_everywhere_takes_matches_that_do_not_overlap(text, value):
    """As str.replace does for a text without signs."""
    assert value.replace(text, "-") == shell_pattern(text).replaced(value, "-", everywhere=True)


def test_a_pattern_of_many_stars_is_no_trap():
    """What takes a backtracking matcher the age of the world is done in a moment (pytest's timeout would tell)."""
    assert "a" * 2000 == shell_pattern("*a" * 40 + "b").trimmed("a" * 2000, longest=True)
    assert re.fullmatch(path_regex("*a" * 40 + "b"), "a" * 250) is None
    assert re.fullmatch(path_regex("**/a/" * 20 + "b"), "a/" * 300 + "c") is None
    assert re.fullmatch(path_regex("**/[ab]/" * 20 + "b"), "a/" * 300 + "c") is None
    assert re.fullmatch(path_regex("*" * 301), "a/" * 300 + "c")
    with pytest.raises(GlobError):
        path_regex("a**b**c**d**e")


def _naive(pattern: str) -> str:
    """Return moby's own translation, which backtracks."""
    out = pattern.replace("**/", "\0").replace("*", "[^/]*").replace("?", "[^/]")
    return out.replace("\0", "(?:.*/)?")


_PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "abab"]), min_size=1, max_size=5).map("/".join)
_GLOBS = st.lists(st.sampled_from(["a", "b", "*", "?", "*a", "a*b", "*a*b", "**"]), min_size=1, max_size=5)


@settings(max_examples=1000, deadline=None)
@given(_GLOBS.map("/".join).filter(lambda text: not text.endswith("**")), _PATHS)
def test_settled_stars_match_the_same_paths(pattern, path):
    """The expression that never backtracks far matches what the plain one matches."""
    expected = re.fullmatch(_naive(pattern), path) is not None
    assert expected == (re.fullmatch(path_regex(pattern), path) is not None)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("****x", ["x", "d/x"], ["ax"]),
        ("**/x/**/y", ["x/y", "a/x/b/c/y"], ["x", "xy", "y/x"]),
        ("[a-b]**/[!-0]", ["a/", "b0", "bc/!"], ["bc"]),
        ("**x", ["x", "ax", "d/x", "d/ax"], ["xa", "d/xa"]),
        ("**/x", ["x", "d/x"], ["ax", "d/ax"]),
        ("a**", ["a", "ab", "a/b", "ab/c"], ["b/a"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a**b", ["ab", "ac/b", "a/b"], ["acb", "a"]),
        ("**", ["a", "a/b\nc"], []),
        ("[^a]", ["b", "/"], ["a"]),
        ("[a\\-c]", ["a", "-", "c"], ["b"]),
        ("[a.]", ["a", "."], ["b"]),
        ("a]", ["a]"], []),
    ],
)
def test_path_patterns_match_as_in_moby(pattern, matching, other):
    """The corners: two stars without a slash, classes, what a class may hold."""
    regex = path_regex(pattern)
    assert matching == [path for path in [*matching, *other] if re.fullmatch(regex, path)]


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-]", "[-a]", "[]a]", "[b-a]", "[^]", "a\\", "[a\\"])
def test_a_text_that_is_no_pattern_is_told(pattern):
    """The same that Go's filepath.Match refuses, for paths and for names."""
    with pytest.raises(GlobError):
        path_regex(pattern)
    with pytest.raises(GlobError):
        name_regex(pattern)


def test_two_stars_in_a_name_are_one():
    """COPY's sources know no `**`."""
    assert re.fullmatch(name_regex("a**b"), "axb")
    assert not re.fullmatch(name_regex("a**b"), "a/b")
