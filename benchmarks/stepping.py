"""Workflows of many small steps next to Snakemake's, make's and cwltool's: wall time, CPU time, memory, and a no-op."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
JOBS = 2
BUDGETS = {"run": 0.5, "no-op": 0.1}  # of Snakemake's wall time


@dataclass(frozen=True, slots=True)
class Shape:
    """A workflow: its jobs by name, each with those that it needs."""

    name: str
    needs: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: seconds, and the bytes of its largest process."""

    wall: float
    cpu: float
    rss: int

    def __str__(self) -> str:
        return f"{self.wall:9.2f} s wall {self.cpu:9.2f} s cpu {self.rss >> 20:6} MB"


def shapes() -> dict[str, Shape]:
    """Return the workflows by the part of the benchmark that runs each."""
    scatter = {f"a{i}": () for i in range(100)}
    scatter |= {f"b{i}": tuple(f"a{j}" for j in range(100)) for i in range(100)}
    made = [
        Shape("1000", {f"s{i}": () for i in range(1000)}),
        Shape("10000", {f"s{i}": () for i in range(10_000)}),
        Shape("chain", {f"s{i}": (f"s{i - 1}",) if i else () for i in range(1000)}),
        Shape("scatter", scatter),
    ]
    return {shape.name: shape for shape in made}


PARTS = tuple(shapes())


def steps(parts: tuple[str, ...] = PARTS) -> None:
    """Run each workflow once from nothing and once more, by every side that is installed.

    Ours runs each step in a container; the others run theirs on the host.
    """
    known = shapes()
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
        root = Path(name)
        # An installed `repro` has compiled modules beside it, as the peers have; a tree that is worked in need not.
        environ = {**os.environ, "REPRO_STORE": str(root / "store"), "PYTHONPYCACHEPREFIX": str(root / "compiled")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        base = _base(root)
        for part in parts:
            print(f"  {part}: {len(known[part].needs)} jobs, {JOBS} at a time")
            _compare(known[part], root / part, base, environ)


def _compare(shape: Shape, root: Path, base: Path, environ: dict[str, str]) -> None:
    costs: dict[tuple[str, str], Cost] = {}
    for side, argv in _sides(shape, root, base):
        folder = root / side
        ours = side == "repro"
        if ours:  # the image is not what is measured
            _cost((*argv[:1], "build"), folder, environ)
        for what in ("run", "no-op"):
            try:
                costs[side, what] = _cost(argv, folder, environ if ours else os.environ)
            except CommandError as error:
                print(f"    {side:10} {what:6} {error}")
                break
            print(f"    {side:10} {what:6} {costs[side, what]}", flush=True)
    for what, budget in BUDGETS.items():
        if ("snakemake", what) in costs:
            ratio = costs["repro", what].wall / costs["snakemake", what].wall
            verdict = "holds" if ratio <= budget else "FAILS"
            print(f"    {what}: {ratio:.2f} of snakemake's wall time, budget {budget}: {verdict}")


def _sides(shape: Shape, root: Path, base: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each side that is installed and its command, after its files were written to a folder of its name."""
    _repro(shape, root / "repro", base)
    yield "repro", (str(BIN / "repro"), "run", "--cpus", str(JOBS))
    if (BIN / "snakemake").exists():
        _snakemake(shape, root / "snakemake")
        yield "snakemake", (str(BIN / "snakemake"), "-j", str(JOBS), "--scheduler", "greedy", "--quiet", "all")
    if (make := shutil.which("make")) is not None:
        _make(shape, root / "make")
        yield "make", (make, "-s", "-j", str(JOBS))
    if (cwltool := shutil.which("cwltool")) is not None and not any(shape.needs.values()):
        _cwl(shape, root / "cwltool")
        yield "cwltool", (cwltool, "--parallel", "--quiet", "--outdir", "out", "workflow.cwl")


def _base(root: Path) -> Path:
    """Return a folder with a Dockerfile of the host's shell and `true`: no network and no distribution is needed."""
    from tests.execution.rootfs import make_rootfs

    folder = root / "docker"
    (folder / "rootfs").mkdir(parents=True)
    make_rootfs(folder / "rootfs")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY rootfs /\nENV PATH=/usr/bin:/bin\n")
    return folder


def _repro(shape: Shape, folder: Path, base: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copytree(base, folder / "docker", symlinks=True)
    lines = ["repro: 1", "name: many", "environments: {e: {dockerfile: docker/Dockerfile, context: docker}}"]
    lines += ["defaults: {environment: e}", "steps:"]
    if not any(shape.needs.values()):  # as a person would write it
        lines += ["  s:", "    foreach: {table: names.csv}", "    outputs: {o: 'o/{{ name }}'}"]
        lines += ["    run: 'true > {{ outputs.o }}'"]
        (folder / "names.csv").write_text("name\n" + "".join(f"{name}\n" for name in shape.needs))
    for name, needs in shape.needs.items() if any(shape.needs.values()) else ():
        inputs = f"inputs: {{i: [{', '.join(f'o/{need}' for need in needs)}]}}, " if needs else ""
        lines.append(f"  {name}: {{{inputs}outputs: {{o: o/{name}}}, run: 'true > o/{name}'}}")
    (folder / "workflow.yaml").write_text("\n".join(lines) + "\n")


def _snakemake(shape: Shape, folder: Path) -> None:
    folder.mkdir(parents=True)
    everything = ", ".join(f'"o/{name}"' for name in shape.needs)
    lines = [f"rule all:\n    input: [{everything}]"]
    if not any(shape.needs.values()):
        lines.append('rule s:\n    output: "o/{name}"\n    shell: "true > {output}"')
    for name, needs in shape.needs.items() if any(shape.needs.values()) else ():
        inputs = ", ".join(f'"o/{need}"' for need in needs)
        lines.append(f'rule {name}:\n    input: [{inputs}]\n    output: "o/{name}"\n    shell: "true > {{output}}"')
    (folder / "Snakefile").write_text("\n".join(lines) + "\n")


def _make(shape: Shape, folder: Path) -> None:
    (folder / "o").mkdir(parents=True)
    lines = ["all: " + " ".join(f"o/{name}" for name in shape.needs)]
    for name, needs in shape.needs.items():
        lines += [f"o/{name}: " + " ".join(f"o/{need}" for need in needs), "\ttrue > $@"]
    (folder / "Makefile").write_text("\n".join(lines) + "\n")


def _cwl(shape: Shape, folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = ["cwlVersion: v1.2", "class: Workflow", "inputs: {}", "outputs: {}", "steps:"]
    for name in shape.needs:
        tool = f"{{class: CommandLineTool, inputs: {{}}, outputs: {{o: stdout}}, baseCommand: 'true', stdout: {name}}}"
        lines.append(f"  {name}: {{in: {{}}, out: [o], run: {tool}}}")
    (folder / "workflow.cwl").write_text("\n".join(lines) + "\n")


def _cost(argv: tuple[str, ...], folder: Path, environ: Mapping[str, str]) -> Cost:
    """Run a command to its end and return what it took, with all the processes that it waited for."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        running = subprocess.Popen(
            argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(running.pid, 0)
        wall = time.perf_counter() - started
        running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()[-500:]
            raise CommandError(f"{' '.join(argv)}: exit status {running.returncode}\n{words}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
