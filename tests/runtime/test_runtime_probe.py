"""What `repro doctor` and the choice of a mode rest on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from repro.runtime.probe import choose_mode, probe
from repro.runtime.spec import Mode

TREE = Path(__file__).parents[2]
FORBIDDEN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from repro.errors import HostError
from repro.runtime import namespaces, syscalls
from repro.runtime.probe import choose_mode, probe
ids = os.geteuid(), os.getegid()
syscalls.unshare(syscalls.CLONE_NEWUSER)
namespaces.map_one((0, 0), ids)
with open("/proc/sys/user/max_user_namespaces", "w") as setting:
    setting.write("0")
syscalls.capset(effective=0, permitted=0, inheritable=0)
report = probe(1000, 1000)
print(report.usable, [check.name for check in report.checks if not check.ok])
try:
    choose_mode(1000, 1000)
except HostError as error:
    print(error)
"""


def test_mode_fits_the_caller():
    """Root runs as real root; anybody else in a user namespace."""
    assert (Mode.REAL if os.getuid() == 0 else Mode.ONE) == choose_mode(os.getuid(), os.getgid()).mode


def test_report_agrees_with_the_choice(tmp_path):
    """The trials say the same as the quick choice, for every part, and leave nothing behind."""
    report = probe(os.getuid(), os.getgid(), tmp_path)
    assert choose_mode(os.getuid(), os.getgid()).mode == report.mode
    assert [] == [check for check in report.checks if not check.ok and check.name != "subordinate IDs"]
    assert {"architecture", "overlay", "proc", "network namespaces", "seccomp", "cgroups"} <= {
        c.name for c in report.checks
    }
    assert [] == os.listdir(tmp_path)


def test_forbidden_user_namespaces_are_found_and_explained():
    """Where a setting forbids user namespaces, the error names the setting that the administrator must change."""
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, str(TREE)], capture_output=True, text=True, check=True, env={}
    )
    first, *rest = done.stdout.splitlines()
    assert first.startswith("False ['user namespaces'")
    assert "containers cannot run here: user namespaces" == rest[0]
    assert "sysctl -w user.max_user_namespaces=" in done.stdout


def test_root_of_one_id_is_no_real_root():
    """In `unshare -r` the caller is called root but can give no file away: containers run with a single ID there."""
    told = f"import sys; sys.path.insert(0, {str(TREE)!r})\n"
    told += "from repro.runtime.probe import choose_mode, probe\nprint(choose_mode(0, 0).mode.value, probe(0, 0).mode.value)"
    done = subprocess.run(
        ["unshare", "--map-root-user", sys.executable, "-c", told], capture_output=True, text=True, check=False
    )
    assert ("one one\n", "") == (done.stdout, done.stderr)
