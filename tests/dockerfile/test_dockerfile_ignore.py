"""Which paths a .dockerignore leaves out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.dockerfile.ignore import parse_ignore
from repro.errors import DockerfileError

TABLE = [
    # lines, ignored, kept
    (["a"], ["a", "a/b", "a/b/c"], ["b/a", "ab", "A"]),
    (["/a/"], ["a", "a/b"], ["b/a"]),
    (["./a"], ["a"], ["b"]),
    (["*.txt"], ["x.txt", ".txt"], ["d/x.txt", "x.txts"]),
    (["*/x"], ["d/x", "d/x/y"], ["x", "d/e/x"]),
    (["**/x"], ["x", "d/x", "d/e/x", "d/x/y"], ["xx", "d/yx"]),
    (["**/*.pyc"], ["a.pyc", "d/e/a.pyc"], ["a.py"]),
    (["d/**"], ["d/x", "d/e/x"], ["d", "dd/x"]),
    (["d/**/x"], ["d/x", "d/e/f/x"], ["x", "d/e"]),
    (["?x"], ["ax"], ["x", "abx", "/x"]),
    (["[a-c]x", "[^d]y"], ["ax", "cx", "ey"], ["dx", "dy"]),
    (["\\*x"], ["*x"], ["ax"]),
    (["a.b"], ["a.b"], ["axb"]),
    (["*", "!keep"], ["x", "d/x"], ["keep", "keep/all"]),
    (["*", "!d/keep"], ["x", "d", "d/x"], ["d/keep"]),
    (["d", "!d/x", "d/x/y"], ["d/z", "d/x/y"], ["d/x", "d/x/z"]),
    (["# comment", "", "  a  "], ["a"], ["# comment"]),
    (["!a", "a"], ["a"], []),
    (["."], ["."], []),
    (["../a"], [], ["a"]),
    (["a/ /"], ["a"], []),
    ([" / /a"], [], ["a"]),
    (["/"], [], ["a"]),
]


@pytest.mark.parametrize(("lines", "ignored", "kept"), TABLE, ids=lambda value: " ".join(value)[:30])
def test_patterns_match_as_buildkit_matches_them(lines, ignored, kept):
    """The last line that matches a path or one of its folders decides."""
    rules = parse_ignore("\n".join(lines))
    assert ignored == [path for path in [*ignored, *kept] if rules.ignores(path)]


@pytest.mark.parametrize(
    ("lines", "folder", "expected"),
    [
        (["*"], "d", False),
        (["*", "!keep"], "d", False),
        (["*", "!d/keep"], "d", True),
        (["*", "!d/e/keep"], "d/e", True),
        (["*", "!d/e/keep"], "d/f", False),
        (["*", "!**/keep"], "d/e", True),
        (["*", "!*/keep"], "d", True),
        (["d", "!d"], "d", True),
    ],
)
def test_an_ignored_folder_is_entered_only_for_what_it_may_hold(lines, folder, expected):
    """A whole ignored tree is not walked, unless a line with ! could keep something in it."""
    assert expected == parse_ignore("\n".join(lines)).may_keep_below(folder)


@pytest.mark.parametrize("line", ["!", "! /", "[a", "a[b-a]"])
def test_a_line_that_is_no_pattern_is_a_located_error(line):
    """The error names the file and the line."""
    with pytest.raises(DockerfileError) as caught:
        parse_ignore(f"ok\n{line}\n", "sub/.dockerignore")
    assert "sub/.dockerignore:2:1" == str(caught.value.where)


_NAMES = st.text("ab.*?[]!\\/^- #", max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(_NAMES, max_size=4), st.lists(st.sampled_from(["a", "b", "ab", "a.b"]), min_size=1, max_size=4))
def test_any_lines_match_or_are_a_located_error(lines, names):
    """No pattern makes the matcher fail otherwise, and an ignored folder that hides something kept is entered."""
    try:
        rules = parse_ignore("\n".join(lines))
    except DockerfileError as error:
        assert str(error.where).startswith(".dockerignore:")
        return
    path = "/".join(names)
    if not rules.ignores(path):
        for end in range(1, len(names)):
            folder = "/".join(names[:end])
            assert not rules.ignores(folder) or rules.may_keep_below(folder)
