"""How the benchmarks time: commands run quietly, sides take turns, and each budget is one line of a table."""

from __future__ import annotations

import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class CommandError(Exception):
    """A command that a benchmark needs failed; the text ends with its last words."""


def quiet(*argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed to stdout; CommandError with its stderr if it fails."""
    done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()[-1500:]
        raise CommandError(f"{' '.join(argv)}: exit status {done.returncode}\n{words}")
    return done.stdout.decode(errors="replace")


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(sides: Mapping[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """Let each side measure itself ``runs`` times, in turns; return each one's median seconds."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            times[name].append(side())
    return {name: statistics.median(each) for name, each in times.items()}


def compare(sides: Mapping[str, Callable[[], None]], *, runs: int, warm: int = 1) -> None:
    """Print the median time of each side, in turns, and its ratio to the last one."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs + warm):
        for name, side in sides.items():
            taken = seconds(side) * 1000
            if turn >= warm:
                times[name].append(taken)
    reference = statistics.median(times[list(sides)[-1]])
    for name, each in times.items():
        median = statistics.median(each)
        print(f"  {name:34} median {median:9.1f} ms   min {min(each):9.1f} ms   ratio {median / reference:5.2f}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured of one thing: seconds by side, and the most that ours may take of each peer's."""

    what: str
    times: Mapping[str, float]
    budgets: Mapping[str, float]


def report(outcomes: list[Outcome], *, ours: str) -> bool:
    """Print a line per budget: ours, the peer's, their ratio, the budget, and whether it holds. True if all do."""
    print(f"\n  {'':44} {'ours':>8} {'peer':>8} {'ratio':>6} {'budget':>6}")
    good = True
    for outcome in outcomes:
        for peer, taken in outcome.times.items():
            if peer == ours:
                continue
            mine = outcome.times[ours]
            budget = outcome.budgets.get(peer)
            holds = "" if budget is None else "holds" if mine <= budget * taken else "FAILS"
            good = good and holds != "FAILS"
            limit = "" if budget is None else f"{budget:.1f}"
            what = f"{outcome.what}, {peer}"
            print(f"  {what:44} {mine:7.2f}s {taken:7.2f}s {mine / taken:6.2f} {limit:>6} {holds}", flush=True)
    return good
