"""The store's use cases: an engine holds its lease while it is open, and no longer; repairs get that engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from repro.api.engine import opened
from repro.api.host import Host
from repro.api.store import check_store, collect_store
from repro.errors import BusyError, FetchError
from repro.events import Event, Notice, ignore
from repro.files import remove_tree
from repro.oci.known import note_manifest
from repro.oci.leases import Leases
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from tests.build.conftest import MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repro.api.engine import Engine


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """This host, with a store of its own."""
    monkeypatch.setenv("REPRO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("REPRO_MODE", MODE.value)
    monkeypatch.delenv("REPRO_LAYERS", raising=False)
    yield Host.current()
    remove_tree(tmp_path / "store")


def free(host: Host) -> bool:
    """Whether the store can be had alone."""
    try:
        with Leases(host.store_root).alone():
            return True
    except BusyError:
        return False


def test_an_engine_holds_the_lease_while_it_is_open(host: Host) -> None:
    """From when its store is first asked for; a notebook that has built something is in nobody's way afterwards."""
    with opened(host, ignore) as engine:
        store = engine.store
        assert not free(host)
    assert free(host)
    assert store is engine.store
    engine.close()
    assert free(host)


def test_an_engine_tells_for_whom_it_waits(host: Host) -> None:
    """A collection takes moments, and nothing is made meanwhile."""
    Store(host.store_root, MODE.value)
    lease = Leases(host.store_root).alone()
    lease.__enter__()
    told: list[Event] = []

    def sink(event: Event) -> None:
        told.append(event)
        lease.__exit__(None, None, None)

    with opened(host, sink) as engine:
        assert engine.store.images() == set()
    assert [f"(pid {os.getpid()} on" in event.text for event in told if isinstance(event, Notice)] == [True]


def test_a_repair_gets_the_engine_that_has_the_store_alone(host: Host) -> None:
    """What takes images again works in the same store, under the same lease; its errors are told.

    Of an image that was built here nothing is asked.
    """
    with opened(host, ignore) as engine:
        with engine.store.workspace() as work:
            (work / "upper").mkdir()
            layer = engine.store.commit_layer(work / "upper", epoch=0).diff_id
        image_id = engine.store.put_image(ImageConfig("amd64", diff_ids=(layer,)))
        built = engine.store.put_image(ImageConfig("amd64", created="now", diff_ids=(layer,)))
        note_manifest(engine.store, image_id, "registry.example/tool", b"{}")
        remove_tree(engine.store.layer_path(layer))
    asked = []

    def repairer(engine: Engine):
        def repair(which) -> None:
            engine.store.leases.share()
            assert not free(host)
            engine.store.leases.unshare()
            asked.append(which)
            raise FetchError("no route")

        return repair

    (finding,) = check_store(host, sink=ignore, mend=True, repairer=repairer).findings
    assert [image_id] == asked
    assert {image_id.short, built.short} == set(finding.images)
    assert "no route" in finding.why
    assert free(host)


def test_a_share_of_one_s_own_is_in_nobody_s_way(host: Host) -> None:
    """An engine that collects gives up its share for that."""
    assert 0 == collect_store(host, sink=ignore).layers
    with opened(host, ignore) as engine:
        engine.store.images()
        with pytest.raises(BusyError):
            collect_store(host, sink=ignore)
