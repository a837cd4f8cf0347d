"""A root file system made of the host's own programs, and a short way to run things in it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from repro.files import remove_tree
from repro.runtime.container import Launcher, Running
from repro.runtime.probe import choose_mode
from repro.runtime.spec import ContainerResult, ContainerSpec, Mode

PROGRAMS = (
    "sh", "bash", "cat", "ls", "id", "mkdir", "chown", "stat", "sleep", "touch", "rm", "true", "mknod", "mkfifo", "ln", "env",
    "readlink", "grep", "chmod", "uname", "mv", "kill", "nproc", "df", "setsid",
)  # fmt: skip
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def make_image(folder: Path) -> None:
    """Copy the programs and the libraries that they need into ``folder``."""
    for name in PROGRAMS:
        found = shutil.which(name, path=PATH)
        assert found is not None, f"the tests need {name} on this host"
        program = os.path.realpath(found)
        copy(program, folder / "bin" / name)
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in linked.split():
            if word.startswith("/"):
                copy(word, folder / word.lstrip("/"))
    for name in ("etc", "tmp", "var", "run"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "etc/issue").write_text("an image\n")


def copy(source: str, target: Path) -> None:
    """Copy a file's bytes and mode."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copyfile(source, target)
        target.chmod(0o755)


@dataclasses.dataclass
class Done:
    """What a container left."""

    status: int
    out: str
    err: str
    result: ContainerResult
    upper: Path

    def left(self) -> list[str]:
        """Return what is in the upper folder, relative and sorted."""
        return sorted(str(path.relative_to(self.upper)) for path in self.upper.rglob("*"))


class Sandbox:
    """Runs commands in containers over one image."""

    def __init__(self, image: Path, launcher: Launcher, place: Path) -> None:
        self.image = image
        self.launcher = launcher
        self.place = place
        self._count = 0

    @property
    def mode(self) -> Mode:
        """How this test runs."""
        return self.launcher.mode

    def spec(self, *argv: str, **changes: object) -> ContainerSpec:
        """Return a spec for ``argv`` with a fresh upper folder."""
        self._count += 1
        place = self.place / str(self._count)
        (place / "upper").mkdir(parents=True)
        (place / "work").mkdir()
        spec = ContainerSpec(
            lowers=(self.image,), upper=place / "upper", work=place / "work", argv=argv, env={"PATH": "/bin"}
        )
        return dataclasses.replace(spec, **changes)

    def run(self, *argv: str, stdin: bytes = b"", **changes: object) -> Done:
        """Run ``argv`` and return what it left."""
        return self.run_spec(self.spec(*argv, **changes), stdin=stdin)

    def sh(self, script: str, **changes: object) -> Done:
        """Run a shell script."""
        return self.run("sh", "-c", script, **changes)

    def run_spec(self, spec: ContainerSpec, *, stdin: bytes = b"") -> Done:
        """Run ``spec`` with files for its three descriptors."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            result = self.launcher.run(spec, stdin=given.fileno(), stdout=out.fileno(), stderr=err.fileno())
            out.seek(0)
            err.seek(0)
            text, complaints = out.read().decode(), err.read().decode()
            return Done(result.exit_status, text, complaints, result, spec.upper)

    def start(self, *argv: str, **changes: object) -> tuple[Running, int]:
        """Start ``argv`` and return it with the reading end of a pipe from its stdout."""
        reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        try:
            running = self.launcher.start(self.spec(*argv, **changes), stdin=null, stdout=writer, stderr=2)
        finally:
            os.close(writer)
            os.close(null)
        return running, reader


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system; never written to."""
    folder = tmp_path_factory.mktemp("image")
    folder.chmod(0o755)
    make_image(folder)
    return folder


@pytest.fixture(scope="session")
def launcher():
    """The launcher for whoever runs the tests."""
    launcher = Launcher(choose_mode(os.getuid(), os.getgid()).mode)
    yield launcher
    launcher.close()


@pytest.fixture
def sandbox(image: Path, launcher: Launcher, tmp_path: Path):
    """Containers over the image, their folders below this test's own."""
    yield Sandbox(image, launcher, tmp_path / "containers")
    remove_tree(tmp_path / "containers")


def processes_with(token: str) -> list[int]:
    """Return the pids of the host's processes whose command line holds ``token``."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if token.encode() in line:
                found.append(int(entry))
    return found
