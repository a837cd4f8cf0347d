"""The api's small answers: K=V arguments, sizes, where the store is."""

from __future__ import annotations

import dataclasses

import pytest

from repro.api.archives import archive_base, archives_in
from repro.api.host import Host
from repro.api.image_build import pairs
from repro.api.sizes import parse_size
from repro.errors import UsageError
from repro.workflow.model import ArchiveBase


def test_arguments_without_value_come_from_the_environment():
    """`--build-arg NAME` takes the host's value and is left out where there is none, as in Docker."""
    assert {"A": "1=2", "B": "b"} == pairs(["A=1=2", "B", "C"], "--build-arg", {"B": "b"})
    with pytest.raises(UsageError):
        pairs(["=x"], "--build-arg", {})


SIZES = {"8GB": 8_000_000_000, "512MiB": 512 * 2**20, "1.5k": 1500, "7": 7, "2 GB": 2_000_000_000, "1TiB": 2**40}


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes_are_decimal_or_binary_as_spelled(text, size):
    """GB is a billion bytes, GiB is 2 to the 30th."""
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 GB x", "8XB"])
def test_wrong_sizes_are_refused(text):
    """A size that is none is the user's mistake."""
    with pytest.raises(UsageError):
        parse_size(text)


def test_store_and_downloads_follow_the_environment(tmp_path):
    """REPRO_STORE, XDG_DATA_HOME and HOME say where the store is, in this order; REPRO_CACHE moves the downloads."""
    host = dataclasses.replace(Host.current(), cwd=tmp_path, environ={"HOME": "/home/me"})
    assert "/home/me/.local/share/repro" == str(host.store_root)
    assert "/home/me/.local/share/repro/cache" == str(host.cache_root)
    host = dataclasses.replace(host, environ={"HOME": "/home/me", "XDG_DATA_HOME": "/data"})
    assert "/data/repro" == str(host.store_root)
    host = dataclasses.replace(host, environ={"REPRO_STORE": "here", "REPRO_CACHE": "/cache"})
    assert tmp_path / "here" == host.store_root
    assert "/cache" == str(host.cache_root)


def test_archive_bases_are_found_in_a_dockerfile():
    """Every archive that FROM or COPY --from names is known before the build, each once."""
    text = "FROM archive:debian/bookworm AS a\nFROM archive:debian/trixie\nCOPY --from=archive:debian/bookworm /x /\n"
    assert (ArchiveBase("debian", "bookworm"), ArchiveBase("debian", "trixie")) == archives_in(text)
    with pytest.raises(UsageError):
        archive_base("archive:debian")
