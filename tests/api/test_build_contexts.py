"""What `repro image build` can be given: folders, tars and Dockerfiles, on disk, at an address and on stdin."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace

import pytest

from repro.api.build_contexts import open_context
from repro.api.host import Host
from repro.digest import Digest
from repro.errors import DockerfileError, ReproError, UsageError

TEXT = "FROM scratch\nCOPY . /\n"


def packed(files: dict[str, str], *, mode: str = "w", links: dict[str, str] | None = None) -> bytes:
    """Return a tar with these files, and links by their targets."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mode = len(text), 1234, 0o640
            archive.addfile(info, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


@pytest.fixture
def place(tmp_path):
    """A host whose working folder is ``work``, and an empty room."""
    for name in ("work", "room"):
        (tmp_path / name).mkdir()
    host = replace(Host.current(), cwd=tmp_path / "work", environ={})
    return host, tmp_path / "room"


def names(opened) -> list[str]:
    """Return the top of the context."""
    root = opened.context.node("")
    return [node.name for node in opened.context.children(root)]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_on_stdin_is_the_context(place, mode):
    """Its Dockerfile and its .dockerignore count, owners are root's, modes are the tar's."""
    host, room = place
    data = packed({"Dockerfile": TEXT, ".dockerignore": "b\n", "a": "a", "b": "b"}, mode=mode)
    opened = open_context(host, "-", None, io.BytesIO(data), room)
    assert (TEXT, "Dockerfile") == (opened.text, opened.shown)
    assert [".dockerignore", "Dockerfile", "a"] == names(opened)
    node = opened.context.node("a")
    assert (0o640, 0, 0, Digest.of(b"a")) == (node.mode, node.uid, node.gid, opened.context.digest(node))


def test_another_dockerfile_of_a_tar_has_its_own_rules(place):
    """-f names a file inside; its ignore file lies beside it."""
    host, room = place
    data = packed({"sub/Other": "FROM scratch\n", "sub/Other.dockerignore": "sub\n", ".dockerignore": "a\n", "a": "a"})
    (host.cwd / "c.tar").write_bytes(data)
    opened = open_context(host, "c.tar", "sub/Other", None, room)
    assert ("FROM scratch\n", "sub/Other", [".dockerignore", "a"]) == (opened.text, opened.shown, names(opened))


def test_a_dockerfile_alone_has_an_empty_context(place):
    """On stdin, as Docker reads it."""
    host, room = place
    opened = open_context(host, "-", None, io.BytesIO(TEXT.encode()), room)
    assert (TEXT, []) == (opened.text, names(opened))


def test_the_dockerfile_of_a_folder_may_come_from_elsewhere(place):
    """From stdin, or from the working folder with its own ignore file beside it."""
    host, room = place
    (host.cwd / "context").mkdir()
    (host.cwd / "context/a").write_text("a")
    (host.cwd / "context/Dockerfile").write_text("FROM scratch\n")
    (host.cwd / "Other").write_text("FROM other\n")
    (host.cwd / "Other.dockerignore").write_text("a\n")
    found = [
        (opened.text, opened.shown, names(opened))
        for file, stdin in ((None, None), ("-", io.BytesIO(TEXT.encode())), ("Other", None))
        for opened in [open_context(host, "context/", file, stdin, room)]
    ]
    assert [
        ("FROM scratch\n", "context/Dockerfile", ["Dockerfile", "a"]),
        (TEXT, "<stdin>", ["Dockerfile", "a"]),
        ("FROM other\n", "Other", ["Dockerfile"]),
    ] == found


@pytest.mark.parametrize(
    ("context", "file", "stdin", "message"),
    [
        ("nowhere", None, None, "is not there"),
        ("-", "-", b"x", "cannot be both"),
        ("-", None, None, "standard input is empty"),
        ("-", "Other", TEXT.encode(), "is no tar"),
        ("-", None, b"\xff\xfe", "no text in UTF-8"),
        ("-", None, packed({"a": "a"}), "Dockerfile cannot be read"),
        ("-", "../../etc/passwd", packed({"a": "a"}), "cannot be read"),
        ("-", None, packed({"../a": "a"}), "leads out of the destination"),
        ("-", None, packed({"Dockerfile": TEXT}, links={".dockerignore": "/etc/passwd"}), "is a link"),
        ("-", None, packed({"Dockerfile": TEXT * 400})[:5000], "cut short"),
        ("git@example.org:a/b.git", None, None, "a git repository"),
        ("https://example.org/a.git#main:sub", None, None, "a git repository"),
        ("http://127.0.0.1:9/c.tar", None, None, "cannot fetch"),
    ],
)
def test_what_cannot_be_a_context_is_told(place, context, file, stdin, message, monkeypatch):
    """Always an error of ours, and nothing outside the room is written."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # the retries of an address that nobody serves
    host, room = place
    with pytest.raises(ReproError, match=message) as caught:
        open_context(host, context, file, None if stdin is None else io.BytesIO(stdin), room)
    assert not isinstance(caught.value, DockerfileError)
    assert [] == os.listdir(host.cwd)


def test_a_link_of_a_tar_leads_nowhere_outside(place):
    """A Dockerfile that is a link to a host file is looked for inside the tar."""
    host, room = place
    data = packed({"a": "a"}, links={"Dockerfile": "/etc/hostname"})
    with pytest.raises(UsageError, match="Dockerfile cannot be read"):
        open_context(host, "-", None, io.BytesIO(data), room)
