"""The comparison itself: it must see what it claims to compare."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conformance.trees import Difference, Image, compare, sort_out, walk


def _lay_out(root: Path) -> Path:
    root.mkdir()
    (root / "folder").mkdir(mode=0o755)
    (root / "folder" / "file").write_text("a\n")
    (root / "folder" / "twin").hardlink_to(root / "folder" / "file")
    (root / "link").symlink_to("folder")
    os.mkfifo(root / "pipe")
    return root


def _keys(first: Path, second: Path) -> list[str]:
    return [one.key for one in compare(Image(walk(first), {}), Image(walk(second), {}))]


def test_equal_trees_do_not_differ(tmp_path: Path) -> None:
    """Two trees made in the same way are equal, whatever their inodes and times."""
    assert [] == _keys(_lay_out(tmp_path / "one"), _lay_out(tmp_path / "two"))


def test_each_field_of_a_path_is_seen(tmp_path: Path) -> None:
    """Content, mode, target, attribute, kind, a lost twin and a missing path are each told by name."""
    first, second = _lay_out(tmp_path / "one"), _lay_out(tmp_path / "two")
    (second / "folder" / "twin").unlink()
    (second / "folder" / "twin").write_text("b\n")
    (second / "folder").chmod(0o700)
    (second / "link").unlink()
    (second / "link").symlink_to("elsewhere")
    os.setxattr(second / "folder" / "file", "user.note", b"x")
    (second / "pipe").unlink()

    assert [
        "/folder mode",
        "/folder/file xattrs",
        "/folder/file links",
        "/folder/twin content",
        "/folder/twin links",
        "/link target",
        "/pipe exists",
    ] == _keys(first, second)


def test_fields_of_the_config_are_seen() -> None:
    """A field that one side lacks and a field of another value both differ."""
    found = compare(Image({}, {"Env": ["A=1"], "User": "ada"}), Image({}, {"Env": ["A=2"]}))
    assert [("Env", ["A=1"], ["A=2"]), ("User", "ada", None)] == [
        (one.field, one.expected, one.actual) for one in found
    ]


def test_a_listed_difference_must_occur() -> None:
    """What is listed is taken out; what is listed and does not occur is told."""
    found = [Difference("/a", "mode", "0644", "0600"), Difference("/b", "uid", 0, 1)]
    assert ([found[1]], ["/c *"]) == sort_out(found, {"/a mode": "why", "/c *": "why"})
