"""`repro dockerfile parse | check`, as tools and people call it."""

from __future__ import annotations

import io
import json

import pytest

from repro.cli.main import main

TEXT = """\
# syntax=docker/dockerfile:1
ARG V=1
FROM archive:debian/bookworm AS one
COPY --link --chown=1:2 ["a b", \\
  "/c"]
RUN --network=none <<-'EOF' cat
\thi $V
\tEOF
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a Dockerfile in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "Dockerfile"
    path.write_text(TEXT)
    return path


def test_parse_prints_each_instruction_for_tools(file, capsys):
    """Name, stage, flags, arguments, heredocs, lines and the text as it stands."""
    assert 0 == main(["dockerfile", "parse", "Dockerfile", "--json"])
    parsed = json.loads(capsys.readouterr().out)
    assert {"syntax": "docker/dockerfile:1"} == parsed["directives"]
    assert ("Dockerfile", "\\") == (parsed["file"], parsed["escape"])
    arg, begin, copy, run = parsed["instructions"]
    assert [("ARG", None, 2, 2), ("FROM", 0, 3, 3)] == [
        (one["name"], one["stage"], one["line"], one["end_line"]) for one in (arg, begin)
    ]
    assert [{"name": "link", "value": None}, {"name": "chown", "value": "1:2"}] == copy["flags"]
    assert (["a b", "/c"], 4, 5) == (copy["strings"], copy["line"], copy["end_line"])
    assert "\n".join(TEXT.split("\n")[3:5]) == copy["original"]
    assert ("<<-'EOF' cat", None, 6, 8) == (run["arguments"], run["strings"], run["line"], run["end_line"])
    body = {"name": "EOF", "content": "\thi $V\n", "expand": False, "strip_tabs": True, "line": 7}
    assert [body] == run["heredocs"]


def test_parse_prints_a_line_for_each_instruction(file, capsys):
    """For people: lines, stage, instruction, arguments; a folder means its Dockerfile."""
    assert 0 == main(["dockerfile", "parse", "."])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["LINES", "STAGE", "INSTRUCTION", "ARGUMENTS"] == lines[0]
    assert ["4-5", "0", "COPY", "--link"] == lines[3][:4]


def test_the_file_may_come_on_stdin(file, capsys, monkeypatch):
    """As `-`, which is then its name in errors."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"FROM scratch\nRUNN x\n")))
    assert 2 == main(["dockerfile", "parse", "-", "--json"])
    output = capsys.readouterr()
    assert "" == output.out
    assert "-:2:1: unknown instruction RUNN\n  fix: did you mean RUN?" in output.err


def test_bytes_of_a_comment_do_no_harm(file, capsys):
    """A comment that is not UTF-8, between continued lines, comes out with a sign in place of the byte."""
    file.write_bytes(b"FROM scratch\nENV a=b \\\n# \xe9\n c=d\n")
    assert 0 == main(["dockerfile", "parse", "Dockerfile", "--json"])
    assert "ENV a=b \\\n# \ufffd\n c=d" == json.loads(capsys.readouterr().out)["instructions"][1]["original"]


def test_check_prints_findings_and_fails(file, capsys):
    """A line each, exit status 1; with --json a list that names rule, place and page."""
    file.write_text("ARG BASE\nFROM $BASE\nMAINTAINER me\n")
    base = ["--build-arg", "BASE=debian"]
    assert 1 == main(["dockerfile", "check", "Dockerfile", *base])
    printed = capsys.readouterr().out.splitlines()
    assert ["Dockerfile:2:6", "Dockerfile:3:1"] == [line.partition(": ")[0] for line in printed]
    assert printed[1].endswith("[maintainer]")
    assert 1 == main(["dockerfile", "check", "Dockerfile", "--json", *base])
    (_, second) = json.loads(capsys.readouterr().out)
    assert ("maintainer", 3, 1, "docs/rules/maintainer.md") == tuple(
        second[name] for name in ("rule", "line", "column", "page")
    )


def test_check_of_a_file_in_order_prints_nothing(file, capsys):
    """And its exit status is 0."""
    assert 0 == main(["dockerfile", "check", "Dockerfile"])
    assert "" == capsys.readouterr().out


def test_a_missing_file_is_told(file, capsys):
    """With what could have been meant."""
    assert 2 == main(["dockerfile", "check", "nope"])
    assert "there is no Dockerfile nope" in capsys.readouterr().err
