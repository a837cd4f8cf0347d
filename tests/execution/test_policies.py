"""What becomes of failures: attempts, pauses, time limits, what still starts; and what jobs may ask for."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest

from repro.errors import WorkflowError
from repro.execution.room import free_space

THREE = """
steps:
  bad: {outputs: {o: bad.txt}, run: "sleep 0.5; exit 3"}
  child: {inputs: {x: {from: bad.o}}, outputs: {o: child.txt}, run: "cat {{ inputs.x }} > {{ outputs.o }}"}
  good:
    foreach: {n: ["1", "2", "3", "4"]}
    outputs: {o: "good/{{ n }}"}
    run: "sleep 0.3; echo {{ n }} > {{ outputs.o }}"
"""


def found(pipeline, kind):
    """Return the last run's events of this kind."""
    return [event for event in pipeline.events if event.kind == kind]


def test_first_failure_ends_the_run(pipeline):
    """Without `keep_going` running jobs end and no other starts; what needs the failed job is told apart from the rest."""
    finished = pipeline.steps(THREE).run()
    assert ("failed", 1) == (finished.status, finished.failed)
    assert 6 == finished.ran + finished.failed + finished.skipped
    assert 2 >= finished.ran
    skipped = {event.job: (event.because, event.needed) for event in found(pipeline, "job-skipped")}
    assert ("bad", True) == skipped.pop("child")
    assert {("bad", False)} == set(skipped.values())
    pipeline.steps(THREE.replace("exit 3", "echo x > bad.txt"))
    again = pipeline.run()
    assert ("succeeded", finished.ran) == (again.status, again.cached)


def test_keep_going(pipeline):
    """With `keep_going` only what needs the failed job is skipped."""
    pipeline.more = {"keep_going": True}
    finished = pipeline.steps(THREE).run()
    assert (4, 1, 1) == (finished.ran, finished.failed, finished.skipped)


def test_forced_steps_run(pipeline):
    """Jobs of a forced step run though nothing changed; what needs them is cached where they make the same bytes."""
    text = THREE.replace("exit 3", "echo x > bad.txt")
    pipeline.steps(text).run()
    pipeline.more = {"forced": frozenset({"bad"})}
    states = pipeline.assess()
    assert ("run", "pending", "cached") == tuple(states[name].status for name in ("bad", "child", "good[n=1]"))
    assert (1, 5) == (pipeline.run().ran, len(pipeline.jobs("job-cached")))
    assert ["bad"] == pipeline.jobs("job-finished")


RETRY = """
steps:
  s:
    outputs: {o: out.txt}
    checkpoint: state/
    retries: {count: 3, pause: 0.4, factor: 2}
    resources: {memory: "{{ 100 * attempt }}MB"}
    run: |
      echo try >> state/tries
      echo attempt $(wc -l < state/tries) has {{ resources.memory }}
      test $(wc -l < state/tries) -ge NEEDED
      cp state/tries {{ outputs.o }}
"""


def test_failed_job_is_tried_again(pipeline):
    """Attempts follow after growing pauses, with more memory and what the checkpoint holds; each keeps its log."""
    pipeline.steps(RETRY.replace("NEEDED", "3"))
    times = []
    pipeline.listener = lambda event: (
        times.append(time.monotonic()) if event.kind in ("job-retried", "job-started") else None
    )
    finished = pipeline.run("r")
    assert ("succeeded", 1, 0) == (finished.status, finished.ran, finished.failed)
    assert [1, 2, 3] == [event.attempt for event in found(pipeline, "job-started")]
    retried = found(pipeline, "job-retried")
    assert [(1, 1, 0.4), (2, 1, 0.8)] == [(event.attempt, event.exit_status, event.pause) for event in retried]
    pauses = [after - before for before, after in list(pairwise(times))[1::2]]
    assert all(pause <= took < pause + 5 for pause, took in zip((0.4, 0.8), pauses, strict=True)), pauses
    assert "attempt 1 has 100000000\n" == pipeline.text(retried[0].log)
    assert "attempt 3 has 300000000\n" == pipeline.text(".repro/runs/r/logs/s.log")
    record = found(pipeline, "job-finished")[0].record
    assert {"cpus": 1, "memory": 300_000_000} == record.resources
    assert not list(pipeline.root.glob(".repro/checkpoints/*"))


def test_attempts_come_to_an_end(pipeline):
    """A job that always fails is given up after its retries; its checkpoint is there for the next run."""
    finished = pipeline.steps(RETRY.replace("NEEDED", "6").replace("0.4", "0")).run()
    assert ("failed", 1) == (finished.status, finished.failed)
    failure = pipeline.failure("s")
    assert failure.message.startswith("attempt 4: exit status 1; its last lines:\n    attempt 4 has 400000000")
    assert "repro debug s" == failure.debug
    assert 1 == pipeline.run().ran
    assert 6 == pipeline.text("out.txt").count("try")


def test_checkpoint_belongs_to_one_key(pipeline):
    """A job that was edited starts without the checkpoint of its earlier self."""
    pipeline.steps(RETRY.replace("NEEDED", "3").replace("count: 3", "count: 1").replace("0.4", "0")).run()
    pipeline.steps(RETRY.replace("NEEDED", "1")).run()
    assert 1 == pipeline.text("out.txt").count("try")


def test_what_cannot_run_is_not_tried_again(pipeline):
    """A program that the image lacks for a script is missing at every attempt."""
    pipeline.steps("steps: {s: {outputs: {y: y.txt}, script: s.R, retries: 3}}").write({"s.R": "1\n"}).run()
    assert [] == found(pipeline, "job-retried")
    assert 127 == pipeline.failure("s").exit_status


def test_stop_while_a_job_waits_for_its_next_attempt(pipeline):
    """A run that is stopped in a pause ends at once, as interrupted."""
    pipeline.steps("steps: {s: {outputs: {y: y.txt}, run: 'false', retries: {count: 3, pause: 1h}}}")
    made = []
    start = pipeline.executor

    def executor(launcher):
        made.append(start(launcher))
        return made[-1]

    pipeline.executor = executor
    pipeline.listener = lambda event: made[-1].stop() if event.kind == "job-retried" else None
    finished = pipeline.run()
    assert ("interrupted", 0, 0) == (finished.status, finished.ran, finished.failed)


def test_failure_elsewhere_ends_the_waiting(pipeline):
    """A job in its pause counts as failed when another failure ends the run."""
    pipeline.steps(
        "steps:\n  a: {outputs: {y: y.txt}, run: 'false', retries: {count: 3, pause: 1h}}\n"
        "  b: {outputs: {y: z.txt}, run: 'sleep 1; false'}\n"
    )
    finished = pipeline.run()
    assert ("failed", 2) == (finished.status, finished.failed)


def test_time_limit(pipeline):
    """A job that takes longer than its time is asked to end, then killed; the message says so, and it is tried again."""
    pipeline.steps(
        "steps:\n  s:\n    outputs: {o: o.txt}\n    logs: {l: s.log}\n    retries: {count: 1, pause: 0}\n"
        "    resources: {time: 2s}\n"
        "    run: \"trap 'echo asked >> s.log; exit 0' TERM; while true; do sleep 0.1; done\"\n"
    )
    started = time.monotonic()
    finished = pipeline.run()
    assert 4 <= time.monotonic() - started < 30
    assert 1 == finished.failed
    assert [1, 2] == [event.attempt for event in found(pipeline, "job-started")]
    failure = pipeline.failure("s")
    assert "attempt 2: it was ended at its time limit of 0:00:02; " in failure.message
    assert "resources: {time: ...}" in failure.hint
    assert "asked\n" == pipeline.text("s.log")


def test_job_that_ignores_the_end_of_its_time_is_killed(pipeline, monkeypatch):
    """SIGKILL follows for a command that does not go by itself."""
    monkeypatch.setattr("repro.execution.contained.GRACE", 0.5)
    pipeline.steps("steps: {s: {outputs: {o: o.txt}, resources: {time: 1s}, run: 'trap \"\" TERM; sleep 600'}}")
    started = time.monotonic()
    assert 1 == pipeline.run().failed
    assert 20 > time.monotonic() - started
    assert 137 == pipeline.failure("s").exit_status


def test_time_within_the_limit(pipeline):
    """A job that is done in time is not touched."""
    pipeline.steps("steps: {s: {outputs: {o: o.txt}, resources: {time: 60s}, run: 'echo x > o.txt'}}")
    assert 1 == pipeline.run().ran


def test_named_resources_limit_what_runs_together(pipeline):
    """Jobs that need the one licence never run at the same time."""
    pipeline.more = {"named": {"licences": 1}}
    pipeline.steps(
        "steps:\n  s:\n    foreach: {k: [a, b, c]}\n    outputs: {o: 'o/{{ k }}'}\n    resources: {licences: 1}\n"
        "    run: 'sleep 0.3; echo {{ resources.licences }} > {{ outputs.o }}'\n"
    )
    pipeline.run()
    order = [event.kind for event in pipeline.events if event.kind in ("job-started", "job-finished")]
    assert ["job-started", "job-finished"] * 3 == order
    assert "1\n" == pipeline.text("o/b")


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ("licences: 2", r"2 of licences asked for; this run has 1"),
        ("gpus: 1", r"1 of gpus asked for; this run has 0"),
        ("memory: 64GB", r"64.0 GB of memory are asked for; this run has 1.1 GB"),
        ("disk: 9999TB", r"of disk are asked for; .* has .* GB free"),
        ("memory: '{{ 0.7 * (k | int) }}GB'", r"1.4 GB of memory are asked for"),
    ],
)
def test_more_than_there_is_is_refused(pipeline, resources, said):
    """What the run does not have is an error before anything runs, that says where it is asked for."""
    pipeline.more = {"named": {"licences": 1}}
    pipeline.steps(
        "steps:\n  first: {outputs: {o: first.txt}, run: echo x > first.txt}\n  s:\n    foreach: {k: ['1', '2']}\n"
        f"    outputs: {{o: 'o/{{{{ k }}}}'}}\n    resources: {{{resources}}}\n    run: echo x > {{{{ outputs.o }}}}\n"
    )
    with pytest.raises(WorkflowError) as raised:
        pipeline.run()
    assert 1 == len(raised.value.problems)
    problem = raised.value.problems[0]
    assert f"steps.s.resources.{resources.partition(':')[0]}" == problem.path
    assert 10 == problem.where.line
    assert re.search(said, problem.message)
    assert not (pipeline.root / "first.txt").exists()


def test_memory_that_grows_beyond_the_run_is_all_there_is(pipeline):
    """A later attempt gets no more than the run has, and runs."""
    pipeline.memory = 150_000_000
    pipeline.steps(RETRY.replace("NEEDED", "2").replace("0.4", "0"))
    assert 1 == pipeline.run().ran
    record = found(pipeline, "job-finished")[0].record
    assert 150_000_000 == record.resources["memory"]


def test_shared_memory_has_the_size_asked_for(pipeline):
    """/dev/shm is as big as `shm` says."""
    pipeline.steps(
        "steps: {s: {outputs: {o: o.txt}, resources: {shm: 8MiB}, run: 'stat -f -c %b,%S /dev/shm > o.txt'}}"
    ).run()
    blocks, size = map(int, pipeline.text("o.txt").split(","))
    assert 8 << 20 == blocks * size


def test_longest_chain_starts_first(pipeline):
    """What took longest in the last run, with all that waits for it, starts before what comes first in the file."""
    pipeline.cpus = 1
    text = (
        "steps:\n  a: {outputs: {o: a.txt}, run: 'echo 1 > a.txt'}\n"
        "  b: {outputs: {o: b.txt}, run: 'sleep 1; echo 1 > b.txt'}\n"
    )
    pipeline.steps(text).run()
    pipeline.steps(text.replace("echo 1", "echo 2")).run()
    assert ["b", "a"] == [event.job for event in found(pipeline, "job-started")]


def test_free_space_of_a_folder_to_come(tmp_path):
    """A folder that is not there yet has the space of the one that it will be in."""
    assert 0 < free_space(tmp_path / "a" / "b")
