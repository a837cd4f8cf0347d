"""Builders to compare: ours, docker (BuildKit), buildah and podman, each with a store of its own and the same base."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.timing import CommandError, quiet, seconds
from tests.conformance.judges import Buildah as BuildahStore
from tests.conformance.judges import Docker as DockerDaemon
from tests.conformance.judges import JudgeError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping

ARCHIVE = "archive:debian/bookworm"
REPRO = os.fspath(Path(sys.executable).parent / "repro")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # the distribution's tools, whatever else the caller has
_PLAIN, _WITH_APT = "bench-plain:latest", "bench-base:latest"


class Builder(Protocol):
    """One side of a comparison."""

    name: str
    base: str

    def build(self, file: Path, context: Path, tag: str, args: Mapping[str, str] = ..., *, fresh: bool = False) -> None:
        """Build ``file``; ``fresh`` runs every instruction, as if it had never been built. CommandError if it fails."""

    def size(self, tag: str) -> int:
        """Return the bytes of the image as the tool counts them."""

    def close(self) -> None:
        """Stop what was started and remove what it kept."""


@dataclass
class Repro:
    """This project, as a user calls it: a process a build."""

    folder: Path
    name: str = field(default="repro", init=False)
    base: str = field(default=ARCHIVE, init=False)

    def __post_init__(self) -> None:
        cache = os.environ.get("REPRO_CACHE", os.fspath(self.folder / "cache"))
        self.env = {**os.environ, "REPRO_STORE": os.fspath(self.folder / "store"), "REPRO_CACHE": cache}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start finds the modules compiled
        (self.folder / "base").mkdir(parents=True)
        (self.folder / "base" / "Dockerfile").write_text(f"FROM {ARCHIVE}\n")
        self._export()

    @property
    def archive(self) -> Path:
        """The base as `docker save` would write it."""
        return self.folder / "base.tar"

    def another_store(self, number: int) -> None:
        """Go on in an empty store that has nothing but the base: what is cold must find no layer."""
        self.env["REPRO_STORE"] = os.fspath(self.folder / f"store{number}")
        quiet(REPRO, "image", "build", "-q", os.fspath(self.folder / "base"), env=self.env)

    def build(self, file: Path, context: Path, tag: str, args: Mapping[str, str] = {}, *, fresh: bool = False) -> None:
        argv = [REPRO, "image", "build", "-f", os.fspath(file), "-t", tag, *_pairs(args)]
        quiet(*argv, *(["--no-cache"] if fresh else []), os.fspath(context), env=self.env)

    def size(self, tag: str) -> int:
        return int(quiet(REPRO, "image", "inspect", "-f", "{{ .Size }}", tag, env=self.env))

    def close(self) -> None:
        from repro.files import remove_tree

        remove_tree(self.folder)

    def _export(self) -> None:
        context = os.fspath(self.folder / "base")
        output = f"type=docker,dest={self.archive}"
        quiet(REPRO, "image", "build", "-q", "-t", _PLAIN, "-o", output, context, env=self.env)


@dataclass
class Docker:
    """`docker build` with BuildKit, in a daemon of our own."""

    folder: Path
    ours: Repro
    name: str = field(default="docker", init=False)
    base: str = field(default=_WITH_APT, init=False)

    def __post_init__(self) -> None:
        self.daemon = DockerDaemon(self.folder)

    def start(self) -> None:
        """Start the daemon and load the base."""
        self.daemon.start()
        self.env = {**os.environ, "PATH": _PATH, "DOCKER_HOST": self.daemon.socket, "DOCKER_BUILDKIT": "1"}
        quiet("docker", "load", "-q", "-i", os.fspath(self.ours.archive), env=self.env)
        sources(self, self.folder / "sources")

    def build(self, file: Path, context: Path, tag: str, args: Mapping[str, str] = {}, *, fresh: bool = False) -> None:
        argv = ["docker", "build", "--network=host", "-q", "-f", os.fspath(file), "-t", tag, *_pairs(args)]
        quiet(*argv, *(["--no-cache"] if fresh else []), os.fspath(context), env=self.env)

    def size(self, tag: str) -> int:
        return int(quiet("docker", "image", "inspect", "-f", "{{ .Size }}", tag, env=self.env))

    def save(self, tag: str, file: Path) -> None:
        """Write the image as `docker save` does."""
        quiet("docker", "save", "-o", os.fspath(file), tag, env=self.env)

    def close(self) -> None:
        self.daemon.stop()


@dataclass
class Buildah:
    """`buildah build` or, as ``podman``, `podman build`: one code, two programs, without a daemon."""

    folder: Path
    ours: Repro
    name: str = "buildah"
    base: str = field(default=f"localhost/{_WITH_APT}", init=False)

    def __post_init__(self) -> None:
        self.store = BuildahStore(self.folder)

    def start(self) -> None:
        """Make the store and load the base."""
        self.store.start()
        self.env = {
            **os.environ,
            "PATH": _PATH,
            "CONTAINERS_CONF": os.fspath(self.folder / "containers.conf"),
            "BUILDAH_RUNTIME": "runc",
        }
        place = ("--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--storage-driver", "overlay")
        self.program = (self.name, *place)
        pulled = quiet(*self.program, "pull", "-q", f"docker-archive:{self.ours.archive}", env=self.env).split()[-1]
        quiet(*self.program, "tag", pulled, f"localhost/{_PLAIN}", env=self.env)
        sources(self, self.folder / "sources")

    def build(self, file: Path, context: Path, tag: str, args: Mapping[str, str] = {}, *, fresh: bool = False) -> None:
        argv = [*self.program, "build", "--network=host", "--isolation=chroot", "--layers", "--pull-never", "-q"]
        argv += ["-f", os.fspath(file), "-t", tag, *_pairs(args), *(["--no-cache"] if fresh else [])]
        quiet(*argv, os.fspath(context), env=self.env)

    def commit(self, tree: Path, tag: str, take: int) -> float:
        """Return the seconds of `buildah commit` alone, of a container into which ``tree`` was copied."""
        container = quiet(*self.program, "from", "--pull-never", f"localhost/{_PLAIN}", env=self.env).strip()
        root = Path(quiet(*self.program, "mount", container, env=self.env).strip())
        quiet("cp", "-a", os.fspath(tree), os.fspath(root / f"data{take}"))
        taken = seconds(lambda: quiet(*self.program, "commit", "-q", container, f"{tag}{take}", env=self.env))
        quiet(*self.program, "rm", container, env=self.env)
        return taken

    def size(self, tag: str) -> int:
        inspected = quiet(*self.program, "inspect", "--type=image", "-f", "{{ .FromImageID }}", tag, env=self.env)
        shown = quiet(*self.program, "images", "--format", "{{ .Size }}", inspected.strip(), env=self.env).split()
        return round(float(shown[0]) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[shown[1]])

    def close(self) -> None:
        self.store.stop()


def sources(builder: Docker | Buildah, context: Path) -> None:
    """Name the base with this host's apt sources in it: ours gets them from outside the layer."""
    context.mkdir()
    found = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    lists = [path for path in found if path.is_file() and path.suffix in {".list", ".sources"}]
    for path in lists:
        shutil.copy(path, context / path.name)
    copies = "".join(
        f"COPY {path.name} {path.parent if path.name == 'sources.list' else '/etc/apt/sources.list.d'}/\n"
        for path in lists
    )
    plain = _PLAIN if builder.name == "docker" else f"localhost/{_PLAIN}"
    (context / "Dockerfile").write_text(f"FROM {plain}\n{copies}")
    builder.build(context / "Dockerfile", context, _WITH_APT)


def _pairs(args: Mapping[str, str]) -> list[str]:
    return [word for name, value in args.items() for word in ("--build-arg", f"{name}={value}")]


def peers(
    folder: Path, ours: Repro, wanted: tuple[str, ...], closing: contextlib.ExitStack
) -> dict[str, Docker | Buildah]:
    """Return the peers that are installed and start, by name; ``closing`` ends them. The others are named on stdout."""
    out: dict[str, Docker | Buildah] = {}
    for name in wanted:
        program = "dockerd" if name == "docker" else name
        if shutil.which(program) is None:
            print(f"  {name}: not installed, left out")
            continue
        peer = Docker(folder / name, ours) if name == "docker" else Buildah(folder / name, ours, name)
        closing.callback(peer.close)
        try:
            peer.start()
        except (JudgeError, CommandError) as error:
            print(f"  {name}: left out: {error}")
            continue
        out[name] = peer
    return out
