"""A built image, or its root, written to a file, a folder or standard output."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from repro.api.outputs import Kind, Output
from repro.errors import DataError
from repro.events import Notice
from repro.oci.room import output_full

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.digest import Digest
    from repro.events import Sink
    from repro.names import Reference
    from repro.oci.store import Store


def write_output(
    output: Output, store: Store, image_id: Digest, names: Sequence[Reference], *, stdout: BinaryIO | None, sink: Sink
) -> None:
    """Write one output: a file is whole or as it was before; a folder keeps what the image does not have.

    Raises:
        CorruptError: a layer in the store is damaged.
        DataError: the folder has something in the way.
        OSError: it cannot be written.
    """
    if output.kind is Kind.IMAGE:
        return
    if output.kind is Kind.LOCAL:
        assert output.dest is not None
        with output_full(output.dest):
            _write_folder(store, image_id, output.dest, sink)
    elif output.folder:
        from repro.oci.archive import write_layout  # noqa: PLC0415 - only where it is asked for

        assert output.dest is not None
        with output_full(output.dest):
            write_layout(store, image_id, output.dest, names=names)
    else:
        with opened_output(output.dest, stdout) as out:
            _write_file(output.kind, store, image_id, names, out)
    shown = "standard output" if output.dest is None else str(output.dest)
    sink(Notice("info", f"wrote {output.kind.value} to {shown}"))


def _write_file(kind: Kind, store: Store, image_id: Digest, names: Sequence[Reference], out: BinaryIO) -> None:
    if kind is Kind.TAR:
        from repro.oci.flatten import write_root_tar  # noqa: PLC0415 - only where it is asked for

        write_root_tar(store.image_layers(image_id), store.form, out)
        return
    from repro.oci.image_tar import write_docker_archive, write_oci_archive  # noqa: PLC0415

    write = write_oci_archive if kind is Kind.OCI else write_docker_archive
    write(store, {image_id: names}, out)


@contextlib.contextmanager
def opened_output(dest: Path | None, stdout: BinaryIO | None) -> Iterator[BinaryIO]:
    """Give the file to write, or ``stdout`` where there is no ``dest``; one of them is there, as the caller saw.

    What is at ``dest`` already stays until all is written, pipes and devices aside.
    """
    if dest is None:
        assert stdout is not None
        yield stdout
        stdout.flush()
        return
    if dest.exists() and not dest.is_file():
        with output_full(dest), open(dest, "wb") as out:
            yield out
        return
    from repro.files import open_atomic  # noqa: PLC0415

    with output_full(dest), open_atomic(dest) as out:
        yield out


def _write_folder(store: Store, image_id: Digest, dest: Path, sink: Sink) -> None:
    """Lay the image's root out beside ``dest``, then move it in name by name: `dest` may hold files already."""
    from repro.files import remove_tree  # noqa: PLC0415 - only where it is asked for
    from repro.oci.flatten import lay_out_root  # noqa: PLC0415

    dest.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{dest.name[:200]}.", suffix=".tmp", dir=dest.parent))
    skipped: list[str] = []
    try:
        lay_out_root(store.image_layers(image_id), made, skipped.append)
        dest.mkdir(exist_ok=True)
        _merge(made, dest)
    finally:
        remove_tree(made)
    if skipped:
        named = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        sink(Notice("warning", f"left out of {dest}: {len(skipped)} devices, pipes and sockets: {named}"))


def _merge(made: Path, dest: Path) -> None:
    """Move all that is in ``made`` into ``dest``; a file replaces a file, folders are merged."""
    for name in sorted(os.listdir(made)):
        source, target = made / name, dest / name
        status = os.lstat(source)
        folder = stat.S_ISDIR(status.st_mode)
        try:
            there = stat.S_ISDIR(os.lstat(target).st_mode)
        except FileNotFoundError:
            there = None
        if there is not None and there != folder:
            what, new = ("folder", "file") if there else ("file", "folder")
            raise DataError(
                f"{target} is a {what} here, and a {new} in the image", hint="remove it, or give another dest"
            )
        if not folder:
            os.rename(source, target)
            continue
        mode = stat.S_IMODE(status.st_mode)
        os.chmod(source, mode | 0o700)  # rename(2) wants to write a folder that changes its parent
        if there:
            os.chmod(target, mode | 0o700)
            _merge(source, target)
        else:
            os.rename(source, target)
        os.chmod(target, mode)
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
