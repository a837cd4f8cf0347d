"""A terminal for tests: runs a command on a pty and keeps what would stand on the screen in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios

_PIECE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Lines as a terminal of ``columns`` keeps them, scrolled-off ones included; knows what our displays send."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        """Take output."""
        for numbers, command, control, plain in _PIECE.findall(text):
            if control == "\r":
                self.column = 0
            elif control == "\n":
                self._down()
            elif plain:
                self._put(plain)
            elif command == "A":
                self.row -= int(numbers or 1)
                assert self.row >= 0, "moved above what was drawn"
            elif command == "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            elif command == "J":
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 :]
            else:
                assert command == "m", f"unexpected sequence {numbers}{command}"

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _put(self, text: str) -> None:
        for one in text:
            if self.column == self.columns:
                self._down()
                self.column = 0
            line = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = line[: self.column] + one + line[self.column + 1 :]
            self.column += 1


def run_on_terminal(
    command: list[str], *, cwd, env: dict[str, str], columns: int = 80, lines: int = 24, interrupt_at: str | None = None
) -> tuple[int, str, Screen, str]:
    """Run with stderr on a terminal; return status, stdout, the screen, and all that was sent to the terminal.

    ``interrupt_at``: send SIGINT, as Ctrl-C does, once this text was sent.
    """
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(command, cwd=cwd, env=env, stdin=inner, stdout=subprocess.PIPE, stderr=inner, text=True)
    os.close(inner)
    sent = b""
    while True:
        try:
            data = os.read(outer, 65536)
        except OSError:  # EIO: the other side is closed
            break
        sent += data
        if interrupt_at is not None and interrupt_at.encode() in sent:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(outer)
    assert process.stdout is not None
    out = process.stdout.read()
    process.stdout.close()
    screen = Screen(columns)
    text = sent.decode()
    screen.feed(text)
    return process.wait(), out, screen, text
