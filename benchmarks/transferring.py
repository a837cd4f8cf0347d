"""Images to and from a registry, next to podman and skopeo: the naive samtools image, first and again."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.builders import REPRO, Buildah, Repro, peers
from benchmarks.building import EXAMPLE, served
from benchmarks.timing import Outcome, quiet, report, seconds
from tests.servers import missing, plain_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUNDS = 3
_EXPLAINED = """\
  An empty registry on the loopback for every push. First push: layers that were never compressed. Pull: into an empty
  store, ours and podman's unpacked, skopeo's not. Compressed: blobs that the sender has as they will be at the
  registry. Again: everything is there already. Wall seconds of whole processes."""


class Bench:
    """The image in each tool's own store, and the commands that move it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.ours = Repro(folder / "repro")
        stack.callback(self.ours.close)
        self.podman = peers(folder, self.ours, ("podman",), stack).get("podman")
        self.settings = folder / "registries.toml"
        self.ours.env["REPRO_REGISTRIES"] = os.fspath(self.settings)
        self.numbers = itertools.count()
        # ext4 is slow to make files where many were removed minutes ago: nothing is removed before all is timed.
        self.leavings: list[tuple[str, ...]] = []
        self.times: dict[str, dict[str, list[float]]] = {}
        self.context = folder / "context"
        shutil.copytree(EXAMPLE, self.context, ignore=shutil.ignore_patterns(".repro", "work", "results"))
        self.layout = f"oci:{folder}/layout:samtools"

    def prepare(self) -> None:
        """Build the image; load it into podman, and compressed into a layout for skopeo."""
        source = self.folder / "source"
        tarball = Path(quiet(os.fspath(EXAMPLE / "source.sh"), os.fspath(source)).split()[-1])
        version = tarball.name.removeprefix("samtools-").removesuffix(".tar.bz2")
        archive = self.folder / "samtools.tar"
        with served(source) as address:
            self.args = {"BASE": self.ours.base, "VERSION": version, "SOURCE": address}
            self._build("samtools", "-o", f"type=docker,dest={archive}")
            with open(self.context / "analyze.sh", "a") as script:
                script.write("# one more line\n")
            self._build("samtools:edited")
        quiet("skopeo", "copy", "-q", f"docker-archive:{archive}", self.layout)
        if isinstance(self.podman, Buildah):
            found = quiet(*self.podman.program, "pull", "-q", f"docker-archive:{archive}", env=self.podman.env)
            quiet(*self.podman.program, "tag", found.split()[-1], "localhost/samtools", env=self.podman.env)
        archive.unlink()

    def _build(self, tag: str, *more: str) -> None:
        pairs = [word for name, value in self.args.items() for word in ("--build-arg", f"{name}={value}")]
        quiet(REPRO, "image", "build", "-q", "-t", tag, *pairs, *more, os.fspath(self.context), env=self.ours.env)

    @contextlib.contextmanager
    def registry(self) -> Iterator[tuple[str, Path]]:
        """Give the host of an empty registry, and where it keeps its data."""
        folder = self.folder / f"registry{next(self.numbers)}"
        with plain_registry(folder) as served_at:
            self.settings.write_text(f'[registry."{served_at.host}"]\ninsecure = true\n')
            yield served_at.host, served_at.data
        shutil.rmtree(folder)

    def note(self, what: str, side: str, action: Callable[[], object]) -> None:
        """Time one step of one side."""
        self.times.setdefault(what, {}).setdefault(side, []).append(seconds(action))

    def round_of_ours(self) -> None:
        """Push, push again, pull, pull again; then push the compressed blobs that came to another registry."""
        env = self.ours.env
        pulled = {**env, "REPRO_STORE": f"{self.folder}/pulled{next(self.numbers)}"}
        with self.registry() as (host, data):
            name = f"{host}/bench/samtools"
            quiet(REPRO, "image", "tag", "samtools", name, env=env)
            self.note("first push", "repro", lambda: quiet(REPRO, "image", "push", "-q", name, env=env))
            self.note("push again", "repro", lambda: quiet(REPRO, "image", "push", "-q", name, env=env))
            self.note("pull", "repro", lambda: quiet(REPRO, "image", "pull", "-q", name, env=pulled))
            self.note("pull again", "repro", lambda: quiet(REPRO, "image", "pull", "-q", name, env=pulled))
            before = _bytes(data)
            quiet(REPRO, "image", "tag", "samtools:edited", f"{name}:edited", env=env)
            quiet(REPRO, "image", "push", "-q", f"{name}:edited", env=env)
            self.sent = _bytes(data) - before
        with self.registry() as (host, _):
            quiet(REPRO, "image", "tag", name, f"{host}/bench/samtools", env=pulled)
            name = f"{host}/bench/samtools"
            self.note("push, compressed", "repro", lambda: quiet(REPRO, "image", "push", "-q", name, env=pulled))
        self.leavings.append(("rm", "-rf", pulled["REPRO_STORE"]))

    def round_of_podman(self) -> None:
        """The same with podman, if it is there."""
        podman = self.podman
        if not isinstance(podman, Buildah):
            return
        number = next(self.numbers)
        place = ("--root", f"{self.folder}/p{number}", "--runroot", f"{self.folder}/r{number}")
        empty = ("podman", *place, "--storage-driver", "overlay")
        with self.registry() as (host, _):
            name = f"{host}/bench/samtools"
            push = ("push", "-q", "--tls-verify=false", "localhost/samtools", name)
            pull = ("pull", "-q", "--tls-verify=false", name)
            self.note("first push", "podman", lambda: quiet(*podman.program, *push, env=podman.env))
            self.note("push again", "podman", lambda: quiet(*podman.program, *push, env=podman.env))
            self.note("pull", "podman", lambda: quiet(*empty, *pull, env=podman.env))
            self.note("pull again", "podman", lambda: quiet(*empty, *pull, env=podman.env))
        self.leavings.append((*empty, "rmi", "-a", "-f"))

    def leave(self) -> None:
        """Remove what the rounds left."""
        for command in self.leavings:
            quiet(*command, env=self.podman.env if isinstance(self.podman, Buildah) else None)

    def round_of_skopeo(self) -> None:
        """Copy the layout to a registry, and from there to another layout; twice each."""
        fresh = f"oci:{self.folder}/fresh{next(self.numbers)}:samtools"
        with self.registry() as (host, _):
            name = f"docker://{host}/bench/samtools"
            push = ("skopeo", "copy", "-q", "--dest-tls-verify=false", self.layout, name)
            pull = ("skopeo", "copy", "-q", "--src-tls-verify=false", name, fresh)
            self.note("push, compressed", "skopeo", lambda: quiet(*push))
            self.note("push again", "skopeo", lambda: quiet(*push))
            self.note("pull", "skopeo", lambda: quiet(*pull))
            self.note("pull again", "skopeo", lambda: quiet(*pull))
        shutil.rmtree(fresh.split(":")[1])


# Design: of podman where layers are compressed or unpacked, of skopeo where blobs only move. Skopeo unpacks nothing, so
# that our pull has no peer there; what costs nothing is the start of a process, and has no budget.
_BUDGETS: dict[str, dict[str, float]] = {
    "first push": {"podman": 0.5},
    "pull": {"podman": 0.5},
    "push, compressed": {"skopeo": 1.2},
    "push again": {},
    "pull again": {},
}


def transfer() -> None:
    """Run all of it and print every budget, and whether it holds."""
    print(_EXPLAINED)
    needed = missing() or (None if shutil.which("skopeo") else "skopeo")
    if needed:
        print(f"  {needed}: not installed, nothing to compare")
        return
    with (
        tempfile.TemporaryDirectory(prefix="repro-bench-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        bench = Bench(Path(name), stack)
        bench.prepare()
        for _ in range(_ROUNDS):
            bench.round_of_ours()
            bench.round_of_podman()
            bench.round_of_skopeo()
        bench.leave()
        outcomes = []
        for what, budgets in _BUDGETS.items():
            times = {side: statistics.median(each) for side, each in bench.times[what].items()}
            print(f"  {what}: " + "   ".join(f"{side} {taken:.2f}s" for side, taken in times.items()))
            outcomes.append(Outcome(what, times, budgets))
        print(f"  an image with one changed layer: {bench.sent:,} bytes more at the registry")
    if not report(outcomes, ours="repro"):
        print("  a budget FAILS: run it again on a quiet machine before you believe it")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("data") if path.is_file())
