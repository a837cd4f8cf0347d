"""A small root file system made of the host's own shell and coreutils: one layer, enough to run jobs in."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = (
    "bash", "sh", "cat", "ls", "mkdir", "sleep", "cp", "mv", "ln", "chmod", "rm", "tr", "sort", "wc", "head", "id",
    "env", "touch", "mkfifo", "stat", "seq", "echo", "true", "false", "printenv", "dirname", "basename", "tail", "chown", "setsid",
)  # fmt: skip


def make_rootfs(folder: Path, programs: tuple[str, ...] = PROGRAMS) -> Path:
    """Fill ``folder`` with the programs and the libraries that they load; return it."""
    for name in ("usr/bin", "usr/lib", "etc", "tmp", "proc", "sys", "dev", "run", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "bin").symlink_to("usr/bin")
    for program in programs:
        found = shutil.which(program, path="/usr/bin:/bin")
        assert found is not None, f"the host has no {program}"
        shutil.copy(found, folder / "usr/bin" / program)
        listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            target = folder / library.lstrip("/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, target)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    return folder
