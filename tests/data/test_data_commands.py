"""`repro data`: what is listed, fetched, put, checked, shown as a tree, and removed; with a folder and an S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.served import s3 as s3_served

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOW = """\
repro: 1
environments: {any: {image: none}}
inputs:
  far/reads/: s3://data/AREA/reads/
  far/one.txt: {uri: s3://data/AREA/one.txt, private: true}
  near/x.txt: ../shared/x.txt
  big/: {uri: ../big/, mount: true, fingerprint: {manifest: SHA256SUMS}}
steps:
  any: {environment: any, inputs: {all: [far/reads/, far/one.txt, near/x.txt, big/]}, outputs: {o: out}, run: "true"}
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """A server."""
    if s3_served.missing():
        pytest.skip(f"{s3_served.missing()} is not here: see tests/run")
    with s3_served.s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def desk(s3, tmp_path, request):
    """A function that runs `repro` in a project with four inputs."""
    area = request.node.name
    s3.put(f"{area}/reads/a.txt", b"a" * 1000)
    s3.put(f"{area}/reads/deep/b.txt", b"b" * 2000)
    s3.put(f"{area}/one.txt", b"one\n")
    for folder in ("project", "shared", "big", "home"):
        (tmp_path / folder).mkdir()
    (tmp_path / "shared/x.txt").write_bytes(b"x\n")
    (tmp_path / "big/part.bin").write_bytes(b"big")
    (tmp_path / "big/SHA256SUMS").write_text(f"{hashlib.sha256(b'big').hexdigest()}  part.bin\n")
    (tmp_path / "project/workflow.yaml").write_text(WORKFLOW.replace("AREA", area))
    env = {
        **os.environ,
        **s3.settings,
        "PYTHONPATH": str(PROJECT),
        "REPRO_STORE": str(tmp_path / "store"),
        "REPRO_CACHE": str(tmp_path / "cache"),
    }

    def run(*arguments, status=0):
        command = [sys.executable, "-m", "repro", "data", *arguments]
        done = subprocess.run(command, cwd=tmp_path / "project", env=env, text=True, capture_output=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    run.area, run.folder = area, tmp_path
    return run


def _states(rows):
    return {row["path"]: row["state"] for row in rows}


def test_inputs_are_listed_fetched_and_shown(desk):
    """Nothing is locked before; `get` locks and fetches all; a listing tells proven from asserted."""
    before = desk("ls", "--json")
    assert set(_states(before).values()) == {"not locked"}
    got = {one["path"]: one for one in desk("get", "--json")}
    assert Path(got["near/x.txt"]["place"]) == desk.folder / "shared/x.txt"
    tree = Path(got["far/reads/"]["place"])
    assert (tree / "deep/b.txt").read_bytes() == b"b" * 2000
    assert tree.is_relative_to(desk.folder / "cache")
    rows = {row["path"]: row for row in desk("ls", "--json")}
    assert _states(rows.values()) == {
        "far/reads/": "cached", "far/one.txt": "cached", "near/x.txt": "in place", "big/": "in place",
    }  # fmt: skip
    assert rows["big/"]["standing"] == "asserted (manifest)"
    assert rows["far/reads/"]["standing"] == "proven"
    assert (rows["far/reads/"]["files"], rows["far/reads/"]["size"]) == (2, 3000)
    assert rows["far/one.txt"]["private"]
    shown = desk("tree", "far/reads/", "--json")
    assert [file["name"] for file in shown["files"]] == ["a.txt", "deep/b.txt"]
    copy = desk.folder / "copy"
    desk("get", "far/reads/", "--to", str(copy))
    assert desk("tree", str(copy / "far/reads"), "--json")["digest"] == shown["digest"] == rows["far/reads/"]["digest"]
    (copy / "far/reads/a.txt").write_bytes(b"edited")
    assert "holds something else" in desk("get", "far/reads/", "--to", str(copy), status=4)
    assert (copy / "far/reads/a.txt").read_bytes() == b"edited"


def test_a_copy_is_what_was_locked(desk):
    """Executable bits and links come along, and a second `get --to` finds the same bytes."""
    (desk.folder / "tools").mkdir()
    script = desk.folder / "tools/run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (desk.folder / "tools/deep").mkdir()
    (desk.folder / "tools/link").symlink_to("deep")
    (desk.folder / "tools/dangling").symlink_to("nowhere")
    workflow = desk.folder / "project/workflow.yaml"
    workflow.write_text(
        workflow.read_text()
        .replace("  near/x.txt: ../shared/x.txt\n", "  near/: ../tools/\n")
        .replace("near/x.txt, ", "")
    )
    for _ in range(2):
        desk("get", "near/", "--to", "../copy")
    copy = desk.folder / "copy/near"
    assert copy.joinpath("run.sh").stat().st_mode & 0o111 == 0o111
    assert (os.readlink(copy / "link"), os.readlink(copy / "dangling")) == ("deep", "nowhere")


def test_a_glob_of_this_machine_is_told_by_the_ctime(desk):
    """The same size and a forged time hide nothing from a check or an upgrade."""
    (desk.folder / "many").mkdir()
    file = desk.folder / "many/a.fq"
    file.write_text("old")
    os.utime(file, (1, 1))
    workflow = desk.folder / "project/workflow.yaml"
    workflow.write_text(
        workflow.read_text()
        .replace("  near/x.txt: ../shared/x.txt\n", '  near/: "../many/*.fq"\n')
        .replace("near/x.txt, ", "")
    )
    desk("get", "near/")
    assert _states(desk("check", "near/", "--json")) == {"near/": "ok"}
    file.write_text("new")
    os.utime(file, (1, 1))
    assert _states(desk("check", "near/", "--json", status=1)) == {"near/": "changed"}


def test_a_check_tells_what_is_not_as_locked(desk, s3):
    """Changed, gone, and what a manifest claims: each is named; without a change all is well."""
    desk("get")
    assert set(_states(desk("check", "--json")).values()) == {"ok"}
    s3.put(f"{desk.area}/reads/a.txt", b"A" * 1000)
    s3.remove(f"{desk.area}/one.txt")
    (desk.folder / "shared/x.txt").write_bytes(b"y\n")
    (desk.folder / "big/part.bin").write_bytes(b"BIG")
    assert _states(desk("check", "--json", status=1)) == {
        "far/reads/": "changed", "far/one.txt": "gone", "near/x.txt": "changed", "big/": "ok",
    }  # fmt: skip
    full = {row["path"]: row for row in desk("check", "--full", "--json", status=1)}
    assert full["big/"]["state"] == "changed"
    assert "part.bin" in full["big/"]["detail"]
    assert "a.txt: locked sha256:" in full["far/reads/"]["detail"]


def test_a_damaged_copy_in_the_cache_is_fetched_again(desk):
    """`check --full` finds it; `get` mends it; nobody is given wrong bytes."""
    (place,) = (one["place"] for one in desk("get", "far/one.txt", "--json"))
    os.chmod(place, 0o644)
    Path(place).write_bytes(b"two\n")
    assert _states(desk("check", "far/one.txt", "--full", "--json", status=1)) == {"far/one.txt": "damaged"}
    Path(place).write_bytes(b"two\n")
    (again,) = (one["place"] for one in desk("get", "far/one.txt", "--json"))
    assert Path(again).read_bytes() == b"one\n"


def test_a_file_or_folder_is_put_at_an_address(desk, s3):
    """Sent once, there the second time; other bytes need --replace; the digest is kept with the object."""
    where = f"s3://data/{desk.area}/put/"
    assert [one["state"] for one in desk("put", "../shared/x.txt", where, "--json")] == ["sent"]
    assert s3.get(f"{desk.area}/put/x.txt") == b"x\n"
    head = s3.client().head_object(Bucket="data", Key=f"{desk.area}/put/x.txt")
    assert head["Metadata"]["sha256"] == hashlib.sha256(b"x\n").hexdigest()
    assert [one["state"] for one in desk("put", "../shared/x.txt", where, "--json")] == ["there"]
    (desk.folder / "shared/x.txt").write_bytes(b"z\n")
    assert "--replace" in desk("put", "../shared/x.txt", where, status=4)
    assert s3.get(f"{desk.area}/put/x.txt") == b"x\n"
    desk("put", "../shared/x.txt", where, "--replace")
    assert s3.get(f"{desk.area}/put/x.txt") == b"z\n"
    sent = desk("put", "../big", str(desk.folder / "elsewhere"), "--json")
    assert [Path(one["address"]).name for one in sent] == ["part.bin"]
    elsewhere = desk.folder / "elsewhere"
    assert (elsewhere / "part.bin").read_bytes() == b"big"
    assert (elsewhere / "SHA256SUMS").read_text() == (desk.folder / "big/SHA256SUMS").read_text()


def test_a_limit_keeps_what_was_used_last(desk):
    """Without a limit nothing goes; with one the oldest goes, and can be had again."""
    assert "--limit" in desk("gc", status=2)
    desk("get")
    freed = desk("gc", "--limit", "1kB", "--dry-run", "--json")
    assert freed["count"] > 0
    assert _states(desk("ls", "--json"))["far/reads/"] == "cached"
    desk("gc", "--limit", "0")
    assert _states(desk("ls", "--json"))["far/reads/"] == "elsewhere"
    desk("get")
    assert _states(desk("ls", "--json"))["far/reads/"] == "cached"


def test_what_is_no_input_is_told(desk):
    """A slip in a path, or a file that is not there, is a usage error that helps."""
    assert "the inputs are far/reads/" in desk("get", "far/read", status=2)
    assert "is not there" in desk("put", "nothing.txt", "s3://data/x", status=2)
    assert "known here" in desk("put", "../shared/x.txt", "gs://data/x", status=2)
