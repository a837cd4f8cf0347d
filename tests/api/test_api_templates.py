"""The templates of `--format`: what docker prints for them, and where their mistakes are told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.api.template_functions import Keyed, go_text
from repro.api.templates import Template
from repro.errors import UsageError

IMAGE = {
    "Id": "sha256:0123456789",
    "RepoTags": ["a:1", "b/c:latest"],
    "Size": 4200,
    "Empty": [],
    "Nothing": None,
    "Yes": True,
    "Config": {"Env": ["PATH=/bin", "A=b c"], "User": "", "Labels": Keyed({"org.x": "1", "b": "2"}), "Cmd": None},
}

# What `docker image inspect --format` prints for the same, but for the fields that only we have.
FORMATS = {
    "plain": "plain",
    "": "",
    "{{ .Size }}": "4200",
    "{{.Size}} bytes": "4200 bytes",
    "{{ json .Config.Env }}": '["PATH=/bin","A=b c"]',
    "{{ .Config.Env }}": "[PATH=/bin A=b c]",
    "{{ .Config.Labels }}": "map[b:2 org.x:1]",
    "{{json .Id}}": '"sha256:0123456789"',
    "{{ json .Nothing }} {{ .Nothing }}": "null <no value>",
    "{{ .Yes }}": "true",
    "{{ index .RepoTags 0 }}": "a:1",
    "{{ (index .RepoTags 1) | upper }}": "B/C:LATEST",
    '{{ index .Config.Labels "org.x" }}': "1",
    '{{ index .Config.Labels "no" }}|{{ .Config.Labels.no }}': "|<no value>",
    "{{ range .Config.Env }}{{ . }};{{ end }}": "PATH=/bin;A=b c;",
    "{{ range .Config.Env }}{{ println . }}{{ end }}": "PATH=/bin\nA=b c\n",
    "{{ range $k, $v := .Config.Labels }}{{ $k }}={{ $v }} {{ end }}": "b=2 org.x=1 ",
    "{{ range $i, $v := .RepoTags }}{{ if $i }}, {{ end }}{{ $v }}{{ end }}": "a:1, b/c:latest",
    "{{ range $v := .RepoTags }}{{ $v }}{{ $.Size }}{{ end }}": "a:14200b/c:latest4200",
    "{{ range .Empty }}x{{ else }}none{{ end }}": "none",
    "{{ range .Nothing }}x{{ else }}none{{ end }}": "none",
    "{{ if .Config.User }}{{ .Config.User }}{{ else }}root{{ end }}": "root",
    "{{ if .Empty }}a{{ else if .Size }}b{{ else }}c{{ end }}": "b",
    "{{ if not .Empty }}yes{{ end }}": "yes",
    "{{ if and .Size .RepoTags }}yes{{ end }}": "yes",
    "{{ if or .Empty .Config.User }}a{{ else }}b{{ end }}": "b",
    "{{ if gt .Size 4000 }}big{{ end }}{{ if eq .Id `x` `sha256:0123456789` }} one of them{{ end }}": "big one of them",
    "{{ with .Config }}{{ .User }}{{ len .Env }}{{ end }}": "2",
    "{{ with .Empty }}a{{ else }}{{ .Size }}{{ end }}": "4200",
    "{{ len .RepoTags }} {{ len .Id }} {{ len .Config.Labels }}": "2 17 2",
    '{{ join .RepoTags ", " }}': "a:1, b/c:latest",
    '{{ index (split .Id ":") 1 }}': "0123456789",
    "{{ slice .Id 7 11 }} {{ slice .RepoTags 1 }}": "0123 [b/c:latest]",
    "{{ upper `ab` }}{{ lower `AB` }}{{ title `ab cd` }}": "ABabAb Cd",
    '{{ printf "%-6s|%6d|%q|%%" `ab` .Size `x` }}': 'ab    |  4200|"x"|%',
    "{{ print 1 2 `a` 3 }}": "1 2a3",
    "{{ truncate .Id 9 }}|{{ pad `x` 1 2 }}|": "sha256:01| x  |",
    "a  {{- .Size -}}  b": "a4200b",
    "a {{/* words }} */}} b": "a  b",
    "a {{- /* words */ -}} b": "ab",
    "{{ $tags := .RepoTags }}{{ len $tags }}{{ $tags = .Id }}{{ $tags }}": "2sha256:0123456789",
    '{{ print "}} \\"" }}': '}} "',
    "{{ .RepoTags | json | len }}": "20",
    "{{ json .Config.Labels }}": '{"org.x":"1","b":"2"}',
}


@pytest.mark.parametrize(("template", "expected"), FORMATS.items())
def test_templates_print_what_docker_prints(template, expected):
    """Fields, functions, pipes, blocks and trim marks mean what they mean there."""
    assert expected == Template(template).fill(IMAGE)


# the mistake, and where it is told: column, and a word of the message or of the hint
WRONG = {
    "{{ .Sizes }}": (4, "Size"),
    "{{ .Config.env }}": (11, "Env"),
    "{{ .Size.More }}": (9, "a number"),
    "{{ .RepoTags.First }}": (13, "index"),
    "{{ Size }}": (4, "Size"),
    "{{ jsn .Size }}": (4, "json"),
    "{{ .Size": (1, "}}"),
    "{{ }}": (1, "nothing"),
    "{{ range .RepoTags }}": (1, "end"),
    "{{ if .Size }}a{{ else }}b{{ else }}c{{ end }}": (27, "second"),
    "{{ end }}": (1, "without"),
    "{{ else }}": (1, "without"),
    "{{ .Size | .Id }}": (12, "function"),
    "{{ .Size 3 }}": (10, "arguments"),
    "{{ index .RepoTags 7 }}": (4, "7"),
    "{{ index .Size 7 }}": (4, "a number"),
    "{{ join .Size `,` }}": (4, "a number"),
    "{{ join .RepoTags }}": (4, "join"),
    "{{ range .Size }}{{ end }}": (1, "a number"),
    "{{ (len .RepoTags }}": (4, ")"),
    "{{ $x }}": (4, "$x"),
    "{{ if .Size }}{{ $x := 1 }}{{ end }}{{ $x }}": (40, "$x"),
    "ab {{ .Size ? }}": (13, "?"),
    "{{ 'a' }}": (4, "understood"),
    '{{ print "\\d" }}': (10, "backslash"),
    "{{ printf `%d` .Id }}": (4, "a text"),
    "{{ printf `%s %s` .Id }}": (4, "places"),
    "{{ slice .Id 5 99 }}": (4, "beyond"),
    "{{ lt .Id 5 }}": (4, "a text"),
    "{{ define `x` }}": (4, "understood"),
    "{{ template `x` }}": (4, "function"),
    "{{" + "(" * 60 + ".Size" + ")" * 60 + "}}": (53, "parentheses"),
    "{{ .Size" + " | print" * 2000 + "}}": (603, "words"),
    "{{if .Size}}" * 60 + "{{end}}" * 60: (601, "blocks"),
}


@pytest.mark.parametrize(("template", "expected"), WRONG.items())
def test_mistakes_are_told_with_their_place(template, expected):
    """What is not understood, not there or of a wrong type is the user's error, with column and a way out."""
    with pytest.raises(UsageError) as caught:
        Template(template).fill(IMAGE)
    column, word = expected
    assert f"--format:1:{column}: " == str(caught.value)[: len(f"--format:1:{column}: ")]
    assert word in str(caught.value)


def test_the_place_counts_lines():
    """Templates from files have several lines."""
    with pytest.raises(UsageError, match=r"^--format:3:4: "):
        Template("a\nb\n{{ .Nope }}").fill(IMAGE)


def test_listings_know_tabs_and_new_lines():
    """As docker's listings, outside of braces only, and only where they are asked for."""
    assert "a\tb\nA\\t" == Template("a\\tb\\n{{ `A\\t` }}", escapes=True).fill(None)
    assert "a\\tb" == Template("a\\tb").fill(None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["A", "Bc", "d_1"]), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(st.characters(exclude_characters="{"), max_size=30), VALUES)
def test_plain_text_and_json_come_through(text, value):
    """Text without braces is itself; json of anything reads back as equal."""
    assert text == Template(text).fill(value)
    filled = Template("{{ json .X }}").fill({"X": value})
    assert value == json.loads(filled)
    assert go_text(value) == Template("{{ print .X }}").fill({"X": value})


WORDS = ["{{", "}}", "{{-", "-}}", " ", ".", ".A", ".Bc", "$", "$x", ":=", "=", "|", "(", ")", ",", '"a"', "`", '"', "0", "-1",
         "if", "else", "end", "range", "with", "json", "index", "len", "join", "eq", "printf", "nil", "true", "/*", "*/", "\n", "é"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=25).map("".join), VALUES)
def test_any_text_is_filled_in_or_refused(text, value):
    """No template whatever, and no value, is a traceback."""
    try:
        filled = Template(text, escapes=True).fill({"A": value, "Bc": [value, value]})
    except UsageError as error:
        assert error.where is not None
    else:
        assert isinstance(filled, str)


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), VALUES)
def test_any_action_is_filled_in_or_refused(inner, value):
    """The same with braces around it."""
    test_any_text_is_filled_in_or_refused.hypothesis.inner_test("{{" + inner + "}}", value)
