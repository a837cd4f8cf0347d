"""Builds next to docker's, buildah's and podman's: the samtools example, small steps, big copies, commits."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.builders import Buildah, Builder, Docker, Repro, peers
from benchmarks.timing import CommandError, Outcome, in_turns, quiet, report, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "samtools"
_EXPLAINED = """\
  Every side starts from the same bytes: our archive base, exported by us, loaded by the others. As no layer of ours
  names a mirror, the peers' base has this host's apt sources in one more layer; ours gets them bound into each RUN.
  Cold: nothing but the base is known (ours: another store; peers: --no-cache). Wall seconds of whole processes."""
_BUDGETS = {"docker": 1.0, "buildah": 1.0}  # design: a cold build of the samtools files


class Bench:
    """What the parts of one run share: the builders, a folder for contexts, and what was measured so far."""

    def __init__(self, folder: Path, wanted: tuple[str, ...]) -> None:
        self.folder = folder
        self.outcomes: list[Outcome] = []
        self._stores = iter(range(1000))
        self._open = contextlib.ExitStack()
        with self._open:
            self.ours = Repro(folder / "repro")
            self._open.callback(self.ours.close)
            self.peers = peers(folder, self.ours, wanted, self._open)
            self._open = self._open.pop_all()  # all of them started: they stay until `close`

    def sides(self, *names: str) -> dict[str, Builder]:
        """Return ours and those of the named peers that are there."""
        return {"repro": self.ours} | {name: self.peers[name] for name in names if name in self.peers}

    def cold(self, builder: Builder, file: Path, context: Path, tag: str, args: dict[str, str]) -> float:
        """Return the seconds of a build that nothing is known of."""
        if isinstance(builder, Repro):
            builder.another_store(next(self._stores))
        return seconds(lambda: builder.build(file, context, tag, args, fresh=True))

    def add(self, what: str, times: dict[str, float], budgets: dict[str, float]) -> None:
        """Keep a measurement for the table, and show that it was made."""
        self.outcomes.append(Outcome(what, times, budgets))
        print(f"  {what}: " + "   ".join(f"{name} {taken:.2f}s" for name, taken in times.items()), flush=True)

    def context(self, name: str, text: str, fill: Callable[[Path], None]) -> tuple[Callable[[Builder], Path], Path]:
        """Return a function that writes ``text``, a Dockerfile, for a builder's base, and a context that was filled."""
        context = self.folder / f"context-{name}"
        context.mkdir()
        fill(context)

        def file(builder: Builder) -> Path:
            path = self.folder / f"{name}-{builder.name}.Dockerfile"
            if not path.exists():  # a rebuild finds the file as it was
                path.write_text(f"FROM {builder.base}\n{text}")
            return path

        return file, context

    def close(self) -> None:
        """Stop and remove every builder."""
        self._open.close()


def samtools(bench: Bench) -> None:
    """The two Dockerfiles of examples/samtools: cold, cached, one file edited; and how big the images are."""
    folder = bench.folder / "source"
    tarball = Path(quiet(os.fspath(EXAMPLE / "source.sh"), os.fspath(folder)).split()[-1])
    version = tarball.name.removeprefix("samtools-").removesuffix(".tar.bz2")
    with served(folder) as address:
        for file, name in (("Dockerfile", "naive"), ("Dockerfile.multi", "multi-stage")):
            _samtools(bench, file, name, {"VERSION": version, "SOURCE": address})


def _samtools(bench: Bench, file: str, name: str, more: dict[str, str]) -> None:
    sides = bench.sides("docker", "buildah")
    contexts = {}
    for side in sides:
        contexts[side] = bench.folder / f"samtools-{name}-{side}"
        shutil.copytree(EXAMPLE, contexts[side], ignore=shutil.ignore_patterns(".repro", "work", "results"))
    tag = f"bench/samtools-{name}"

    def again(side: str, *, edit: bool) -> float:
        context = contexts[side]
        if edit:
            with open(context / "analyze.sh", "a") as script:
                script.write("# one more line\n")
        arguments = {"BASE": sides[side].base, **more}
        return seconds(lambda: sides[side].build(context / file, context, tag, arguments))

    cold = {
        side: bench.cold(builder, contexts[side] / file, contexts[side], tag, {"BASE": builder.base, **more})
        for side, builder in sides.items()
    }
    bench.add(f"samtools {name}, cold", cold, _BUDGETS)
    cached = in_turns({side: partial(again, side, edit=False) for side in sides}, 5)
    bench.add(f"samtools {name}, cached", cached, {"docker": 1.0})
    bench.add(f"samtools {name}, one file edited", in_turns({s: partial(again, s, edit=True) for s in sides}, 5), {})
    _sizes(bench, sides, tag)


def _sizes(bench: Bench, sides: dict[str, Builder], tag: str) -> None:
    """Print the sizes; what our rules drop is counted in docker's layers, for that is the whole difference."""
    sizes = {side: builder.size(tag) for side, builder in sides.items()}
    print("    bytes: " + "   ".join(f"{side} {size:,}" for side, size in sizes.items()))
    docker = bench.peers.get("docker")
    if not isinstance(docker, Docker):
        return
    dropped = _dropped(docker, tag, bench.folder / "saved.tar")
    ratio = sizes["repro"] / (sizes["docker"] - dropped)
    verdict = "holds" if abs(ratio - 1) <= 0.01 else "FAILS"
    print(f"    ours against docker's, as they are: {sizes['repro'] / sizes['docker']:.4f}")
    print(f"    docker's layers hold {dropped:,} bytes of the caches and logs that repro.build.rules drops;")
    print(f"    ours against docker's without them: {ratio:.4f}, within 1 %: {verdict}")


def _dropped(docker: Docker, tag: str, file: Path) -> int:
    """Return the bytes of the files in docker's layers that our rules would have dropped."""
    from repro.build.rules import RULES

    plain = {rule.pattern for rule in RULES if not rule.pattern.endswith("/")}
    folders = tuple(rule.pattern for rule in RULES if rule.pattern.endswith("/"))
    docker.save(tag, file)
    total = 0
    with tarfile.open(file) as archive:
        for layer in (member for member in archive if member.name.endswith("layer.tar") and member.isreg()):
            with tarfile.open(fileobj=archive.extractfile(layer)) as tree:
                total += sum(one.size for one in tree if one.name in plain or one.name.startswith(folders))
    file.unlink()
    return total


def steps(bench: Bench) -> None:
    """Ten `RUN true` and ten COPY: what an instruction costs; then all of it from the cache."""
    sides = bench.sides("docker", "podman")
    texts = {
        "RUN true": "".join(f"RUN true {i}\n" for i in range(10)),
        "COPY": "".join(f"COPY a /opt/a{i}\n" for i in range(10)),
    }
    for what, text in texts.items():
        file, context = bench.context(f"ten-{what[:3]}", text, lambda folder: _write(folder / "a", "a small file\n"))

        def once(builder: Builder, file: Callable[[Builder], Path], context: Path, *, fresh: bool) -> float:
            return seconds(lambda: builder.build(file(builder), context, "bench/steps", fresh=fresh))

        turns = {name: partial(once, one, file, context) for name, one in sides.items()}
        for side in turns.values():
            side(fresh=True)
        fresh = in_turns({name: partial(side, fresh=True) for name, side in turns.items()}, 5)
        bench.add(f"ten {what}", fresh, {"docker": 0.8})
        cached = in_turns({name: partial(side, fresh=False) for name, side in turns.items()}, 7)
        bench.add(f"ten {what}, all cached", cached, {"docker": 1.0, "podman": 0.3})


def copies(bench: Bench) -> None:
    """COPY of one file of 1 GiB, and of 50,000 small ones; the contexts are as fresh to each side."""
    for what, fill in _TREES.items():
        times = {}
        for name, builder in bench.sides("docker", "buildah").items():
            file, context = bench.context(f"copy{fill.__name__}-{name}", "COPY . /data\n", fill)
            os.sync()
            times[name] = bench.cold(builder, file(builder), context, "bench/copy", {})
        bench.add(f"COPY of {what}", times, {"docker": 0.5})


def commits(bench: Bench) -> None:
    """The same trees, put into a container's changes by `cp -a`: making the layer alone."""
    buildah = bench.peers.get("buildah")
    for what, fill in _TREES.items():
        tree = bench.folder / f"tree{fill.__name__}"
        tree.mkdir()
        fill(tree)
        sides: dict[str, Callable[[], float]] = {"repro": partial(_commit, bench, tree)}
        if isinstance(buildah, Buildah):
            takes = iter(range(100))
            sides["buildah"] = partial(lambda tree, takes: buildah.commit(tree, "bench", next(takes)), tree, takes)
        bench.add(f"commit of {what}", in_turns(sides, 3), {"buildah": 0.7})


def _commit(bench: Bench, tree: Path) -> float:
    """Return the seconds that our store takes to make a layer of a copy of ``tree``, and an image of that."""
    from repro.oci.model import ImageConfig
    from repro.oci.store import Store

    store = Store(Path(tempfile.mkdtemp(prefix="store-", dir=bench.folder)), "real" if os.geteuid() == 0 else "one")
    with store.workspace() as space:
        (space / "upper").mkdir()
        quiet("cp", "-a", os.fspath(tree), os.fspath(space / "upper" / "data"))

        def make() -> None:
            info = store.commit_layer(space / "upper", epoch=1_700_000_000)
            store.put_image(ImageConfig(architecture="amd64", diff_ids=(info.diff_id,)))

        return seconds(make)


def _big(folder: Path) -> None:
    with open(folder / "blob", "wb") as file:
        file.writelines(os.urandom(4 << 20) for _ in range(256))


def _many(folder: Path) -> None:
    for number in range(100):
        place = folder / f"d{number}"
        place.mkdir()
        for name in range(500):
            _write(place / f"{name}", f"{number}.{name}\n" * 20)


def _write(path: Path, text: str) -> None:
    path.write_text(text)


_TREES: dict[str, Callable[[Path], None]] = {"1 GiB": _big, "50,000 files": _many}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve ``folder`` on loopback while the block runs; give the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=os.fspath(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


PARTS: dict[str, tuple[Callable[[Bench], None], tuple[str, ...]]] = {
    "samtools": (samtools, ("docker", "buildah")),
    "steps": (steps, ("docker", "podman")),
    "copies": (copies, ("docker", "buildah")),
    "commits": (commits, ("buildah",)),
}


def build(chosen: tuple[str, ...] = tuple(PARTS)) -> None:
    """Run the parts in one go and print every budget of theirs, and whether it holds."""
    print(_EXPLAINED)
    wanted = tuple(dict.fromkeys(peer for part in chosen for peer in PARTS[part][1]))
    with (
        tempfile.TemporaryDirectory(prefix="repro-bench-", ignore_cleanup_errors=True) as name,
        contextlib.closing(Bench(Path(name), wanted)) as bench,
    ):
        for part in chosen:
            try:
                PARTS[part][0](bench)
            except CommandError as error:
                print(f"  {part}: broken off: {error}", flush=True)
    if not report(bench.outcomes, ours="repro"):
        print("  a budget FAILS: run it again on a quiet machine before you believe it")
