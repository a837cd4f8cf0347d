"""Differences between images: against a naive comparison of every inode, and through layers."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oci_trees import FORMS, Found, Node, make, read, trees

from repro.oci.differences import Difference, differences
from repro.oci.store import Store


def expected(first: dict[bytes, Found], second: dict[bytes, Found]) -> dict[str, tuple[str, ...]]:
    """Compare all that was read of two trees; whiteouts show nothing, times and names of hard links do not count."""
    found: dict[str, tuple[str, ...]] = {}
    sides = [{name: one for name, one in side.items() if name and one.kind != "c"} for side in (first, second)]
    for name in sides[0].keys() | sides[1].keys():
        path = "/" + os.fsdecode(name)
        one, two = (side.get(name) for side in sides)
        if one is None or two is None:
            found[path] = ("removed" if two is None else "added",)
            continue
        if one.kind != two.kind:
            found[path] = ("changed", "type")
            continue
        attributes = [[item for item in side.attributes if item[0] != "user.overlay.opaque"] for side in (one, two)]
        facts = {
            "content": one.kind == "-" and one.content != two.content,
            "size": one.kind == "-" and len(one.content) != len(two.content),
            "xattr": attributes[0] != attributes[1],
            "link": one.kind == "l" and one.content != two.content,
            "mode": one.kind != "l" and one.mode != two.mode,
            "owner": one.owner != two.owner,
        }
        changes = tuple(name for name, differs in facts.items() if differs)
        if changes:
            found[path] = ("changed", *changes)
    return found


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(first=trees, second=trees, same=st.booleans())
def test_every_difference_is_named(form, fresh, first, second, same):
    """Of any two trees: each path that differs, in order and once, with the kind of its change; else nothing."""
    folders = fresh(), fresh()
    make(folders[0], first, form)
    make(folders[1], first if same else second, form, backwards=True)
    before = read(folders[0], form), read(folders[1], form)

    seen: tuple[list[str], list[str]] = ([], [])
    found = list(differences([folders[0]], [folders[1]], form, lambda side, path: seen[side].append(path)))

    assert expected(*before) == {one.path: (one.kind, *one.changes) for one in found}
    assert [one.path for one in found] == sorted(
        (one.path for one in found), key=lambda path: os.fsencode(path).split(b"/")
    )
    for side in (0, 1):
        assert sorted(seen[side]) == sorted(
            os.fsdecode(name) for name, one in before[side].items() if name and one.kind != "c"
        )
    assert before == (read(folders[0], form), read(folders[1], form))


def test_layers_are_compared_as_they_show(store: Store):
    """What a layer hides or replaces by the same is no difference; a common layer is not read at all."""
    lower = Node("folder", 0o755, children={b"a": Node("file", content=b"1"), b"b": Node("file", content=b"2")})
    upper = Node("folder", 0o755, children={b"a": Node("whiteout"), b"b": Node("file", content=b"2", mtime=99)})
    flat = Node("folder", 0o755, children={b"b": Node("file", content=b"2", mtime=5)})
    layers = []
    for tree in (lower, upper, flat):
        with store.workspace() as work:
            make(work / "layer", tree, store.form)
            layers.append(store.layer_path(store.commit_layer(work / "layer", epoch=10**9).diff_id))
    assert [] == list(differences(layers[:2], layers[2:], store.form))
    assert [Difference("/a", "removed")] == list(differences(layers[:1], layers[:2], store.form))
    assert [] == list(differences(layers[:2], layers[:2], store.form))
