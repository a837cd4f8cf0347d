"""Locked, vendored, and built again with no network and nothing else: the same images, whoever builds them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from repro.files import remove_tree
from tests import accounts
from tests.environment.conda_channel import File, Made, make_channel
from tests.environment.desk import locked_images, repro_in
from tests.environment.small_index import wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accounts import Account

pytestmark = [
    pytest.mark.judge,
    pytest.mark.archive,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.geteuid() != 0, reason="root makes the empty network and the ordinary user"),
]
WORKFLOW = """\
repro: 1
name: offline
environments:
  apt: {base: {archive: debian, suite: bookworm}, apt: [samtools]}
  pip: {base: {archive: debian, suite: bookworm}, apt: [python3], pip: [lab-tool], template: python}
  conda:
    base: {archive: debian, suite: bookworm}
    conda: {channels: [./channel], packages: [greeter]}
    template: conda
  r: {base: {archive: debian, suite: bookworm}, apt: [r-base-core, r-cran-digest], template: r}
steps:
  a: {environment: apt, outputs: {o: a.txt}, run: "samtools --version > a.txt"}
  b: {environment: pip, outputs: {o: b.txt}, run: "python3 -c 'import importlib.metadata as m; print(m.version(\\"lab-tool\\"))' > b.txt"}
  c: {environment: conda, outputs: {o: c.txt}, run: "cat /opt/conda/share/hello > c.txt"}
  d: {environment: r, outputs: {o: d.txt}, run: ["Rscript", "-e", "writeLines(digest::digest(1), 'd.txt')"]}
"""
# A network of its own, in which nothing but the vendor folder's server can be reached.
CUT = """\
ip link set lo up
"$1" -m http.server --bind 127.0.0.1 --directory "$2" 8000 >/dev/null 2>&1 &
server=$!
sleep 1
shift 2
"$@"; status=$?
kill "$server"
exit "$status"
"""


def without_network(account: Account, project: Path, *arguments: str, store: Path) -> None:
    """Run the command as ``account`` where nothing can be reached but a server of the vendor folder."""
    env = {"REPRO_STORE": str(store), "REPRO_VENDOR": "http://127.0.0.1:8000"}
    command = account.command(account.python, "-m", "repro", "-C", str(project), *arguments, env=env)
    cut = ["unshare", "-n", "sh", "-c", CUT, "sh", sys.executable, str(project / "vendor"), *command]
    done = subprocess.run(cut, text=True, capture_output=True, check=False, cwd=account.home, timeout=1500)
    assert 0 == done.returncode, done.stderr[-3000:]
    assert "is not the locked one" not in done.stderr


@pytest.fixture(scope="module")
def vendored(tmp_path_factory, download_cache) -> Path:
    """A project that root has locked, built and vendored, and whose channel and index are gone since."""
    place = tmp_path_factory.mktemp("offline")
    project = place / "project"
    project.mkdir()
    (project / "workflow.yaml").write_text(WORKFLOW)
    make_channel(project / "channel", Made("greeter", files=(File("share/hello", b"hello\n"),)))
    wheels = place / "wheels"
    wheels.mkdir()
    (wheels / "lab_tool-1.0-py3-none-any.whl").write_bytes(wheel("lab_tool", "1.0"))
    env = {"PIP_FIND_LINKS": str(wheels), "REPRO_CACHE": str(download_cache)}
    for arguments in (("lock",), ("build",), ("lock", "--vendor", "vendor")):
        repro_in(project, place / "first", *arguments, **env)
    shutil.rmtree(project / "channel")
    (project / "channel").mkdir()
    shutil.rmtree(wheels)
    return project


def test_root_gets_the_same_images(vendored, tmp_path):
    """apt, pip, conda and R into an empty store; then each of them does its work."""
    before = locked_images(vendored)
    assert {"apt": {"real"}, "pip": {"real"}, "conda": {"real"}, "r": {"real"}} == {
        name: set(images) for name, images in before.items()
    }
    without_network(accounts.caller(tmp_path), vendored, "run", "--locked", store=tmp_path / "store")
    assert before == locked_images(vendored)
    assert (vendored / "a.txt").read_bytes().startswith(b"samtools 1.")
    assert (vendored / "b.txt").read_text() == "1.0\n"
    assert (vendored / "c.txt").read_text() == "hello\n"
    assert len((vendored / "d.txt").read_text()) == 33


def test_an_ordinary_user_gets_the_same_images_twice(vendored):
    """With a single ID the images are others than root's, and the same each time."""
    account = accounts.make_ordinary()
    try:
        project = account.home / "project"
        shutil.copytree(vendored, project, ignore=shutil.ignore_patterns(".repro", "*.txt"))
        account.give(account.home)
        without_network(account, project, "build", store=account.home / "first")
        before = locked_images(project)
        assert {"real", "one"} == {mode for images in before.values() for mode in images}
        remove_tree(account.home / "first")
        without_network(account, project, "run", "--locked", store=account.home / "second")
        assert before == locked_images(project)
        assert (project / "c.txt").read_text() == "hello\n"
    finally:
        accounts.remove(account)


def test_subordinate_ids_give_the_images_of_root(vendored):
    """A user with newuidmap's ranges builds what root built, from the same lock, which need not change."""
    account = accounts.make_with_ranges()
    try:
        project = account.home / "project"
        shutil.copytree(vendored, project, ignore=shutil.ignore_patterns(".repro", "*.txt"))
        account.give(account.home)
        without_network(account, project, "run", "--locked", store=account.home / "store")
        assert locked_images(vendored) == locked_images(project)
        assert (project / "c.txt").read_text() == "hello\n"
    finally:
        accounts.remove(account)
