"""The closure of the essential packages: small, complete, and the same each time."""

from __future__ import annotations

import random

import pytest

from repro.environment.resolvers.closure import essential_closure
from repro.environment.resolvers.index import PackageIndex
from repro.environment.resolvers.source import debian_architecture
from repro.errors import LockError
from tests.environment.small_archive import control


def _stanza(name, version="1", **fields):
    place = f"Filename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {'0' * 64}\n"
    return control(name, version, **fields) + place


def _closure(*stanzas, apt=True):
    index = PackageIndex(debian_architecture())
    texts = [*stanzas, *([_stanza("apt")] if apt else [])]
    index.add("debian/bookworm", "\n".join(texts).encode())
    return [f"{package.name}={package.version}" for package in essential_closure(index)]


def test_seeds():
    """Essential packages, those of priority required, and apt; nothing that is merely recommended."""
    assert ["apt=1", "base=1", "need=1"] == _closure(
        _stanza("base", Essential="yes", Recommends="extra"),
        _stanza("need", Priority="required"),
        _stanza("extra", Priority="optional"),
        _stanza("other"),
    )


def test_both_kinds_of_dependency_are_followed():
    """Pre-Depends and Depends, over any distance."""
    assert ["apt=1", "a=1", "b=1", "c=1"].sort() == _closure(
        _stanza("a", Essential="yes", Pre_Depends="b"), _stanza("b", Depends="c (>= 1)"), _stanza("c")
    ).sort()


def test_highest_version():
    """Of two versions in the suites the higher one is taken."""
    assert ["apt=1", "base=1.10"] == _closure(
        _stanza("base", "1.9", Essential="yes"), _stanza("base", "1.10", Essential="yes")
    )


def test_alternative_that_is_in_already():
    """Here mawk is essential through base, so that `gawk | mawk` adds nothing."""
    assert ["apt=1", "base=1", "mawk=1"] == _closure(
        _stanza("base", Essential="yes", Depends="gawk | mawk"),
        _stanza("mawk", Priority="required"),
        _stanza("gawk"),
    )


def test_first_alternative():
    """With none in, the first that exists in a fitting version is taken."""
    assert ["apt=1", "base=1", "three=1"] == _closure(
        _stanza("base", Essential="yes", Depends="one | two (>= 2) | three"), _stanza("two"), _stanza("three")
    )


def test_provider():
    """A virtual package is satisfied by who provides it, a versioned need by a versioned provider alone."""
    assert ["apt=1", "base=1", "debconf=1", "new=2"] == _closure(
        _stanza("base", Essential="yes", Depends="debconf-2.0, api (>= 2)"),
        _stanza("debconf", Provides="debconf-2.0"),
        _stanza("bare", Provides="api"),
        _stanza("old", Provides="api (= 1)"),
        _stanza("new", "2", Provides="api (= 2)"),
    )


def test_merged_usr():
    """The `usrmerge | usr-is-merged` of bookworm takes the second, for the tree begins merged."""
    assert ["apt=1", "init=1", "usr-is-merged=1"] == _closure(
        _stanza("init", Essential="yes", Depends="usrmerge | usr-is-merged"),
        _stanza("usrmerge", Depends="perl"),
        _stanza("perl"),
        _stanza("usr-is-merged"),
    )


def test_order_of_the_index_does_not_matter():
    """The same packages in another order give the same closure."""
    stanzas = [_stanza(f"p{number}", Essential="yes", Depends=f"q{number} | q{number + 1}") for number in range(6)]
    stanzas += [_stanza(f"q{number}") for number in range(7)]
    shuffled = random.Random(1).sample(stanzas, len(stanzas))
    assert _closure(*stanzas) == _closure(*shuffled)


def test_dependency_that_cannot_be_had():
    """The error names who asks for what."""
    with pytest.raises(LockError, match=r"base 1, which needs lib \(>= 2\) \| other"):
        _closure(_stanza("base", Essential="yes", Depends="lib (>= 2) | other"), _stanza("lib", "1"))


def test_archive_without_apt():
    """An archive that lacks what every system needs is no base."""
    with pytest.raises(LockError, match="no package apt"):
        _closure(_stanza("base", Essential="yes"), apt=False)
