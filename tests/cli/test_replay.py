"""A build told again says what building would say; whatever could decide otherwise makes the command build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.digest import Digest
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base

DOCKERFILE = """\
# check=skip=all
FROM base:1
COPY data link /opt/
RUN --mount=type=bind,source=script,target=/script true
"""


class Desk:
    """A context, a store with a base, and a command that builds one in the other."""

    def __init__(self, folder: Path) -> None:
        self.context = folder / "context"
        (self.context / "data").mkdir(parents=True)
        self.write("Dockerfile", DOCKERFILE)
        self.write("data/a", "one")
        self.write("script", "exit 0")
        self.write("target", "a target")
        self.write("left/out", "nothing reads it")
        self.write(".dockerignore", "left\n")
        (self.context / "link").symlink_to("target")
        self.store = Store(folder / "store", MODE.value)
        self.store.tag("base:1", put_base(self.store))
        self.env = {
            **os.environ,
            "REPRO_STORE": os.fspath(folder / "store"),
            "PYTHONPATH": os.fspath(PROJECT),
            "PYTHONPROFILEIMPORTTIME": "1",  # so that it can be seen what was imported
        }

    def write(self, name: str, text: str) -> None:
        """Write a file of the context in place."""
        path = self.context / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    @property
    def records(self) -> list[Path]:
        """The records in the store."""
        return sorted((self.store.root / "replays").glob("*"))

    def build(self, *more: str, **env: str) -> tuple[bool, tuple[int, str, str]]:
        """Build; return whether it was told again, and status, stdout and stderr."""
        done = subprocess.run(
            [sys.executable, "-m", "repro", "image", "build", "-t", "made", *more, "."],
            cwd=self.context, env={**self.env, **env}, text=True, capture_output=True, check=False,
        )  # fmt: skip
        lines = done.stderr.splitlines()
        told = not any("repro.build.engine" in line for line in lines)
        said = "\n".join(line for line in lines if not line.startswith("import time:"))
        return told, (done.returncode, done.stdout, said)


def _same_size_and_mtime(desk: Desk) -> None:
    path = desk.context / "data/a"
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(desk: Desk) -> None:
    (desk.context / "new").write_text("two")
    os.replace(desk.context / "new", desk.context / "data/a")


def _other_base(desk: Desk) -> None:
    config = desk.store.config(desk.store.resolve("base:1"))
    desk.store.tag("base:1", desk.store.put_image(type(config)(architecture=config.architecture)))


def _lost_layer(desk: Desk) -> None:
    config = desk.store.config(desk.store.resolve("made"))
    layer = desk.store.layer_path(config.diff_ids[-1])
    os.unlink(f"{layer}.json")


def _other_memory(desk: Desk) -> None:
    for path in (desk.store.root / "memory" / "build").iterdir():
        path.unlink()


def _cut(desk: Desk) -> None:
    for path in desk.records:
        os.truncate(path, path.stat().st_size // 2)


def _linked_folder(desk: Desk) -> None:
    shutil.copytree(desk.context / "data", desk.context / "left/data")
    (desk.context / "left/data/a").write_text("elsewhere")
    shutil.rmtree(desk.context / "data")
    (desk.context / "data").symlink_to("left/data")


CHANGES = {
    "a file edited": lambda desk: desk.write("data/a", "longer"),
    "an edit that keeps size and mtime": _same_size_and_mtime,
    "a file replaced by rename": _replaced,
    "a file more": lambda desk: desk.write("data/b", ""),
    "a file less": lambda desk: (desk.context / "data/a").unlink(),
    "another mode": lambda desk: (desk.context / "data/a").chmod(0o700),
    "a link's target edited": lambda desk: desk.write("target", "another"),
    "a folder that became a link": _linked_folder,
    "a bind mount's file edited": lambda desk: desk.write("script", "exit 00"),
    "the Dockerfile edited": lambda desk: desk.write("Dockerfile", f"{DOCKERFILE}LABEL a=b\n"),
    "another .dockerignore": lambda desk: desk.write(".dockerignore", "left\ndata/a\n"),
    "a .dockerignore of the Dockerfile's own": lambda desk: desk.write("Dockerfile.dockerignore", "data/a\n"),
    "another base by that name": _other_base,
    "the image's name moved on": lambda desk: desk.store.tag("made", desk.store.resolve("base:1")),
    "the image's name gone": lambda desk: desk.store.untag("made"),
    "a layer gone": _lost_layer,
    "the cache forgotten": _other_memory,
    "the record cut off": _cut,
    "the record gone": lambda desk: shutil.rmtree(desk.store.root / "replays"),
}


@pytest.fixture(scope="module")
def desks(tmp_path_factory):
    """Return a desk for each test below, built once; what was written is no longer fresh."""
    names = [*CHANGES, "nothing", "others", "quick"]
    made = {name: Desk(tmp_path_factory.mktemp("desk")) for name in names}
    for name, desk in made.items():
        if name != "quick":
            desk.build()
    time.sleep(2.1)  # a file changed less than two seconds ago is doubtful
    return made


def test_an_unchanged_build_is_told_again(desks):
    """The third time nothing is imported, and the same is said; what nothing reads may change."""
    desk = desks["nothing"]
    assert desk.build()[0] is False
    told, said = desk.build()
    assert told
    desk.write("left/out", "changed")
    assert desk.build() == (True, said)
    shutil.rmtree(desk.store.root / "replays")
    assert desk.build() == (False, said)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_it_build(desks, change):
    """The command says and does what it does without any record."""
    desk = desks[change]
    desk.build()
    assert desk.build()[0] is True
    CHANGES[change](desk)
    told, said = desk.build()
    assert not told
    named = desk.store.refs()["docker.io/library/made:latest"] if said[0] == 0 else None
    assert named is None or said[1] == f"{named}\n"
    shutil.rmtree(desk.store.root / "replays", ignore_errors=True)
    status, out, _ = desk.build()[1]
    assert (status, out) == said[:2]


def test_other_commands_have_records_of_their_own(desks):
    """Arguments, environment and working folder are part of the question; what a shell counts is not."""
    desk = desks["others"]
    desk.build()
    assert desk.build(SHLVL="7")[0] is True
    assert desk.build(NO_COLOR="1")[0] is False
    assert desk.build("--label", "a=b")[0] is False
    assert len(desk.records) == 3
    for option in (["--no-cache"], ["--iidfile", "id"], ["-o", "type=oci,dest=out.tar"]):
        desk.build(*option)
        assert desk.build(*option)[0] is False


def test_what_was_written_just_now_is_doubtful(desks):
    """A file whose last change is so near that another one could look the same leaves no record."""
    desk = desks["quick"]
    desk.write("data/a", "now")
    desk.build()
    desk.build()
    assert desk.records == []


def test_no_record_tells_the_environment(desks):
    """Credentials stay out of the store: surroundings count by digest only."""
    desk = desks["others"]
    desk.build(AWS_SECRET_ACCESS_KEY="do-not-keep-me")
    desk.build(AWS_SECRET_ACCESS_KEY="do-not-keep-me")
    assert all(b"do-not-keep-me" not in path.read_bytes() for path in desk.records)
    assert all(len(path.name) == len(Digest.of(b"").hex) for path in desk.records)
