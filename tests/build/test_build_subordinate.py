"""Builds and runs of a user with subordinate IDs: the images are root's, to the bit, and nothing stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.accounts import Account, caller
from tests.runtime.conftest import make_image, processes_with

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="compares with root, and only root can make the other user")

OWNERS = """
FROM scratch AS tools
COPY programs /
FROM tools AS made
RUN mkdir -p /d/sub /d/shared && touch /d/a /d/b && ln /d/a /d/twin && ln -s a /d/link && mkfifo /d/pipe && \
    chown 33:44 /d/a && chown 65534:65534 /d/b && chown -h 7:8 /d/link && chown 5 /d/pipe && chown -R 12:34 /d/sub && \
    chown 0:50 /d/shared && chmod 2775 /d/shared && chown 6 /d/b && chmod 4755 /d/b
FROM tools
COPY --from=made /d /kept
COPY --from=made --chown=1000:1001 /d/a /d/sub /given/
RUN chmod 1777 /tmp && rm /kept/a /kept/link && mv /kept/sub /kept/moved && chown 9:9 /bin/true && rm -r /var && mkdir /var && chown 3:4 /var
USER 1000:1001
WORKDIR /given/work
COPY file mine
RUN id > /tmp/who
"""
PACKAGES = """
FROM archive:debian/bookworm
RUN apt-get update && apt-get install -y --no-install-recommends openssh-client man-db libcap2-bin
RUN useradd -m alice && groupadd -g 1234 team && usermod -aG team alice && chown -R 4321:1234 /home/alice
RUN cp /bin/true /srv/t && setcap cap_net_raw+ep /srv/t && cp /bin/true /srv/s && chown alice /srv/s && chmod 6755 /srv/s
USER alice
RUN id > /tmp/who && touch /tmp/mine
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Path:
    """A build context with a few programs, which every user can read."""
    folder = tmp_path_factory.mktemp("context")
    make_image(folder / "programs")
    (folder / "file").write_text("hello\n")
    (folder / "Dockerfile").write_text(OWNERS)
    (folder / "Packages").write_text(PACKAGES)
    return folder


def given(account: Account, context: Path, name: str) -> Path:
    """Return a copy of the context in the account's home."""
    copy = account.home / f"{name}-{uuid.uuid4().hex[:8]}"
    shutil.copytree(context, copy, symlinks=True)
    return account.give(copy)


def build(account: Account, folder: Path, file: str, *, expected: int = 0, **env: str) -> str:
    """Build as the account; return the image ID, or what was said."""
    arguments = ("image", "build", "--progress=plain", "-f", str(folder / file), str(folder))
    done = account.repro(*arguments, env=env, cwd=folder, timeout=900)
    assert expected == done.returncode, done.stderr
    return done.stdout.strip() if expected == 0 else done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Account:
    """Root, with a home and so a store of its own."""
    return caller(tmp_path_factory.mktemp("root"))


def test_owners_are_roots(context, root, with_ranges):
    """Owners, set-id bits, links, FIFOs, whiteouts and copies between stages: one image ID for root and the user."""
    assert build(root, given(root, context, "c"), "Dockerfile") == build(
        with_ranges, given(with_ranges, context, "c"), "Dockerfile"
    )


@pytest.mark.judge
@pytest.mark.archive
def test_packages_are_roots(context, root, with_ranges, download_cache):
    """Packages whose scripts give files away, users, groups and file capabilities: one image ID."""
    shared = {"REPRO_CACHE": str(download_cache)}
    wanted = build(root, given(root, context, "p"), "Packages", **shared)
    assert wanted == build(with_ranges, given(with_ranges, context, "p"), "Packages")


def test_files_of_a_store_are_read_without_entering(context, with_ranges):
    """A listing needs no other IDs: it works where newuidmap does not, and shows what was built with it."""
    folder = given(with_ranges, context, "ls")
    image_id = build(with_ranges, folder, "Dockerfile").removeprefix("sha256:")
    listed = with_ranges.repro("image", "ls")
    assert (0, "") == (listed.returncode, listed.stderr)
    assert image_id[:12] in listed.stdout


def test_kill_leaves_nothing(context, with_ranges):
    """Kill -9 of a build: no process stays; a listing passes over what lies around, the next build removes it."""
    folder = given(with_ranges, context, "kill")
    token = f"stubborn-{uuid.uuid4().hex}"
    stubborn = f"mkdir -p /left/in && touch /left/in/f && chown -R 33:33 /left && sh -c 'echo {token}; sleep 600'"
    (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY programs /\nRUN {stubborn}\n")
    store = with_ranges.home / "killed-store"
    env = {"REPRO_STORE": str(store)}
    argv = with_ranges.command(with_ranges.python, "-m", "repro.cli.main", "image", "build", str(folder), env=env)
    with subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_for(lambda: any(processes_of(pid) for pid in processes_with(token)))
        finally:
            process.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not processes_with(token))
    left = [entry for entry in os.listdir(store / "tmp") if entry != ".lock"]
    assert left, "the build was killed while its layer was being made"
    listed = with_ranges.repro("image", "ls", env=env)
    assert (0, "") == (listed.returncode, listed.stderr)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    build(with_ranges, folder, "Dockerfile", **env)
    assert [".lock"] == os.listdir(store / "tmp")


def processes_of(pid: int) -> bool:
    """Whether the process is the container's own shell, and not repro with the Dockerfile's text."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"sh\0", b"/bin/sh\0"))
    except OSError:
        return False


def wait_for(what) -> bool:
    """Return whether ``what()`` becomes true soon."""
    for _ in range(1000):
        if what():
            return True
        time.sleep(0.02)
    return False
