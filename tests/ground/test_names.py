"""The ground: image names as Docker spells them, digests, and the encoding that is hashed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest, canonical_json, record_digest
from repro.errors import UsageError
from repro.names import Reference, familiar_repository

NAMES = {
    "debian": "docker.io/library/debian:latest",
    "debian:bookworm": "docker.io/library/debian:bookworm",
    "me/samtools:1.0.0": "docker.io/me/samtools:1.0.0",
    "quay.io/biocontainers/bcftools:1.16": "quay.io/biocontainers/bcftools:1.16",
    "localhost/x": "localhost/x:latest",
    "127.0.0.1:5000/a/b:t": "127.0.0.1:5000/a/b:t",
    "[::1]:5000/a": "[::1]:5000/a:latest",
    "[2001:db8::1]/a:t": "[2001:db8::1]/a:t",
    "host:5000": "docker.io/library/host:5000",
    "Host/x": "Host/x:latest",
    "EXAMPLE.ORG:80/x": "EXAMPLE.ORG:80/x:latest",
    "localhost:5000/x": "localhost:5000/x:latest",
    "index.docker.io/x": "docker.io/library/x:latest",
    "docker.io/library/a/b": "docker.io/library/a/b:latest",
    "docker.io/host.org/x": "docker.io/host.org/x:latest",
    f"{'a' * 64}:t": f"docker.io/library/{'a' * 64}:t",
    f"a:t@sha256:{'b' * 64}": f"docker.io/library/a:t@sha256:{'b' * 64}",
    "a/b--c__d.e_f/g": "docker.io/a/b--c__d.e_f/g:latest",
    f"debian@sha256:{'a' * 64}": f"docker.io/library/debian@sha256:{'a' * 64}",
}


@pytest.mark.parametrize(("short", "full"), NAMES.items())
def test_names_mean_what_docker_means(short, full):
    """No domain is docker.io, no tag and no digest is latest; the full name reads back as equal."""
    assert full == str(Reference.parse(short))
    assert Reference.parse(short) == Reference.parse(full)
    assert Reference.parse(short) == Reference.parse(Reference.parse(short).familiar)


WRONG = {
    "": "not an image name",
    "Debian": "lower case: library/debian",
    "lab/Tool:1": "lower case: lab/tool",
    "a//b": "between two slashes",
    "a/": "between two slashes",
    "/a": "between two slashes",
    "x:": "not a tag",
    "x:-t": "not a tag",
    "x:" + "t" * 129: "not a tag",
    "x@sha256:12": "not a digest",
    "x@": "not a digest",
    f"x@sha512:{'a' * 128}": "digests of sha512 are not supported",
    f"x@sha256:{'A' * 64}": "not a digest",
    "a b": "not an image name",
    "../x": "not a registry's host name",
    "x\n": "not an image name",
    "a___b": "not an image name",
    "a..b": "not an image name",
    "-a": "not an image name",
    "a_": "not an image name",
    "::1/a": "in brackets",
    "[::1/a": "not a registry's host name",
    "a.b:x/y": "not a registry's host name",
    "host_name.org/x": "not a registry's host name",
    "-host.org/x": "not a registry's host name",
    "localhost/X": "lower case: x",
    "a" * 64: "an image ID",
    "example.org/" + "a" * 256: "too long",
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.items())
def test_wrong_names_are_refused(wrong, said):
    """A name that Docker refuses is an error of the user that says what would be right, not a traceback."""
    with pytest.raises(UsageError) as caught:
        Reference.parse(wrong)
    assert said in str(caught.value)


HOST = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,5}[a-zA-Z0-9])?", fullmatch=True)
DOMAIN = st.one_of(
    st.just("localhost"),
    st.just("docker.io"),
    st.just("index.docker.io"),
    st.builds("{}.{}".format, HOST, HOST),
    st.builds("{}:{}".format, HOST, st.integers(0, 65535)),
    st.from_regex(r"\[[0-9a-f]{0,4}:[0-9a-f:]{0,8}\](:[0-9]{1,5})?", fullmatch=True),
)
PART = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}", fullmatch=True)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True)


@given(st.none() | DOMAIN, PATH, st.none() | TAG, st.none() | st.binary(max_size=4).map(Digest.of))
def test_every_name_of_the_grammar_is_read(domain, path, tag, digest):
    """Full and familiar names read back as equal, tag and digest are kept, and what is printed is printed again."""
    if domain is None and "." in path.partition("/")[0] and "/" in path:
        domain = "docker.io"  # what comes first would be a registry otherwise
    text = f"{f'{domain}/' if domain else ''}{path}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"
    name = Reference.parse(text)
    assert (tag or (None if digest else "latest"), digest) == (name.tag, name.digest)
    for spelling in (str(name), name.familiar):
        again = Reference.parse(spelling)
        assert name == again
        assert (str(name), name.familiar) == (str(again), again.familiar)
    assert len(name.familiar) <= len(str(name))
    assert name.familiar.startswith(familiar_repository(name.repository))
    assert str(name).startswith(name.repository)


@given(st.text(st.sampled_from("aB0.:/@[]-_ \n\té") | st.characters(), max_size=20))
def test_any_text_is_a_name_or_refused(text):
    """Nothing but UsageError comes of any text, and what is read prints as something that is read as equal."""
    try:
        name = Reference.parse(text)
    except UsageError:
        return
    assert name == Reference.parse(str(name))


@given(st.binary(max_size=200))
def test_digest_prints_what_it_parses(data):
    """Parse and print are inverses."""
    digest = Digest.of(data)
    assert digest == Digest.parse(str(digest))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_equal_values_have_one_encoding(value):
    """The order of keys does not matter, and two kinds of record never have the same digest."""
    turned = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert canonical_json(value) == canonical_json(turned)
    assert record_digest("one/1", value) != record_digest("two/1", value)
