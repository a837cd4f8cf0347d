"""The rule list, the build context and the users of an image, without a container."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.build.cache import layer_key
from repro.build.config import timestamp
from repro.build.context import FolderContext, MappingContext
from repro.build.rules import RULES, Rule, normalise
from repro.digest import Digest
from repro.dockerfile.ignore import parse_ignore
from repro.errors import DataError
from repro.oci.model import epoch_of

EPOCH = 1_700_000_000


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_each_rule_drops_its_file_and_no_other(tmp_path, rule):
    """The file (of a folder, each file in it) goes, its neighbours, links and folders stay; and the rule says why."""
    file = tmp_path / rule.pattern / "a/b" if rule.pattern.endswith("/") else tmp_path / rule.pattern
    above = (tmp_path / rule.pattern).parent
    file.parent.mkdir(parents=True)
    file.write_text("x")
    (above / "neighbour").write_text("x")
    assert (os.path.relpath(file, tmp_path),) == normalise(tmp_path, EPOCH)
    assert ["neighbour"] == os.listdir(above)
    assert rule.reason
    os.symlink("neighbour", tmp_path / rule.pattern.removesuffix("/"))
    assert () == normalise(tmp_path, EPOCH)


def test_a_dropped_folder_keeps_what_is_no_file(tmp_path):
    """A whiteout hides a lower layer's file: were it dropped, that file would show again. So would a link's name."""
    folder = tmp_path / "cache"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/file").write_text("x")
    (folder / "kept").mkdir()
    os.symlink("nowhere", folder / "kept/link")
    os.mkfifo(folder / "pipe")
    assert ("cache/deep/er/file",) == normalise(tmp_path, EPOCH, (Rule("cache/", "test"),))
    assert ["kept", "pipe"] == sorted(os.listdir(folder))
    assert ["link"] == os.listdir(folder / "kept")


def test_a_pattern_matches_within_one_name_and_follows_no_link(tmp_path):
    """A star does not cross folders, and a link to elsewhere is not entered."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.log").write_text("x")
    upper = tmp_path / "upper"
    (upper / "var/log").mkdir(parents=True)
    for name in ("a.log", "b.log", "c.txt"):
        (upper / "var/log" / name).write_text("x")
    os.symlink(elsewhere, upper / "var/link")
    rules = (Rule("var/log/*.log", "test"), Rule("var/link/*.log", "test"), Rule("none/*", "test"))
    assert ("var/log/a.log", "var/log/b.log") == normalise(upper, 0, rules)
    assert ["a.log"] == os.listdir(elsewhere)


def test_no_rule_touches_what_a_later_instruction_may_need():
    """Apt's lists and dpkg's own status stay."""
    for path in ("var/lib/apt/lists", "var/lib/dpkg/status", "var/lib/dpkg/info"):
        assert not any(rule.pattern == path or rule.pattern.startswith(f"{path}/") for rule in RULES)


def test_a_context_never_leaves_its_folder(tmp_path):
    """Links and dots are worked out inside the root."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    os.symlink("../secret", root / "up")
    os.symlink("/secret", root / "absolute")
    os.symlink("loop", root / "loop")
    context = FolderContext(root)
    for path in ("up", "absolute", "../secret", "up/../../secret"):
        assert context.node(context.resolve(path)) is None
    with pytest.raises(DataError, match="too many links"):
        context.resolve("loop")


def test_an_unreadable_file_is_told_by_name(tmp_path):
    """The error names the file and the way out; the file's mode is not touched."""
    (tmp_path / "f").write_text("x")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    context = FolderContext(tmp_path, hasher=refuse)
    with pytest.raises(DataError, match="f cannot be read") as caught:
        context.digest(context.node("f"))
    assert ".dockerignore" in caught.value.hint


def test_an_ignored_folder_is_there_only_for_what_is_kept_in_it(tmp_path):
    """A folder without anything kept is as good as missing."""
    for path in ("a/keep", "a/drop", "b/drop"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("x")
    context = FolderContext(tmp_path, parse_ignore("*\n!*/keep\n"))
    assert ["a"] == [node.path for node in context.children(context.node(""))]
    assert ["a/keep"] == [node.path for node in context.children(context.node("a"))]
    assert context.node("b") is None
    assert not context.bindable(context.node("a"))


def test_a_mapping_puts_files_where_it_says(tmp_path):
    """Entries may lie below one another's folders; what is between is made up."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("x")
    os.symlink("x", tmp_path / "d/l")
    (tmp_path / "f").write_text("f")
    context = MappingContext({"in/folder": tmp_path / "d", "in/file": tmp_path / "f"})
    assert ["in"] == [node.path for node in context.children(context.node(""))]
    assert ["in/file", "in/folder"] == [node.path for node in context.children(context.node("in"))]
    assert ["in/folder/l", "in/folder/x"] == [node.path for node in context.children(context.node("in/folder"))]
    assert "in/folder/x" == context.resolve("in/folder/l")
    assert Digest.of(b"f") == context.digest(context.node("in/file"))
    assert context.node("in/none") is None
    assert "did you mean file?" == context.missing("in/fil")


@given(st.integers(0, 253402300799))
def test_a_creation_time_is_read_back_as_the_epoch(seconds):
    """RFC 3339 in UTC, and back."""
    assert seconds == epoch_of(timestamp(seconds))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, 0),
        ("", 0),
        ("yesterday", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00+23:00", 0),
        ("2023-13-14T22:13:20Z", 0),
        ("2023-11-14T22:13:20+99:00", 0),
        ("2023-11-14T22:13:20.999999999Z", 1_700_000_000),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000),
    ],
)
def test_any_creation_time_gives_an_epoch(text, expected):
    """Docker writes nanoseconds; old tools write year 1."""
    assert expected == epoch_of(text)


@given(st.dictionaries(st.text(), st.text(), max_size=3), st.dictionaries(st.text(), st.text(), max_size=3))
def test_keys_are_equal_exactly_for_equal_parts(one, two):
    """No two different steps share a key; order does not matter."""
    below = [Digest.of(b"layer")]
    same = layer_key("run", below, "real", 0, one) == layer_key("run", below, "real", 0, dict(reversed(two.items())))
    assert (one == two) == same
    assert layer_key("run", below, "real", 0, one) != layer_key("copy", below, "real", 0, one)
    assert layer_key("run", below, "real", 0, one) != layer_key("run", [], "real", 0, one)
    assert layer_key("run", below, "real", 0, one) != layer_key("run", below, "one", 0, one)
    assert layer_key("run", below, "real", 0, one) != layer_key("run", below, "real", 1, one)
