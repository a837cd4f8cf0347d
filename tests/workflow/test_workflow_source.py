"""YAML with positions: spelling, places, and what a plain scalar means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.errors import WorkflowError
from repro.workflow.parser import parse
from repro.workflow.repair import repaired_line, uncommented_line
from repro.workflow.source import ListNode, MapNode, Scalar, Source, Style
from repro.workflow.values import core_value, plain, spell


def scalars(text: str) -> list[Scalar]:
    """Return the scalars of a YAML list."""
    root = parse(text, "w.yaml").root
    assert isinstance(root, ListNode)
    return [item for item in root.items if isinstance(item, Scalar)]


def test_scalars_keep_their_spelling() -> None:
    """Plain scalars are the text that was written, quoted ones are marked."""
    found = scalars("[no, 01, 08, 1e-3, ~, 'no', \"x\", 2024-01-01, 1_000]")
    assert ["no", "01", "08", "1e-3", "~", "no", "x", "2024-01-01", "1_000"] == [item.text for item in found]
    assert [Style.PLAIN] * 5 + [Style.QUOTED] * 2 + [Style.PLAIN] * 2 == [item.style for item in found]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"), max_size=8),
        max_size=5,
    )
)
def test_places_point_at_the_text(texts: list[str]) -> None:
    """Every scalar's place is where it begins in the file, however many bytes or lines stand before it."""
    lines = [f"{'é' * number}: {json.dumps(text, ensure_ascii=False)}" for number, text in enumerate(texts, start=1)]
    root = parse("\r\n".join(lines) + "\n", "w.yaml").root
    if not texts:
        assert root is None
        return
    assert isinstance(root, MapNode)
    for number, (entry, text) in enumerate(zip(root, texts, strict=True), start=1):
        assert isinstance(entry.value, Scalar)
        assert text == entry.value.text
        assert (number, number + 3) == (entry.value.where.line, entry.value.where.column)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("False", False), ("yes", "yes"), ("no", "no"),
        ("12", 12), ("-3", -3), ("0x10", 16), ("0o17", 15), ("01", "01"), ("1_000", "1_000"), ("1e-3", 0.001),
        (".5", 0.5), ("5.", 5.0), (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("1:30", "1:30"), ("+1", 1),
    ],
)  # fmt: skip
def test_core_values(text: str, expected: object) -> None:
    """Plain scalars mean what YAML 1.2's core schema says, and numbers come out as they were spelled."""
    value = core_value(text)
    assert expected == value
    assert type(expected) is type(plain(value))
    if value is not None and not isinstance(value, bool):
        assert text == spell(value, "it")


def test_merge_keys() -> None:
    """Keys that stand in a mapping win over merged ones, earlier merged mappings over later ones."""
    root = parse("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 0}\n", "w.yaml").root
    assert isinstance(root, MapNode)
    merged = root.entries[2].value
    assert isinstance(merged, MapNode)
    assert {"x": "0", "y": "2", "z": "4"} == {
        entry.key.text: entry.value.text for entry in merged if isinstance(entry.value, Scalar)
    }


def test_alias_bomb_is_refused() -> None:
    """Aliases that multiply to billions of values are refused before anything walks them."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(WorkflowError, match="multiply to too many values"):
        parse("\n".join(lines), "w.yaml")


def test_deep_nesting_is_refused() -> None:
    """Nesting beyond any use is refused in words."""
    with pytest.raises(WorkflowError, match="levels deep"):
        parse("[" * 200 + "]" * 200, "w.yaml")


@pytest.mark.parametrize(
    ("line", "in_flow", "expected"),
    [
        ("a: {{ x }}", False, 'a: "{{ x }}"'),
        ("- {{ x }}/b  # c", False, '- "{{ x }}/b"  # c'),
        ("a: b/{{ x }}", False, None),
        ("a: '{{ x }}'", False, None),
        ("a: {b: c/{{ x }}.d, e: [f, {{ g }}]}", False, 'a: {b: "c/{{ x }}.d", e: [f, "{{ g }}"]}'),
        ("  b/{{ x }},", True, '  "b/{{ x }}",'),
        ('a: {{ x["k"] }}', False, "a: '{{ x[\"k\"] }}'"),
        ("a: {b: {{ x }}}", False, 'a: {b: "{{ x }}"}'),
    ],
)
def test_repaired_lines(line: str, in_flow: bool, expected: str | None) -> None:
    """A line with a misread placeholder is printed as it should have been written."""
    assert expected == repaired_line(line, in_flow=in_flow)


def test_uncommented_line() -> None:
    """A command cut by a comment is quoted whole."""
    line = "  run: sed 's/ #.*//' x"
    assert "  run: \"sed 's/ #.*//' x\"" == uncommented_line(line, 7, 14)
    assert uncommented_line("run: echo", 5, 9) is None


def test_placeholder_places() -> None:
    """The place of a placeholder is found inside block scalars and after escaped braces."""
    text = "run: |\n  a \\{{ b\n  c {{ d }} {{ e }}\n"
    source = Source.read(text, "w.yaml")
    root = parse(text, "w.yaml").root
    assert isinstance(root, MapNode)
    where = root.entries[0].value.where
    assert [(2, 6), (3, 5), (3, 13)] == [
        (place.line, place.column) for place in (source.placeholder(where, index) for index in range(3))
    ]
