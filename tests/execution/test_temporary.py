"""Temporary outputs: when they go, what stays known of them, and when they are made again."""

from __future__ import annotations

import os

import pytest

from repro.execution.state import State

CHAIN = """
steps:
  a:
    inputs: {x: data/x.txt}
    outputs: {o: {path: work/a.txt, temporary: true}, kept: kept.txt}
    run: cat {{ inputs.x }} > {{ outputs.o }}; echo 1 > {{ outputs.kept }}
  b:
    inputs: {x: {from: a.o}}
    outputs: {d: {path: work/b/, temporary: true}}
    run: mkdir {{ outputs.d }}; head -n 1 {{ inputs.x }} > {{ outputs.d }}f
  c:
    inputs: {d: {from: b.d}}
    outputs: {o: c.txt}
    run: cat {{ inputs.d }}f > {{ outputs.o }}
  e:
    inputs: {x: {from: a.o}}
    outputs: {o: e.txt}
    run: wc -l < {{ inputs.x }} > {{ outputs.o }}
"""


@pytest.fixture
def chain(pipeline):
    """A project in which two outputs are temporary, run once."""
    pipeline.steps(CHAIN).write({"data/x.txt": "one\ntwo\n"})
    assert 4 == pipeline.run().ran
    return pipeline


def left(pipeline):
    """Return the project's outputs that are there."""
    paths = ("work/a.txt", "work/b", "kept.txt", "c.txt", "e.txt")
    return [path for path in paths if (pipeline.root / path).exists()]


def test_removed_once_all_readers_are_done(chain):
    """Files and folders go, other outputs of the same job stay; the next run does nothing."""
    assert ["kept.txt", "c.txt", "e.txt"] == left(chain)
    assert not (chain.root / ".repro/removed").exists()
    assert {"cached"} == {state.status for state in chain.assess().values()}
    assert 4 == chain.run().cached
    assert [] == chain.asked


def test_there_while_a_reader_runs(pipeline):
    """A reader that ends early leaves the file to the others."""
    text = CHAIN.replace("run: wc -l", "run: sleep 1; wc -l")
    pipeline.steps(text).write({"data/x.txt": "one\ntwo\n"})
    assert (4, 0) == (pipeline.run().ran, pipeline.run().ran)
    assert "2\n" == pipeline.text("e.txt")


def test_reader_that_runs_again_brings_back_what_it_reads(chain):
    """A reader with another command has what it reads, and what that is made from, made first; the rest is cached."""
    chain.steps(CHAIN.replace("run: cat {{ inputs.d }}f", "run: tail -n 1 {{ inputs.d }}f"))
    states = chain.assess()
    assert {"a": "run", "b": "run", "c": "run", "e": "pending"} == {name: one.status for name, one in states.items()}
    assert "b needs its temporary work/a.txt again" == states["a"].why
    finished = chain.run()
    assert ("succeeded", 3, 1) == (finished.status, finished.ran, finished.cached)
    assert ["e"] == chain.jobs("job-cached")
    assert ["kept.txt", "c.txt", "e.txt"] == left(chain)
    assert 4 == chain.run().cached


def test_missing_result_brings_back_what_it_is_made_of(chain):
    """A final output that was deleted is made again, with all that it takes."""
    (chain.root / "e.txt").unlink()
    finished = chain.run()
    assert ["a", "e"] == chain.jobs("job-finished")
    assert (2, 2) == (finished.ran, finished.cached)
    assert "2\n" == chain.text("e.txt")


def test_need_that_shows_only_in_the_run(chain):
    """A reader whose other input changes has its temporary input made again in the midst of the run."""
    text = CHAIN + (
        "  s: {inputs: {k: data/k.txt}, outputs: {o: s.txt}, run: 'cp data/k.txt s.txt'}\n"
        "  t: {inputs: {x: {from: a.o}, s: {from: s.o}}, outputs: {o: t.txt}, run: 'cat work/a.txt s.txt > t.txt'}\n"
    )
    chain.steps(text).write({"data/k.txt": "k\n"})
    assert 3 == chain.run().ran  # s, t, and a for t
    chain.write({"data/k.txt": "other\n"})
    assert {"s": "run", "t": "pending", "a": "cached"} == {
        name: state.status for name, state in chain.assess().items() if name in "sta"
    }
    finished = chain.run()
    assert ["a", "s", "t"] == chain.jobs("job-finished")
    assert ("succeeded", 3, 3) == (finished.status, finished.ran, finished.cached)
    assert "one\ntwo\nother\n" == chain.text("t.txt")
    assert not (chain.root / "work/a.txt").exists()


def test_failure_of_what_was_made_again_takes_its_reader(chain):
    """A maker that fails the second time takes the job that waited for it, and nothing hangs."""
    (chain.root / "data/x.txt").chmod(0o644)
    text = CHAIN + "  s: {inputs: {k: data/k.txt}, outputs: {o: s.txt}, run: 'cp data/k.txt s.txt'}\n"
    text += (
        "  t: {inputs: {x: {from: a.o}, s: {from: s.o}}, outputs: {o: t.txt}, run: 'cat work/a.txt s.txt > t.txt'}\n"
    )
    chain.steps(text).write({"data/k.txt": "k\n"}).run()
    chain.write({"data/k.txt": "other\n"})

    def meddle(event):
        if event.kind == "job-started" and event.job == "a":
            chain.write({"data/x.txt": "meddled\n"})

    chain.listener = meddle
    chain.more = {"keep_going": True}
    finished = chain.run()
    assert ("failed", 1, 1, 1) == (finished.status, finished.ran, finished.failed, finished.skipped)
    assert "changed while the job ran" in chain.failure("a").message


def test_changed_source_runs_all_that_hangs_on_it(chain):
    """With other bytes at the source the chain runs as far as the bytes differ."""
    chain.write({"data/x.txt": "one\ntwo\nthree\n"})
    finished = chain.run()
    assert ["a", "b", "e"] == chain.jobs("job-finished")  # b makes the same as before
    assert (3, 1) == (finished.ran, finished.cached)
    assert ["kept.txt", "c.txt", "e.txt"] == left(chain)


def test_stays_while_a_reader_has_failed(pipeline):
    """What a failed job reads is there for its next try; then it goes."""
    pipeline.steps(CHAIN.replace("run: cat {{ inputs.d }}f", "run: false; cat {{ inputs.d }}f"))
    pipeline.write({"data/x.txt": "one\n"}).more = {"keep_going": True}
    pipeline.run()
    assert ["work/b", "kept.txt", "e.txt"] == left(pipeline)
    pipeline.steps(CHAIN)
    assert 1 == pipeline.run().ran
    assert ["kept.txt", "c.txt", "e.txt"] == left(pipeline)


def test_what_nobody_reads_or_reads_in_part_stays(pipeline):
    """An output without readers stays, and so does a folder of which files are read one by one."""
    pipeline.steps(
        "steps:\n"
        "  a: {outputs: {o: {path: a.txt, temporary: true}}, run: echo 1 > a.txt}\n"
        "  d: {outputs: {o: {path: d/, temporary: true}}, run: mkdir d; echo 1 > d/f}\n"
        "  r: {inputs: {x: d/f}, outputs: {o: r.txt}, run: cat d/f > r.txt}\n"
    )
    assert 3 == pipeline.run().ran
    assert 3 == pipeline.run().cached
    assert (pipeline.root / "a.txt").exists()
    (pipeline.root / "d/f").unlink()
    assert "run" == pipeline.assess()["d"].status


def test_file_that_is_there_counts(chain):
    """A temporary output that lies there with other bytes is not what its record says."""
    chain.write({"work/a.txt": "mine\n"})
    assert "not as it was recorded" in chain.assess()["a"].why


def test_folder_that_the_user_keeps_elsewhere_stays(pipeline, tmp_path):
    """A link in the place of an output is the user's."""
    (tmp_path / "big").mkdir()
    pipeline.steps(CHAIN).write({"data/x.txt": "one\n"})
    (pipeline.root / "work").mkdir()
    os.symlink(tmp_path / "big", pipeline.root / "work/b")
    assert 4 == pipeline.run().ran
    assert ["f"] == os.listdir(tmp_path / "big")
    assert 4 == pipeline.run().cached


def test_part_of_a_plan_removes_nothing(pipeline):
    """A node that runs some of the jobs cannot know who else reads what they make."""
    pipeline.steps(CHAIN).write({"data/x.txt": "one\n"}).more = {"state": State(pipeline.root)}
    assert 4 == pipeline.run().ran
    assert ["work/a.txt", "work/b", "kept.txt", "c.txt", "e.txt"] == left(pipeline)
