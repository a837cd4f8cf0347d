"""Variable expansion in the words of an instruction."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.dockerfile.words import expand, expand_words
from repro.errors import DockerfileError, Location

WHERE = Location("Dockerfile", 3, 5)
VARIABLES = {"x": "one", "empty": "", "path": "/a/b.tar.gz", "two": "b c", "star": "a*b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x", "one"),
        ("a${x}b", "aoneb"),
        ("$xy", ""),
        ("$unset!", "!"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$1$x", "one"),
        ("${x:-d}", "one"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${unset:-d}", "d"),
        ("${unset-d}", "d"),
        ("${x:+d}", "d"),
        ("${empty:+d}", ""),
        ("${empty+d}", "d"),
        ("${unset+d}", ""),
        ("${x:?m}", "one"),
        ("${empty?m}", ""),
        ("${unset:-${x:-z}}", "one"),
        ("${unset:-'a}b'}", "a}b"),
        ("${path#*/}", "a/b.tar.gz"),
        ("${path##*/}", "b.tar.gz"),
        ("${path%.*}", "/a/b.tar"),
        ("${path%%.*}", "/a/b"),
        ("${path#nothing}", "/a/b.tar.gz"),
        ("${path/\\//_}", "_a/b.tar.gz"),
        ("${path//\\//_}", "_a_b.tar.gz"),
        ("${x/n/${x}}", "oonee"),
        ("${star%\\**}", "a"),
        ("${x:#o}", "ne"),
        ("${x#?}", "ne"),
        ("${x#*}", "one"),
        ("${x##*}", ""),
        ("${x%%*}", ""),
        ("${path##*a*}", ""),
        ("${path//\\//\\/}", "\\/a\\/b.tar.gz"),
        ("${x//*/y}", "y"),
        ("${x//?/y}", "yyy"),
        ("${x//$unset/-}", "-o-n-e-"),
        ("${x/$unset/-}", "-one"),
        ("${unset//*/y}", "y"),
        ("${star//[*]/-}", "a*b"),
        ("${path//./}", "/a/btargz"),
        ("'$x'", "$x"),
        ('"$x"', "one"),
        ('"a \\"b\\" \\$x \\n"', 'a "b" $x \\n'),
        ("\\$x", "$x"),
        ("a\\ b", "a b"),
        ("a'b'\"c\"", "abc"),
        ("trailing\\", "trailing"),
    ],
)
def test_a_word_expands_as_buildkit_does(text, expected):
    """Each form of substitution, quotes and escapes."""
    assert expected == expand(text, VARIABLES, where=WHERE)


def test_the_escape_character_may_be_a_backtick():
    """With `# escape=` a backslash is an ordinary character."""
    assert "C:\\one $x" == expand("C:\\$x `$x", VARIABLES, where=WHERE, escape="`")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${x", "missing"),
        ("${", "a name is missing"),
        ("${}", "a name is missing"),
        ("${x!y}", "unknown modifier '!'"),
        ("${x:/y/z}", "unknown modifier ':/'"),
        ("${x=y}", "unknown modifier '='"),
        ("${x#\\y}", "no escape in a pattern"),
        ("${x//y}", "missing '/'"),
        ("${x:-y", "missing '}'"),
        ("${x/y}", "missing '/'"),
        ("'a", "single quote"),
        ('"a', "double quote"),
        ("${unset:?set it, please}", "unset: set it, please"),
        ("${empty:?}", "empty: must be set and not empty"),
        ("${unset?}", "unset: must be set"),
        ("${x:-" * 100 + "}" * 100, "nested too deeply"),
    ],
)
def test_a_wrong_word_is_a_located_error(text, message):
    """The error says what is wrong and where the word stands."""
    with pytest.raises(DockerfileError, match=message.replace("?", r"\?").replace("'", ".")) as caught:
        expand(text, VARIABLES, where=WHERE)
    assert caught.value.where == WHERE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b", ["a", "b"]),
        ("$two", ["b", "c"]),
        ('"$two" d', ["b c", "d"]),
        ("''", []),
        ("a '' b", ["a", "b"]),
        ("", []),
        ("a$two", ["ab", "c"]),
    ],
)
def test_words_split_at_blanks_outside_quotes(text, expected):
    """Also at blanks that come from a variable."""
    assert expected == expand_words(text, VARIABLES, where=WHERE)


@settings(max_examples=300, deadline=None)
@given(st.text(), st.dictionaries(st.sampled_from("xyz"), st.text()))
def test_any_word_expands_or_is_a_located_error(text, variables):
    """No word makes the expansion fail in another way."""
    try:
        assert isinstance(expand(text, variables, where=WHERE), str)
        assert isinstance(expand_words(text, variables, where=WHERE), list)
    except DockerfileError as error:
        assert error.where == WHERE


@given(st.text())
def test_single_quotes_keep_everything(text):
    """What stands in single quotes comes out as it is."""
    text = text.replace("'", "")
    assert text == expand(f"'{text}'", VARIABLES, where=WHERE)


@given(st.text())
def test_a_value_is_never_expanded_again(value):
    """A variable's value goes in as it is, whatever it holds."""
    assert value == expand("$v", {"v": value}, where=WHERE)
    assert value == expand("${v:-x}", {"v": value}, where=WHERE) or value == ""
