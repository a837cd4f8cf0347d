"""`python -m tests.conformance.compare [NAME…]`: try cases while working on them.

Prints a line a case, and below it what is wrong. `--docker unix:///…` uses a daemon that runs already, which saves
its start; `--modes one,sub` builds as ordinary users too; `--no-judges` tries only what needs none.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys

from tests.conformance.arena import arena, print_faults
from tests.conformance.cases import load_all
from tests.conformance.table import line


def main(arguments: list[str]) -> int:
    """Try the cases whose names match; 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.compare", description=__doc__)
    parser.add_argument("names", nargs="*", default=["*"], metavar="NAME", help="names or patterns of cases")
    parser.add_argument("--docker", default="", metavar="ADDRESS", help="of a running daemon")
    parser.add_argument("--modes", default="", help="other kinds of user: one, sub")
    parser.add_argument("--no-judges", action="store_true", help="only what needs no judge")
    options = parser.parse_args(arguments)
    cases = [case for case in load_all() if any(fnmatch.fnmatchcase(case.name, name) for name in options.names)]
    modes = tuple(mode for mode in options.modes.split(",") if mode)
    bad = 0
    with arena(judges=not options.no_judges, docker=options.docker, modes=modes) as place:
        for case in cases:
            row = place.run(case)
            print(line(row), flush=True)
            print_faults(row)
            bad += bool(row.faults)
    print(f"{len(cases)} cases, {bad} do not hold")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
