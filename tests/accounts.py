"""Ordinary users, with and without subordinate IDs, each with a home and a copy of the project of its own."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.files import locked, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable

PROJECT = Path(__file__).resolve().parent.parent
_PYTHON = "/usr/bin/python3"
NAME = "repro-test"
NAME_WITH_RANGES = "repro-test-sub"
RANGES = (Path("/etc/subuid"), Path("/etc/subgid"))
_LOCK = Path("/var/tmp/repro-test-accounts.lock")  # held by who edits the machine's users
_LIBRARIES = (
    "pyyaml",
    "jinja2",
    "markupsafe",
    "pysequoia",
    "urllib3",
    "pytest",
    "pluggy",
    "iniconfig",
    "packaging",
    "hypothesis",
    "sortedcontainers",
    "pygments",
    "zstandard",
)
_SERVICES = ("s3", "sso", "sso-oidc", "sts")


@dataclass(frozen=True)
class Account:
    """A user who runs things in ``home`` with ``python`` and this project on its path."""

    name: str
    uid: int
    gid: int
    home: Path
    python: str
    path: str

    def command(self, *argv: str, env: dict[str, str] | None = None) -> list[str]:
        """Return the command line that runs ``argv`` as this user with a clean environment."""
        variables = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": self.path,
            "PYTHONDONTWRITEBYTECODE": "1",
            **{name: os.environ[name] for name in ("REPRO_APT_MIRROR",) if name in os.environ},
            **(env or {}),
        }
        clean = ["env", "-i", *(f"{key}={value}" for key, value in variables.items())]
        switch = (
            []
            if os.getuid() == self.uid
            else ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        )
        return [*switch, *clean, *argv]

    def run(
        self, *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` as this user and return what it printed."""
        return subprocess.run(
            self.command(*argv, env=env),
            cwd=cwd or self.home,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )

    def repro(self, *arguments: str, **more) -> subprocess.CompletedProcess[str]:
        """Run the `repro` command as this user."""
        return self.run(self.python, "-m", "repro.cli.main", *arguments, **more)

    def tests(self, *paths: str) -> subprocess.CompletedProcess[str]:
        """Run tests of the project, by their paths in it, as this user; a warning is a failure."""
        options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "-W", "error", f"--rootdir={self.path}"]
        room = f"--basetemp={self.home}/tests"
        return self.run(self.python, "-m", "pytest", *options, room, *(f"{self.path}/tests/{path}" for path in paths))

    def give(self, path: Path) -> Path:
        """Make ``path`` and all below it this user's."""
        if os.getuid() == 0:
            for folder, folders, files in os.walk(path):
                for name in [".", *folders, *files]:
                    os.lchown(os.path.join(folder, name), self.uid, self.gid)
        return path


def caller(home: Path) -> Account:
    """Return the account that the tests run under, with a home of its own."""
    entry = os.getuid(), os.getgid()
    return Account(pwd.getpwuid(entry[0]).pw_name, *entry, home, sys.executable, str(PROJECT))


def make_ordinary() -> Account:
    """Return an ordinary user without subuid ranges; made, with copies that it can read, where we are root."""
    if os.getuid() != 0:
        return caller(Path(tempfile.mkdtemp(prefix="repro-home-")))
    with locked(_LOCK):
        uid, gid = _user(NAME)
        for ranges in RANGES:  # useradd hands them out by itself
            if ranges.exists():
                lines = ranges.read_text().splitlines(keepends=True)
                ranges.write_text("".join(line for line in lines if not line.startswith(f"{NAME}:")))
    return _account(NAME, uid, gid)


def make_with_ranges() -> Account:
    """Return an ordinary user with a subordinate range of 65536 IDs; only root can make one."""
    with locked(_LOCK):
        uid, gid = _user(NAME_WITH_RANGES)
        for ranges, option in zip(RANGES, ("--add-subuids", "--add-subgids"), strict=True):
            lines = ranges.read_text().splitlines() if ranges.exists() else []
            if not any(line.startswith(f"{NAME_WITH_RANGES}:") for line in lines):
                taken = [int(first) + int(count) for _, first, count in (line.split(":") for line in lines)]
                first = max([100000, *taken])
                subprocess.run(["usermod", option, f"{first}-{first + 65535}", NAME_WITH_RANGES], check=True)
    return _account(NAME_WITH_RANGES, uid, gid)


def _user(name: str) -> tuple[int, int]:
    """Return the uid and gid of the user ``name``, made where there is none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True, capture_output=True)
        entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def _account(name: str, uid: int, gid: int) -> Account:
    """Return the user with a fresh home and copies of the project and its libraries that it can read."""
    place = Path(tempfile.mkdtemp(prefix="repro-account-", dir="/var/tmp"))
    os.chmod(place, 0o755)
    code = place / "code"
    ignored = shutil.ignore_patterns("__pycache__", ".repro", "results", "work")
    for part in ("repro", "templates", "examples", "tests"):
        shutil.copytree(PROJECT / part, code / part, ignore=ignored, symlinks=True)
    _copy_libraries(code, _LIBRARIES)
    subprocess.run([_PYTHON, "-m", "compileall", "-q", code / "repro"], check=True)  # or each command would do it again
    _readable(code)
    home = place / "home"
    home.mkdir()
    account = Account(name, uid, gid, home, _PYTHON, str(code))
    account.give(home)
    return account


def add_libraries(account: Account, *names: str) -> None:
    """Give an account libraries, and those that they need, where it has copies of its own."""
    if os.getuid() == 0:
        _copy_libraries(Path(account.path), _needed(names))
        _readable(Path(account.path))


def _needed(names: Iterable[str]) -> list[str]:
    """Return libraries and all that they need, without extras."""
    from packaging.requirements import Requirement

    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = None
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return list(found)


def _copy_libraries(code: Path, names: Iterable[str]) -> None:
    """Copy the files of libraries to ``code``."""
    for name in names:
        for file in importlib.metadata.files(name) or ():
            target = code / file
            if file.parts[:2] == ("botocore", "data") and len(file.parts) > 3 and file.parts[2] not in _SERVICES:
                continue  # one of 400 descriptions of services that no test speaks to
            if ".." not in file.parts and "__pycache__" not in file.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), target)


def _readable(code: Path) -> None:
    """Let everybody read ``code``."""
    for folder, _, files in os.walk(code):
        os.chmod(folder, 0o755)
        for path in (os.path.join(folder, file) for file in files):
            if not os.path.islink(path):
                os.chmod(path, 0o755 if path.endswith(".so") else 0o644)


def remove(account: Account) -> None:
    """Remove what was made beside the user."""
    remove_tree(account.home.parent if os.getuid() == 0 else account.home)
