"""A command in a container whose output is wanted, not its files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from repro.runtime.container import Launcher
    from repro.runtime.spec import ContainerSpec


def captured(spec: ContainerSpec, room: Path, launcher: Launcher) -> tuple[int, str, str]:
    """Run a container with no input; return its exit status, standard output and standard error.

    ``room`` is a folder of the caller's, for the two outputs.
    """
    with (
        open(os.devnull, "rb") as nothing,
        open(room / "stdout", "w+b") as out,
        open(room / "stderr", "w+b") as errors,
    ):
        result = launcher.run(spec, stdin=nothing.fileno(), stdout=out.fileno(), stderr=errors.fileno())
        out.seek(0)
        errors.seek(0)
        return result.exit_status, out.read().decode(errors="replace"), errors.read().decode(errors="replace")
