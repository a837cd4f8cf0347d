"""What a step may ask for in its world: companions, logs, a checkpoint, the image's entrypoint, another user."""

from __future__ import annotations

import os

import pytest


def test_companions_come_along(pipeline):
    """What lies beside an input under its name is there too; its bytes are in the key, its path is no input's."""
    pipeline.steps(
        "steps: {s: {inputs: {x: {path: a.bam, with: [.bai]}}, outputs: {o: o.txt}, "
        "run: 'ls > o.txt; cat a.bam.bai >> o.txt; echo {{ inputs.x }} >> o.txt'}}"
    ).write({"a.bam": "bam\n", "a.bam.bai": "index\n", "a.bam.other": ""})
    assert 1 == pipeline.run().ran
    assert "a.bam\na.bam.bai\no.txt\nindex\na.bam\n" == pipeline.text("o.txt")
    pipeline.write({"a.bam.bai": "another index\n"})
    assert ["inputs.x a.bam.bai"] == [change.part for change in pipeline.assess()["s"].changes]


def test_companions_of_another_step(pipeline):
    """Companions that a step makes are waited for as its output is."""
    pipeline.steps(
        "steps:\n  a: {outputs: {b: x/a.bam, i: x/a.bam.bai}, run: 'echo 1 > x/a.bam; echo 2 > x/a.bam.bai'}\n"
        "  b: {inputs: {x: {from: a.b, with: .bai}}, outputs: {o: o.txt}, run: 'cat {{ inputs.x }}.bai > o.txt'}\n"
    )
    assert 2 == pipeline.run().ran
    assert "2\n" == pipeline.text("o.txt")


LOGS = """
steps:
  s:
    outputs: {o: o.txt}
    logs: {l: logs/s.log}
    run: |
      echo said > {{ logs.l }}
      echo x > {{ outputs.o }}
      END
"""


@pytest.mark.parametrize(("end", "failed"), [("true", 0), ("false", 1), ("rm o.txt", 1)])
def test_logs_are_kept_in_any_case(pipeline, end, failed):
    """A declared log file gets out of a job that succeeds, fails, or lacks an output; it is nothing undeclared."""
    finished = pipeline.steps(LOGS.replace("END", end)).run()
    assert failed == finished.failed
    assert "said\n" == pipeline.text("logs/s.log")
    assert os.getuid() == (pipeline.root / "logs/s.log").stat().st_uid
    assert "dropped" not in pipeline.text(".repro/runs/run-1/logs/s.log")


def test_log_is_replaced_and_decides_nothing(pipeline):
    """Each attempt's log takes the place of the last; one that is deleted or missing reruns nothing and fails nothing."""
    pipeline.steps(LOGS.replace("END", "true")).run()
    (pipeline.root / "logs/s.log").unlink()
    assert 1 == pipeline.run().cached
    pipeline.steps(LOGS.replace("END", "echo more >> {{ logs.l }}")).run()
    assert "said\nmore\n" == pipeline.text("logs/s.log")
    pipeline.steps(LOGS.replace("END", "rm {{ logs.l }}")).run()
    assert "said\nmore\n" == pipeline.text("logs/s.log")


@pytest.mark.parametrize("link", ["ln -sf /etc/passwd logs/s.log", "rm -r logs; ln -s /tmp logs; touch logs/s.log"])
def test_log_that_is_a_link_stays_inside(pipeline, link):
    """No link that a job makes leads its log out of its world."""
    assert 1 == pipeline.steps(LOGS.replace("END", link)).run().ran
    assert not (pipeline.root / "logs").exists()


def test_checkpoint_is_no_output(pipeline):
    """The checkpoint's folder is empty at first, takes files, and is gone after success; the project never sees it."""
    text = "steps: {s: {outputs: {o: o.txt}, checkpoint: 'cp/', run: 'ls -A cp > o.txt; mkdir cp/d; echo 1 > cp/d/f'}}"
    assert 1 == pipeline.steps(text).run().ran
    assert "" == pipeline.text("o.txt")
    assert not (pipeline.root / "cp").exists()
    assert not list(pipeline.root.glob(".repro/checkpoints/*"))
    record = next(event.record for event in pipeline.events if event.kind == "job-finished")
    assert () == record.dropped


def test_entrypoint_of_the_image(pipeline):
    """With `entrypoint: image` the image's words come first; otherwise they are nothing to a step."""
    pipeline.image_more = {"entrypoint": ("/usr/bin/env", "WORD=there")}
    text = "steps: {s: {outputs: {o: o.txt}, MORE, run: [sh, -c, 'echo $WORD > o.txt']}}"
    pipeline.steps(text.replace("MORE", "entrypoint: image")).run()
    assert "there\n" == pipeline.text("o.txt")
    pipeline.steps(text.replace(", MORE", ""))
    assert "entrypoint is gone" == pipeline.assess()["s"].why
    pipeline.run()
    assert "\n" == pipeline.text("o.txt")


WHO = """
steps:
  s:
    inputs: {x: data/x.txt}
    outputs: {o: out/o.txt, d: out/d/}
    logs: {l: log.txt}
    checkpoint: cp/
    secrets: [token]
    user: USER
    run: |
      echo "$(id -u):$(id -g)" > {{ outputs.o }}
      mkdir {{ outputs.d }}; chmod 700 {{ outputs.d }}; cat {{ inputs.x }} /run/secrets/token > {{ outputs.d }}f
      echo log > {{ logs.l }}; touch cp/f "$HOME/f" /tmp/f; test -r $REPRO_JOB
"""


@pytest.mark.parametrize(
    ("user", "given", "shown"), [("1234", "", "1234:0"), ("image", "1000:100", "1000:100"), ("image", "", "0:0")]
)
def test_another_user(pipeline, user, given, shown):
    """A job runs as the user that it names or its image does; what it makes belongs to the caller all the same."""
    pipeline.image_more = {"user": given}
    pipeline.secrets = {"token": b"hidden"}
    pipeline.steps(WHO.replace("USER", user)).write({"data/x.txt": "one\n"}).run()
    assert [] == pipeline.jobs("job-failed"), pipeline.failure("s")
    assert f"{shown}\n" == pipeline.text("out/o.txt")
    assert "one\nhidden" == pipeline.text("out/d/f")
    for path in ("out/o.txt", "out/d", "out/d/f", "log.txt"):
        assert os.getuid() == (pipeline.root / path).stat().st_uid


def test_user_that_the_image_lacks(pipeline):
    """A name that the image does not have is an error that says where it was asked for."""
    pipeline.image_more = {"user": "nobody-here"}
    pipeline.steps("steps: {s: {outputs: {o: o.txt}, user: image, run: 'echo > o.txt'}}").run()
    assert "the image has no user 'nobody-here'" in pipeline.failure("s").message
    assert "workflow.yaml:5" in pipeline.failure("s").message
