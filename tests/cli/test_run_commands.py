"""`repro plan`, `run`, `log` and `status` from the command line, on a tiny image and real containers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

import pytest

from repro.cli.main import main
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base

HEAD = "repro: 1\nname: small\nenvironments: {tool: {image: base}}\ndefaults: {environment: tool}\n"
WORKFLOW = (
    HEAD
    + """\
params: {word: hello, more: {mark: "!"}}
steps:
  make:
    foreach: {x: [a, b]}
    params: [word, more]
    outputs: {o: "work/{{ x }}.txt"}
    run: "echo {{ params.word }} {{ x }}{{ params.more.mark }} > {{ outputs.o }}"
  join:
    inputs: {o: {from: make.o}}
    outputs: {all: results/all.txt}
    run: "cat {{ inputs.o }} > {{ outputs.all }}"
  last:
    inputs: {all: {from: join.all}}
    outputs: {n: results/n.txt}
    run: "wc -l < {{ inputs.all }} > {{ outputs.n }}"
"""
)


class Desk:
    """A project and the `repro` command in it."""

    def __init__(self, folder, store) -> None:
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        self.env = {
            **os.environ, "PYTHONPATH": str(PROJECT), "REPRO_STORE": str(store.root), "NO_COLOR": "1",
            "REPRO_MODE": MODE.value,
        }  # fmt: skip

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs `repro` with these words."""
        return [sys.executable, "-m", "repro", *words]

    def repro(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `repro` in the project, within this process; no word of it is a traceback."""
        out, err = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with (
                redirect_stdout(out), redirect_stderr(err), chdir(self.project),
                mock.patch.dict(os.environ, self.env, clear=True),
            ):  # fmt: skip
                status = main(words)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    def apart(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `repro` in the project as a process of its own."""
        return subprocess.run(
            self.command(*words), cwd=self.project, env=self.env, text=True, capture_output=True, check=False
        )

    def planned(self, *words: str) -> dict[str, str]:
        """Return the status of each job, by the machine's form of the plan."""
        done = self.repro("plan", "--json", *words)
        assert 0 == done.returncode, done.stderr
        return {job["job"]: job["status"] for job in json.loads(done.stdout)["jobs"]}

    def ran(self, *words: str) -> list[str]:
        """Run, and return the jobs that were run, sorted."""
        done = self.repro("run", *words)
        assert 0 == done.returncode, done.stderr
        lines = [line.split("] ", 1)[1] for line in done.stderr.splitlines() if ": done in " in line]
        return sorted(line.partition(": done")[0] for line in lines)

    @contextmanager
    def running(self, *words: str):
        """Give a `repro` that is under way; it is stopped in the end."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.project,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with the base image."""
    made = Store(tmp_path_factory.mktemp("store"), MODE.value)
    made.tag("base", put_base(made))
    return made


@pytest.fixture
def desk(tmp_path, store):
    """A project with that workflow, in which nothing has run."""
    made = Desk(tmp_path, store)
    made.write("workflow.yaml", WORKFLOW)
    return made


def until(condition) -> None:
    """Wait until the condition holds."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("what was waited for did not come")


def test_targets_choose_what_runs(desk):
    """An output brings what it needs; then a step; `--until` ends early, `--from` begins late; words may be mixed."""
    assert ["make[x=a]"] == desk.ran("workflow.yaml", "work/a.txt")
    assert ["make[x=b]"] == desk.ran("step:make", "-j", "1")
    assert ["join"] == desk.ran("--until", "join")
    assert {"make[x=a]": "cached", "make[x=b]": "cached", "join": "cached", "last": "run"} == desk.planned()
    assert ["last"] == desk.ran("--from", "last", "-j", "1", "results/")
    assert [] == desk.ran()
    assert ["join"] == desk.ran("--force", "join", "results/n.txt")  # the same bytes: nothing follows
    assert {"make[x=a]": "cached"} == desk.planned("make[x=a]")


def test_from_wants_what_comes_before_to_be_cached(desk):
    """`--from` never uses a stale input in silence: it names the job that would run, and why."""
    desk.ran()
    desk.write("workflow.yaml", WORKFLOW.replace("word: hello", "word: bye"))
    for command in ("plan", "run"):
        done = desk.repro(command, "--from", "join")
        assert 2 == done.returncode
        assert "--from join leaves out make[x=a], which would run, as would 1 more" in done.stderr
        assert ", params.word: hello -> bye\n" in done.stderr
    assert "hello a!\nhello b!\n" == (desk.project / "results/all.txt").read_text()


def test_params_from_the_command_line(desk):
    """`--set` and `--params` replace what the workflow says, entries of mappings too; a plan sees the same."""
    desk.ran("--set", "word=ciao", "--set", "more.mark=?")
    assert "ciao a?\nciao b?\n" == (desk.project / "results/all.txt").read_text()
    desk.write("other.yaml", "word: salut\nmore: {mark: '.'}\n")
    desk.write("third.json", '{"word": "hej"}')
    assert {"run"} == {status for job, status in desk.planned("--params", "other.yaml").items() if "make" in job}
    desk.ran("--params", "other.yaml", "--params", "third.json", "--set", "more.mark=#")
    assert "hej a#\nhej b#\n" == (desk.project / "results/all.txt").read_text()
    for words, message in (
        (("--set", "wrd=x"), "no param 'wrd'"),
        (("--set", "word"), "a name and a value are wanted"),
        (("--set", "word=[1"), "--set word=[1 cannot be read"),
        (("--params", "none.yaml"), "--params none.yaml cannot be read"),
        (("--params", "workflow.lock"), "no param"),
    ):
        done = desk.repro("plan", *words)
        assert (2, True) == (done.returncode, message in done.stderr), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing.yaml",), "there is no workflow file nothing.yaml"),
        (("results/none.txt",), "no step makes results/none.txt"),
        (("join.all",), "no step makes join.all"),
        (("--until", "joint"), "did you mean join?"),
        (("--force", "last", "work/"), "--force last: the step has no job in what is asked for"),
        (("--touch",), "--touch is not offered"),
        (("/etc/passwd",), "/etc/passwd is not in the project"),
    ],
)
def test_a_selection_that_cannot_be_is_a_usage_error(desk, words, message):
    """It is told with status 2 and before anything runs."""
    done = desk.repro("run", *words)
    assert (2, True) == (done.returncode, message in done.stderr), done.stderr
    assert not (desk.project / "work").exists()


def test_the_plan_is_a_table(desk):
    """Names are aligned, the counts stand on stderr, several changes have a line each; `run -n` prints the same."""
    desk.ran("step:make")
    desk.write("workflow.yaml", WORKFLOW.replace("word: hello", "word: bye").replace("> {{ outputs.o", ">{{ outputs.o"))
    done = desk.repro("plan")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("run      make[x=a]  command: echo hello a"), done.stdout
    assert "         params.word: hello -> bye" in lines
    assert "pending  join       it needs make[x=a] and 1 more" in lines
    assert "0 cached, 2 to run, 2 pending until their inputs are there\n" == done.stderr
    assert done.stdout == desk.repro("run", "-n").stdout
    assert not (desk.project / "results").exists()


def test_a_large_plan_is_grouped_by_step(desk):
    """Above fifty jobs a line per step says how many stand how; `--all` lists each, `--json` always does."""
    values = ", ".join(f"x{number}" for number in range(60))
    desk.write("workflow.yaml", WORKFLOW.replace("[a, b]", f"[{values}]"))
    lines = desk.repro("plan").stdout.splitlines()
    assert ["STEP", "JOBS", "CACHED", "RUN", "PENDING", "WHY"] == lines[0].split()
    assert ["make", "60", "60"] == lines[1].split()[:3]
    assert ["join", "1", "1"] == lines[2].split()[:3]
    assert "62 jobs: `repro plan --all` lists each" == lines[-1]
    assert 62 == len(desk.repro("plan", "--all").stdout.splitlines()) == len(desk.planned())


def test_a_plan_says_how_much_it_had_to_read(desk):
    """Large inputs that nobody has hashed yet are told of, once; the number is in the machine's form."""
    desk.write("workflow.yaml", HEAD + "steps:\n  s: {inputs: {b: big}, outputs: {o: o}, run: 'echo > o'}\n")
    desk.write("big", "small")
    desk.ran()
    (desk.project / "big").write_bytes(bytes(20_000_000))
    assert "; 20.0 MB hashed to say so" in desk.repro("plan").stderr
    time.sleep(2.1)  # younger files are read each time, lest a write in the same moment is missed
    assert 20_000_000 == json.loads(desk.repro("plan", "--json").stdout)["hashed"]
    assert 0 == json.loads(desk.repro("plan", "--json").stdout)["hashed"]


SPLIT = (
    HEAD
    + """\
steps:
  split:
    outputs: {parts: work/parts/}
    run: "mkdir -p {{ outputs.parts }}; for p in a b c; do echo $p > {{ outputs.parts }}$p.txt; done"
  each:
    foreach: {items: split.parts, pattern: "{{ part }}.txt"}
    inputs: {i: "{{ path }}"}
    outputs: {o: "out/{{ part }}.txt"}
    run: cat {{ inputs.i }} > {{ outputs.o }}
  join:
    inputs: {all: {from: each.o}}
    outputs: {all: results/all.txt}
    run: cat {{ inputs.all }} > {{ outputs.all }}
  other:
    outputs: {o: other.txt}
    run: echo > other.txt
"""
)


def test_targets_among_jobs_that_are_not_known_yet(desk):
    """A plan names the steps that come later; one item of them can be asked for before it is known, and no more runs."""
    desk.write("workflow.yaml", SPLIT)
    first = desk.repro("plan", "results/")
    assert ["run      split  environment tool has no image yet"] == first.stdout.splitlines()[:1]
    assert "later    each   planned once split is done" in first.stdout.splitlines()
    assert first.stderr.endswith("; not planned yet: each, join\n")
    assert {"split", "each[part=b]"} == set(desk.ran("out/b.txt"))
    assert {"split": "cached", "each[part=b]": "cached"} == desk.planned("out/b.txt")
    wrong = desk.repro("plan", "out/d.txt")
    assert (2, True) == (wrong.returncode, "no step makes out/d.txt" in wrong.stderr), wrong.stderr
    assert {"each[part=a]", "each[part=c]", "join"} == set(desk.ran("--from", "each"))
    assert "a\nb\nc\n" == (desk.project / "results/all.txt").read_text()
    assert ["other"] == desk.ran()
    assert [] == desk.ran()


def test_output_of_jobs_is_shown_and_kept(desk):
    """`--tail` prints what jobs print with their names in front; `repro log RUN JOB` prints it later."""
    desk.write("workflow.yaml", WORKFLOW.replace('run: "wc', 'run: "echo counting >&2; wc'))
    done = desk.repro("run", "--tail")
    assert 0 == done.returncode, done.stderr
    assert "last | counting" in done.stderr.splitlines()
    assert "counting\n" == desk.repro("log", "last", "last").stdout
    missing = desk.repro("log", "last", "lst")
    assert (2, True) == (missing.returncode, "has no job lst" in missing.stderr)
    followed = desk.repro("log", "--follow")
    assert (0, True) == (followed.returncode, "succeeded: 4 ran" in followed.stdout), followed.stderr


def test_a_failure_ends_the_run_or_not(desk):
    """Without `-k` nothing starts after a failure; with it all that does not need the failed job does."""
    steps = "".join(f"  s{n}: {{outputs: {{o: s{n}.txt}}, run: 'echo > s{n}.txt'}}\n" for n in range(4))
    bad = "  bad: {outputs: {o: bad.txt}, run: 'echo no >&2; exit 3'}\n"
    after = "  after: {inputs: {b: bad.txt}, outputs: {o: after.txt}, run: 'echo > after.txt'}\n"
    desk.write("workflow.yaml", HEAD + "steps:\n" + bad + after + steps)
    done = desk.repro("run", "-j", "1")
    assert 1 == done.returncode, done.stderr
    assert "look inside: repro debug bad" in done.stderr
    assert [] == list(desk.project.glob("s?.txt"))
    done = desk.repro("run", "-j", "1", "--keep-going")
    assert 1 == done.returncode
    assert 4 == len(list(desk.project.glob("s?.txt")))
    assert "after: skipped, bad failed" in done.stderr


def test_a_second_run_is_told_who_is_first_or_waits(desk):
    """Two runs in one project: the second names the first at once, or waits for it where that is asked for."""
    desk.write(
        "workflow.yaml", HEAD + "steps:\n  slow: {outputs: {o: o.txt}, run: 'echo begun; sleep 4; echo > o.txt'}\n"
    )
    with desk.running("run") as first:
        until(lambda: list(desk.project.glob(".repro/runs/*/logs/slow.log")))
        refused = desk.repro("run")
        assert 5 == refused.returncode
        assert "another repro works in this project" in refused.stderr
        assert f"process {first.pid}" in refused.stderr
        assert "running: run " in desk.repro("status").stdout
        with desk.running("log", "--follow", "last", "slow") as follower:
            waited = desk.repro("run", "--wait")
            assert "begun\n" == follower.communicate(timeout=30)[0]
    assert 0 == waited.returncode, waited.stderr
    assert "waiting until this has ended: run " in waited.stderr
    assert "0 ran, 1 cached" in waited.stderr


def test_named_resources_bound_what_runs_together(desk):
    """`--resource NAME=N`: jobs that ask for more of it than is left wait; without it they cannot run."""
    step = "    outputs: {o: '{{ x }}.txt'}\n    resources: {licences: 1}\n    run: 'sleep 1; echo > {{ outputs.o }}'\n"
    desk.write("workflow.yaml", HEAD + "steps:\n  one:\n    foreach: {x: [a, b]}\n" + step)
    refused = desk.repro("run")
    assert (2, True) == (refused.returncode, "licences" in refused.stderr), refused.stderr
    done = desk.repro("run", "--resource", "licences=1")
    assert 0 == done.returncode, done.stderr
    order = [line.split(": ")[1].split()[0] for line in done.stderr.splitlines() if "] one[" in line]
    assert ["started", "done", "started", "done"] == order
    wrong = desk.repro("run", "--resource", "licences")
    assert (2, True) == (wrong.returncode, "a name and a whole number are wanted" in wrong.stderr)


def test_interrupt_ends_a_run_that_has_begun(desk):
    """Ctrl-C: the job is stopped, the run says that it was interrupted, and the next one carries on."""
    desk.write(
        "workflow.yaml", HEAD + "steps:\n  slow: {outputs: {o: o.txt}, run: 'echo begun; sleep 60; echo > o.txt'}\n"
    )
    with desk.running("run") as process:
        until(lambda: list(desk.project.glob(".repro/runs/*/logs/slow.log")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert 130 == process.returncode, err
    assert "stopped before the end" in err


def test_debug_steps_into_the_world_of_a_job(desk):
    """A command runs there with the job's inputs, its exit status is ours, and nothing that it writes is kept."""
    desk.ran("step:make")
    done = desk.apart(
        "debug", "workflow.yaml", "join", "--", "sh", "-c", "cat work/a.txt; echo x > results.txt; exit 7"
    )
    assert (7, "hello a!\n") == (done.returncode, done.stdout), done.stderr
    assert not (desk.project / "results.txt").exists()
    wrong = desk.repro("debug", "joint")
    assert (2, True) == (wrong.returncode, "did you mean join" in wrong.stderr)
    assert 2 == desk.repro("debug", "workflow.yaml").returncode


def test_what_a_step_fetches_is_locked(desk):
    """Other bytes at a later run fail the job and name the way to accept them, which then does; `--locked` adds none."""
    fetch = "  get: {fetch: true, outputs: {o: data/x.txt}, run: 'date +%s%N > {{ outputs.o }}'}\n"
    desk.write("workflow.yaml", HEAD + "steps:\n" + fetch)
    assert 0 == desk.repro("lock").returncode
    assert "data/x.txt, which was fetched, is not in workflow.lock" in desk.repro("run", "--locked").stderr
    assert ["get"] == desk.ran()
    locked = json.loads((desk.project / "workflow.lock").read_text())["fetched"]
    assert {"data/x.txt": 20} == {path: entry["size"] for path, entry in locked.items()}
    assert [] == desk.ran()
    other = desk.repro("run", "--force", "get")
    assert (1, True) == (other.returncode, "repro lock --upgrade data/x.txt" in other.stderr), other.stderr
    assert locked["data/x.txt"]["digest"] in other.stderr
    accepted = desk.repro("lock", "--upgrade", "data/x.txt")
    assert (0, "data/x.txt: what is fetched next is locked\n") == (accepted.returncode, accepted.stdout)
    assert ["get"] == desk.ran("--force", "get")
    assert locked != json.loads((desk.project / "workflow.lock").read_text())["fetched"]
    assert 2 == desk.repro("lock", "--upgrade", "data/y.txt").returncode


def test_graph_schema_and_validate_look_at_the_workflow_alone(desk):
    """Each prints what it is asked for and makes nothing in the project; an output format that is none is refused."""
    steps = desk.repro("graph").stdout
    assert steps.startswith("flowchart ")
    assert 3 == steps.count('["')
    assert 4 == desk.repro("graph", "--jobs").stdout.count('["')
    assert 3 == desk.repro("graph", "--jobs", "workflow.yaml", "results/all.txt").stdout.count('["')
    assert 0 == desk.repro("graph", "--format", "svg", "-o", "w.svg").returncode
    assert (desk.project / "w.svg").read_text().startswith("<svg")
    assert desk.repro("graph", "--format", "dot").stdout.startswith("digraph")
    assert 2 == desk.repro("graph", "--format", "png").returncode
    assert {"repro", "steps"} == set(json.loads(desk.repro("schema").stdout)["required"])
    assert "workflow.yaml: in order; 3 steps, 4 jobs\n" == desk.repro("validate", "--set", "word=x").stdout
    assert 2 == desk.repro("validate", "--set", "w=x").returncode
    assert ["w.svg", "workflow.yaml"] == sorted(path.name for path in desk.project.iterdir())
