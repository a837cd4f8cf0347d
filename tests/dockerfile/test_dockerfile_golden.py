"""Dockerfiles that parse, against their recorded instructions; and Dockerfiles that do not, against the error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.dockerfile.grammar import read
from repro.errors import DockerfileError
from tests.dockerfile.golden import CASES, dump

MISTAKES = {
    "": ("1:1", "no instructions", "FROM"),
    "# only a comment\n": ("1:1", "no instructions", "FROM"),
    "FROM a\nRUNN x": ("2:1", "unknown instruction RUNN", "RUN"),
    "FROM a\n  COPPY x y": ("2:3", "unknown instruction COPPY", "COPY"),
    "FROM a\nRUN": ("2:1", "RUN needs an argument", None),
    "FROM a b": ("1:1", "an image AS a name", "FROM image"),
    "FROM a AS 1x": ("1:11", "not a stage name", "letter"),
    "FROM --plattform=x a": ("1:6", "no flag --plattform", "--platform"),
    "FROM a\nRUN --mount=type=bnd,target=/x y": ("2:5", "unknown mount type 'bnd'", "bind"),
    "FROM a\nRUN --mount=type=bind,tarrget=/x y": ("2:5", "unknown option 'tarrget'", "target"),
    "FROM a\nRUN --mount=type=tmpfs y": ("2:5", "needs a target", "target="),
    "FROM a\nRUN --network=bridge y": ("2:5", "unknown network 'bridge'", "none"),
    "FROM a\nRUN --security=insecure y": ("2:5", "insecure", None),
    "FROM a\nRUN \\\n  --network=x y": ("3:3", "unknown network 'x'", None),
    "FROM a\nCOPY x": ("2:1", "a source and a destination", "COPY source"),
    "FROM a\nCOPY --from=$X a b": ("2:6", "--from takes no variable", "AS name"),
    "FROM a\nCOPY --chown a b": ("2:6", "--chown needs a value", "--chown="),
    "FROM a\nCOPY --link=maybe a b": ("2:6", "neither true nor false", None),
    "FROM a\nCOPY --chmod=1 --chmod=2 a b": ("2:16", "given twice", None),
    "FROM a\nENV A": ("2:5", "has no value", "name=value"),
    "FROM a\nENV A=1 B": ("2:9", "'B' is not name=value", "quote"),
    "FROM a\nENV A=1 \\\n  B": ("3:3", "'B' is not name=value", "quote"),
    "FROM a\nARG 1A": ("2:5", "not a name for an argument", "ARG NAME"),
    "FROM a\nSHELL /bin/sh": ("2:1", "JSON form only", "SHELL ["),
    "FROM a\nHEALTHCHECK CMDS x": ("2:1", "CMD and a command", None),
    "FROM a\nHEALTHCHECK --interval=soon CMD x": ("2:13", "not a duration", "30s"),
    "FROM a\nONBUILD FROM b": ("2:9", "ONBUILD FROM is not allowed", None),
    "FROM a\nONBUILD RUNN b": ("2:1", "unknown instruction RUNN", "RUN"),
    "FROM a\nRUN <<EOF\nx\n": ("2:1", "<<EOF is not closed", "EOF alone"),
    "# escape=x\nFROM a": ("1:1", "escape='x'", None),
    "# escape=`\n# escape=`\nFROM a": ("2:1", "given twice", None),
    "FROM a\nRUN a\0b": ("2:6", "not text", None),
    'FROM a\nCMD ["\\u0000"]': ("2:1", "NUL", None),
}


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_a_dockerfile_parses_to_its_recorded_instructions(case):
    """Every case gives the instructions, words and places that are recorded beside it."""
    expected = json.loads((CASES / case / "result.json").read_text())
    assert expected == json.loads(json.dumps(dump((CASES / case / "Dockerfile").read_bytes().decode())))


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text)[:40])
def test_a_mistake_is_told_with_its_place_and_a_way_out(text):
    """The error names line and column, says what is wrong, and how it would be right."""
    place, message, hint = MISTAKES[text]
    with pytest.raises(DockerfileError) as caught:
        read(text, "some/Dockerfile")
    assert f"some/Dockerfile:{place}" == str(caught.value.where)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


_PIECES = st.sampled_from(
    [
        "FROM",
        "RUN",
        "COPY",
        "ADD",
        "ENV",
        "ARG",
        "LABEL",
        "ONBUILD",
        "CMD",
        "SHELL",
        "EXPOSE",
        "VOLUME",
        "USER",
        "HEALTHCHECK",
        "WORKDIR",
        "a=b",
        "$x",
        "${x:-y}",
        "${x",
        "'",
        '"',
        "\\",
        "\\\n",
        "`\n",
        "<<E",
        "<<-'E'",
        "E\n",
        "\n",
        "#",
        "--mount=type=bind,target=/a",
        "--from=0",
        "--x=",
        '["a","b"]',
        "[",
        "]",
        "=",
        ",",
        ":",
        "/",
        "*",
        "\t",
        "\r\n",
        "#",
        "escape=`\n",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(), st.lists(_PIECES, max_size=30).map(" ".join), st.lists(_PIECES, max_size=30).map("".join)))
def test_any_text_parses_or_is_a_located_error(text):
    """No text makes the parser fail in any other way than a DockerfileError with file and line."""
    try:
        found = read(f"FROM a\n{text}", "Dockerfile")
    except DockerfileError as error:
        assert str(error.where).startswith("Dockerfile:")
    else:
        assert found.instructions
