"""Runs on a real Slurm of one node: results, failures, and that no end of a run leaves a job in the queue."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import pytest

from repro.execution import slurm

pytestmark = pytest.mark.timeout(300)

DIAMOND = """\
steps:
  part:
    foreach: {x: [1, 2, 3]}
    outputs: {o: "out/{{ x }}.txt"}
    run: echo {{ x }} > {{ outputs.o }}
  all:
    inputs: {o: {from: part.o}}
    outputs: {o: out/all.txt}
    run: cat {{ inputs.o }} > {{ outputs.o }}
"""
LONG = """\
steps:
  long:
    foreach: {x: [1, 2, 3]}
    outputs: {o: "out/{{ x }}.txt"}
    run: sleep SECONDS; echo {{ x }} > {{ outputs.o }}
"""


def long(desk, seconds: int = 60) -> None:
    """Give the project three jobs of which two run at once."""
    desk.steps(LONG.replace("SECONDS", str(seconds)))


def test_same_results_as_on_this_host(desk):
    """Jobs run on the node, in order; outputs, records and journal are as of a local run, and nothing runs twice."""
    desk.steps(DIAMOND)
    done = desk.run()
    assert "4 ran, 0 cached" in done.stderr
    away = desk.digests("out")
    assert "1\n2\n3\n" == (desk.root / "out/all.txt").read_text()
    assert ["all", "part[x=1]", "part[x=2]", "part[x=3]"] == sorted(
        event["record"]["job"] for event in desk.events("job-finished")
    )
    assert [] == desk.lab.queue()
    assert [] == list((desk.root / ".repro/runs").glob("*/cluster"))
    assert "0 ran, 4 cached" in desk.repro("run").stderr
    shutil.rmtree(desk.root / "out")
    shutil.rmtree(desk.root / ".repro")
    assert "4 ran, 0 cached" in desk.repro("run").stderr
    assert away == desk.digests("out")


def test_failed_job_fails_only_itself(desk):
    """With --keep-going what needs a failed job is skipped, all else runs, also in the failed job's own batch."""
    desk.write("profiles/slurm.yaml", "partition: lab\nmemory: 64MB\nbatch: 10\n")
    desk.steps(
        "steps:\n"
        "  part:\n"
        "    foreach: {x: [1, 2, 3]}\n"
        '    outputs: {o: "out/{{ x }}.txt"}\n'
        "    run: |\n"
        "      test {{ x }} != 2 || { echo no two; exit 7; }\n"
        "      echo {{ x }} > {{ outputs.o }}\n"
        "  twice:\n"
        "    foreach: {x: [1, 2, 3]}\n"
        "    inputs: {o: {from: part.o}}\n"
        '    outputs: {o: "twice/{{ x }}.txt"}\n'
        "    run: cat {{ inputs.o }} {{ inputs.o }} > {{ outputs.o }}\n"
    )
    done = desk.repro("run", "--executor", "slurm", "--keep-going")
    assert 1 == done.returncode, done.stderr + desk.logs()
    assert "4 ran, 0 cached, 1 failed, 1 skipped" in done.stderr
    (failed,) = desk.events("job-failed")
    assert ("part[x=2]", 7) == (failed["job"], failed["exit_status"])
    assert "no two" in failed["message"]
    assert ["twice[x=2]"] == [event["job"] for event in desk.events("job-skipped")]
    assert [] == desk.lab.queue()


def test_interrupt_leaves_no_job(desk):
    """Ctrl-C ends the run at once with 130; nothing waits or runs any more, and the next run completes."""
    long(desk)
    running = desk.start("run", "--executor", "slurm")
    desk.lab.wait_running(2)
    said = desk.end(running, signal.SIGINT)
    assert 130 == running.returncode, said
    assert [] == desk.lab.queue()
    long(desk, 0)
    assert "3 ran" in desk.run().stderr


def test_profile_mistakes_are_told_before_anything_runs(desk):
    """A partition that is not there is an error with Slurm's own words, not a job that is lost three times."""
    desk.write("profiles/other.yaml", "partition: nowhere\n")
    desk.steps(DIAMOND)
    done = desk.repro("run", "--profile", "other")
    assert 125 == done.returncode, done.stderr
    assert "invalid partition" in done.stderr
    assert [] == desk.lab.queue()


@pytest.mark.judge
def test_terminate_leaves_no_job(desk):
    """TERM does what Ctrl-C does."""
    long(desk)
    running = desk.start("run", "--executor", "slurm")
    desk.lab.wait_running(2)
    said = desk.end(running, signal.SIGTERM)
    assert 130 == running.returncode, said
    assert [] == desk.lab.queue()
    long(desk, 0)
    assert "3 ran" in desk.run().stderr


@pytest.mark.judge
def test_killed_driver_leaves_no_job(desk):
    """When the driver is killed its Snakemake cancels all jobs; the next run takes over what is done."""
    long(desk)
    running = desk.start("run", "--executor", "slurm")
    desk.lab.wait_running(2)
    desk.end(running, signal.SIGKILL)
    desk.wait_empty()
    long(desk, 0)
    assert "3 ran" in desk.run().stderr


@pytest.mark.judge
def test_orphans_are_cancelled_at_the_next_start(desk):
    """Jobs that outlived driver and Snakemake are found by their tag, cancelled, and told of, by a local run, too."""
    desk.steps(DIAMOND)
    name = f"--job-name={slurm.tag(desk.root, 'dead')}"
    desk.lab.ask("sbatch", name, "--output=/dev/null", "--wrap", "sleep 600")
    desk.lab.ask("sbatch", "--job-name=other", "--output=/dev/null", "--mem=16", "--wrap", "sleep 600")
    desk.lab.wait_running(2)
    desk.write(".repro/cluster", "dead")
    done = desk.repro("run")
    assert 0 == done.returncode, done.stderr
    assert "1 Slurm jobs of run dead, whose driver was killed, are cancelled" in done.stderr
    assert ["other"] == [line.split()[2] for line in desk.lab.queue()]
    assert not (desk.root / ".repro/cluster").exists()


@pytest.mark.judge
def test_cancelled_job_runs_again(desk):
    """A Slurm job that somebody cancels is lost, and its job is given away once more."""
    long(desk, 5)
    running = desk.start("run", "--executor", "slurm")
    number = desk.lab.wait_running(2)[0].partition(" ")[0]
    desk.lab.ask("scancel", number)
    out, err = running.communicate(timeout=120)
    assert 0 == running.returncode, out + err + desk.logs()
    assert "3 ran" in err
    (retried,) = desk.events("job-retried")
    assert f"Slurm job {number} ended as CANCELLED" in retried["message"]
    assert [] == desk.lab.queue()


@pytest.mark.judge
def test_node_that_goes_down_loses_no_job(desk):
    """What ran on a node that goes down runs again once there is one, and the run succeeds."""
    long(desk, 8)
    running = desk.start("run", "--executor", "slurm")
    desk.lab.wait_running(2)
    desk.lab.down()
    time.sleep(3)
    desk.lab.resume()
    out, err = running.communicate(timeout=180)
    assert 0 == running.returncode, out + err + desk.logs()
    assert "3 ran" in err
    assert desk.events("job-retried")
    assert [] == desk.lab.queue()


@pytest.mark.judge
def test_lost_too_often_is_a_failure(desk):
    """A job that is lost more often than the profile allows fails, and says what became of it."""
    desk.write("profiles/slurm.yaml", PROFILE_ONCE)
    desk.steps("steps: {long: {outputs: {o: o.txt}, run: 'sleep 60; echo > {{ outputs.o }}'}}\n")
    running = desk.start("run", "--executor", "slurm")
    desk.lab.ask("scancel", desk.lab.wait_running(1)[0].partition(" ")[0])
    _, err = running.communicate(timeout=120)
    assert 1 == running.returncode, err
    assert "was lost once" in err
    assert [] == desk.lab.queue()


PROFILE_ONCE = "partition: lab\nmemory: 64MB\nlost: 0\n"


@pytest.mark.judge
def test_retries_get_more_memory(desk):
    """A job that fails where its memory grows is given away anew, with more, as its next attempt."""
    desk.steps(
        "steps:\n"
        "  grow:\n"
        "    outputs: {o: o.txt}\n"
        "    retries: 1\n"
        '    resources: {memory: "{{ 64 * attempt }}MB"}\n'
        "    run: |\n"
        "      echo {{ resources.memory }} > {{ outputs.o }}\n"
        "      test {{ resources.memory }} -gt 100000000\n"
    )
    desk.run()
    assert "128000000\n" == (desk.root / "o.txt").read_text()
    assert [1, 2] == [event["attempt"] for event in desk.events("job-started")]
    assert [1] == [event["attempt"] for event in desk.events("job-retried")]


@pytest.mark.judge
def test_steps_over_outputs_of_others(desk):
    """A step over what another made is planned once that is done, and temporary outputs go when nobody needs them."""
    desk.steps(
        "steps:\n"
        "  split:\n"
        "    outputs: {parts: parts/}\n"
        "    run: |\n"
        "      mkdir {{ outputs.parts }}\n"
        "      for i in 1 2 3; do echo $i > {{ outputs.parts }}$i.txt; done\n"
        "  each:\n"
        "    foreach: {items: split.parts, pattern: '{{ n }}.txt'}\n"
        "    inputs: {part: '{{ path }}'}\n"
        "    outputs: {o: {path: 'each/{{ n }}.txt', temporary: true}}\n"
        "    run: cat {{ inputs.part }} {{ inputs.part }} > {{ outputs.o }}\n"
        "  all:\n"
        "    inputs: {o: {from: each.o}}\n"
        "    outputs: {o: all.txt}\n"
        "    run: cat {{ inputs.o }} > {{ outputs.o }}\n"
    )
    assert "5 ran" in desk.run().stderr
    assert "1\n1\n2\n2\n3\n3\n" == (desk.root / "all.txt").read_text()
    assert [] == list((desk.root / "each").glob("*"))
    assert "0 ran, 5 cached" in desk.run().stderr


@pytest.mark.judge
def test_short_jobs_share_allocations(desk):
    """A hundred jobs of a second on two processors take no more than 1.3 times the floor of 50 s."""
    desk.write("profiles/slurm.yaml", "partition: lab\nmemory: 64MB\nbatch: 25\n")
    numbers = ", ".join(map(str, range(100)))
    desk.steps(
        f"steps:\n  one:\n    foreach: {{x: [{numbers}]}}\n"
        '    outputs: {o: "out/{{ x }}.txt"}\n    run: sleep 1; echo {{ x }} > {{ outputs.o }}\n'
    )
    desk.repro("build")
    began = time.monotonic()
    assert "100 ran" in desk.run().stderr
    took = time.monotonic() - began
    print(f"100 jobs of 1 s on 2 processors: {took:.1f} s, {took / 50:.2f} times the floor")
    assert took < 1.3 * 50


@pytest.mark.judge
def test_detached_driver(desk):
    """--detach gives Slurm the driver as a job and prints its number; the run goes on without the caller."""
    desk.write("profiles/slurm.yaml", "partition: lab\nmemory: 64MB\nbatch: 10\ndriver: {memory: 300MB}\n")
    desk.steps(DIAMOND)
    done = desk.repro("run", "--executor", "slurm", "--detach")
    assert 0 == done.returncode, done.stderr
    number = done.stdout.strip()
    assert f"scancel {number}" in done.stderr
    desk.wait_empty(120)
    (output,) = (desk.root / ".repro/detached").glob(f"*-{number}.log")
    assert "4 ran, 0 cached" in output.read_text()
    assert "1\n2\n3\n" == (desk.root / "out/all.txt").read_text()


@pytest.mark.judge
def test_cancelled_driver_cancels_its_jobs(desk):
    """scancel of a detached driver ends the jobs that it gave away."""
    desk.write("profiles/slurm.yaml", "partition: lab\nmemory: 64MB\nbatch: 10\ndriver: {memory: 300MB}\n")
    long(desk)
    number = desk.repro("run", "--executor", "slurm", "--detach").stdout.strip()
    desk.lab.wait_running(2)
    desk.lab.ask("scancel", number)
    desk.wait_empty(60)
    long(desk, 0)
    assert "3 ran" in desk.run().stderr


@pytest.mark.judge
def test_path_that_needs_quotes(desk):
    """A project may lie in a folder with blanks, quotes, dollars and braces in its name."""
    odd = desk.root.with_name('it\'s $HOME {x} "y"')
    desk.root.rename(odd)
    moved = type(desk)(odd, desk.store, desk.lab)
    moved.steps(DIAMOND)
    assert "4 ran" in moved.run().stderr


@pytest.mark.judge
def test_secrets_stay_out_of_tickets(desk):
    """A secret's bytes are read on the node from where the user has them; no file of the run holds them."""
    desk.write("../secret.txt", "hush-hush")
    desk.steps(
        "steps:\n  ask:\n    secrets: [key]\n    outputs: {o: o.txt}\n"
        '    run: test "$(cat /run/secrets/key)" = hush-hush; echo yes > {{ outputs.o }}; false\n'
    )
    done = desk.repro("run", "--executor", "slurm", "--secret", "id=key,src=../secret.txt")
    assert 1 == done.returncode, done.stderr
    assert "exit status 1" in done.stderr
    kept = [path for path in (desk.root / ".repro/runs").rglob("*") if path.is_file()]
    assert any(path.parent.name == "tickets" for path in kept)
    script = b"= hush-hush;"  # the command, which is no secret
    assert [] == [path for path in kept if b"hush-hush" in path.read_bytes().replace(script, b"")]


def test_no_slurm_here(desk, tmp_path):
    """On a machine without Slurm the error says where to work."""
    desk.steps(DIAMOND)
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    done = subprocess.run(
        [sys.executable, "-m", "repro", "run", "--executor", "slurm"],
        cwd=desk.root,
        env={**desk.env, "PATH": str(python.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 125 == done.returncode, done.stderr
    assert "work on a login node" in done.stderr


@pytest.mark.judge
def test_other_executors_as_they_are(desk, tmp_path):
    """Another plugin of Snakemake's is used in its stock form, with a word that nobody has tried it."""
    plugin = tmp_path / "plugins/snakemake_executor_plugin_tryout/__init__.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("from snakemake.executors.local import Executor, common_settings\n")
    desk.write("profiles/tryout.yaml", "executor: tryout\njobs: 2\n")
    desk.steps(DIAMOND)
    argv = [sys.executable, "-m", "repro", "run", "--profile", "tryout"]
    env = {**desk.env, "PYTHONPATH": str(plugin.parent.parent)}
    done = subprocess.run(argv, cwd=desk.root, env=env, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr + desk.logs()
    assert "executor tryout is Snakemake's plugin as it is: untested" in done.stderr
    assert "4 ran" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--executor", "slurm", "--cpus", "2"), "--cpus is what this host gives"),
        (("--executor", "slurm", "--profile", "other"), "there is no profile profiles/other.yaml"),
        (("--executor", "local", "--detach"), "--detach is for runs on a cluster"),
    ],
)
def test_options_that_do_not_go_together(desk, options, said):
    """What makes no sense on a cluster is refused before anything happens."""
    desk.steps(DIAMOND)
    done = desk.repro("run", *options)
    assert 2 == done.returncode, done.stderr
    assert said in done.stderr


def test_executor_that_is_not_installed(desk):
    """A plugin that is not there is named, with the package that has it."""
    desk.steps(DIAMOND)
    done = desk.repro("run", "--executor", "lsf")
    assert 2 == done.returncode, done.stderr
    assert "pip install 'snakemake-executor-plugin-lsf'" in done.stderr


@pytest.mark.judge
def test_fetching_steps_are_locked(desk):
    """What a step with fetch brings is locked at first, and something else later is refused, on nodes as here."""
    desk.steps("steps: {get: {fetch: true, outputs: {o: o.txt}, run: 'echo one > {{ outputs.o }}'}}\n")
    desk.run()
    assert '"o.txt"' in (desk.root / "workflow.lock").read_text()
    desk.steps("steps: {get: {fetch: true, outputs: {o: o.txt}, run: 'echo two > {{ outputs.o }}'}}\n")
    done = desk.repro("run", "--executor", "slurm")
    assert 1 == done.returncode, done.stderr
    assert "repro lock --upgrade o.txt" in done.stderr
    assert "one\n" == (desk.root / "o.txt").read_text()


@pytest.mark.judge
def test_remote_inputs_are_at_hand(desk):
    """The driver has remote inputs in the cache before nodes want them, as the lock says."""
    desk.write("../data/a.txt", "from elsewhere\n")
    head = "inputs: {data/a.txt: ../data/a.txt}\n"
    desk.steps(
        head
        + "steps: {use: {inputs: {a: data/a.txt}, outputs: {o: o.txt}, run: 'cat {{ inputs.a }} > {{ outputs.o }}'}}\n"
    )
    desk.run()
    assert "from elsewhere\n" == (desk.root / "o.txt").read_text()
    assert "0 ran, 1 cached" in desk.repro("run").stderr


@pytest.mark.judge
def test_first_failure_ends_the_run(desk):
    """Without --keep-going nothing more starts once a job has failed; what waits in the queue is cancelled."""
    desk.steps(
        "steps:\n  one:\n    foreach: {x: [1, 2, 3, 4, 5, 6]}\n"
        '    outputs: {o: "out/{{ x }}.txt"}\n'
        "    run: test {{ x }} != 1; sleep 4; echo {{ x }} > {{ outputs.o }}\n"
    )
    done = desk.repro("run", "--executor", "slurm")
    assert 1 == done.returncode, done.stderr + desk.logs()
    assert ["one[x=1]"] == [event["job"] for event in desk.events("job-failed")]
    skipped = desk.events("job-skipped")
    assert len(skipped) >= 2
    assert {(False, "one[x=1]")} == {(event["needed"], event["because"]) for event in skipped}
    assert [] == desk.lab.queue()
    assert 6 == len(skipped) + len(desk.events("job-finished")) + 1
