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
    "FROM a\n\\\n": ("2:1", "no instruction follows the continuation", "leave"),
    "FROM a\nRUNN x": ("2:1", "unknown instruction RUNN", "RUN"),
    "FROM a\n  COPPY x y": ("2:3", "unknown instruction COPPY", "COPY"),
    "FROM a\nenviron A=b": ("2:1", "unknown instruction ENVIRON", "ENV"),
    "FROM a\nRUN": ("2:1", "RUN needs an argument", None),
    "FROM a b": ("1:1", "an image AS a name", "FROM image"),
    "FROM a AS 1x": ("1:11", "not a stage name", "letter"),
    "FROM --plattform=x a": ("1:6", "no flag --plattform", "--platform"),
    "FROM --platform a": ("1:6", "--platform needs a value", "--platform="),
    "FROM a\nRUN --mount=type=bnd,target=/x y": ("2:5", "unknown mount type 'bnd'", "bind"),
    "FROM a\nRUN --mount=type=bind,tarrget=/x y": ("2:5", "unknown option 'tarrget'", "target"),
    "FROM a\nRUN --mount=type=tmpfs y": ("2:5", "needs a target", "target="),
    "FROM a\nRUN --mount= y": ("2:5", "--mount needs options", "type="),
    "FROM a\nRUN --mount=type=tmpfs,target y": ("2:5", "'target' of --mount needs a value", "target="),
    "FROM a\nRUN --mount=target=/x,mode=0700 y": ("2:5", "type bind takes no option 'mode'", "cache or secret"),
    "FROM a\nRUN --mount=type=cache,target=/x,size=1g y": ("2:5", "type cache takes no option 'size'", "tmpfs"),
    "FROM a\nRUN --mount=type=tmpfs,target=/x,sharing=locked y": ("2:5", "takes no option 'sharing'", "cache"),
    "FROM a\nRUN --mount=type=cache,target=/x,sharing=lock y": ("2:5", "unknown sharing 'lock'", "locked"),
    "FROM a\nRUN --mount=type=secret y": ("2:5", "needs an id or a target", "id="),
    "FROM a\nRUN --mount=type=secret,id=a,from=b y": ("2:5", "takes no option 'from'", "bind"),
    "FROM a\nRUN --mount=type=secret,id=a,src=b y": ("2:5", "an id or a source", "id"),
    "FROM a\nRUN --mount=target=/x,from=$b y": ("2:5", "from= of --mount takes no variable", "AS name"),
    "FROM a\nRUN --mount='target=/x,\"a' y": ("2:5", "not a list of options", "quote"),
    "FROM a\nRUN --network=bridge y": ("2:5", "unknown network 'bridge'", "none"),
    "FROM a\nRUN --network=hots y": ("2:5", "unknown network 'hots'", "host"),
    "FROM a\nRUN --security=insecure y": ("2:5", "insecure", "leave"),
    "FROM a\nRUN --device=x y": ("2:5", "--device is not supported", "leave"),
    "FROM a\nRUN --netwrok=none y": ("2:5", "no flag --netwrok", "--network"),
    "FROM a\nRUN \\\n  --network=x y": ("3:3", "unknown network 'x'", None),
    "FROM a\nRUN []": ("2:1", "RUN needs a command", None),
    "FROM a\nCOPY x": ("2:1", "a source and a destination", "COPY source"),
    "FROM a\nCOPY --form=b x y": ("2:6", "no flag --form", "--from"),
    "FROM a\nCOPY --from=$X a b": ("2:6", "--from takes no variable", "AS name"),
    "FROM a\nCOPY --chown a b": ("2:6", "--chown needs a value", "--chown="),
    "FROM a\nCOPY --link=maybe a b": ("2:6", "neither true nor false", "--link"),
    "FROM a\nCOPY --link=1 a b": ("2:6", "neither true nor false", "--link"),
    "FROM a\nCOPY --chmod=1 --chmod=2 a b": ("2:16", "given twice", "leave"),
    "FROM a\nCOPY <<E <<F\nE\nF": ("2:10", "a heredoc is no destination", None),
    'FROM a\nCOPY ["a", 1]': ("2:1", "strings only", "quote"),
    'FROM a\nCMD ["a", ["b"]]': ("2:1", "strings only", "quote"),
    "FROM a\nENV A": ("2:5", "A has no value", "name=value"),
    "FROM a\nENV =x": ("2:5", "'=x' is not name=value", None),
    "FROM a\nENV A=1 B": ("2:9", "'B' is not name=value", "quote"),
    "FROM a\nENV A=1 \\\n  B": ("3:3", "'B' is not name=value", "quote"),
    "FROM a\nARG =1": ("2:5", "an argument has no name", "ARG NAME"),
    "FROM a\nSHELL /bin/sh": ("2:1", "JSON form only", "SHELL ["),
    "FROM a\nVOLUME []": ("2:1", "VOLUME needs a path", None),
    'FROM a\nVOLUME [" "]': ("2:1", "VOLUME needs a path", None),
    "FROM a\nUSER --x=y b": ("2:6", "USER has no flag --x", "no flags"),
    "FROM a\nHEALTHCHECK CMDS x": ("2:1", "CMD and a command", "NONE"),
    "FROM a\nHEALTHCHECK NONE x": ("2:1", "CMD and a command", "NONE"),
    "FROM a\nHEALTHCHECK CMD []": ("2:1", "CMD needs a command", None),
    "FROM a\nHEALTHCHECK --interval=soon CMD x": ("2:13", "not a duration", "30s"),
    "FROM a\nHEALTHCHECK --interval=-1s CMD x": ("2:13", "out of range", "1ms"),
    "FROM a\nHEALTHCHECK --interval=1us CMD x": ("2:13", "out of range", "1ms"),
    "FROM a\nHEALTHCHECK --retries=-1 CMD x": ("2:13", "not a number of retries", "3"),
    "FROM a\nONBUILD FROM b": ("2:9", "ONBUILD FROM is not allowed", None),
    "FROM a\nONBUILD ONBUILD RUN b": ("2:9", "ONBUILD ONBUILD is not allowed", None),
    "FROM a\nONBUILD RUNN b": ("2:9", "unknown instruction RUNN", "RUN"),
    "FROM a\nRUN <<EOF\nx\n": ("2:1", "<<EOF is not closed", "EOF alone"),
    "# escape=x\nFROM a": ("1:1", "escape='x'", "escape=`"),
    "# escape=`\n# escape=`\nFROM a": ("2:1", "given twice", "line 1"),
    "FROM a\nRUN a\0b": ("2:6", "not text", "UTF-8"),
    "FROM a\nRUN <<E\na\udce9\nE": ("3:2", "not text", "UTF-8"),
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


def test_a_comment_may_hold_any_bytes():
    """What no instruction is made of need not be UTF-8, between continued lines neither."""
    found = read("# caf\udce9\nFROM a\nRUN x \\\n# \udce9\n y\n", "Dockerfile")
    assert ["FROM a", "RUN x  y"] == [one.text for one in found.instructions]


def test_a_flag_with_an_empty_value_is_not_given():
    """As in Docker: so that `--chown=` needs no case of its own in a template."""
    begin, copy = read("FROM --platform= a\nCOPY --chown= --from= a b\n", "Dockerfile").instructions
    assert (None, None, None) == (begin.platform, copy.chown, copy.source_image)


def test_directives_end_at_the_first_other_line():
    """Names are in any case, blanks are free; one that is nearly a directive is a comment, but noted."""
    found = read("#  Syntax = a/b:1\n#check=skip=all\n# escpae=`\n# escape=`\nFROM a\n", "Dockerfile").directives
    assert [("syntax", "a/b:1"), ("check", "skip=all")] == [(one.name, one.value) for one in found.found]
    assert ("escpae", "Dockerfile:3:1") == (found.doubtful.name, str(found.doubtful.where))
    assert "\\" == found.escape


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab c'\"\\$\t", max_size=6), min_size=1, max_size=5))
def test_the_exec_form_gives_back_its_strings(words):
    """Whatever strings the JSON form holds, they come out as they went in."""
    (_, command) = read(f"FROM a\nCMD {json.dumps(words)}\n", "Dockerfile").instructions
    assert (tuple(words), False) == (command.command.words, command.command.for_shell)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab'\"#$\\ \t<", max_size=8).map(lambda line: line + "."), max_size=5), st.booleans())
def test_a_heredoc_gives_back_its_lines(lines, quoted):
    """Whatever its lines hold, comments and continuations too, they are the content, and the next line is read on."""
    body = "".join(f"{line}\n" for line in lines)
    opening = "<<'EOF'" if quoted else "<<EOF"
    (_, run, user) = read(f"FROM a\nRUN {opening}\n{body}EOF\nUSER u\n", "Dockerfile").instructions
    assert [(body, not quoted, 3)] == [(one.content, one.expand, one.line) for one in run.heredocs]
    assert 4 + len(lines) == user.where.line


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b=c", "# no comment", "'d", "${e}"]), min_size=1, max_size=6))
def test_continued_lines_are_one(pieces):
    """A line cut into any pieces, comments and blank lines between them, is the line, and places lead back."""
    text = "FROM a\nRUN x " + "\\\n  # comment\n\n".join(f"{piece} " for piece in ["y", *pieces]) + "\n"
    (_, run) = read(text, "Dockerfile").instructions
    kept = [piece for piece in pieces if not piece.startswith("#")]
    assert ["x", "y", *" ".join(kept).split()] == run.command.words[0].split()
    if kept == pieces:
        offset = run.command.words[0].rindex(pieces[-1])
        where = run.places.at(offset)
        line = text.split("\n")[where.line - 1]
        assert line[where.column - 1 :].startswith(pieces[-1])


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
