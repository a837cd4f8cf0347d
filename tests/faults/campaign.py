"""Kills: commands of `repro` are killed at random moments, and after each the store must be good.

A command is a list of arguments in which ``{turn}`` is the number of the kill, so that a build makes something each
time. More commands, such as pulls and pushes, are more lists.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

REPRO = (sys.executable, "-m", "repro.cli.main")
_LONGEST = 120  # seconds that a command may take


@dataclass(frozen=True, slots=True)
class Command:
    """Arguments of `repro`; ``first`` are commands that make what it needs, and are not killed."""

    arguments: tuple[str, ...]
    first: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Kill:
    """What happened: the command, after how many seconds it was killed (None: it had ended), what was found wrong."""

    command: tuple[str, ...]
    after: float | None
    wrong: str


class Campaign:
    """Commands run and killed in ``folder`` with the environment ``env``, which names the store."""

    def __init__(self, folder: Path, env: Mapping[str, str], commands: Sequence[Command], seed: int) -> None:
        self._folder = folder
        self._env = dict(env)
        self._commands = commands
        self._random = random.Random(seed)
        self._took: dict[Command, float] = {}

    def run(self, kills: int) -> list[Kill]:
        """Kill that many times; return each kill."""
        for command in self._commands:
            self._whole(command, "warm")
        return [self._kill(turn) for turn in range(kills)]

    def _kill(self, turn: int) -> Kill:
        command = self._commands[turn % len(self._commands)]
        for arguments in command.first:
            self._end(arguments, str(turn))
        delay = self._random.uniform(0, self._took[command] * 1.1)
        running = self._start(command.arguments, str(turn))
        after: float | None = delay
        try:
            running.wait(delay)
            after = None
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
        running.communicate()
        return Kill(command.arguments, after, self._wrong(command, str(turn)))

    def _wrong(self, command: Command, turn: str) -> str:
        """Return what is wrong with the store, and whether the command then works; nothing if all is well."""
        done = self._start(("store", "check", "--json"), turn).communicate()
        try:
            findings = json.loads(done[0])["findings"]
        except ValueError:
            return f"store check: {done[0]}{done[1]}"
        if findings:
            return json.dumps(findings, indent=1)
        try:
            self._whole(command, turn)
        except AssertionError as error:
            return f"afterwards: {error}"
        return ""

    def _whole(self, command: Command, turn: str) -> None:
        """Run a command to its end, and note how long it takes."""
        for arguments in command.first:
            self._end(arguments, turn)
        started = time.monotonic()
        self._end(command.arguments, turn)
        self._took[command] = time.monotonic() - started

    def _end(self, arguments: Sequence[str], turn: str) -> None:
        running = self._start(arguments, turn)
        out, error = running.communicate(timeout=_LONGEST)
        assert running.returncode == 0, f"{arguments}: {out}{error}"

    def _start(self, arguments: Sequence[str], turn: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*REPRO, *(argument.replace("{turn}", turn) for argument in arguments)],
            cwd=self._folder,
            env={**os.environ, **self._env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
