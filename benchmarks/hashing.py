"""Checksums next to one thread of hashlib and DVC: 1 GiB, 10,000 small files, and runs in which nothing changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks import moving
from benchmarks.timing import CommandError, Outcome, in_turns, quiet, report, seconds
from tests.data.served.s3 import missing
from tests.execution.rootfs import make_rootfs

REPRO = (str(Path(sys.executable).parent / "repro"),)
_EXPLAINED = """\
  hashlib: one thread, hashlib.file_digest per file, in this process as ours. The other figures are whole processes,
  started anew: `repro plan` and `dvc add --no-commit` with nothing remembered, then `repro run` and `dvc status` with
  nothing changed. The files are in the page cache."""
_WORKFLOW = """\
repro: 1
name: benchmark
environments: {tiny: {dockerfile: docker/Dockerfile, context: docker}}
steps:
  count:
    environment: tiny
    inputs: {all: INPUT}
    outputs: {count: results/count.txt}
    run: ls {{ inputs.all }} | wc -l > {{ outputs.count }}
"""
_ROUNDS = 3
_FOLDERS = 100


def fill(folder: Path, count: int, size: int) -> list[str]:
    """Write so many files of so many bytes, no two alike, in a hundred folders; return their paths."""
    block = os.urandom(size)
    paths = []
    for number in range(count):
        place = folder / f"part{number % _FOLDERS:02}"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"sample{number:06}.bin"
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "little"))
            file.write(block[8:])
        paths.append(str(path))
    return paths


class Project:
    """A folder of data that is a project of ours and of DVC, each with a state that can be thrown away."""

    def __init__(self, folder: Path, declared: str, dvc: str | None, environ: dict[str, str]) -> None:
        self.folder = folder
        self.dvc = dvc
        self.environ = environ
        self._numbers = iter(range(1000))
        self.folder.mkdir(parents=True)
        (self.folder / "workflow.yaml").write_text(_WORKFLOW.replace("INPUT", declared))
        make_rootfs(self.folder / "docker" / "rootfs")
        (self.folder / "docker" / "Dockerfile").write_text("FROM scratch\nCOPY rootfs/ /\nENV PATH=/usr/bin\n")
        (self.folder / "data").mkdir()
        if self.dvc is not None:
            self._forget_dvc()

    def _forget_dvc(self) -> None:
        shutil.rmtree(self.folder / ".dvc", ignore_errors=True)
        (self.folder / "data.dvc").unlink(missing_ok=True)
        self.environ["DVC_SITE_CACHE_DIR"] = str(self.folder / "site" / str(next(self._numbers)))
        self._dvc("init", "--no-scm")

    def _dvc(self, *argv: str) -> None:
        assert self.dvc is not None
        quiet(self.dvc, *argv, cwd=self.folder, env=self.environ)

    def cold(self) -> dict[str, float]:
        """Return what a first look at all files takes."""

        def ours() -> float:
            (self.folder / ".repro" / "stat-cache").unlink(missing_ok=True)
            return seconds(lambda: quiet(*REPRO, "plan", cwd=self.folder, env=self.environ))

        def theirs() -> float:
            self._forget_dvc()
            return seconds(lambda: self._dvc("add", "--quiet", "--no-commit", "data"))

        quiet(*REPRO, "plan", cwd=self.folder, env=self.environ)
        return in_turns({"repro": ours} | ({"dvc": theirs} if self.dvc else {}), _ROUNDS)

    def warm(self) -> dict[str, float]:
        """Return what it takes to find that nothing changed."""

        def ours() -> float:
            return seconds(lambda: quiet(*REPRO, "run", cwd=self.folder, env=self.environ))

        def theirs() -> float:
            return seconds(lambda: self._dvc("status", "--quiet"))

        ours()
        if self.dvc is not None:
            self._forget_dvc()
            self._dvc("add", "--quiet", "data")  # into its cache, which `dvc status` asks for, too
            theirs()
        return in_turns({"repro": ours} | ({"dvc": theirs} if self.dvc else {}), _ROUNDS)


class Bench:
    """What the parts share: a folder, DVC's command where it can be had, and what was measured."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dvc = find_dvc(root / "dvc")
        self.outcomes: list[Outcome] = []
        cache = os.environ.get("REPRO_CACHE", str(root / "cache"))
        self.environ = {**os.environ, "REPRO_STORE": str(root / "store"), "REPRO_CACHE": cache, "DVC_NO_ANALYTICS": "1"}

    def add(self, what: str, times: dict[str, float], budgets: dict[str, float]) -> None:
        """Keep a measurement for the table, and show that it was made."""
        self.outcomes.append(Outcome(what, times, budgets))
        print(f"  {what}: " + "   ".join(f"{name} {taken:.2f}s" for name, taken in times.items()), flush=True)

    def project(self, name: str, declared: str = "data/") -> Project:
        """Return a new project, whose step reads what is ``declared``."""
        return Project(self.root / name, declared, self.dvc, dict(self.environ))


def find_dvc(place: Path) -> str | None:
    """Return DVC's command: of this host, else from a virtual environment; None where it cannot be had."""
    found = shutil.which("dvc")
    if found is None and (made := environment(place, "dvc")) is not None:
        found = str(made / "bin" / "dvc")
    return found


def environment(place: Path, package: str) -> Path | None:
    """Return a virtual environment with a peer's package, from the configured index; None where it cannot be had."""
    try:
        venv.create(place, with_pip=True)
        quiet(str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package)
    except (CommandError, OSError) as error:
        print(f"  {package}: cannot be had, left out: {str(error).splitlines()[-1]}")
        return None
    return place


def digests(paths: list[str], cache: Path) -> dict[str, float]:
    """Return the seconds of hashing them all, by us and by one thread of hashlib."""
    from repro.data.checksum import StatCache

    def one_thread() -> None:
        for path in paths:
            with open(path, "rb") as file:
                hashlib.file_digest(file, "sha256").hexdigest()

    return in_turns(
        {
            "repro": lambda: seconds(lambda: StatCache(cache).digest_files(paths)),
            "hashlib": lambda: seconds(one_thread),
        },
        _ROUNDS,
    )


def hashing(bench: Bench) -> None:
    """Design budget: 0.6 of one thread of hashlib for large files."""
    large = bench.project("large")
    paths = fill(large.folder / "data", 64, 16 << 20)
    bench.add("1 GiB in 64 files", digests(paths, bench.root / "none"), {"hashlib": 0.6})
    bench.add("1 GiB in 64 files, first look", large.cold(), {"dvc": 1.0})
    shutil.rmtree(large.folder)
    small = bench.project("small")
    paths = fill(small.folder / "data", 10_000, 1000)
    bench.add("10,000 files of 1 kB", digests(paths, bench.root / "none"), {"hashlib": 1.0})
    bench.add("10,000 files of 1 kB, first look", small.cold(), {"dvc": 1.0})


def noop(bench: Bench) -> None:
    """A run in which all is cached, over 10,000 and 100,000 inputs: files one by one, and a folder."""
    for count, declared in ((10_000, "data/part*/*.bin"), (10_000, "data/"), (100_000, "data/")):
        project = bench.project(f"noop{len(bench.outcomes)}", declared)
        paths = fill(project.folder / "data", count, 200)
        times = project.warm()
        bench.add(f"no-op over {count:,} files, {declared}", times, {"dvc": 1.0})
        print(f"  {'':4}stat(2) of each: {seconds(lambda paths=paths: [os.stat(path) for path in paths]):.2f}s")


def s3(bench: Bench) -> None:
    """Time an S3 server's objects, up and down, beside boto3's own transfer."""
    if missing():
        print(f"  s3: left out: {missing()} is not here")
    elif (boto := environment(bench.root / "boto3", "boto3")) is not None:
        bench.outcomes += moving.s3(bench.root, boto / "bin" / "python")


PARTS = {"hashing": hashing, "noop": noop, "s3": s3}


def data(chosen: tuple[str, ...] = tuple(PARTS)) -> None:
    """Run the parts in one go and print every budget of theirs, and whether it holds."""
    print(_EXPLAINED)
    with tempfile.TemporaryDirectory(prefix="repro-bench-", ignore_cleanup_errors=True) as name:
        bench = Bench(Path(name))
        for part in chosen:
            try:
                PARTS[part](bench)
            except CommandError as error:
                print(f"  {part}: broken off: {error}", flush=True)
    if not report(bench.outcomes, ours="repro"):
        print("  a budget FAILS: run it again on a quiet machine before you believe it")
