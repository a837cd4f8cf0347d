"""Runs targets on mutated inputs: ``python -m tests.fuzz.campaign parser words --minutes 10``.

What fails is made smaller, printed, and kept with ``--keep`` in ``crashes/``, from where every test session runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fuzz.mutations import mutated, smaller
from tests.fuzz.targets import BY_NAME, CRASHES, Target

PATIENCE = 10  # seconds for one input; a sound target takes milliseconds


class Hang(BaseException):
    """An input took longer than `PATIENCE`; no handler of the target's own catches it."""


@dataclass(slots=True)
class Report:
    """How many inputs were run, and those that failed, each with why (the last line of its traceback)."""

    target: str
    runs: int = 0
    failures: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def alarm() -> Iterator[None]:
    """Raise `Hang` in the block when it takes too long."""

    def ring(*_: object) -> None:
        raise Hang(f"more than {PATIENCE} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def verdict(target: Target, data: bytes) -> str | None:
    """Return why ``data`` fails, and where in the code, or None."""
    try:
        with alarm():
            target.run(data)
    except (Exception, Hang) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return None


def campaign(target: Target, seed: int, *, until: Callable[[int], bool]) -> Report:
    """Return what mutated inputs of ``target`` did, until ``until(runs)`` says that it is enough.

    The same seed gives the same inputs.
    """
    chance = random.Random(f"{target.name} {seed}")
    seeds = target.seeds()
    report = Report(target.name)
    waiting = list(seeds)
    while waiting or not until(report.runs):
        data = waiting.pop() if waiting else mutated(chance, seeds, target.dictionary)
        report.runs += 1
        why = verdict(target, data)
        if why is not None and why not in report.failures:
            kind = why.partition(" ")[0]
            same = lambda shorter, kind=kind: (verdict(target, shorter) or "").startswith(kind)  # noqa: E731
            report.failures[why] = data if kind == "Hang" else smaller(data, same)
    return report


def main() -> int:
    """Fuzz the named targets, the time divided among them; return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.campaign", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(BY_NAME)} (default: all)")
    parser.add_argument("--minutes", type=float, default=1.0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--keep", action="store_true", help="write what failed into crashes/")
    options = parser.parse_args()
    names = options.targets or list(BY_NAME)
    failed = 0
    for name in names:
        end = time.monotonic() + options.minutes * 60 / len(names)
        report = campaign(BY_NAME[name], options.seed, until=lambda _, end=end: time.monotonic() >= end)
        print(f"{name}: {report.runs} inputs, {len(report.failures)} failures (--seed {options.seed})", flush=True)
        for why, data in report.failures.items():
            failed += 1
            print(f"  {why}\n    {data[:300]!r}{'…' if len(data) > 300 else ''}", flush=True)
            if options.keep:
                (CRASHES / name).mkdir(parents=True, exist_ok=True)
                (CRASHES / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
