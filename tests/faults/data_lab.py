"""A laboratory of data servers that fail: each behind a wire, a machine that uses them, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import importlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from repro.data.checksum import StatCache
from repro.files import remove_tree
from tests.accounts import PROJECT
from tests.build.conftest import MODE
from tests.faults.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.faults.warm import Done, Running, Warm

SERVERS = {
    "folder": ("folder", "FolderServer"),
    "http": ("web", "WebServer"),
    "nfs": ("nfs", "NfsData"),
    "s3": ("s3", "S3Server"),
    "sftp": ("sftp", "SftpServer"),
    "smb": ("smb", "SmbServer"),
}
SECRETS = ("reprosecret", "reproreadersecret", "topsecret")  # of the servers, and of nobody
MIB = 1 << 20
_WORKFLOW = """\
repro: 1
environments: {{any: {{image: base}}}}
inputs:
{inputs}
steps:
  any: {{environment: any, inputs: {{all: [{paths}]}}, outputs: {{o: out}}, run: "true"}}
"""


def some_of(kinds: Sequence[str], *ordinary: str) -> list[Any]:
    """Return kinds of servers as parameters of a test: those that are not ``ordinary`` are for the judge."""
    return [kind if kind in ordinary else pytest.param(kind, marks=pytest.mark.judge) for kind in kinds]


def some_bytes(size: int, seed: str) -> bytes:
    """Return bytes that cannot be compressed, the same for a seed."""
    return hashlib.shake_256(seed.encode()).digest(size)


class Wired:
    """A server behind a `Relay`: ``root`` and ``settings`` lead through the wire, ``server`` is the server itself."""

    def __init__(self, kind: str, folder: Path) -> None:
        module, name = SERVERS[kind]
        self.kind = kind
        self.server: Any = getattr(importlib.import_module(f"tests.data.served.{module}"), name)(folder)
        # Servers are tied to the thread that starts them, and those of the wire come and go.
        self._starting = ThreadPoolExecutor(1, thread_name_prefix="server")
        self._starting.submit(self.server.start).result()
        self._port = {
            "s3": lambda: int(self.server.endpoint.rpartition(":")[2]),
            "http": lambda: int(self.server.root.split(":")[2].partition("/")[0]),
            "folder": lambda: 1,  # nobody is called
        }.get(kind, lambda: int(self.server.host.rpartition(":")[2]))()
        self.wire = Relay(self._port).__enter__()
        self.address = f"127.0.0.1:{self._port}"
        self.root = self.through(self.server.root)
        self.settings = self.via(f"127.0.0.1:{self.wire.port}")
        self._dead = False
        if kind == "sftp":
            self.know(self.server.host_key)

    def through(self, address: str) -> str:
        """Return an address of the server as it is on this side of the wire."""
        return address.replace(self.address, f"127.0.0.1:{self.wire.port}")

    def via(self, host: str) -> dict[str, str]:
        """Return settings that lead to the server by way of another host, where the settings name one: S3's do."""
        settings = dict(self.server.settings)
        return settings | {"AWS_ENDPOINT_URL_S3": f"http://{host}"} if self.kind == "s3" else settings

    def know(self, key: str) -> None:
        """Have the client know the SSH server by this key; empty: not at all."""
        self.server.know(key, names=f"[127.0.0.1]:{self._port},[127.0.0.1]:{self.wire.port}")

    def die(self) -> None:
        """Have the server die as in a power cut."""
        self._dead = True
        self.server.kill()
        self.wire.cut()

    def rise(self) -> None:
        """Start it where it is dead."""
        if self._dead:
            self._starting.submit(self.server.start).result()
            self._dead = False

    def die_and_rise(self) -> None:
        """Have it die, and be there again."""
        self.die()
        self.rise()

    def seen(self, area: str) -> dict[str, bytes | None]:
        """Return what anybody sees in a folder of it."""
        names = [name for name in self.server.names() if name.startswith(f"{area}/")]
        return {name.removeprefix(f"{area}/"): self.server.get(name) for name in names}

    def unseen(self, area: str) -> list[str]:
        """Return what publications that ended have left where nobody sees it."""
        if self.kind == "s3":
            uploads = self.server.client().list_multipart_uploads(Bucket="data").get("Uploads", [])
            return [upload["Key"] for upload in uploads if upload["Key"].startswith(f"{area}/")]
        return [path.name for path in (self.server.data / area).rglob(".repro-staging-*")]

    def close(self) -> None:
        """Stop it."""
        self.wire.__exit__()
        getattr(self.server, "close", self.server.stop)()
        self._starting.shutdown()


class Lab:
    """Servers, each started when it is first asked for; a context. ``skip`` is called where one cannot be had."""

    def __init__(self, skip: Callable[[str], object]) -> None:
        self._skip = skip
        self._servers: dict[str, Wired] = {}
        # Other users serve from it, and sshd wants no folder above that they could change.
        self._folder = Path(tempfile.mkdtemp(prefix="repro-faults-", dir="/var/tmp"))
        self._folder.chmod(0o755)

    def has(self, kind: str) -> bool:
        """Return whether this machine has what a server needs."""
        served: Any = importlib.import_module(f"tests.data.served.{SERVERS[kind][0]}")
        return not served.missing()

    def __getitem__(self, kind: str) -> Wired:
        """Return the server of a protocol, alive and well wired."""
        if kind not in self._servers:
            if not self.has(kind):
                self._skip(f"the server for {kind} is not here: see tests/run")
            self._servers[kind] = Wired(kind, self._folder / kind)
        server = self._servers[kind]
        server.rise()
        server.wire.honest()
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._folder)
            for server in self._servers.values():
                stack.callback(server.close)


class Desk:
    """A machine with a project in ``folder``, a cache and a home of its own; ``settings`` are those of servers.

    The image ``base`` is in the ``store``. A server may be silent for ``timeout`` seconds.
    """

    def __init__(
        self, folder: Path, warm: Warm, store: Path, settings: Mapping[str, str], *, timeout: float = 2
    ) -> None:
        self.project = folder / "project"
        self.cache = folder / "cache"
        self.project.mkdir(parents=True)
        self._warm = warm
        self.env = {
            "PATH": os.environ["PATH"],
            "USER": getpass.getuser(),
            "HOME": str(folder),
            "PYTHONPATH": str(PROJECT),
            "REPRO_STORE": str(store),
            "REPRO_CACHE": str(self.cache),
            "REPRO_MODE": MODE.value,
            "REPRO_DATA_TIMEOUT": str(timeout),
            **settings,
        }

    def declare(self, inputs: Mapping[str, str]) -> None:
        """Have a workflow with these inputs: values by project paths."""
        lines = [f"  {path}: {value}" for path, value in inputs.items()]
        text = _WORKFLOW.format(inputs="\n".join(lines), paths=", ".join(inputs))
        (self.project / "workflow.yaml").write_text(text)

    def start(self, *arguments: str, **env: str) -> Running:
        """Start `repro` in the project."""
        return self._warm.start(arguments, {**self.env, **env}, self.project)

    def run(self, *arguments: str, **env: str) -> Done:
        """Run `repro` in the project; see that it tells no login, and that the cache has no wrong byte."""
        return self.judged(self.start(*arguments, **env).end())

    def judged(self, done: Done) -> Done:
        """See that a command that ended told no login, and that the cache has no wrong byte."""
        assert [] == [secret for secret in SECRETS if secret in done.out + done.error]
        assert [] == self.wrong()
        return done

    def works(self, *arguments: str, **env: str) -> Done:
        """Run `repro`, which must not fail."""
        done = self.run(*arguments, **env)
        assert done.status == 0, done.out + done.error
        return done

    def refused(self, status: int, *said: str, command: tuple[str, ...] = ("data", "get"), **env: str) -> Done:
        """Run a command that must fail: with this status and words; and with a fix."""
        return self.failed(self.run(*command, **env), status, *said)

    @staticmethod
    def failed(done: Done, status: int, *said: str) -> Done:
        """See that a command failed with this status and words, and with a fix."""
        assert done.status == status, done.out + done.error
        assert "error: " in done.error
        assert [] == [words for words in (*said, "why: ", "fix: ") if words not in done.error], done.error
        return done

    def place(self, path: str = "one") -> Path:
        """Return where an input is, which must be here."""
        found = json.loads(self.works("data", "get", path, "--json").out)
        return Path(found[0]["place"])

    def locked(self, path: str = "one") -> dict[str, Any] | None:
        """Return the lock's entry of an input; None where there is none."""
        lock = self.project / "workflow.lock"
        if not lock.exists():
            return None
        entry = json.loads(lock.read_text()).get("inputs", {}).get(path)
        assert entry is None or isinstance(entry, dict)
        return entry

    def forget(self) -> None:
        """Be a machine with an empty cache."""
        remove_tree(self.cache)

    def parts(self) -> int:
        """Return the bytes of downloads that wait to go on."""
        return sum(part.stat().st_size for part in self.cache.glob("tmp/*.part"))

    def wrong(self) -> list[str]:
        """Return the files and trees of the cache whose bytes are not those of their names."""
        blobs = [path for path in self.cache.glob("sha256/*/*") if not path.name.endswith(".part")]
        found = [str(path) for path in blobs if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
        trees = [path for path in self.cache.glob("trees/*") if not path.name.startswith(".")]
        forgetful = StatCache(self.cache / "unused")
        return found + [str(path) for path in trees if forgetful.digest_folder(path)[0].hex != path.name]
