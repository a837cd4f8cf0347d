"""Templates: quoting against a real shell, the fast path against Jinja2, and where placeholders stand."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.workflow.expand import InputPath, InputPaths, render_element, render_path, render_shell
from repro.workflow.shell import Place, placeholder_places
from repro.workflow.template import TemplateError, parse_template
from repro.workflow.values import core_value

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = st.sampled_from(["a", "b_1", "list", "items", "upper", "x"])


def typed(text: str) -> object:
    """Return a plain scalar's value, never null."""
    value = core_value(text)
    return text if value is None else value


scalars = st.one_of(
    words,
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["1e-3", "0x1F", "+5", ".5", "01", "true", "no", "1_0"]).map(typed),
)
values = st.recursive(
    st.one_of(scalars, st.none(), st.lists(scalars, max_size=3).map(tuple)),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def shell_words(command: str) -> list[str]:
    """Return the words that bash makes of the text."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(words, st.lists(words, min_size=1, max_size=4))
def test_values_reach_the_command_as_they_are(value: str, many: list[str]) -> None:
    """Bash sees each value as one word with its very bytes, and each item of a list as one."""
    scope = {"v": value, "many": tuple(many)}
    assert [value, f"--x={value}", *many] == shell_words(render_shell("{{ v }} --x={{ v }} {{ many }}", scope))


@settings(max_examples=60, deadline=None)
@given(words)
def test_values_in_nested_shell(value: str) -> None:
    """A value inside a command substitution or a parameter expansion is one word with its bytes too."""
    scope = {"v": value}
    text = "\"$(printf '%s.' {{ v }})\" ${unset:-{{ v }}}'}'"
    assert [f"{value}.", f"{value}}}"] == shell_words(render_shell(text, scope))


@given(st.dictionaries(names, values, max_size=4), st.lists(names, min_size=1, max_size=3), st.booleans())
@settings(max_examples=500, deadline=None)
def test_fast_path_agrees_with_jinja(params: dict[str, object], path: list[str], raw: bool) -> None:
    """A plain dotted name means the same whether we look it up or Jinja2 does."""
    scope = {"params": params, "a": "text", "x": InputPath.of("p/q", "x"), "b_1": InputPaths.of(("p", "q r"), "b")}
    for name in (".".join(path), ".".join(["params", *path])):
        tail = " | raw" if raw else ""
        fast, slow = f"{{{{ {name}{tail} }}}}", f"{{{{ ({name}){tail} }}}}"
        assert parse_template(fast).placeholders[0].name is not None
        assert parse_template(slow).placeholders[0].name is None
        for render in (render_shell, render_path, render_element):
            assert attempt(render, fast, scope) == attempt(render, slow, scope)


def attempt(render, text, scope):
    """Return what rendering gives, None for a TemplateError."""
    try:
        return render(text, scope)
    except TemplateError:
        return None


@given(st.text())
def test_escaped_text_is_literal(text: str) -> None:
    """Any text with its double braces escaped renders to itself, in paths and commands."""
    escaped = text.replace("{{", "\\{{")
    if "{{{" in text or "\\{{" in text:
        return  # "{{{" has two readings of where the pair is; a backslash before one is written as an expression
    assert text == render_path(escaped, {})
    assert text == render_shell(escaped, {})


def test_jinja_is_not_imported_for_plain_names() -> None:
    """A plan with plain names alone never pays for importing Jinja2."""
    code = (
        "import sys; from repro.workflow.expand import render_shell;"
        "print(render_shell('x {{ a.b }} {{ c | raw }}', {'a': {'b': 'y z'}, 'c': '$d'}), 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert "x 'y z' $d False\n" == done.stdout


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo {{ x }}", [Place.CODE]),
        ("echo '{{ x }}' {{ x }}", [Place.SINGLE, Place.CODE]),
        ('echo "{{ x }}" {{ x }}', [Place.DOUBLE, Place.CODE]),
        (r'echo "\"{{ x }}" \"{{ x }}', [Place.DOUBLE, Place.CODE]),
        ('echo "$(cat {{ x }} "{{ x }}" \'{{ x }}\')" {{ x }}', [Place.CODE, Place.DOUBLE, Place.SINGLE, Place.CODE]),
        ('echo "`cat {{ x }}`{{ x }}"', [Place.CODE, Place.DOUBLE]),
        ("echo $'it\\'s {{ x }}' {{ x }}", [Place.SINGLE, Place.CODE]),
        ("echo a#{{ x }} #{{ x }}\n{{ x }}", [Place.CODE, Place.COMMENT, Place.CODE]),
        ("echo ${#a} ${a#{{ x }}} $# {{ x }}", [Place.CODE, Place.CODE]),
        ("echo '#' {{ x }} \"#\" {{ x }}", [Place.CODE, Place.CODE]),
        ("cat <<E {{ x }}\n{{ x }}\nE\n{{ x }}", [Place.CODE, Place.HEREDOC, Place.CODE]),
        ("cat <<-'E F' | tr {{ x }}\n\t{{ x }}\n\tE F\n{{ x }}", [Place.CODE, Place.HEREDOC, Place.CODE]),
        ("cat <<A <<\\B\n{{ x }}\nA\n{{ x }}\nB\n{{ x }}", [Place.HEREDOC, Place.HEREDOC, Place.CODE]),
        ("cat <<< {{ x }} '\n{{ x }}'", [Place.CODE, Place.SINGLE]),
        ("x=$(cat <<E\n'{{ x }}\nE\n)\n{{ x }}", [Place.HEREDOC, Place.CODE]),
        ("echo $((1 << 2)); (( 1 << 2 ))\n{{ x }}", [Place.CODE]),
        ("(( n <<= 1 ))\n{{ x }}", [Place.CODE]),
        ('"$( (echo a) )" {{ x }}', [Place.CODE]),
        ("x='it'\"'\"'s' {{ x }}", [Place.CODE]),
        ("echo \"a ${b:-'{{ x }}'} c\" {{ x }}", [Place.DOUBLE, Place.CODE]),
        ('echo ${b:-"{{ x }}"} {{ x }}', [Place.DOUBLE, Place.CODE]),
        ("f() { echo {{ x }}; }; case $a in b) echo {{ x }};; esac", [Place.CODE, Place.CODE]),
        ("awk '\\{{ {{ x }} }' \\'{{ x }}", [Place.SINGLE, Place.CODE]),
        ('echo {{ "\'" ~ x }} {{ x }}', [Place.CODE, Place.CODE]),
    ],
)
def test_places(script: str, expected: list[Place]) -> None:
    """The scanner knows bash's quotes, comments, expansions and heredocs."""
    places = placeholder_places(parse_template(script))
    assert expected == [places[start] for start in sorted(places)]
    assert len(parse_template(script).placeholders) == len(places)


def test_comments_keep_their_placeholders() -> None:
    """A value with a newline in it cannot break out of a comment: placeholders there are left as they are."""
    assert "echo 'a\nb' # {{ v }} {{ unknown }}" == render_shell("echo {{ v }} # {{ v }} {{ unknown }}", {"v": "a\nb"})


def test_symbolic_resources() -> None:
    """Left symbolic, expressions over resources stay text and nothing else does."""
    text = "x {{ resources.cpus }} {{ resources.cpus * 2 }} {{ v }} \\{{ resources.cpus }}"
    scope = {"v": "a b"}
    assert "x {{ resources.cpus }} {{ resources.cpus * 2 }} 'a b' \\{{ resources.cpus }}" == render_shell(
        text, scope, symbolic=True
    )
    assert "x 4 8 'a b' {{ resources.cpus }}" == render_shell(text, {**scope, "resources": {"cpus": 4}})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'}}' ~ v", "'}}a b'"),
        ("{'k': {'l': v}}['k']['l']", "'a b'"),
        ("v | upper", "'A B'"),
        ("many | join(',')", "x,'\"'\"'y"),
        ("(v ~ ';') | raw", "a b;"),
        ("many | length", "2"),
        ("true", "true"),
        ("1.50", "1.5"),
        ("v if many else v2", "'a b'"),
    ],
)
def test_expressions(expression: str, expected: str) -> None:
    """Jinja2 expressions come out quoted like plain names."""
    scope = {"v": "a b", "many": ("x", "'y")}
    if "join" in expression:
        expected = "'x,'\"'\"'y'"
    assert expected == render_shell(f"{{{{ {expression} }}}}", scope)


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "v.__class__.__mro__",
        "range(3)",
        "lipsum()",
        "v | random",
        "self",
        "{% if v %}",
        "none",
        "v.upper",
        "v | attr('x')",
    ],
)
def test_refused_expressions(expression: str) -> None:
    """What leads out of the sandbox, differs from run to run, or has no spelling is a TemplateError."""
    with pytest.raises(TemplateError):
        render_shell(f"{{{{ {expression} }}}}", {"v": "a"})
