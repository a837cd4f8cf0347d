"""Images that docker, podman and buildah push run in ours, and ours in podman: from one registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repro.oci.archive import write_layout
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base
from tests.conformance.judges import Buildah, Docker, call, install

pytestmark = [pytest.mark.judge, pytest.mark.skipif(os.geteuid() != 0, reason="the judges are run by root")]
DOCKERFILE = "FROM base\nRUN echo made by %s > /said && ln /said /again && mkdir -m 1777 /open\n"


@pytest.fixture(scope="module")
def desk(plain, tmp_path_factory):
    """A function that runs `repro`; its store has the image `base`."""
    folder = tmp_path_factory.mktemp("desk")
    store = Store(folder / "store", MODE.value)
    store.tag("base", put_base(store))
    (folder / "registries.toml").write_text(f'[registry."{plain.host}"]\ninsecure = true\n')
    env = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "REPRO_REGISTRIES": str(folder / "registries.toml"),
        "REPRO_STORE": str(store.root),
    }

    def run(*arguments, store_root=store.root):
        command = [sys.executable, "-m", "repro", *map(str, arguments)]
        done = subprocess.run(
            command, env={**env, "REPRO_STORE": str(store_root)}, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.store, run.folder = store, folder
    return run


@pytest.fixture(scope="module")
def layout(desk):
    """The base as an OCI layout, for the others to load."""
    write_layout(desk.store, desk.store.resolve("base"), desk.folder / "layout", "latest")
    return desk.folder / "layout"


def _written(folder, who):
    (folder / "context").mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE % who)
    return folder


def _pushed_by_docker(folder, layout, name):
    docker = Docker(folder / "docker")
    try:
        docker.start()
        docker.load(layout, "base")
        docker.build(_written(folder, "docker"), name, ())
        call(["docker", "--host", docker.socket, "push", "-q", name])
    finally:
        docker.stop()


def _pushed_by(program):
    def push(folder, layout, name):
        buildah = Buildah(_short() / program)
        place = [
            "--root",
            f"{buildah.folder}/root",
            "--runroot",
            f"{buildah.folder}/run",
            "--storage-driver",
            "overlay",
        ]
        env = {"CONTAINERS_CONF": f"{buildah.folder}/containers.conf", "BUILDAH_RUNTIME": "runc"}
        try:
            buildah.start()
            buildah.load(layout, "localhost/base")
            buildah.build(_written(folder, program), name, ())
            call([program, *place, "push", "--tls-verify=false", name], env=env)
        finally:
            buildah.stop()
            buildah.folder.parent.rmdir()

    return push


def _short():
    """Return a new folder; podman refuses a path of its own that is longer than 50 characters."""
    return Path(tempfile.mkdtemp(prefix="peers-", dir="/var/tmp"))


PEERS = {"docker": _pushed_by_docker, "podman": _pushed_by("podman"), "buildah": _pushed_by("buildah")}


@pytest.fixture(scope="module", autouse=True)
def judges():
    """Install docker, podman and buildah."""
    install()


@pytest.mark.parametrize("peer", PEERS)
def test_what_they_push_runs_here(plain, desk, layout, tmp_path, peer):
    """Pulled by its tag into an empty store, built upon, and gone from there again under its own digest."""
    name, new = f"{plain.host}/peers/{peer}:1", tmp_path / "new"
    PEERS[peer](tmp_path, layout, name)
    [known] = json.loads(desk("image", "pull", "--json", name, store_root=new))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/Dockerfile").write_text(
        f'FROM {name}\nRUN test "$(cat /said)" = "made by {peer}" && test /said -ef /again && echo ok > /open/here\n'
    )
    desk("image", "build", "-q", tmp_path / "ours", store_root=new)
    other = f"{plain.host}/peers/{peer}-again:1"
    desk("image", "tag", name, other, store_root=new)
    assert desk("image", "push", "-q", other, store_root=new) == f"{other}@{known['digest']}\n"


def test_what_we_push_runs_in_podman(plain, desk, tmp_path):
    """A file, a hard link, an empty folder and a set-id bit arrive, and the program runs."""
    name = f"{plain.host}/peers/ours:1"
    (tmp_path / "Dockerfile").write_text("FROM base\nRUN echo ours > /said && ln /said /again && chmod 4755 /said\n")
    desk("image", "build", "-q", "-t", name, tmp_path)
    desk("image", "push", "-q", name)
    folder = _short()
    place = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
    try:
        call(["podman", *place, "pull", "-q", "--tls-verify=false", name])
        mounted = call(["podman", *place, "image", "mount", name]).stdout.strip()
        assert os.path.samefile(f"{mounted}/said", f"{mounted}/again")
        assert os.stat(f"{mounted}/said").st_mode & 0o7777 == 0o4755
        done = call(["chroot", mounted, "/bin/sh", "-c", "cat /said"])
        assert done.stdout == "ours\n"
    finally:
        call(["podman", *place, "image", "unmount", "--all"], fails=True)
        call(["umount", f"{folder}/root/overlay"], fails=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_round_trip_keeps_the_bits(plain, desk, tmp_path):
    """Build, push, remove everything, pull: the same image ID and manifest, and the file in it."""
    name = f"{plain.host}/peers/round:1"
    (tmp_path / "Dockerfile").write_text("FROM base\nRUN echo round > /said\n")
    image_id = desk("image", "build", "-q", "-t", name, tmp_path).strip()
    sent = desk("image", "push", "-q", name)
    new = tmp_path / "new"
    assert desk("image", "pull", "-q", name, store_root=new) == sent
    assert desk("image", "inspect", "-f", "{{ .Id }}", name, store_root=new).strip() == image_id
    assert desk("store", "check", store_root=new)
