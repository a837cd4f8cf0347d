"""What `repro env export` writes, built by Docker and by buildah: the files of the image that `repro build` makes."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

import pytest

from repro.cli.main import main
from repro.files import remove_tree
from tests.conformance import judges
from tests.conformance.bases import unpack
from tests.conformance.trees import Image, compare, sort_out, walk

pytestmark = [pytest.mark.judge, pytest.mark.archive, pytest.mark.timeout(1800)]
WORKFLOW = """\
repro: 1
name: w
environments:
  tools:
    base: {archive: debian, suite: bookworm}
    apt: [bwa, python3]
    pip: [six==1.16.0]
    files: {/opt/refs/table: data/table, /opt/all: data/}
    env: {LC_ALL: C.UTF-8}
    run: ["useradd -m ada", "cd /opt\\necho two >two\\nchown ada two\\nchmod 4750 two"]
    template: python
steps:
  a: {environment: tools, outputs: {o: o.txt}, run: "true > o.txt"}
"""
# What may differ, and why.
COMMON = {
    "/run/repro* exists": "builders leave the folders into which they bind the context",
    "/var/cache/ldconfig/aux-cache exists": "ldconfig makes it again; only repro drops it from layers",
    "/var/lib/dpkg/status-old exists": "dpkg's backup of its status; only repro drops it from layers",
    "/var/log/dpkg.log exists": "dpkg's log of the build's times; only repro drops it from layers",
}
HOSTS_FILES = {
    f"/etc/{name} exists": "buildah leaves an empty file where it binds the host's"
    for name in ("hostname", "hosts", "resolv.conf")
}
LISTED = {judges.Docker: COMMON, judges.Buildah: COMMON | HOSTS_FILES}


def repro(folder: Path, *arguments: str) -> str:
    """Run a command in ``folder``, which must work; return what it prints."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        assert 0 == main([*arguments])
    out.seek(0)
    return out.read()


@pytest.fixture(scope="module")
def exported(tmp_path_factory, download_cache):
    """The folder of an export, named ``context``, and the image that `repro build` makes, as a tree."""
    room = tmp_path_factory.mktemp("export")
    (room / "data/sub").mkdir(parents=True)
    (room / "data/table").write_text("1\t2\n")
    (room / "data/sub/script").write_text("#!/bin/sh\n")
    (room / "data/sub/script").chmod(0o755)
    (room / "workflow.yaml").write_text(WORKFLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_STORE", str(room / "store"))
        patch.setenv("REPRO_CACHE", str(download_cache))
        (built,) = json.loads(repro(room, "build", "--json"))
        repro(room, "env", "export", "tools", "context")
        repro(room, "image", "tag", built["image_id"], "ours:latest")
        repro(room, "image", "save", "--format", "oci-dir", "-o", str(room / "layout"), "ours:latest")
    yield room, walk(unpack(room / "layout", "latest", room / "root"))
    remove_tree(room)


@pytest.fixture(scope="module", params=[judges.Docker, judges.Buildah], ids=["docker", "buildah"])
def judge(request, tmp_path_factory):
    """A builder that is not ours, with a store of its own."""
    if os.geteuid() != 0:
        pytest.skip("the judges need root")
    judges.install()
    made = request.param(tmp_path_factory.mktemp("judge") / "store")
    made.start()
    yield made
    made.stop()


def test_an_export_builds_to_the_same_files(exported, judge, tmp_path):
    """Every path with its content, mode and owner, but for what is listed, each with its reason."""
    room, ours = exported
    judge.build(room, "exported", (), file="context/Dockerfile")
    theirs = judge.read("exported", tmp_path).tree
    unlisted, idle = sort_out(compare(Image(ours, {}), Image(theirs, {})), LISTED[type(judge)])
    assert ([], []) == ([str(one) for one in unlisted], idle)
    remove_tree(tmp_path)
