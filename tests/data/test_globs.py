"""Globs in addresses choose what the same glob chooses in a folder."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.data.globs import matches, split_glob
from repro.workflow.project import FolderProject


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/reads/*.fq", ("/reads/", "*.fq")),
        ("/reads/*/a?.fq", ("/reads/", "*/a?.fq")),
        ("/**", ("/", "**")),
        ("/a/b[12]/", ("/a/", "b[12]/")),
        ("/a/b/", ("/a/b/", "")),
        ("/a/b", ("/a/b", "")),
    ],
)
def test_the_folder_ends_where_the_pattern_begins(path, expected):
    """At the first part with something special in it."""
    assert expected == split_glob(path)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.fq", ["a.fq", "ü b.fq"], ["sub/a.fq", "a.fq.gz", ".a.fq"]),
        ("**/*.fq", ["a.fq", "s/a.fq", "s/t/a.fq"], ["s/.t/a.fq", "a.fa"]),
        ("**", ["a", "s/a", "s/t/a"], [".a", "s/.a"]),
        ("s/**/t/*", ["s/t/a", "s/x/t/a", "s/x/y/t/a", "s/t/t/a"], ["t/a", "s/t"]),
        ("a?[0-9].b", ["ax1.b"], ["a/1.b", "a1.b"]),
        ("[!a]", ["b"], ["a", "bb"]),
        (".*", [".a"], ["a"]),
        ("a[*]", ["a*"], ["ab"]),
    ],
)
def test_patterns_choose(pattern, yes, no):
    """Each kind of special character, as in the project."""
    assert (yes, []) == (
        [name for name in yes if matches(pattern, name)],
        [name for name in no if matches(pattern, name)],
    )


PART = st.sampled_from(["a", "b", "ab", ".a", "a.b"])
NAME = st.lists(PART, min_size=1, max_size=4).map("/".join)
PATTERN = st.lists(st.sampled_from(["*", "**", "a*", "?", "[ab]", "a", ".*"]), min_size=1, max_size=4).map("/".join)


@given(names=st.lists(NAME, max_size=8, unique=True), pattern=PATTERN)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_as_in_a_folder(tmp_path, names, pattern):
    """A glob chooses the same files of a bucket as of the project's folder, once it is there."""
    chosen = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    root = tmp_path / "root"
    for name in chosen:
        path = root / name
        os.makedirs(path.parent, exist_ok=True)
        path.write_bytes(b"")
    expected = FolderProject(root).glob(pattern) if root.exists() else []
    assert expected == sorted(name for name in chosen if matches(pattern, name))
    shutil.rmtree(root, ignore_errors=True)


def test_many_spans_cost_no_more_than_their_number():
    """A pattern with many ``**`` does not try every way to share out the folders."""
    pattern = "/".join(["**", "a"] * 20) + "/b"
    assert not matches(pattern, "/".join(["a"] * 200))
