"""A bench for whole commands of `repro` against a registry that fails: stores, settings, what was left behind."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.errors import StoreError
from repro.oci.checking import check
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE
from tests.faults.campaign import REPRO

if TYPE_CHECKING:
    from pathlib import Path

    from repro.digest import Digest

ARCH = "amd64" if os.uname().machine == "x86_64" else "arm64"
_LONGEST = 60  # seconds that a command may take


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    error: str


class Bench:
    """A user with a home and a store in ``folder``; ``host`` is the registry in plain HTTP that he trusts."""

    def __init__(self, folder: Path, host: str, *, timeout: float = 10, attempts: int = 2) -> None:
        self.folder = folder
        self.store = folder / "store"
        (folder / "run").mkdir(parents=True)
        self._settings = folder / "registries.toml"
        self.trust(host, timeout=timeout, attempts=attempts)
        self.env = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "REPRO_STORE": str(self.store),
            "REPRO_MODE": MODE.value,
            "REPRO_REGISTRIES": str(self._settings),
        }

    def trust(self, host: str, *, timeout: float = 10, attempts: int = 2) -> None:
        """Have a registry in plain HTTP, with so much patience."""
        self._settings.write_text(f'[registry."{host}"]\ninsecure = true\ntimeout = {timeout}\nattempts = {attempts}\n')

    def log_in(self, host: str, user: str, password: str) -> None:
        """Have a login for a registry."""
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        file = self.folder / "run/containers/auth.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `repro` with arguments."""
        return subprocess.Popen(
            [*REPRO, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], seconds: float = _LONGEST) -> Done:
        """Wait for a command; none ends with a traceback, or as a mistake of repro's."""
        try:
            out, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert "Traceback" not in error, error
        assert process.returncode != 70, error
        return Done(process.returncode, out, error)

    def run(self, *arguments: str) -> Done:
        """Run `repro` with arguments."""
        return self.end(self.start(*arguments))

    def interrupt(self, process: subprocess.Popen[str], seconds: float) -> Done:
        """Press Ctrl-C, and wait so long at most."""
        process.send_signal(signal.SIGINT)
        return self.end(process, seconds)

    def works(self, *arguments: str) -> Done:
        """Run `repro` with arguments, which must not fail."""
        done = self.run(*arguments)
        assert done.status == 0, done.error
        return done

    def image(self, name: str) -> Digest | None:
        """Return the ID of the image with a name, all of whose layers are there and right; None where there is none."""
        store = Store(self.store, MODE.value)
        try:
            found = store.resolve(name)
        except StoreError:
            return None
        assert all(store.verify_layer(one) for one in store.config(found).diff_ids)
        return found

    def parts(self) -> int:
        """Return the bytes of downloads that wait to go on."""
        return sum(part.stat().st_size for part in self.store.glob("partial/tmp/*.part"))

    def sound(self) -> None:
        """See that nothing in the store is wrong, and that nothing of a dead command lies about, but downloads."""
        assert check(Store(self.store, MODE.value)).findings == ()
        left = [*self.store.glob("partial/sha256/*/*"), *self.store.glob("tmp/[!.]*")]
        assert left == []

    def check(self) -> None:
        """See the same, and that `repro store check` says it."""
        self.sound()
        done = self.run("store", "check", "--json")
        assert (0, []) == (done.status, json.loads(done.out)["findings"]), done.out + done.error

    def make(self, name: str, *sizes: int) -> Digest:
        """Make an image with a layer of each size, in bytes that cannot be compressed; return its ID."""
        store = Store(self.store, MODE.value)
        diff_ids = []
        for number, size in enumerate(sizes):
            with store.workspace() as room:
                (room / "upper").mkdir()
                (room / "upper" / f"file{number}").write_bytes(os.urandom(size))
                diff_ids.append(store.commit_layer(room / "upper", epoch=1).diff_id)
        made = store.put_image(ImageConfig(architecture=ARCH, diff_ids=tuple(diff_ids)))
        store.tag(name, made)
        return made
