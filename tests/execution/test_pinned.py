"""Jobs that read inputs from elsewhere than the project: when they are fetched, how they are seen, what fails."""

from __future__ import annotations

import json
import threading
import uuid
from contextlib import closing

import pytest

from repro.errors import DataError
from repro.files import remove_tree
from repro.runtime.container import Launcher
from tests.execution.driver import Pipeline, mode

COPY = """
steps:
  s:
    inputs: {x: ref/x.txt}
    outputs: {y: out/y.txt}
    run: cat {{ inputs.x }} > {{ outputs.y }}
  t:
    inputs: {y: {from: s.y}}
    outputs: {z: out/z.txt}
    run: cat {{ inputs.y }} > {{ outputs.z }}
  other:
    outputs: {o: out/o.txt}
    run: echo other > {{ outputs.o }}
"""
MEDDLE = """
steps:
  s:
    inputs: {x: ref/x.txt, d: db/}
    outputs: {y: out/y.txt}
    run: |
      for c in 'echo x > ref/x.txt' 'rm -f ref/x.txt' 'chmod 777 ref/x.txt' 'mv ref/x.txt b' \\
        'echo x > db/a' 'echo x > db/new' 'rm -rf db/sub' 'mv db b'
      do if bash -c "$c"; then echo "$c" >> {{ outputs.y }}; fi; done
      cat ref/x.txt db/a db/sub/b >> {{ outputs.y }}
      echo scratch > ref/beside
"""


def kinds(pipeline):
    """Return the kinds of the last run's events, in order."""
    return [event.kind for event in pipeline.events]


def test_fetched_for_the_jobs_that_run(pipeline):
    """An input is fetched once its job runs, and told of before the first job; a no-op fetches and tells nothing."""
    pinned = pipeline.steps(COPY).elsewhere()
    pinned.far = {"ref/x.txt": b"far\n", "unread.txt": b"-"}
    assert 3 == pipeline.run().ran
    assert "far\n" == pipeline.text("out/z.txt")
    assert ["ref/x.txt"] == pinned.fetched
    assert not (pipeline.root / "ref").exists()
    told = [event for event in pipeline.events if event.kind == "input-used"]
    assert [("ref/x.txt", "s3://bucket/ref/x.txt", "v1")] == [(event.path, event.uri, event.version) for event in told]
    assert kinds(pipeline).index("input-used") < kinds(pipeline).index("job-started")
    pinned.fetched.clear()
    assert 3 == pipeline.run().cached
    assert [] == pinned.fetched
    assert "input-used" not in kinds(pipeline)
    assert {"cached"} == {state.status for state in pipeline.assess().values()}


def test_another_place_reruns_nothing_and_other_bytes_do(pipeline):
    """What counts is the digest: a file that moved from near to far is the same, another content is not."""
    pinned = pipeline.steps(COPY).elsewhere()
    place = pipeline.root.parent / "near.txt"
    place.write_text("same\n")
    pinned.lock("ref/x.txt", place)
    assert 3 == pipeline.run().ran
    pipeline.elsewhere().far = {"ref/x.txt": b"same\n"}
    assert 3 == pipeline.run().cached
    pipeline.elsewhere().far = {"ref/x.txt": b"other\n"}
    assert ["inputs.x ref/x.txt"] == [change.part for change in pipeline.assess()["s"].changes]
    assert (2, 1) == (pipeline.run().ran, len(pipeline.jobs("job-cached")))


def test_what_cannot_be_fetched_fails_its_job_and_what_needs_it(pipeline):
    """The error's message and fix are the job's; others run; once it can be had, the rest is done."""
    pinned = pipeline.steps(COPY).elsewhere()
    pinned.far, pinned.lost = {"ref/x.txt": b"far\n"}, {"ref/x.txt"}
    finished = pipeline.run()
    assert (1, 1, 1) == (finished.ran, finished.failed, finished.skipped)
    failure = pipeline.failure("s")
    assert (None, "ref/x.txt cannot be had: s3://bucket/ref/x.txt is gone", "ask who keeps it", "") == (
        failure.exit_status, failure.message, failure.hint, failure.log
    )  # fmt: skip
    assert ["other"] == pipeline.jobs("job-finished")
    pinned.lost = set()
    assert (2, 1) == ((finished := pipeline.run()).ran, finished.cached)


def test_seen_read_only_at_its_path(pipeline):
    """A file and a folder from elsewhere are there under their project paths, and cannot be changed or removed."""
    pinned = pipeline.steps(MEDDLE).elsewhere()
    pinned.far = {"ref/x.txt": b"x\n", "db/": {"a": b"a\n", "sub/b": b"b\n"}}
    finished = pipeline.run()
    assert "succeeded" == finished.status, pipeline.failure("s")
    assert "x\na\nb\n" == pipeline.text("out/y.txt")
    assert (b"x\n", b"a\n") == tuple((pinned.cache / name).read_bytes() for name in ("ref%x.txt", "db/a"))
    assert ["ref/beside"] == list(pipeline.events[-2].record.dropped)


def test_seen_read_only_by_an_ordinary_user(ordinary, rootfs):
    """So they are where the container's root is the caller's one ID, also in place, as somebody else's files."""
    root = ordinary.home / f"pinned-{uuid.uuid4().hex[:8]}"
    near = ordinary.home / f"near-{uuid.uuid4().hex[:8]}"
    more = root.with_name(f"{root.name}.json")
    (near / "sub").mkdir(parents=True)
    (near / "a").write_text("a\n")
    (near / "sub/b").write_text("b\n")
    root.mkdir()
    Pipeline(root, rootfs).steps(MEDDLE)
    more.write_text(json.dumps({"far": {"ref/x.txt": "x\n"}, "near": {"db/": str(near)}}))
    ordinary.give(root)
    try:
        done = ordinary.run(ordinary.python, "-m", "tests.execution.driver", str(root), str(rootfs), "first")
        assert 0 == done.returncode, done.stdout + done.stderr
        assert "x\na\nb\n" == (root / "out/y.txt").read_text()
        assert ["a", "sub"] == sorted(path.name for path in near.iterdir())
    finally:
        for path in (root, near, more, root.with_name(f"{root.name}-cache")):
            remove_tree(path)


def test_part_of_a_folder(pipeline):
    """A job that reads a file of a folder from elsewhere gets that file alone."""
    pipeline.steps(
        "steps:\n  s:\n    inputs: {x: db/sub/b}\n    outputs: {y: y.txt}\n    run: cat db/sub/b > y.txt; ls db >> y.txt\n"
    )
    pinned = pipeline.elsewhere()
    pinned.far = {"db/": {"a": b"a\n", "sub/b": b"b\n"}}
    assert 1 == pipeline.run().ran
    assert "b\nsub\n" == pipeline.text("y.txt")
    assert ["db/sub/b"] == pinned.fetched


def test_script_from_elsewhere(pipeline):
    """Code may come from elsewhere, too."""
    pipeline.steps("steps: {s: {outputs: {y: y.txt}, script: s.sh}}")
    pipeline.elsewhere().far = {"s.sh": b"echo far > y.txt\n"}
    assert 1 == pipeline.run().ran
    assert "far\n" == pipeline.text("y.txt")


@pytest.mark.parametrize("fingerprint", ["sha256", "stat"])
def test_changed_in_place_while_the_job_runs(pipeline, fingerprint):
    """What is bound in place and changes under a job fails it; the next run refuses what is not as it was locked."""
    pipeline.steps(COPY.replace("> {{ outputs.y }}", "> {{ outputs.y }}; sleep 1", 1))
    pinned = pipeline.elsewhere()
    place = pipeline.root.parent / "near.txt"
    place.write_text("one\n")
    pinned.lock("ref/x.txt", place, fingerprint)

    def meddle(event):
        if event.kind == "job-started" and event.job == "s":
            threading.Timer(0.5, lambda: place.write_text("two\n")).start()

    pipeline.listener = meddle
    assert 1 == pipeline.run().failed
    assert "input ref/x.txt changed while the job ran" == pipeline.failure("s").message
    assert not (pipeline.root / "out/y.txt").exists()
    pipeline.listener = lambda event: None
    with pytest.raises(DataError, match=r"ref/x\.txt is not as it was locked"):
        pipeline.assess()
    finished = pipeline.run()
    assert (1, 1) == (finished.failed, finished.cached)
    assert "repro lock --upgrade ref/x.txt" == pipeline.failure("s").hint


def test_fetched_is_not_checked_again(pipeline):
    """What is in the cache was verified when it came: after the job nobody asks again; of what is in place he does."""
    pipeline.steps(COPY)
    pinned = pipeline.elsewhere()
    pinned.far = {"ref/x.txt": b"far\n"}
    pipeline.run()
    far = pinned.checked["ref/x.txt"]
    place = pipeline.root.parent / "near.txt"
    place.write_text("near\n")
    near = pipeline.elsewhere()
    near.lock("ref/x.txt", place)
    pipeline.run()
    assert far + 1 == near.checked["ref/x.txt"]


def test_asserted_is_said(pipeline):
    """A digest that is not of the bytes is called asserted by the plan, in the key and in the record."""
    pipeline.steps(COPY)
    pinned = pipeline.elsewhere()
    place = pipeline.root.parent / "near.txt"
    place.write_text("near\n")
    pinned.lock("ref/x.txt", place, "stat")
    pipeline.run()
    record = next(event.record for event in pipeline.events if event.kind == "job-finished" and event.record.job == "s")
    assert ("stat",) == tuple(file.asserted for file in record.inputs["x"])
    assert "stat" == record.key_parts["inputs"]["x"][0][2]
    assert "unchanged; ref/x.txt asserted (stat)" == pipeline.assess()["s"].why
    assert "unchanged" == pipeline.assess()["t"].why
    pinned.lock("ref/x.txt", place)
    assert "asserted (stat) -> " in pipeline.assess()["s"].why


def test_two_owners_of_one_folder_are_refused(pipeline):
    """A project folder that has an input from elsewhere in it cannot be bound together with that."""
    pipeline.steps(COPY.replace("{x: ref/x.txt}", "{x: ref/x.txt, all: ref/}")).write({"ref/own.txt": "own\n"})
    pipeline.elsewhere().far = {"ref/x.txt": b"far\n"}
    assert 1 == pipeline.run().failed
    assert "input ref/x.txt comes from elsewhere than ref/, which it lies in" == pipeline.failure("s").message


def test_undeclared_input_from_elsewhere_is_named(pipeline):
    """A step that wants an input from elsewhere and does not declare it is told to."""
    pipeline.steps("steps:\n  s:\n    outputs: {y: y.txt}\n    run: cat ref/x.txt > y.txt\n")
    pipeline.elsewhere().far = {"ref/x.txt": b"far\n"}
    pipeline.run()
    assert pipeline.failure("s").message.startswith("the step reads ref/x.txt, which it does not declare")
    assert pipeline.failure("s").hint.endswith("x: ref/x.txt")


def test_stopped_while_it_fetches(pipeline):
    """A run that is stopped while a job's inputs come ends interrupted, and starts no container."""
    pipeline.steps(COPY.replace("{x: ref/x.txt}", "{x: ref/x.txt, d: db/}"))
    pinned = pipeline.elsewhere()
    pinned.far, pinned.slow = {"ref/x.txt": b"far\n", "db/": {"a": b"a\n"}}, 0.5
    with closing(Launcher(mode())) as launcher:
        executor = pipeline.executor(launcher)

        def stop(event):
            if event.kind == "job-started" and event.job == "s":
                threading.Timer(0.1, executor.stop).start()

        pipeline.listener = stop
        assert "interrupted" == executor.run("stopped").status
    assert ["ref/x.txt"] == pinned.fetched
    assert [] == pipeline.jobs("job-failed")
    assert not pipeline.executor(None).state.log("stopped", "s").exists()
