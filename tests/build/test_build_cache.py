"""The cache: what hits, what misses, and that two builds from nothing give one image ID."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.build.context import FolderContext
from repro.digest import Digest
from repro.files import remove_tree
from repro.oci.store import Store
from tests.build.conftest import EPOCH, MODE, Workshop, put_base
from tests.runtime.conftest import processes_with

TEXT = """\
FROM base AS tools
ARG V=1
RUN echo tool $V > /tool && mkdir /var/log/apt && date > /var/log/apt/term.log
FROM base
ENV A=1
WORKDIR /app
COPY *.txt src /app/
RUN cat a.txt x > out && touch -d @2000000000 later && rm /var/log/keep.log && mkdir empty && ln -s out link
COPY --from=tools /tool /usr/bin/
CMD ["cat", "out"]
"""


def fill(context: Path) -> None:
    """Write the context, in an order and with times of the moment."""
    (context / "src").mkdir(exist_ok=True)
    for name in ("a.txt", "b.txt", "src/x"):
        (context / name).write_text(name)
        (context / name).chmod(0o644)
    (context / "src").chmod(0o755)


def test_two_builds_from_nothing_give_the_same_image(tmp_path, launcher):
    """Other store, other place, other order of creation, other times: one image ID."""
    ids = set()
    for name in ("one", "another/deeper"):
        shop = Workshop(tmp_path / name, launcher)
        fill(shop.context)
        ids.add(shop.build(TEXT).image_id)
        time.sleep(1.1)  # whole seconds matter in a tar
        remove_tree(shop.folder / "store")
    assert 1 == len(ids)


def test_a_second_build_is_all_cache_and_starts_no_container(shop):
    """Nothing runs, and the launcher is not even asked."""
    fill(shop.context)
    first = shop.build(TEXT)
    shop.launcher = None
    second = shop.build(TEXT)
    assert (first.image_id, first.instructions, 0) == (second.image_id, second.cached, first.cached)


def test_no_cache_runs_everything_and_remembers_it(shop):
    """The image is the same, and the build after that is all cache."""
    fill(shop.context)
    first = shop.build(TEXT)
    second = shop.build(TEXT, no_cache=True)
    assert (first.image_id, 0) == (second.image_id, second.cached)
    assert second.instructions == shop.build(TEXT).cached


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        (lambda shop: (shop.context / "unread").write_text("x"), 5),
        (lambda shop: os.utime(shop.context / "a.txt"), 5),
        (lambda shop: (shop.context / "a.txt").write_text("changed"), 2),
        (lambda shop: (shop.context / "a.txt").chmod(0o600), 2),
        (lambda shop: (shop.context / "c.txt").write_text("new"), 2),
        (lambda shop: (shop.context / "src/x").rename(shop.context / "src/y"), 2),
    ],
)
def test_what_copy_reads_decides(shop, change, cached):
    """Content, mode, names and new matches count; other files and newer times do not."""
    fill(shop.context)
    shop.build(TEXT.replace("cat a.txt x", "cat a.txt"))
    change(shop)
    assert cached == shop.build(TEXT.replace("cat a.txt x", "cat a.txt")).cached


@pytest.mark.parametrize(
    ("old", "new", "options", "cached"),
    [
        # WORKDIR, COPY and the other stage do not see the environment; RUN does, and gives the same bytes
        ("ENV A=1", "ENV A=2", {}, 4),
        ("ARG V=1", "ARG V=2", {}, 3),
        ("CMD", "ENTRYPOINT", {}, 5),
        ("", "", {"args": {"V": "3"}}, 3),
        ("", "", {"labels": {"a": "b"}}, 5),
        ("", "", {"epoch": EPOCH + 1}, 0),
    ],
)
def test_what_a_command_sees_decides(shop, old, new, options, cached):
    """Environment, arguments and epoch are in RUN's key; CMD and labels are in none."""
    fill(shop.context)
    shop.build(TEXT)
    assert cached == shop.build(TEXT.replace(old, new), **options).cached


def test_a_step_that_gives_the_same_bytes_ends_the_rebuild(shop):
    """A changed command with an unchanged result leaves all that follows in the cache."""
    text = "FROM base\nRUN echo a > /a{}\nRUN cat /a > /b\nCOPY --from=base /etc/group /c\n"
    shop.build(text.format(""))
    assert 2 == shop.build(text.format(" && true")).cached


def test_a_changed_stage_copies_only_what_it_changed(shop):
    """COPY --from goes by what it reads, not by how the stage was made."""
    text = "FROM base AS one\nRUN echo {} > /log && echo same > /tool\nFROM base\nCOPY --from=one /tool /\n"
    shop.build(text.format("1"))
    assert 1 == shop.build(text.format("2")).cached


def test_a_lost_layer_is_built_again(shop):
    """A memory without its layer is no hit."""
    fill(shop.context)
    first = shop.build(TEXT)
    again = Store(shop.folder / "empty", MODE.value)
    os.rename(shop.store.root / "memory", shop.folder / "memory")
    os.rmdir(again.root / "memory")
    os.rename(shop.folder / "memory", again.root / "memory")
    moved = Workshop(shop.folder / "second", shop.launcher)
    moved.store = again
    moved.base = put_base(again)
    fill(moved.context)
    assert (first.image_id, 0) == ((result := moved.build(TEXT)).image_id, result.cached)


@pytest.mark.parametrize("garbage", ["", '"sha256:zz"', "[1]"])
def test_a_damaged_memory_is_no_memory(shop, garbage):
    """What is no digest is forgotten: the build runs again and gives the same image."""
    fill(shop.context)
    first = shop.build(TEXT)
    for path in (shop.store.root / "memory").rglob("*.json"):
        path.write_text(garbage)
    assert (first.image_id, 0) == ((result := shop.build(TEXT)).image_id, result.cached)


def test_a_hasher_saves_reading_files_again(shop):
    """A caller with a stat cache is asked for each file once, and nothing else is read."""
    fill(shop.context)
    asked: list[str] = []

    def hasher(path: str) -> Digest:
        asked.append(os.path.basename(path))
        return Digest.of_file(path)

    shop.build("FROM base\nCOPY a.txt src /t/\n", context=FolderContext(shop.context, hasher=hasher))
    assert ["a.txt", "x"] == asked


def test_a_killed_build_leaves_nothing_and_the_next_one_works(shop):
    """Kill -9 in the middle of RUN: no process, no mount, no folder is left after the next build."""
    sleep = f"sleep 987654.{os.getpid()}"  # no other process of tests looks for it
    script = (
        "import sys; from pathlib import Path; from tests.build.conftest import Workshop, MODE; "
        "from repro.runtime.container import Launcher; "
        "shop = Workshop(Path(sys.argv[1]), Launcher(MODE)); "
        f"shop.build('FROM base\\nRUN echo one > /one\\nRUN echo started > /started; {sleep}\\n')"
    )
    folder = shop.folder / "killed"
    child = subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob("store/tmp/work-*/upper/started")):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert _gone(lambda: processes_with(sleep.replace(" ", "\0")) == [])
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    again = Workshop(folder, shop.launcher)
    result = again.build("FROM base\nRUN echo one > /one\nRUN echo two > /two\n")
    assert (2, 1) == (result.instructions, result.cached)
    assert [] == list(folder.glob("store/tmp/work-*"))


def _gone(check) -> bool:
    deadline = time.monotonic() + 20
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_equal_layers_in_one_stack(shop):
    """The same layer twice, with one between that undoes it, still runs and reads as the topmost says."""
    text = "FROM base\nCOPY <<f /\nx\nf\nRUN rm /f && true\nCOPY <<f /\nx\nf\nRUN true 1\nRUN true 2\nRUN cat /f > /g\n"
    result = shop.build(text)
    assert "x\n" == shop.read(result, "/g")
    assert len(set(diff_ids := shop.store.config(result.image_id).diff_ids)) < len(diff_ids)
