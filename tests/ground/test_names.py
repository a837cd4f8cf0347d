"""The ground: image names as Docker spells them, digests, and the encoding that is hashed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest, canonical_json, record_digest
from repro.errors import DataError, UsageError
from repro.names import Reference

NAMES = {
    "debian": "docker.io/library/debian:latest",
    "debian:bookworm": "docker.io/library/debian:bookworm",
    "me/samtools:1.0.0": "docker.io/me/samtools:1.0.0",
    "quay.io/biocontainers/bcftools:1.16": "quay.io/biocontainers/bcftools:1.16",
    "localhost/x": "localhost/x:latest",
    "127.0.0.1:5000/a/b:t": "127.0.0.1:5000/a/b:t",
    "[::1]:5000/a": "[::1]:5000/a:latest",
    f"debian@sha256:{'a' * 64}": f"docker.io/library/debian@sha256:{'a' * 64}",
}


@pytest.mark.parametrize(("short", "full"), NAMES.items())
def test_names_mean_what_docker_means(short, full):
    """No domain is docker.io, no tag and no digest is latest; the full name reads back as equal."""
    assert full == str(Reference.parse(short))
    assert Reference.parse(short) == Reference.parse(full)
    assert Reference.parse(short) == Reference.parse(Reference.parse(short).familiar)


@pytest.mark.parametrize("wrong", ["", "Debian", "a//b", "x:", "x:-t", "x@sha256:12", "a b", "../x", "x:" + "t" * 129])
def test_wrong_names_are_refused(wrong):
    """A name that Docker refuses is an error of the user, not a traceback."""
    with pytest.raises((UsageError, DataError)):
        Reference.parse(wrong)


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
