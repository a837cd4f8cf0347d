"""Folders of this machine as sources and targets: what the suite of all sources does not ask of them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest

from repro.data.answers import NotThereError
from repro.data.sources.folder import FolderSource, FolderTarget
from repro.data.sources.model import DeniedError, ExistsError
from repro.digest import Digest
from repro.errors import FetchError
from tests.accounts import PROJECT


@pytest.fixture
def root(tmp_path):
    """A folder that is not there yet."""
    return tmp_path / "root"


def stage(target, tmp_path, data: bytes, name: str = "x"):
    """Stage bytes under a name."""
    file = tmp_path / f"local-{len(data)}"
    file.write_bytes(data)
    nothing = lambda _: None  # noqa: E731 - twice needed, and nothing
    return target.stage(name, file, Digest.of(data), len(data), before=None, note=nothing, told=nothing)


def test_links_to_files_are_files(root):
    """They are listed and read as what they lead to; links to folders, and to nothing, are left out."""
    (root / "real").mkdir(parents=True)
    (root / "real" / "x.txt").write_bytes(b"real")
    (root / "link.txt").symlink_to("real/x.txt")
    (root / "folder").symlink_to("real")
    (root / "nowhere").symlink_to("gone")
    source = FolderSource(root)
    found = {file.name: file for file in source.files()}
    assert {"link.txt": 4, "real/x.txt": 4} == {name: file.size for name, file in found.items()}
    assert b"real" == b"".join(source.pieces(found["link.txt"], 0))


def test_staging_is_seen_by_nobody_else(root, tmp_path):
    """It lies in a folder that only its owner may enter, listings leave it out, and nothing is left of it."""
    target = FolderTarget(root)
    token = stage(target, tmp_path, b"data")
    (staging,) = root.iterdir()
    assert 0o700 == staging.stat().st_mode & 0o777
    assert [] == list(FolderSource(root).files())
    target.commit("deep/x", token, replaces=None)
    assert [root / "deep", root / "deep" / "x"] == sorted(root.rglob("*"))


def test_what_is_published_has_the_caller_s_permissions(root, tmp_path):
    """The mode is that of a new file, not that of a temporary one."""
    target = FolderTarget(root)
    target.commit("x", stage(target, tmp_path, b"data"), replaces=None)
    (tmp_path / "new").touch()
    assert (tmp_path / "new").stat().st_mode == (root / "x").stat().st_mode


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_without_hard_links_a_name_is_still_taken_once(root, tmp_path, monkeypatch, number):
    """FAT and some network file systems have none: the first wins there, too, and the second is refused."""

    def no_links(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    target = FolderTarget(root)
    first, second = stage(target, tmp_path, b"first"), stage(target, tmp_path, b"second!")
    target.commit("x", first, replaces=None)
    with pytest.raises(ExistsError):
        target.commit("x", second, replaces=None)
    target.discard("x", second)
    assert b"first" == (root / "x").read_bytes()
    assert [root / "x"] == list(root.iterdir())


def test_two_that_commit_at_once_are_told_apart(root, tmp_path, monkeypatch):
    """A file that appears between the look and the link is not overwritten."""
    target = FolderTarget(root)
    token = stage(target, tmp_path, b"late")
    link = os.link

    def raced(source, name, **options):
        root.joinpath("x").write_bytes(b"early")
        link(source, name, **options)

    monkeypatch.setattr(os, "link", raced)
    with pytest.raises(ExistsError):
        target.commit("x", token, replaces=None)
    assert b"early" == (root / "x").read_bytes()


def test_a_commit_that_broke_off_is_ended_by_the_next(root, tmp_path, monkeypatch):
    """Killed after the file got its name, and before the staged name was gone: the same token goes on."""
    target = FolderTarget(root)
    token = stage(target, tmp_path, b"data")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            target.commit("x", token, replaces=None)
    assert b"data" == (root / "x").read_bytes()
    target.commit("x", token, replaces=None)
    assert [root / "x"] == list(root.iterdir())


_FILL = """
import pathlib, sys
from repro.data.sources.folder import FolderTarget
from repro.digest import Digest
data = bytes(4 << 20)
file = pathlib.Path(sys.argv[1])
file.write_bytes(data)
target, notes = FolderTarget(pathlib.Path("/mnt/root")), []
try:
    target.stage("x", file, Digest.of(data), len(data), before=None, note=notes.append, told=lambda _: None)
except Exception as error:
    print(type(error).__name__, error)
target.discard("x", notes[-1])
print(list(pathlib.Path("/mnt/root").iterdir()))
"""


def test_a_full_disk_is_said(tmp_path):
    """Staging ends with the reason, and what was staged can be discarded."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    (tmp_path / "fill.py").write_text(_FILL)
    mounted = 'mount -t tmpfs -o size=1m none /mnt && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounted, "sh", sys.executable, tmp_path / "fill.py", tmp_path / "file"]
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("FetchError there is no room for /mnt/root")
    assert done.stdout.endswith("[]\n")


def test_what_may_not_be_read_is_denied(root, ordinary):
    """The message names the path, and is no traceback."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that the tests' user may not read")
    secret = ordinary.home / "secret"
    secret.mkdir(mode=0o700)
    code = (
        "from pathlib import Path\nfrom repro.data.sources.folder import FolderSource\n"
        f"try:\n    FolderSource(Path({str(secret)!r})).stat('x')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = ordinary.run(ordinary.python, "-c", code)
    shutil.rmtree(secret)
    assert done.stdout.startswith(f"{DeniedError.__name__} {secret}/x cannot be used"), done


def test_a_file_is_no_folder_and_a_pipe_no_file(tmp_path):
    """Both are said to be not there, and nothing waits for a writer."""
    (tmp_path / "x").write_bytes(b"file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotThereError, match="folder"):
        list(FolderSource(tmp_path / "x").files())
    with pytest.raises(NotThereError):
        FolderSource(tmp_path / "pipe").stat()
    with pytest.raises(FetchError):
        FolderSource(tmp_path).stat("x", "a version")
