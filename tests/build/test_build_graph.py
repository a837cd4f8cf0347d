"""Stages at once: what runs when, what an error or Ctrl-C ends, and that the image does not depend on any of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.errors import BuildError
from repro.events import BuildOutput, BuildStep
from tests.build.conftest import EPOCH

# Two stages that each wait for a word of the other, through a cache that both see: one after the other, both give up.
WORD = "RUN --mount=type=cache,target=/c,id=words "
WAIT = "i=0; while test ! -e /c/{0}; do i=$((i+1)); test $i -lt 600 || exit 9; sleep 0.1; done"
MEET = f"""\
FROM base AS one
{WORD} echo > /c/one; {WAIT.format("two")}; echo 1 > /r
FROM base AS two
{WORD} echo > /c/two; {WAIT.format("one")}; echo 2 > /r
FROM base
COPY --from=one /r /one
COPY --from=two /r /two
"""


def test_stages_that_do_not_need_each_other_run_at_once(shop):
    """Each waits for the other: in any order one after the other, the build would fail."""
    result = shop.build(MEET, jobs=2)
    assert ["1\n", "2\n"] == [shop.read(result, "/one"), shop.read(result, "/two")]


def test_a_stage_waits_only_where_it_reads_from_another(shop):
    """The last stage's first command runs while the stage that it copies from later still does."""
    result = shop.build(
        f"FROM base AS slow\n{WORD} {WAIT.format('fast')}; echo slow > /r\n"
        f"FROM base\n{WORD} echo > /c/fast\nCOPY --from=slow /r /\n",
        jobs=2,
    )
    assert "slow\n" == shop.read(result, "/r")


def test_one_job_builds_one_after_the_other(shop):
    """With one job the stages come in the order of the file, and give the same image as all at once."""
    text = "FROM base AS a\nRUN echo a > /a\nFROM base AS b\nRUN echo b > /b\nFROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    first = shop.build(text, jobs=1)
    stages = [event.stage for event in shop.events if isinstance(event, BuildStep)]
    assert ["a", "b", "2"] == list(dict.fromkeys(stages))
    assert first.image_id == shop.build(text, jobs=8, no_cache=True).image_id


def test_the_events_of_each_stage_come_in_order(shop):
    """Whatever runs at once, a stage's own instructions are told one after the other, its output in between."""
    shop.build(MEET, jobs=2)
    for stage in ("one", "two"):
        told = [
            (event.number, getattr(event, "state", "output"))
            for event in shop.events
            if isinstance(event, BuildStep | BuildOutput) and event.stage == stage
        ]
        assert [(1, "done"), (2, "started"), (2, "done")] == told


def test_output_says_which_instruction_printed_it(shop):
    """Stage and number are those of the instruction."""
    shop.build("FROM base AS a\nENV X=1\nRUN echo hello\nFROM base\nRUN echo world\nCOPY --from=a /etc/group /g\n")
    said = {(event.stage, event.number, event.text) for event in shop.events if isinstance(event, BuildOutput)}
    assert {("a", 3, "hello"), ("1", 2, "world")} == said


def test_the_first_error_ends_the_other_stages(shop):
    """A command that would run for hours is killed, told as canceled, and leaves nothing; the error is the first one."""
    seconds = f"86399.{os.getpid()}"  # no other process of tests looks for them
    with pytest.raises(BuildError, match="exit status 3") as caught:
        shop.build(
            f"FROM base AS long\n{WORD} echo > /c/long; sleep {seconds}\n"
            f"FROM base AS bad\n{WORD} {WAIT.format('long')}; exit 3\n"
            "FROM base\nCOPY --from=long /a /\nCOPY --from=bad /b /\n",
            jobs=2,
        )
    assert "Dockerfile:4:1" == str(caught.value.where)
    states = {(event.stage, event.state) for event in shop.events if isinstance(event, BuildStep) and event.number == 2}
    assert {("long", "started"), ("long", "canceled"), ("bad", "started"), ("bad", "failed")} == states
    assert [] == sleepers(seconds)
    assert [] == list((shop.store.root / "tmp").glob("work-*"))


def test_a_failed_stage_does_not_undo_what_others_made(shop):
    """What was committed before the error comes from the cache in the next build."""
    text = f"FROM base AS a\n{WORD} echo a > /a; echo > /c/a\nFROM base AS b\n{WORD} {WAIT.format('a')}; exit 3\n"
    end = "FROM base\nCOPY --from=a /a /\nCOPY --from=b /etc/group /\n"
    with pytest.raises(BuildError):
        shop.build(text + end, jobs=1)
    assert 1 == shop.build(text.replace("exit 3", "true") + end).cached


def test_an_instruction_that_two_stages_share_runs_once(shop):
    """The same key at the same time is made by one of them; without the cache, too."""
    text = "FROM base AS a\nRUN echo once > /x\nFROM base AS b\nRUN echo once > /x\nFROM base\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n"
    result = shop.build(text, jobs=2, no_cache=True)
    states = sorted(
        event.state for event in shop.events if isinstance(event, BuildStep) and event.text.startswith("RUN")
    )
    assert ["cached", "done", "started"] == states
    assert "once\n" == shop.read(result, "/b")


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_no_process_and_no_workspace(shop, jobs):
    """Interrupted while two stages run, the build ends at once, and with it all that it started."""
    seconds = f"86398.{jobs}{os.getpid()}"
    script = (
        "import sys; from pathlib import Path; from tests.build.conftest import Workshop, MODE; "
        "from repro.runtime.container import Launcher\n"
        "shop = Workshop(Path(sys.argv[1]), Launcher(MODE))\n"
        f"text = 'FROM base AS a\\nRUN echo > /started; sleep {seconds}\\nFROM base AS b\\nRUN echo b > /started; "
        f"sleep {seconds}\\nFROM base\\nCOPY --from=a /x /a\\nCOPY --from=b /x /b\\n'\n"
        f"try:\n    shop.build(text, jobs={jobs})\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    folder = shop.folder / "interrupted"
    child = subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("store/tmp/work-*/upper/started"))) < jobs:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert 130 == child.wait(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert [] == sleepers(seconds)
    assert [] == list(folder.glob("store/tmp/work-*"))


def test_two_builds_of_the_same_file_at_once(shop):
    """Two processes that build the same thing into one store both succeed, with the same image."""
    script = (
        "import sys; from pathlib import Path; from tests.build.conftest import Workshop, MODE, put_base; "
        "from repro.runtime.container import Launcher\n"
        "shop = Workshop(Path(sys.argv[1]), Launcher(MODE))\n"
        "text = 'FROM base\\nRUN echo 1 > /1\\nRUN mkdir /d && echo 2 > /d/2\\nRUN rm /1\\n'\n"
        "print(shop.build(text).image_id)\n"
    )
    command = [sys.executable, "-c", script, str(shop.folder / "shared")]
    children = [subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) for _ in range(3)]
    said = [child.communicate(timeout=120)[0] for child in children]
    assert [0, 0, 0] == [child.returncode for child in children]
    assert 1 == len(set(said))
    assert said[0].startswith(b"sha256:")


def test_the_epoch_is_that_of_the_newest_base_of_any_needed_stage(shop):
    """Also of a stage that is only copied from."""
    result = shop.build("FROM base AS a\nFROM scratch\nCOPY --from=a /etc/group /g\n")
    assert "2023-11-14T22:13:20Z" == shop.store.config(result.image_id).created
    assert EPOCH == shop.view(result).entry("/g").stat.st_mtime


def sleepers(seconds: str) -> list[str]:
    """Return the processes that sleep for just this time."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"sleep\x00{seconds}\x00".encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found
