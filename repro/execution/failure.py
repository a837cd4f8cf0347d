"""Why a job failed, in the user's terms: exit status, last words, and the file or package that it lacked."""

from __future__ import annotations

import errno
import re
import signal
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.execution.pinned import Nothing
from repro.execution.undeclared import Undeclared, find_undeclared
from repro.execution.world import WORK, wanted_paths

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repro.execution.pinned import Pinned
    from repro.workflow.model import Job

_LAST_LINES = 8  # of the log, shown in the message
_LONGEST_LINE = 1000  # of the log, in characters
_LONGEST_NAME = 200  # of a file in a message
_TAIL_BYTES = 64 << 10  # of the log, searched for causes

_NOT_FOUND = (
    re.compile(r"line \d+: ([^\s:]+): command not found"),  # bash
    re.compile(r"sh: \d+: ([^\s:]+): not found"),  # dash
    re.compile(r"exec: \"?([^\s:\"]+)\"?: (?:not found|No such file)"),
    re.compile(r"env: [\u2018'\"]?([^\s:\u2018\u2019'\"]+)[\u2019'\"]?: No such file"),
)
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")
_NO_R_PACKAGE = re.compile(r"there is no package called [\u2018'\"]([\w.]+)[\u2019'\"]")
_NETWORK = re.compile(
    r"Temporary failure in name resolution|Could not resolve|Name or service not known|Network is unreachable"
    r"|Connection refused|ENETUNREACH|cannot open URL|unable to resolve",
    re.IGNORECASE,
)
_READ_ONLY = re.compile(
    r"([\w./+-]+)[\u2019'\"]?: Read-only file system|Read-only file system: [\u2018'\"]?([\w./+-]+)"
)
_BUSY = re.compile(r"[\u2018'\"]?([\w./+-]+)[\u2019'\"]?: (?:Device or resource busy|Invalid cross-device link)")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened, and what to do about it (empty where we cannot tell)."""

    message: str
    hint: str


def explain(
    job: Job,
    *,
    exit_status: int,
    log: Path,
    command: str,
    project: Path,
    makers: Mapping[str, str],
    pinned: Pinned | None = None,
) -> Explanation:
    """Return why ``job`` ended with ``exit_status``.

    Args:
        job: the job.
        exit_status: as in `repro.runtime.spec.ContainerResult`.
        log: the file with its output.
        command: the rendered command; for a script, its path.
        project: the project's folder, searched for files that the job may have wanted.
        makers: every output path of the plan, with ``step.output`` that makes it.
        pinned: the inputs from elsewhere, which it may have wanted as well; None: there are none.
    """
    tail = read_tail(log)
    lines = [line for line in tail.splitlines() if line.strip()][-_LAST_LINES:]
    message = status_words(exit_status)
    if lines:
        message += "; its last lines:\n" + "\n".join(f"    {line[:300]}" for line in lines)
    else:
        message += "; it printed nothing"
    wanted = find_undeclared(
        job, tail=tail, command=command, project=project, makers=makers, pinned=pinned or Nothing()
    )
    if wanted is not None:
        return Explanation(f"{wanted.statement}\n  {message}", _declare(job, wanted))
    return Explanation(message, _hint(job, exit_status, tail))


def read_tail(log: Path) -> str:
    """Return the end of the log as text, long lines cut; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(map(_cut, text.splitlines()))


def _cut(line: str) -> str:
    """Return the line without its middle where it is long: searching takes the square of a line's length."""
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def status_words(exit_status: int) -> str:
    """Return the exit status in words, for people who have not learnt the numbers."""
    words = f"exit status {exit_status}"
    if exit_status == 126:
        return f"{words} (found, but it cannot be executed)"
    if exit_status == 127:
        return f"{words} (command not found)"
    if exit_status > 128:
        try:
            name = signal.Signals(exit_status - 128).name
        except ValueError:
            return words
        return f"{words} (killed by {name})"
    return words


def os_text(error: OSError) -> str:
    """Return what the system said, with the file's name where it has one; names of any length stay readable."""
    name = str(error.filename or "")
    shown = name if len(name) <= _LONGEST_NAME else f"...{name[-_LONGEST_NAME:]}"
    return f"{error.strerror or error}{': ' if shown else ''}{shown}"


def os_hint(error: OSError) -> str:
    """Return what to do about it."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on that file system, or raise the quota"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "see that you may write there"
        case _:
            return "see that the file system is in order"


def _declare(job: Job, wanted: Undeclared) -> str:
    where = f"{job.step.where.file}:{job.step.where.line}"
    if wanted.code:
        return f"add it to the scripts' code ({where}): defaults: {{code: [{wanted.path}]}}"
    return f"add it to inputs of step {job.step.name} ({where}): {wanted.name}: {wanted.value}"


def _is_input(job: Job, path: str) -> bool:
    inputs = {name.rstrip("/") for name in wanted_paths(job)}
    return path.removeprefix(f"{WORK}/").rstrip("/") in inputs


def _hint(job: Job, exit_status: int, tail: str) -> str:
    environment = job.step.environment
    for pattern in _NOT_FOUND:
        if found := pattern.search(tail):
            return f"{found[1]} is not in environment {environment}: add the package that holds it to apt:"
    if found := _NO_MODULE.search(tail) or _NO_R_PACKAGE.search(tail):
        return f"{found[1]} is not in environment {environment}: add the package that holds it"
    if not job.step.network and _NETWORK.search(tail):
        return f"a step has no network unless it asks for it: network: true in step {job.step.name}"
    if found := _READ_ONLY.search(tail):
        return f"{found[1] or found[2]} is read-only, as all inputs are: write to an output instead"
    if (found := _BUSY.search(tail)) and _is_input(job, found[1]):
        return f"{found[1]} is an input, which stays where it is: copy it, and change the copy"
    match exit_status:
        case 127:
            return f"the command is not in environment {environment}: add the package that holds it to apt:"
        case 137:
            return "often the host ran out of memory: declare resources: {memory: ...}, so that fewer run at once"
        case 139:
            return "the program itself crashed; another version of its package may help"
        case 141:
            return "a command wrote to a pipe that its reader had closed; pipefail makes that count"
        case _:
            return ""
