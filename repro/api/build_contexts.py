"""What `repro image build` is given: a folder, a tar or a Dockerfile alone, on disk, at an address or on stdin."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, BinaryIO

from repro.api.contexts import folder_context
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import BuildError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from repro.api.host import Host
    from repro.build.context import FolderContext


@dataclass(frozen=True, slots=True)
class Opened:
    """A context, the Dockerfile's text, what errors call that file, and where both lie: None if not for long."""

    context: FolderContext
    text: str
    shown: str
    dockerfile: Path | None = None


def open_context(
    host: Host,
    context: str,
    file: str | None,
    stdin: BinaryIO | None,
    room: Path,
    *,
    hasher: Callable[[str], Digest] = Digest.of_file,
) -> Opened:
    """Return what ``repro image build -f file context`` reads.

    Args:
        host: for the working folder, and the network's environment.
        context: a folder; a tar (plain or compressed) as a file, at an http(s) address, or for ``-`` on standard
            input. A text there is the Dockerfile, and the context is empty.
        file: the Dockerfile, from the working folder, or inside the tar; ``-`` is standard input; None: ``Dockerfile``
            in the context.
        stdin: standard input; None is empty.
        room: an empty folder that lives as long as the build.
        hasher: returns the digest of a file of the context.

    Raises:
        UsageError: there is no such context or Dockerfile, or the tar is broken or hostile.
    """
    from repro.build.remote import is_address, is_git  # noqa: PLC0415 - only to build

    if is_git(context):
        raise UsageError(
            f"a git repository cannot be the context: {context}",
            why="this version has no git",
            hint="clone it, and name the folder",
        )
    if context == "-":
        if file == "-":
            raise UsageError("standard input cannot be both the context and the Dockerfile", hint="name one of them")
        packed, shown = _spooled(stdin, room), "standard input"
    elif is_address(context):
        packed, shown = _downloaded(host, context, room), context
    else:
        folder = host.cwd / context
        if folder.is_dir():
            return _open_folder(host, folder, context, file, stdin, hasher)
        if not folder.is_file():
            raise UsageError(f"the build context {context} is not there", hint="name the folder that COPY reads from")
        packed, shown = folder, context
    return _open_packed(packed, shown, file, stdin, room, hasher)


def _open_folder(
    host: Host,
    folder: Path,
    context: str,
    file: str | None,
    stdin: BinaryIO | None,
    hasher: Callable[[str], Digest],
) -> Opened:
    if file == "-":
        shown = "<stdin>"
        return Opened(folder_context(folder, shown, hasher=hasher), _decoded(_read(stdin), shown), shown)
    path = host.cwd / file if file is not None else folder / "Dockerfile"
    shown = file if file is not None else f"{context.rstrip('/')}/Dockerfile"
    seen = folder_context(folder, shown, hasher=hasher, beside=path.parent)
    return Opened(seen, _dockerfile(path, shown), shown, path)


def _open_packed(
    packed: Path, shown: str, file: str | None, stdin: BinaryIO | None, room: Path, hasher: Callable[[str], Digest]
) -> Opened:
    """Return the context in a tar; a text is a Dockerfile, with nothing to copy."""
    folder = room / "context"
    folder.mkdir()
    if not _unpacked(packed, shown, folder):
        if file is not None:
            raise UsageError(f"{shown} is no tar, so there is no {file} in it", hint="leave out -f")
        return Opened(folder_context(folder, shown, hasher=hasher), _decoded(packed.read_bytes(), shown), shown)
    if file == "-":
        return Opened(folder_context(folder, "<stdin>", hasher=hasher), _decoded(_read(stdin), "<stdin>"), "<stdin>")
    name = file or "Dockerfile"
    # Resolved inside: a link in a tar must not make us read the host's files.
    path = folder / folder_context(folder, name).resolve(name)
    return Opened(folder_context(folder, name, hasher=hasher, beside=path.parent), _dockerfile(path, name), name)


def _unpacked(packed: Path, shown: str, folder: Path) -> bool:
    """Unpack a tar into ``folder``, every file the caller's own: a context has no owners. False if it is no tar."""
    from repro.build.archive import opened_archive, unpack  # noqa: PLC0415 - only to build
    from repro.build.context import look  # noqa: PLC0415
    from repro.build.tree import LayerFolder  # noqa: PLC0415
    from repro.oci.inode import ONE  # noqa: PLC0415

    node = look(shown, str(packed))
    assert node is not None  # the caller saw it or made it
    try:
        with opened_archive(node, ours=False) as reader:
            if reader is None:
                return False
            layer = LayerFolder(folder, (), ONE)
            unpack(reader, layer, "", shown, owner=(0, 0), mtime=0)
            layer.finish()
            _without_linked_rules(folder)
    except BuildError as error:
        raise UsageError(error.message, why=error.why, hint="the context must be a tar, plain or compressed") from error
    except OSError as error:
        raise UsageError(f"{shown} cannot be unpacked", why=error.strerror) from error
    return True


def _without_linked_rules(folder: Path) -> None:
    """Refuse an ignore file that is a link: it could lead to any file of the host."""
    for path in folder.rglob("*.dockerignore"):
        if path.is_symlink():
            raise BuildError(f"{path.relative_to(folder)} is a link", hint="put the file itself into the tar")


def _spooled(stdin: BinaryIO | None, room: Path) -> Path:
    """Return standard input as a file: what it is must be known before it is read as that."""
    path = room / "stdin"
    with open(path, "xb") as file:
        shutil.copyfileobj(stdin, file, 1 << 20) if stdin is not None else None
    if path.stat().st_size == 0:
        raise UsageError("standard input is empty", hint="give a Dockerfile, or a tar of the context")
    return path


def _downloaded(host: Host, url: str, room: Path) -> Path:
    from repro.api.remote import download  # noqa: PLC0415 - only for a context at an address
    from repro.data.transports import Transports  # noqa: PLC0415

    return download(Transports(host.environ), url, room).path


def _dockerfile(path: Path, shown: str) -> str:
    try:
        return _decoded(path.read_bytes(), shown)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read", why=error.strerror, hint="name the Dockerfile with -f") from error


def _read(stdin: BinaryIO | None) -> bytes:
    return b"" if stdin is None else stdin.read()


def _decoded(data: bytes, shown: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is no text in UTF-8", why=str(error), hint="a context may be a tar") from error
