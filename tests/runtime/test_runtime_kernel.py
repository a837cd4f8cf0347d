"""Older kernels: the newest system calls are taken away, and containers work as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
# Answers ENOSYS to the calls whose numbers are given, for this process and all that it starts.
WITHOUT = """
import os, struct, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from repro.runtime import syscalls
from repro.runtime.container import Launcher
from repro.runtime.probe import choose_mode
from repro.runtime.spec import Bind, ContainerSpec
code = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
for number in map(int, sys.argv[4].split()):
    code += [struct.pack("=HBBI", 0x15, 0, 1, number), struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | 38)]
code.append(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000))
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
syscalls.load_seccomp(b"".join(code))
place = Path(sys.argv[3])
for name in ("upper", "work"):
    (place / name).mkdir()
launcher = Launcher(choose_mode(os.getuid(), os.getgid()).mode)
script = "touch /in/x; touch /in/shm/x; ls -d /in/shm; ls /proc/self/fd | while read n; do printf '%s ' $n; done"
spec = ContainerSpec(
    lowers=(Path(sys.argv[2]),), upper=place / "upper", work=place / "work", argv=("sh", "-c", script),
    env={"PATH": "/bin"}, binds=(Bind(Path("/dev"), "/in"),),
)
print(launcher.run(spec, stdin=0, stdout=1, stderr=1).exit_status)
launcher.close()
"""


@pytest.mark.parametrize(
    "numbers",
    ["442", "437", "436", "434", "434 436 437 442"],
    ids=["mount_setattr", "openat2", "close_range", "pidfd_open", "all"],
)
def test_containers_without_new_system_calls(image, tmp_path, numbers):
    """Read-only binds with their submounts, paths and descriptors are the same by the older ways."""
    argv = [sys.executable, "-c", WITHOUT, str(TREE), str(image), str(tmp_path), numbers]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    *refused, folder, rest = done.stdout.splitlines()
    assert [True, True] == ["Read-only file system" in line for line in refused]
    assert ("/in/shm", "0 1 2 3 0") == (folder, rest)
