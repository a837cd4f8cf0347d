"""Fixtures for servers that fail: a registry, a man in the middle and who pulls through him; and servers of data."""

from __future__ import annotations

import signal

import pytest

from repro.digest import Digest
from repro.files import remove_tree
from repro.oci.store import Store
from tests import servers
from tests.build.conftest import MODE, put_base
from tests.faults.bench import Bench
from tests.faults.data_lab import Desk
from tests.faults.data_lab import Lab as DataLab
from tests.faults.lab import BIG, SMALL, Lab
from tests.faults.middleman import Middleman
from tests.faults.warm import Warm


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


@pytest.fixture(scope="module")
def servers_of_data():
    """Servers of every protocol, each behind a wire."""
    with DataLab(pytest.skip) as lab:
        yield lab


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """A function that makes a machine in a folder, with the settings of a server's clients."""
    store = Store(tmp_path_factory.mktemp("machines") / "store", MODE.value)
    store.tag("base", put_base(store))
    with Warm(tmp_path_factory.mktemp("warm")) as warm:
        yield lambda folder, settings, **more: Desk(folder, warm, store.root, settings, **more)
    remove_tree(store.root)
