"""Fixtures for registries that fail: a real one, a man in the middle, and who pulls through him."""

from __future__ import annotations

import signal

import pytest

from repro.digest import Digest
from tests import servers
from tests.faults.bench import Bench
from tests.faults.lab import BIG, SMALL, Lab
from tests.faults.middleman import Middleman


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A registry with the images ``small``, of two layers, and ``big``."""
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    folder = tmp_path_factory.mktemp("lab")
    with servers.plain_registry(folder / "registry") as served:
        author = Bench(folder / "author", served.host)
        ids, manifests = {}, {}
        for name, sizes in (("small", (SMALL, 20_000)), ("big", (BIG, SMALL))):
            full = f"{served.host}/faults/{name}:1"
            ids[name] = author.make(full, *sizes)
            digest = Digest.parse(author.works("image", "push", full).out.strip().partition("@")[2])
            manifests[name] = (author.store / "blobs/sha256" / digest.hex).read_bytes()
        yield Lab(served.server, served.data, author, ids, manifests)


@pytest.fixture
def middle(lab):
    """The man in the middle; the registry runs again afterwards."""
    with Middleman(lab.server.host) as middle:
        yield middle
    if lab.server.process.poll() is not None:
        lab.server.start()
    lab.server.process.send_signal(signal.SIGCONT)


@pytest.fixture
def reader(tmp_path, middle):
    """A bench with an empty store, whose registry is the man in the middle."""
    return Bench(tmp_path / "reader", middle.host)
