"""What programs a RUN's script calls, as linters see it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.dockerfile.shell import shell_commands


def _words(script: str) -> list[str]:
    return [" ".join(word.text for word in command.words) for command in shell_commands(script)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a b", ["a b"]),
        ("a && b || c; d | e & f", ["a", "b", "c", "d", "e", "f"]),
        ("a 'b && c' \"d; e\" f\\;g", ["a b && c d; e f;g"]),
        ("a >x 2>&1 <y b", ["a b"]),
        ("X=1 Y='2 3' a", ["a"]),
        ("X=1", []),
        ("if a; then b; else c; fi", ["a", "b", "c"]),
        ("! a", ["a"]),
        ("(a; b)", ["a", "b"]),
        ("{ a; b; }", ["a", "b"]),
        ("sudo -E a b", ["a b"]),
        ("env -i X=1 a", ["a"]),
        ("timeout -k 5 a", ["a"]),
        ("timeout 5 /usr/bin/a", ["/usr/bin/a"]),
        ("a # b && c\nd", ["a", "d"]),
        ("a#b", ["a#b"]),
        ("a \\\n b", ["a b"]),
        ("a $(b | c; d) e", ["a $(b | c; d) e"]),
        ("a `b; c` d", ["a `b; c` d"]),
        ("a ${b:-c d} e", ["a ${b:-c d} e"]),
        ("cat <<E > f\nno && never\nE\na", ["cat", "a"]),
        ("cat <<-'E'\n\tno\n\tE\na", ["cat", "a"]),
        ("a 'b", ["a b"]),
        ("a $(b", ["a $(b"]),
        (";;&&\n", []),
    ],
)
def test_a_script_is_cut_into_its_commands(script, expected):
    """Operators divide, quotes hold together, here-documents' bodies are no commands."""
    assert expected == _words(script)


def test_words_say_where_they_are_and_whether_they_are_sure():
    """A word that holds a value is not literal, a glob is; offsets point into the script."""
    script = "a 'b$c' \"$d\" e$f *g h"
    (command,) = shell_commands(script)
    assert ["a", "b$c", "*g", "h"] == [word.text for word in command.words if word.literal]
    assert ["a", "'b$c'", '"$d"', "e$f", "*g", "h"] == [
        script[word.offset :].split(maxsplit=1)[0] for word in command.words
    ]


@settings(max_examples=500, deadline=None)
@given(st.text("ab \t\n'\"\\`$(){}[]<>&|;#-=EOF", max_size=40))
def test_any_script_is_read_to_its_end(script):
    """No script makes the reader fail or stand still, and offsets rise."""
    offsets = [word.offset for command in shell_commands(script) for word in command.words]
    assert sorted(offsets) == offsets
    assert all(offset < len(script) for offset in offsets)
