"""A real S3 server on the loopback: SeaweedFS, with buckets that keep versions, that anybody reads, and one of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers import Killable, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ADMIN = ("reproadmin", "reprosecret")
READER = ("reproreader", "reproreadersecret")
_SECONDS = 30  # until it must answer
_TIED = ("setpriv", "--pdeathsig", "KILL")  # it dies with the tests, however they end
_IDENTITIES = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": ADMIN[0], "secretKey": ADMIN[1]}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER[0], "secretKey": READER[1]}],
            "actions": [f"{right}:{bucket}" for right in ("Read", "List") for bucket in ("data", "versioned")],
        },
        {"name": "anonymous", "actions": ["Read:public", "List:public"]},
    ]
}
# What is not S3 is off: the web server, the console, the table formats, and the report of use that it sends otherwise.
_OPTIONS = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false", "-admin.ui=false"),
    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-filer.tusBasePath="),
)
_PORTS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


def missing() -> str:
    """Return what the server needs and is not here; empty where all is."""
    absent = [] if _weed() else ["weed"]
    absent += [name for name in ("botocore", "s3fs") if importlib.util.find_spec(name) is None]
    return ", ".join(absent)


class S3Server(Killable):
    """SeaweedFS as a process, which may be killed and started again; its addresses stay, and what it has.

    `ADMIN` may do everything, `READER` read and list in ``data`` and ``versioned``, anybody in ``public``.
    """

    kind = "s3"
    root = "s3://data/"
    versioned_root = "s3://versioned/"
    public_root = "s3://public/"

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._folder = folder
        self._clients: dict[tuple[str, str], Any] = {}
        self._ports = {name: free_port() for port in _PORTS for name in (port, f"{port}.grpc")}
        self.endpoint = f"http://127.0.0.1:{self._ports['s3.port']}"
        for made in (folder / "data", self.home):
            made.mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps(_IDENTITIES))
        self.settings = self.settings_of(*ADMIN)
        self.reader_settings = self.settings_of(*READER)

    def settings_of(self, access: str, secret: str) -> dict[str, str]:
        """Return the environment variables of whoever has this login."""
        return {**self.anonymous_settings, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}

    @property
    def anonymous_settings(self) -> dict[str, str]:
        """The environment variables of somebody without a login."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",  # no question to a cloud that is not there
            "HOME": str(self.home),
        }

    def client(self, access: str = ADMIN[0], secret: str = ADMIN[1]) -> Any:
        """Return botocore's own client for a login, the other way to look at the server."""
        import botocore.session
        from botocore.config import Config

        if (access, secret) not in self._clients:
            self._clients[access, secret] = botocore.session.get_session().create_client(
                "s3",
                endpoint_url=self.endpoint,
                aws_access_key_id=access,
                aws_secret_access_key=secret,
                region_name="us-east-1",
                config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
            )
        return self._clients[access, secret]

    def put(self, name: str, data: bytes) -> None:
        """Have the object ``name`` hold ``data``."""
        self.client().put_object(Bucket="data", Key=name, Body=data)

    def get(self, name: str) -> bytes | None:
        """Return the bytes of an object; None where there is none."""
        client = self.client()
        try:
            return client.get_object(Bucket="data", Key=name)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None

    def remove(self, name: str) -> None:
        """Remove an object."""
        self.client().delete_object(Bucket="data", Key=name)

    def names(self) -> list[str]:
        """Return the keys of all objects, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket="data")
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def start(self) -> None:
        """Start it, and wait until it takes objects; the buckets are there then."""
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        files = (f"-dir={self._folder}/data", f"-s3.config={self._folder}/s3.json")
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_TIED, _weed(), "mini", *files, *_OPTIONS, *ports],
                # Without a limit it took 1.3 GB after an upload of 200 MB.
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(self._folder),
                    "GOMEMLIMIT": "400MiB",
                    "TMPDIR": str(self._folder),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        """Let it end."""
        super().stop()
        self._tidy()

    def close(self) -> None:
        """End it at once, where it was started: it takes seconds to stop."""
        if self.process is not None:
            self.kill()
        self._tidy()

    def _tidy(self) -> None:
        """Let go of all clients, and remove the sockets that it makes outside its folder."""
        while self._clients:
            self._clients.popitem()[1].close()
        for port in self._ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)

    def _wait(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        until = time.monotonic() + _SECONDS
        while True:
            try:
                self._make_buckets()
            except (BotoCoreError, ClientError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the server does not answer:\n{(self._folder / 'log').read_text()}") from None
                time.sleep(0.05)
            else:
                return

    def _make_buckets(self) -> None:
        client = self.client()
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in {"data", "versioned", "public", "probe"} - there:
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
        client.put_object(Bucket="probe", Key="probe", Body=b"x" * 8192)  # its parts may answer at different times


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server until the block ends; what it has lies in ``folder``."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _weed() -> str | None:
    """Return the server's program, which comes as a Python package: beside this Python, else on PATH."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
