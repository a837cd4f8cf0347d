"""`repro image pull` and `push` with a registry that dies or stalls, and Ctrl-C: nothing is broken, and it goes on.

A real docker-registry is behind a man in the middle. An error says what happened; the store is whole afterwards, has
the image or has not, and the same command against the living registry works.
"""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.faults.bench import Bench
from tests.faults.lab import BIG, SMALL, pull_name, pull_refused, pulls, push_name, push_refused, pushes

PART = 4 << 20  # bytes after which something happens


# Death


def test_a_registry_that_dies_during_a_pull(lab, middle, reader):
    """It stays dead: the error says so; what came is kept, and the next pull brings the rest alone."""
    middle.at("down", PART, lab.server.kill)
    pull_refused(reader, pull_name(middle, "big"), r"cannot fetch blob.*\n.*\(tried 2 times\)")
    reader.check()
    kept = reader.parts()
    assert PART // 2 < kept < BIG
    lab.server.start()
    before = middle.passed["down"]
    reader.trust(middle.host)
    pulls(reader, lab, middle, "big")
    assert middle.passed["down"] - before < BIG - kept + 2 * SMALL + 10_000


def test_a_registry_that_comes_back_during_a_pull(lab, middle, tmp_path):
    """After a second it lives again: the pull ends well, and each byte came once."""
    reader = Bench(tmp_path / "reader", middle.host, attempts=5)
    middle.at("down", PART, lambda: _restart(lab))
    reader.works("image", "pull", pull_name(middle, "big"))
    assert reader.image(pull_name(middle, "big")) == lab.ids["big"]
    assert middle.passed["down"] < BIG + PART
    reader.check()


def _restart(lab):
    lab.server.kill()
    threading.Timer(1.0, lab.server.start).start()


@pytest.fixture
def sender(tmp_path, middle):
    """A bench with an image of a big layer that the registry has not."""
    bench = Bench(tmp_path / "sender", middle.host, attempts=3)
    bench.make(push_name(middle), BIG, SMALL)
    return bench


def test_a_registry_that_dies_during_a_push(lab, middle, sender):
    """It stays dead: the error says so, and the next push works."""
    middle.at("up", PART, lab.server.kill)
    push_refused(sender, push_name(middle), r"cannot .*\n.*\(tried 3 times\)")
    sender.check()
    lab.server.start()
    pushes(lab, sender, middle)


def test_a_registry_that_comes_back_during_a_push(lab, middle, tmp_path):
    """After a second it lives again: the push ends well."""
    sender = Bench(tmp_path / "sender", middle.host, attempts=5)
    sender.make(push_name(middle), BIG, SMALL)
    middle.at("up", PART, lambda: _restart(lab))
    sender.works("image", "push", push_name(middle))
    pushes(lab, sender, middle)


# Silence


@pytest.mark.parametrize("how", ["stopped", "cut off"])
def test_silence_during_a_pull(lab, middle, tmp_path, how):
    """A registry that stops, and a road on which nothing moves, are given up after the limit; the next goes on."""
    reader = Bench(tmp_path / "reader", middle.host, timeout=1)
    stop = {
        "stopped": lambda: lab.server.process.send_signal(signal.SIGSTOP),
        "cut off": middle.flows.clear,
    }[how]
    middle.at("down", PART, stop)
    began = time.monotonic()
    pull_refused(reader, pull_name(middle, "big"), r"(no answer from 127\.0\.0\.1 in time|broke) \(tried 2 times\)")
    assert time.monotonic() - began < 10
    reader.check()
    kept = reader.parts()
    assert kept > PART // 2
    lab.server.process.send_signal(signal.SIGCONT)
    middle.flows.set()
    time.sleep(0.2)  # what was held back is on its way to nobody
    before = middle.passed["down"]
    reader.trust(middle.host)
    pulls(reader, lab, middle, "big")
    assert middle.passed["down"] - before < BIG - kept + 2 * SMALL + (1 << 20)


def test_silence_during_a_push(lab, middle, tmp_path):
    """It is given up after the limit, and the next push works."""
    sender = Bench(tmp_path / "sender", middle.host, timeout=1)
    sender.make(push_name(middle), BIG, SMALL)
    middle.at("up", PART, lambda: lab.server.process.send_signal(signal.SIGSTOP))
    began = time.monotonic()
    push_refused(sender, push_name(middle), r"\(tried 2 times\)")
    assert time.monotonic() - began < 15
    sender.check()
    lab.server.process.send_signal(signal.SIGCONT)
    sender.trust(middle.host)
    pushes(lab, sender, middle)


# Ctrl-C


@pytest.mark.parametrize("action", ["pull", "push"])
def test_an_interrupt_is_heard_at_once(lab, middle, tmp_path, action):
    """Also while the registry is silent, however patient we are: exit status 130, nothing half-way left."""
    bench = Bench(tmp_path / "bench", middle.host, timeout=60)
    if action == "push":
        bench.make(push_name(middle), BIG, SMALL)
    name = push_name(middle) if action == "push" else pull_name(middle, "big")
    reached = threading.Event()
    middle.at("up" if action == "push" else "down", PART, lambda: (middle.flows.clear(), reached.set()))
    process = bench.start("image", action, name)
    assert reached.wait(20)
    time.sleep(0.3)  # all that moves has moved
    began = time.monotonic()
    done = bench.interrupt(process, 10)
    assert (130, True) == (done.status, "interrupted" in done.error), done
    assert time.monotonic() - began < 4
    bench.check()
    if action == "push":
        pushes(lab, bench, middle)
    else:
        assert bench.image(name) is None
        assert bench.parts() > 0
        pulls(bench, lab, middle, "big")
