"""examples/samtools as images: built once for a session, from the tarball that its source.sh makes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from repro.files import remove_tree
from tests.accounts import PROJECT

EXAMPLE = PROJECT / "examples/samtools"
FILES = ("Dockerfile", "Dockerfile.multi")
_VERSION = """\
FROM {name} AS ran
RUN samtools --version > /version && bash /opt/analyze.sh > /usage
FROM scratch
COPY --from=ran /version /usage /
"""


@dataclass(frozen=True)
class Desk:
    """Who runs `repro`: with a store and downloads of his own."""

    store: Path
    cache: Path
    env: dict[str, str] = field(default_factory=dict)

    def repro(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run `repro`; return its standard output, stripped."""
        env = {**os.environ, "PYTHONPATH": str(PROJECT), "REPRO_STORE": str(self.store), "REPRO_CACHE": str(self.cache)}
        command = [sys.executable, "-m", "repro", *map(str, arguments)]
        done = subprocess.run(
            command,
            env={**env, **self.env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"repro {' '.join(command[3:])}: {done.stderr[-3000:]}"
        return done.stdout.strip()

    def with_env(self, **env: str) -> Desk:
        """Return the same desk with more variables."""
        return replace(self, env={**self.env, **env})


@dataclass(frozen=True)
class SamtoolsImage:
    """One of the example's images as it was when it was built: what it is, and what ran in it said."""

    name: str
    image_id: str
    size: int
    version: str
    usage: str


@dataclass(frozen=True)
class Samtools:
    """The images by Dockerfile, the desk at which they were built, and the version of the tarball."""

    desk: Desk
    release: str
    images: dict[str, SamtoolsImage]


@pytest.fixture(scope="session")
def samtools(download_cache: Path) -> Iterator[Samtools]:
    """Both images, built; tests may do with the store what they like, the facts were noted before."""
    place = Path(tempfile.mkdtemp(prefix="repro-samtools-", dir="/var/tmp"))
    try:
        made = subprocess.run([EXAMPLE / "source.sh", place / "source"], capture_output=True, text=True, check=True)
        release = Path(made.stdout.strip()).name.removeprefix("samtools-").removesuffix(".tar.bz2")
        desk = Desk(place / "store", download_cache)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=place / "source"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with server:
            source = f"http://127.0.0.1:{server.server_port}"
            images = {file: _build(desk, place, file, f"VERSION={release}", f"SOURCE={source}") for file in FILES}
            server.shutdown()
        yield Samtools(desk, release, images)
    finally:
        remove_tree(place)


def _build(desk: Desk, place: Path, file: str, *given: str) -> SamtoolsImage:
    """Build one of the images; run samtools and analyze.sh in it, without a network."""
    name = f"lab/samtools:{file.lower()}"
    arguments = [word for one in given for word in ("--build-arg", one)]
    image_id = desk.repro("image", "build", "-q", *arguments, "-f", EXAMPLE / file, "-t", name, EXAMPLE)
    said = place / f"said-{file}"
    said.mkdir()
    (said / "Dockerfile").write_text(_VERSION.format(name=name))
    desk.repro("image", "build", "-q", "--network", "none", "-o", f"type=local,dest={said}/out", said)
    size = int(desk.repro("image", "inspect", "-f", "{{ .Size }}", name))
    version, usage = ((said / "out" / part).read_text() for part in ("version", "usage"))
    return SamtoolsImage(name, image_id, size, version, usage)
