"""What strangers write is shown, never obeyed: no control character of an image gets to a terminal."""

from __future__ import annotations

import json
import sys

import pytest

from repro.cli import main as command
from repro.cli.arguments import print_json, print_table, print_text
from repro.errors import DataError, visible
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from tests.security.places import FORMS

EVIL = "\x1b]0;title\x07 \x9b2J \u202eevil \x7f \r over \ud800"


def harmless(text: str) -> bool:
    """Whether a terminal would only show ``text``."""
    return all(line.isprintable() for line in text.split("\n"))


def test_text_is_made_visible():
    """What prints stays; what does not is spelt as Python spells it."""
    assert "é ü 漢" == visible("é ü 漢")
    assert "a\n\tb" == visible("a\n\tb")
    assert "a\\nb" == visible("a\nb", "")
    assert "\\x1b[31m\\x9b\\u202e\\ud800\\x00\\r" == visible("\x1b[31m\x9b\u202e\ud800\0\r")


def test_errors_show_what_is_in_them():
    """Message, place, reason and hint of any error are visible."""
    text = str(DataError(EVIL, where=EVIL, why=EVIL, hint=EVIL))

    assert harmless(text)
    assert 4 == text.count("evil")


def test_tables_and_json_are_harmless(capsys):
    """A table's cells keep to their line; JSON escapes what a terminal would obey, and is the same JSON."""
    print_table(("name",), [(EVIL,), ("a\nb",)])
    assert harmless(out := capsys.readouterr().out)
    assert 3 == out.count("\n")

    print_json({"a": EVIL.replace("\ud800", ""), "b": "é\u2028"})
    assert harmless(out := capsys.readouterr().out)
    assert {"a": EVIL.replace("\ud800", ""), "b": "é\u2028"} == json.loads(out)


def test_a_field_is_as_it_is_for_a_program_and_harmless_on_a_terminal(capsys, monkeypatch):
    """`image inspect -f` gives programs the bytes and people what prints."""
    print_text("\x1b[31m")
    assert "\x1b[31m\n" == capsys.readouterr().out

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_text("\x1b[31m")
    assert "\\x1b[31m\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["ls"], ["ls", "--json"], ["inspect", "evil"], ["inspect", "-f", "{{json .}}", "evil"]]
)
def test_an_image_of_escape_sequences_is_listed_without_them(arguments, tmp_path, monkeypatch, capsys):
    """Creation time, labels, commands and history of an image may hold anything."""
    evil = EVIL.replace("\ud800", "")
    store = Store(tmp_path / "store", FORMS[0])
    config = ImageConfig(
        architecture="amd64", created=evil, labels={evil: evil}, cmd=(evil,), env=(f"A={evil}",), other={"author": evil}
    )
    store.tag("evil", store.put_image(config))
    monkeypatch.setenv("REPRO_STORE", str(store.root))
    monkeypatch.setenv("REPRO_MODE", "real" if FORMS[0] == "real" else "one")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert 0 == command.main(["image", *arguments])

    out = capsys.readouterr().out
    assert "evil" in out
    assert harmless(out)
