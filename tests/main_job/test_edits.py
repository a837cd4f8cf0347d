"""What reruns after an edit: exactly what depends on it. Every edit is made in one project, one after the other."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time

import pytest

from repro import api
from repro.events import JobFinished
from repro.oci.store import Store
from tests.build.conftest import MODE, put_base

WORKFLOW = """\
repro: 1
name: edits
params: {word: hello, unused: 1}
environments:
  tool: {image: base}
  other: {image: base}
defaults: {environment: tool, code: [lib/]}
steps:
  make:
    foreach: {table: samples.tsv, by: [name]}
    inputs: {raw: "data/{{ name }}.txt"}
    outputs: {o: "work/{{ name }}.txt"}
    env: {PLACE: here}
    resources: {cpus: 1, memory: 10MB}
    run: cat {{ inputs.raw }} > {{ outputs.o }}; echo {{ weight }} >> {{ outputs.o }}
  tidy:
    inputs: {o: {from: make.o}}
    outputs: {t: {path: work/tidy.txt, temporary: true}}
    run: cat {{ inputs.o }} > {{ outputs.t }}
  count:
    inputs: {t: {from: tidy.t}}
    outputs: {n: results/n.txt}
    script: scripts/count.sh
  say:
    outputs: {s: results/say.txt}
    run: echo {{ params.word }} > {{ outputs.s }}
"""
FILES = {
    "samples.tsv": "name\tweight\tnote\na\t1\tx\nb\t2\ty\n",
    "data/a.txt": "first\n",
    "data/b.txt": "second\n",
    "data/c.txt": "third\n",
    "lib/functions.sh": "lines() { wc -l; }\n",
    "scripts/count.sh": ". lib/functions.sh\nlines < work/tidy.txt > results/n.txt\n",
}
REST = {"tidy", "count"}  # what follows `make`


class Bench:
    """A project that is edited and run; `edit` notes what ran against what should have."""

    def __init__(self, folder) -> None:
        self.store = Store(folder / "store", MODE.value)
        self.store.tag("base", put_base(self.store))
        self.root = folder / "project"
        for name, text in {"workflow.yaml": WORKFLOW, **FILES}.items():
            self.write(name, text)
        self.rows: list[tuple[str, set[str], set[str]]] = []

    @property
    def workflow(self) -> api.LoadedWorkflow:
        """The workflow where it is now."""
        environ = {**os.environ, "REPRO_STORE": str(self.store.root), "REPRO_MODE": MODE.value}
        return api.load(host=dataclasses.replace(api.Host.current(), cwd=self.root, environ=environ))

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def change(self, name: str, old: str, new: str) -> None:
        """Replace text in a file of the project; it must be there."""
        text = (self.root / name).read_text()
        assert old in text, (name, old)
        self.write(name, text.replace(old, new))

    def flow(self, old: str, new: str) -> None:
        """Replace text in the workflow."""
        self.change("workflow.yaml", old, new)

    def image(self, tag: str, word: str) -> None:
        """Give another image the tag."""
        base = self.store.config(self.store.refs()["docker.io/library/base:latest"])
        self.store.tag(tag, self.store.put_image(dataclasses.replace(base, env=(*base.env, f"WORD={word}"))))

    def ran(self) -> set[str]:
        """Run, and return what ran. What the plan calls cached must not run."""
        workflow, ran = self.workflow, set()
        cached = {job.job for job in workflow.plan().jobs if job.status == "cached"}
        workflow.run(on_event=lambda event: ran.add(event.record.job) if isinstance(event, JobFinished) else None)
        assert not cached & ran, "the plan was wrong"
        assert {"cached"} == {job.status for job in workflow.plan().jobs}, "the run left something to do"
        return ran

    def edit(self, what: str, expected: set[str]) -> None:
        """Run after an edit, and note what ran."""
        self.rows.append((what, expected, self.ran()))

    def report(self) -> tuple[int, int]:
        """Print the table; return how many jobs ran that need not, and how many did not that had to."""
        for what, expected, ran in self.rows:
            verdict = "as expected" if expected == ran else f"WRONG: expected {' '.join(sorted(expected)) or 'nothing'}"
            print(f"{what:58} {' '.join(sorted(ran)) or '-':44} {verdict}")
        false = sum(len(ran - expected) for _, expected, ran in self.rows)
        missed = sum(len(expected - ran) for _, expected, ran in self.rows)
        print(f"{len(self.rows)} edits: {false} false reruns, {missed} missed reruns")
        return false, missed


@pytest.fixture
def bench(tmp_path):
    """A project in which everything has run."""
    made = Bench(tmp_path)
    assert {"make[name=a]", "make[name=b]", *REST, "say"} == made.ran()
    assert not (made.root / "work/tidy.txt").exists()
    return made


def edits_that_change_nothing(bench: Bench) -> None:
    """Make edits after which no result can be another."""
    nothing: set[str] = set()
    bench.edit("no edit (a temporary output is gone)", nothing)
    bench.flow("steps:\n", "# the steps\nsteps:\n")
    bench.edit("comment in the workflow", nothing)
    bench.flow(
        "  say:\n    outputs: {s: results/say.txt}\n", "\n\n  say:\n    outputs:\n      s:   'results/say.txt'\n\n"
    )
    bench.edit("whitespace and quotes in the workflow", nothing)
    text = (bench.root / "workflow.yaml").read_text()
    at = text.index("  tidy:\n"), text.index("  count:\n")
    bench.write("workflow.yaml", text[: at[0]] + text[at[1] :].rstrip() + "\n" + text[at[0] : at[1]])
    bench.edit("steps in another order", nothing)
    bench.flow("name: edits", "name: other")
    bench.edit("the workflow's name", nothing)
    bench.flow("unused: 1", "unused: 2, more: [3]")
    bench.edit("unused params", nothing)
    bench.flow("cpus: 1", "cpus: 2")
    bench.edit("cpus", nothing)
    bench.flow("memory: 10MB", "memory: 20MB, time: 10m")
    bench.edit("memory, and a time limit", nothing)
    bench.flow("    env: {PLACE: here}\n", "    env: {PLACE: here}\n    retries: 2\n")
    bench.edit("retries", nothing)
    bench.flow("  other: {image: base}\n", "  other: {image: base}\n  third: {image: base}\n")
    bench.edit("an environment that no step uses", nothing)
    bench.change("samples.tsv", "\ty\n", "\tz\n")
    bench.edit("a column that is not used", nothing)
    for path in bench.root.rglob("*.txt"):
        os.utime(path, (time.time(), time.time() + 100))
    bench.edit("times of inputs and outputs", nothing)
    text = (bench.root / "data/a.txt").read_text()
    (bench.root / "data/a.txt").unlink()
    bench.write("data/a.txt", text)
    bench.edit("an input written again with the same bytes", nothing)
    (bench.root / "data/b.txt").rename(bench.root / "kept.txt")
    (bench.root / "data/b.txt").symlink_to("../kept.txt")
    bench.edit("an input that became a link to its bytes", nothing)
    bench.write("notes.txt", "not an input\n")
    bench.edit("a file that no step reads", nothing)
    moved = bench.root.with_name("moved")
    bench.root.rename(moved)
    bench.root = moved
    bench.edit("the project moved", nothing)
    copied = moved.with_name("copied")
    shutil.copytree(moved, copied, symlinks=True, copy_function=shutil.copyfile)
    bench.root = copied
    bench.edit("the project copied, with new times", nothing)
    bench.image("base2", "two")
    bench.edit("an image that the lock does not name", nothing)


def edits_that_change_something(bench: Bench) -> None:
    """Make edits after which some results may be others."""
    bench.write("data/a.txt", "other\n")
    bench.edit("bytes of an input", {"make[name=a]", *REST})
    size = bench.root / "data/a.txt"
    before = size.stat()
    bench.write("data/a.txt", "OTHER\n")
    os.utime(size, ns=(before.st_atime_ns, before.st_mtime_ns))
    bench.edit("bytes of an input, with its size and time kept", {"make[name=a]", *REST})
    bench.flow("run: cat {{ inputs.raw }} >", "run: cat  {{ inputs.raw }} >")
    bench.edit("a command, with the same result", {"make[name=a]", "make[name=b]"})
    bench.flow("echo {{ params.word }} >", "echo say {{ params.word }} >")
    bench.edit("a command", {"say"})
    bench.flow("word: hello", "word: bye")
    bench.edit("a used param", {"say"})
    bench.flow("PLACE: here", "PLACE: there")
    bench.edit("an environment variable, with the same result", {"make[name=a]", "make[name=b]"})
    bench.flow("  say:\n", "  say:\n    environment: other\n")
    bench.edit("another environment, with the same image", set())
    bench.flow("other: {image: base}", "other: {image: base2}")
    api.lock(bench.workflow.host, None, sink=lambda event: None)
    bench.edit("an image", {"say"})
    bench.image("base2", "three")
    bench.edit("what the image's tag names, which is locked", set())
    api.lock(bench.workflow.host, None, upgrade=["other"], sink=lambda event: None)
    bench.edit("the locked image, upgraded", {"say"})
    bench.flow("  say:\n", "  say:\n    network: true\n")
    bench.edit("network", {"say"})
    bench.change("samples.tsv", "b\t2", "b\t7")
    bench.edit("a used column of one row", {"make[name=b]", *REST})
    bench.change("samples.tsv", "b\t7\tz\n", "b\t7\tz\nc\t3\tw\n")
    bench.edit("a new row", {"make[name=c]", *REST})
    bench.write("samples.tsv", "name\tweight\tnote\nc\t3\tw\na\t1\tx\nb\t7\tz\n")
    bench.edit("rows in another order", REST)
    bench.write("samples.tsv", "name\tweight\tnote\nc\t3\tw\na\t1\tx\n")
    bench.edit("a row less", REST)
    bench.change("scripts/count.sh", "lines <", "# count\nlines <")
    bench.edit("a script, with the same result", REST)  # its temporary input is made again
    bench.change("lib/functions.sh", "wc -l", "wc -c")
    bench.edit("code that a script may import", REST)
    bench.write("lib/more.sh", "more() { true; }\n")
    bench.edit("another file of code", REST)
    bench.flow("'results/say.txt'", "'results/said.txt'")
    bench.edit("an output's name", {"say"})
    (bench.root / "results/said.txt").unlink()
    bench.edit("an output deleted", {"say"})
    bench.write("results/said.txt", "by hand\n")
    bench.edit("an output edited by hand", {"say"})
    (bench.root / "results/n.txt").unlink()
    bench.edit("the result of a temporary output deleted", REST)
    (bench.root / "work/a.txt").unlink()
    bench.edit("an output in the middle deleted", {"make[name=a]"})
    shutil.rmtree(bench.root / ".repro/records/say")
    bench.edit("records of a step deleted", {"say"})
    bench.flow("  say:\n", "  tell:\n")
    bench.edit("a step's name: it is another step", {"tell"})


def test_exactly_what_depends_on_an_edit_reruns(bench):
    """Over all edits, no job runs that need not, and none is left out that had to."""
    edits_that_change_nothing(bench)
    edits_that_change_something(bench)
    assert len(bench.rows) >= 30
    assert (0, 0) == bench.report()
