"""A store, a launcher and a tiny base image made of this host's shell and a few of its tools."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from repro.build.context import FolderContext
from repro.build.engine import BuildOptions, BuildResult, build
from repro.build.run import Extras
from repro.dockerfile.ignore import parse_ignore
from repro.errors import UsageError
from repro.files import remove_tree
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from repro.oci.view import View
from repro.runtime.container import Launcher
from repro.runtime.spec import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.digest import Digest
    from repro.errors import Location

MODE = Mode.REAL if os.geteuid() == 0 else Mode.ONE
EPOCH = 1_700_000_000
TOOLS = [
    "sh",
    "cat",
    "chmod",
    "chown",
    "cp",
    "date",
    "dirname",
    "echo",
    "env",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mv",
    "printf",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sleep",
    "stat",
    "sync",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "wc",
]


def lay_out_base(root: Path) -> None:
    """Put a shell, tools, their libraries, and the folders that every image has, into ``root``."""
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "etc", "tmp", "root", "home/ada", "var/log"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        os.symlink(f"usr/{name}", root / name)
    for tool in TOOLS:
        program = Path(shutil.which(tool) or f"/bin/{tool}")
        shutil.copy(program.resolve(), root / "usr/bin" / tool)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+)", listed):
            target = root / ("usr" + re.sub(r"^/usr", "", library))
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(library).resolve(), target)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nada:x:1000:1001:Ada:/home/ada:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nada:x:1001:\nlab:x:2000:ada\n")
    (root / "var/log/dpkg.log").write_text("from the base\n")
    (root / "var/log/keep.log").write_text("from the base\n")
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or "bin" in path.parts or "lib" in str(path) else 0o644)
    (root / "tmp").chmod(0o1777)
    root.chmod(0o755)


@functools.cache
def base_folder() -> Path:
    """Return the laid-out base, made once a process."""
    root = Path(tempfile.mkdtemp(prefix="repro-build-base-"))
    atexit.register(remove_tree, root)
    lay_out_base(root)
    return root


def put_base(store: Store) -> Digest:
    """Put the base image into ``store`` and return its ID."""
    with store.workspace() as space:
        root = space / "root"
        shutil.copytree(base_folder(), root, symlinks=True)
        info = store.commit_layer(root, epoch=EPOCH)
    return store.put_image(
        ImageConfig(
            architecture="amd64" if os.uname().machine == "x86_64" else "arm64",
            created="2023-11-14T22:13:20Z",
            env=("PATH=/usr/bin:/bin",),
            cmd=("sh",),
            diff_ids=(info.diff_id,),
        )
    )


class Workshop:
    """A store with the base in it, a launcher, a context folder, and what the last build said."""

    def __init__(self, folder: Path, launcher: Launcher) -> None:
        self.folder = folder
        self.store = Store(folder / "store", MODE.value)
        self.launcher = launcher
        self.context = folder / "context"
        self.context.mkdir(parents=True, exist_ok=True)
        self.base = self.plain = put_base(self.store)
        self.events: list[object] = []

    def find_base(self, name: str, where: Location) -> Digest:
        """Know ``base``, which a test may set to another image, and ``plain``, which stays what it was."""
        known = {"base": self.base, "plain": self.plain}
        if name not in known:
            raise UsageError(f"no image {name}", where=where)
        return known[name]

    def build(self, text: str, *, context=None, extras: Extras | None = None, fetch=None, **options) -> BuildResult:
        """Build ``text`` in the context folder, its .dockerignore applied."""
        ignore = self.context / ".dockerignore"
        rules = parse_ignore(ignore.read_text()) if ignore.exists() else None
        self.events = []
        return build(
            text,
            file="Dockerfile",
            context=FolderContext(self.context, rules) if context is None else context,
            options=BuildOptions(name="test", **options),
            store=self.store,
            launcher=self.launcher,
            base=self.find_base,
            extras=lambda _: extras or Extras(),
            sink=self.events.append,
            fetch=fetch,
        )

    def view(self, result: BuildResult) -> View:
        """Look into a built image."""
        return View(self.store.image_layers(result.image_id), MODE.value)

    def read(self, result: BuildResult, path: str) -> str:
        """Read a file of a built image."""
        return self.view(result).read(path).decode()


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """One launcher for all tests."""
    made = Launcher(MODE)
    yield made
    made.close()


@pytest.fixture
def shop(tmp_path: Path, launcher: Launcher) -> Iterator[Workshop]:
    """A fresh workshop; its files are removed at once, since pytest would keep three sessions of them."""
    yield Workshop(tmp_path, launcher)
    remove_tree(tmp_path)
    tmp_path.mkdir()
