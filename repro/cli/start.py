"""The `repro` command's first step: a build of which nothing changed is told again; all else is `repro.cli.main`'s."""

from __future__ import annotations

import sys

from repro.cli import replay


def main() -> int:
    """Run the command of this process; return its exit status."""
    status = replay.told_again(sys.argv[1:])
    if status is not None:
        return status
    from repro.cli.main import main as run  # noqa: PLC0415 - what it imports costs more than all of a replay

    return run()


if __name__ == "__main__":
    sys.exit(main())
