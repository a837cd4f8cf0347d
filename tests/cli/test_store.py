"""`repro store df | gc | check`, as people and programs call it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from repro.digest import Digest
from repro.files import remove_tree
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base

REPRO = [sys.executable, "-m", "repro.cli.main"]


class Shelf:
    """A store with the image ``kept`` of one layer, and the command."""

    def __init__(self, folder) -> None:
        self.store = Store(folder / "store", MODE.value)
        self.layer = self.commit(b"1234")
        self.image_id = self.store.put_image(ImageConfig("amd64", diff_ids=(self.layer,)))
        self.store.tag("kept", self.image_id)
        self.env = {**os.environ, "REPRO_STORE": str(folder / "store"), "PYTHONPATH": str(PROJECT)}
        self.env["REPRO_MODE"] = MODE.value
        for name in ("REPRO_CACHE", "REPRO_LAYERS"):
            self.env.pop(name, None)

    def commit(self, content: bytes) -> Digest:
        """Commit a layer of one file."""
        with self.store.workspace() as work:
            (work / "upper").mkdir()
            (work / "upper" / "file").write_bytes(content)
            return self.store.commit_layer(work / "upper", epoch=0).diff_id

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `repro store`."""
        return subprocess.run(
            [*REPRO, "store", *arguments], env={**self.env, **env}, text=True, capture_output=True, check=False
        )


@pytest.fixture
def shelf(tmp_path):
    """A shelf of its own."""
    yield Shelf(tmp_path)
    remove_tree(tmp_path)
    tmp_path.mkdir()


def test_df_prints_a_table_and_each_image(shelf):
    """Numbers of things, sizes, and what can be had back; images with what only they have."""
    shelf.commit(b"unused")
    done = shelf.run("df", "--images")
    assert (0, "") == (done.returncode, done.stderr)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["TYPE", "COUNT", "SIZE", "RECLAIMABLE"] == lines[0]
    assert ["layers", "of", "images", "1", "4", "B", "0", "B"] in lines
    assert ["unused", "1", "6", "B", "6", "B"] in lines
    assert ["docker.io/library/kept:latest", shelf.image_id.short, "4", "B", "0", "B"] == lines[-1]


def test_df_gives_json(shelf):
    """The same for programs, in bytes."""
    value = json.loads(shelf.run("df", "--json").stdout)
    assert {"count": 1, "size": 4, "reclaimable": 0} == value["layers"]
    assert [[str(shelf.image_id), 4, 0]] == [[one["image_id"], one["unique"], one["shared"]] for one in value["images"]]


def test_gc_says_what_went(shelf):
    """First what would go, then that it did; the image stays."""
    shelf.commit(b"unused")
    would = shelf.run("gc", "--dry-run")
    assert (0, "would be removed: 1 layer (6 B)\n") == (would.returncode, would.stdout)
    done = shelf.run("gc", "--json")
    assert (0, 1, 6) == (done.returncode, json.loads(done.stdout)["layers"], json.loads(done.stdout)["bytes"])
    assert "removed: nothing (0 B)\n" == shelf.run("gc").stdout
    assert shelf.store.has_image(shelf.image_id)


def test_gc_takes_cache_and_downloads_when_it_is_told_to(shelf, tmp_path):
    """Each by its own option; what is younger than asked for stays."""
    shelf.store.remember("build", Digest.of(b"k"), str(shelf.commit(b"cached")))
    file = tmp_path / "cache" / "sha256" / "aa" / "a"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12")
    cache = {"REPRO_CACHE": str(tmp_path / "cache")}
    assert "nothing" in shelf.run("gc", "--cache", "--downloads", "--older-than", "1h", **cache).stdout
    assert "removed: 1 layer, 1 fact, 1 download" in shelf.run("gc", "--cache", "--downloads", **cache).stdout
    assert not file.exists()


def test_gc_names_who_is_in_the_way_and_waits_if_told_to(shelf):
    """Exit status 5 with pid, host and command; with --wait it goes on when the other has ended."""
    code = "import sys; from pathlib import Path; from repro.oci.leases import Leases\n"
    code += "leases = Leases(Path(sys.argv[1])); leases.share(); print('ready', flush=True); sys.stdin.readline()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, shelf.store.root],
        env=shelf.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    other.stdout.readline()
    shelf.commit(b"unused")
    busy = shelf.run("gc")
    assert (5, "") == (busy.returncode, busy.stdout)
    assert f"(pid {other.pid} on {os.uname().nodename}" in busy.stderr
    assert "--wait" in busy.stderr
    waiting = subprocess.Popen([*REPRO, "store", "gc", "--wait"], env=shelf.env, stdout=-1, stderr=-1, text=True)
    assert f"(pid {other.pid}" in waiting.stderr.readline()
    other.communicate("\n")
    assert "removed: 1 layer (6 B)\n" == waiting.communicate()[0]
    assert 0 == waiting.returncode


def test_check_names_the_damage_and_ends_with_1(shelf):
    """What, where, whose, and what to do; 0 once nothing is damaged."""
    good = shelf.run("check")
    assert (0, "1 blobs and 1 layers read", "nothing damaged") == (
        good.returncode,
        *good.stdout.split(" (")[:1],
        good.stdout.strip().split(": ")[1],
    )
    (shelf.store.layer_path(shelf.layer) / "file").write_bytes(b"other")
    bad = shelf.run("check")
    assert 1 == bad.returncode
    for part in (f"DAMAGED: layer {shelf.layer}", f"where: {shelf.store.root}", "kept:latest", "--repair"):
        assert part in bad.stdout
    mended = shelf.run("check", "--repair", "--json")
    (finding,) = json.loads(mended.stdout)["findings"]
    assert (1, "layer", "") == (mended.returncode, finding["kind"], finding["mended"])
    shelf.commit(b"1234")
    assert 0 == shelf.run("check").returncode


def test_check_mends_what_it_can(shelf):
    """A name that says nothing is removed; the status is 0, for nothing is damaged any more."""
    (shelf.store.root / "refs" / "bad").write_bytes(b"?")
    done = shelf.run("check", "--repair")
    assert (0, True) == (done.returncode, "mended: name bad" in done.stdout)
    assert "1 damaged, 1 mended" in done.stdout


def test_layers_may_lie_on_another_disk(shelf, tmp_path):
    """With REPRO_LAYERS each store has a folder of its own there, which gc looks after."""
    done = shelf.run("df", REPRO_LAYERS=str(tmp_path / "fast"))
    assert 0 == done.returncode
    (own,) = (tmp_path / "fast").iterdir()
    assert own.name.startswith("repro-")
    assert 0o700 == own.stat().st_mode & 0o777


@pytest.mark.parametrize("time", ["1h", "2001-01-01", "978307200"])
def test_what_is_younger_than_a_time_stays(shelf, time):
    """However the time is written: a span, a date, or seconds since 1970."""
    shelf.store.add_blob(io.BytesIO(b"nobody's"))
    assert "nothing" in shelf.run("gc", "--older-than", time).stdout
    assert "removed: " in shelf.run("gc", "--older-than", "0s").stdout


def test_what_is_no_time_is_refused(shelf):
    """With what would be right."""
    done = shelf.run("gc", "--older-than", "1y")
    assert (2, True) == (done.returncode, "not a time: '1y'" in done.stderr)


def test_a_build_under_way_keeps_all_that_it_uses(shelf, tmp_path):
    """Layers that no image has yet stay until it has ended; killed, it holds nothing, and what it left goes."""
    shelf.store.tag("base:1", put_base(shelf.store))
    shelf.run("gc")
    (tmp_path / "Dockerfile").write_text(
        "# check=skip=all\nFROM base:1\nRUN echo 1 > /1\nRUN echo ready && sleep 100\n"
    )
    build = subprocess.Popen(
        [*REPRO, "image", "build", "--progress=plain", tmp_path],
        env=shelf.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (line := build.stderr.readline()).rstrip().endswith(" ready"):
        assert line, build.communicate()
    busy = shelf.run("gc", "--cache")
    assert 5 == busy.returncode
    assert f"`repro image build` (pid {build.pid} on" in busy.stderr
    build.kill()
    build.communicate()
    assert "removed: 1 layer, " in shelf.run("gc", "--cache").stdout
    assert 0 == shelf.run("check").returncode


def test_a_build_with_its_layers_elsewhere_is_there_on_another_machine(shelf, tmp_path):
    """Nothing is unpacked beside the blobs; where the folder of layers is empty, the build is cached all the same."""
    one, two = ({"REPRO_LAYERS": str(tmp_path / name)} for name in ("one", "two"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nWORKDIR /w\n")
    command = [*REPRO, "image", "build", "--progress=plain", "-t", "made", "-f", str(tmp_path / "Dockerfile"), tmp_path]
    assert 0 == subprocess.run(command, env={**shelf.env, **one}, capture_output=True, check=False).returncode
    again = subprocess.run(command, env={**shelf.env, **two}, capture_output=True, text=True, check=False)
    assert (0, 2) == (again.returncode, again.stderr.count(" CACHED"))
    for layers in (one, two):
        done = shelf.run("check", **layers)
        assert 0 == done.returncode, done.stdout


def test_layers_of_subordinate_ids_are_looked_after(with_ranges):
    """The process enters its user namespace: files of other IDs are read, compared and removed; none is left."""
    folder = with_ranges.home / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY --chown=33:33 --chmod=600 Dockerfile /w/\n")
    with_ranges.give(folder)
    env = {"REPRO_STORE": str(with_ranges.home / "shelf")}
    built = with_ranges.repro("image", "build", "-q", "-t", "made", str(folder), env=env)
    assert 0 == built.returncode, built.stderr
    check = with_ranges.repro("store", "check", "--json", env=env)
    report = json.loads(check.stdout)
    assert (0, [], 1, []) == (check.returncode, report["findings"], report["layers"], report["unread"])
    removed = with_ranges.repro("image", "rm", "made", env=env)
    assert 0 == removed.returncode, removed.stderr
    gone = with_ranges.repro("store", "gc", "--cache", "--json", env=env)
    assert (0, []) == (gone.returncode, json.loads(gone.stdout)["left"]), gone.stderr
    (form,) = (with_ranges.home / "shelf" / "layers").iterdir()
    assert form.name.startswith("sub-")
    assert [] == [path for path in form.iterdir() if not path.name.startswith(".")]
