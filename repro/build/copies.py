"""Copies of many regular files, shared with a second process; also the program that this process runs.

Most of the time goes into system calls, which threads of one Python would take turns at. The second process is run as
``python -I -S copies.py`` with a marshalled list of copies on its standard input; what it writes is the error, pickled.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

if __name__ == "__main__":  # -I keeps the script's folder off the path; the package is two folders up
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from repro.build.inodes import FileCopy, copy_file
from repro.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORTH_SHARING = 4000  # files from which on the 40 ms that a process takes to start are soon won back


def copy_files(copies: Sequence[FileCopy], form: str) -> None:
    """Make all ``copies``; the first error of either process is raised, and ends both."""
    if len(copies) < _WORTH_SHARING or len(os.sched_getaffinity(0)) == 1:
        for copy in copies:
            copy_file(copy, form)
        return
    half = len(copies) // 2
    with _other_process(copies[half:], form):
        for copy in copies[:half]:
            copy_file(copy, form)


@contextlib.contextmanager
def _other_process(copies: Sequence[FileCopy], form: str) -> Iterator[None]:
    """Have ``copies`` made elsewhere while the block runs; they are there when it has ended, or its error is raised."""
    utf8 = f"utf8={sys.flags.utf8_mode}"  # the names of files are to be the same bytes there
    argv = [os.path.realpath(sys.executable), "-I", "-S", "-X", utf8, os.path.abspath(__file__), form]
    with open(os.memfd_create("repro-copies"), "wb") as work:
        work.write(marshal.dumps([tuple(copy) for copy in copies]))
        work.seek(0)
        # Not through process.run, which waits. A session of its own: Ctrl-C is for us, who end it.
        process = subprocess.Popen(
            argv, stdin=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    with process:
        try:
            yield
            error, words = process.communicate()
        finally:
            process.kill()
    if error:
        raise pickle.loads(error)  # noqa: S301 - of our own program
    if process.returncode != 0:
        raise HostError(
            f"a process that copied files ended with exit status {process.returncode}",
            why=words.decode(errors="replace").strip()[-2000:] or None,
        )


def main(form: str) -> None:
    """Make the copies that standard input holds, as long as the process that asked for them lives."""
    parent = os.getppid()
    try:
        for fields in marshal.load(sys.stdin.buffer):  # noqa: S302 - of our own process
            if os.getppid() != parent:
                sys.exit(1)
            copy_file(FileCopy(*fields), form)
    except Exception as error:
        sys.stdout.buffer.write(pickle.dumps(error))


if __name__ == "__main__":
    main(sys.argv[1])
