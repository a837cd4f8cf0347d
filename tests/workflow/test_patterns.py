"""Patterns over files' names, chunks, and globs told apart from outputs."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from repro.workflow.expand import render_path
from repro.workflow.patterns import chunks, file_groups, match, pattern_mistake, pattern_names, twice
from repro.workflow.project import FolderProject, may_match
from repro.workflow.tables import Group

names = st.sampled_from(["a", "b", "c"])
literals = st.text(st.sampled_from("_-.x/("), min_size=1, max_size=3)
values = st.text(st.sampled_from("xyz_-. é*"), min_size=1, max_size=4)


@st.composite
def patterns(draw) -> str:
    """Draw a pattern of up to three names with text between them."""
    chosen = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    parts = [draw(st.sampled_from(["", "x_", "d/"]))]
    for name in chosen:
        parts += [f"{{{{ {name} }}}}", draw(literals)]
    return "".join(parts)


@given(patterns(), st.data())
def test_a_match_renders_to_the_end_of_the_path(pattern: str, data: st.DataObject) -> None:
    """What a pattern finds in a path, put into the pattern, is the path's end; a path made from values always fits."""
    assert pattern_mistake(pattern) is None
    given_values = {name: data.draw(values) for name in pattern_names(pattern)}
    folder = data.draw(st.sampled_from(["", "in/", "a/b/"]))
    path = folder + render_path(pattern, given_values)
    found = match(pattern, path)
    assert found is not None
    assert list(pattern_names(pattern)) == list(found)
    end = render_path(pattern, found)
    assert path == end or path.endswith(f"/{end}")
    assert all(value and "/" not in value for value in found.values())


@given(patterns(), st.text(st.sampled_from("abx_-./é\n("), max_size=12))
def test_any_path_fits_or_does_not(pattern: str, path: str) -> None:
    """A path that fits is told by a plain regular expression as well."""
    form = "".join(
        "[^/]+" if part.startswith("{{") else re.escape(part) for part in re.split(r"(\{\{ \w+ \}\})", pattern)
    )
    assert (re.fullmatch(f"(.*/)?{form}", path, re.DOTALL) is not None) == (match(pattern, path) is not None)


def test_names_take_what_they_can() -> None:
    """The first name takes as much as it can, which is what sample names with underscores want."""
    assert {"sample": "s_1", "read": "R1"} == match("{{ sample }}_{{ read }}.fq.gz", "in/s_1_R1.fq.gz")
    assert match("{{ n }}.png", "in/.png") is None
    assert match("x{{ n }}.png", "in/ax1.png") is None


def test_groups_of_files() -> None:
    """Each file is a group with its path; what does not fit is named; equal bindings are found."""
    groups, odd = file_groups(["a/1.x", "b/1.x", "c"], "{{ n }}.x")
    assert [Group({"n": "1"}, {"n": "1", "path": f"{folder}/1.x"}) for folder in "ab"] == groups
    assert ["c"] == odd
    assert (groups[0], groups[1]) == twice(groups)
    assert twice(file_groups(["a", "b"], None)[0]) is None


@given(st.lists(values, unique=True, min_size=1, max_size=9), st.integers(1, 4))
def test_chunks_hold_all_in_order(paths: list[str], size: int) -> None:
    """Chunks are full but for the last, are numbered from 1, and hold every file once, in order."""
    made = chunks(file_groups(paths, None)[0], size)
    assert [{"chunk": str(number)} for number in range(1, len(made) + 1)] == [one.bindings for one in made]
    assert paths == [path for one in made for path in one.values["path"]]
    assert all(size == len(one.values["path"]) for one in made[:-1])


@given(
    st.lists(st.sampled_from(["*", "**", "a", "a*", "?", ".*", "[ab]"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", ".a"]), min_size=1, max_size=3),
)
def test_a_glob_matches_what_it_finds(tmp_path_factory, pattern: list[str], parts: list[str]) -> None:
    """Whether a glob matches a path is said alike by its name alone and by looking for it in a folder."""
    root = tmp_path_factory.mktemp("glob")
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    glob, name = "/".join(pattern), "/".join(parts)
    assert FolderProject(root).glob(glob) == ([name] if may_match(glob, name) else [])
    if may_match(glob, name):  # then it may match something in each folder on the way
        assert all(may_match(glob, "/".join(parts[:depth]) + "/") for depth in range(1, len(parts)))
