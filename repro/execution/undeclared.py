"""Which project file a failed job wanted but did not declare, guessed from its log, command and script.

A step sees its declared inputs and nothing else, so a read of anything else fails inside it with "No such
file";
outside, the file is there: that is what is looked for.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.execution.world import WORK, wanted_paths
from repro.workflow.model import FromInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from repro.execution.pinned import Pinned
    from repro.workflow.model import Input, Job

# What programs say when a file is not there.
_SIGN = re.compile(
    r"no such file|not found|(?:cannot|can't|could(?: not|n't)|unable to|fail(?:ed)? to) "
    r"(?:open|find|locate|access|stat|read|load)"
    r"|does(?: not|n't) exist|not exist|missing|FileNotFound|ENOENT|errno 2\b|No module named",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\s'\"`\u2018\u2019\u201c\u201d;|&<>()=,\[\]{}:]+")
_QUOTES = tuple("'\"`\u2018\u2019\u201c\u201d")
_GLOB = re.compile(r"[*?]")
_MODULE = re.compile(r"No module named '([\w.]+)'")
_MOST_SCRIPT = 1 << 20  # bytes of a script that are searched
_MOST_WALKED = 50_000  # project files looked at before giving up
_PRIVATE = frozenset({".git", ".repro", "__pycache__", ".snakemake", "node_modules"})


@dataclass(frozen=True, slots=True)
class Undeclared:
    """A path that the job wanted: ``name: value`` declares it; ``code`` for what scripts import."""

    path: str
    name: str
    value: str
    statement: str
    code: bool = False


def find_undeclared(
    job: Job, *, tail: str, command: str, project: Path, makers: Mapping[str, str], pinned: Pinned
) -> Undeclared | None:
    """Return the likeliest undeclared project path that the job wanted; None where nothing points to one."""
    search = _Search(job, project, makers, pinned)
    lines = [line for line in tail.splitlines() if _SIGN.search(line)]
    if found := search.module(lines):
        return _told(found, makers, code=True)
    # A line that says so names the path, or a file of that name that lies elsewhere in the project.
    if found := search.first(lines) or search.by_name(lines):
        return _told(found, makers)
    # Tools look for index files beside what they were given (x.bam.bai, genome.fa.bwt) and rarely say their names.
    if lines and (companions := search.companions()) is not None:
        return companions
    # Command or script name a path that they could not have seen: likely, not certain.
    if found := search.first([command, *search.script_texts()], files_only=True):
        return _told(found, makers, verb="names")
    return None


def _told(path: str, makers: Mapping[str, str], *, code: bool = False, verb: str = "reads") -> Undeclared:
    maker = makers.get(path) or makers.get(f"{path.rstrip('/')}/")
    stem = re.sub(r"\W+", "_", os.path.basename(path.rstrip("/")).split(".")[0]).strip("_").lower() or "data"
    name = f"_{stem}" if stem[0].isdigit() else stem
    value = f"{{from: {maker}}}" if maker else f'"{path}"' if _GLOB.search(path) else path  # YAML has its own *
    return Undeclared(path, name, value, f"the step {verb} {path}, which it does not declare", code)


def _told_companions(name: str, declared: Input | None, path: str, found: list[str]) -> Undeclared:
    """Return the input ``name``, one of whose paths is ``path``, with the files found beside that as companions."""
    shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    endings = sorted({*(declared.companions if declared else ()), *(other.removeprefix(path) for other in found)})
    if isinstance(declared, FromInput):
        source = f"from: {declared.step}.{declared.output}"
    else:
        source = f"path: {declared.paths[0] if declared and len(declared.paths) == 1 else path}"
    value = f"{{{source}, with: [{', '.join(endings)}]}}"
    return Undeclared(found[0], name, value, f"the step may need {shown} beside its input, which it does not declare")


def _set_apart(word: re.Match[str]) -> bool:
    """Return whether a bare word is quoted, before a colon or last: as programs write a name, unlike their prose."""
    after = word.string[word.end() : word.end() + 1]
    return after in ("", "\n", ":") or (after in _QUOTES and word.string[word.start() - 1 : word.start()] in _QUOTES)


class _Search:
    def __init__(self, job: Job, project: Path, makers: Mapping[str, str], pinned: Pinned) -> None:
        self.job = job
        self.project = project
        self.makers = makers
        self.pinned = pinned
        paths = list(wanted_paths(job))
        paths += [output.path for output in job.outputs.values()]
        self.files = {path for path in paths if not path.endswith("/")}
        self.folders = tuple(path for path in paths if path.endswith("/"))

    def first(self, texts: Iterable[str], *, files_only: bool = False) -> str | None:
        """Return the first path named in the texts that is in the project and not declared.

        ``files_only``: no folders, and no bare words, which are more often something else.
        """
        for text in texts:
            for match in _TOKEN.finditer(text):
                path = self._as_path(match[0])
                if not path or ("/" not in path and "." not in path and (files_only or not _set_apart(match))):
                    continue
                if (found := self._undeclared(path)) and not (files_only and found.endswith("/")):
                    return found
        return None

    def by_name(self, lines: Iterable[str]) -> str | None:
        """Return the one undeclared file of the project whose bare name the lines mention."""
        names = {os.path.basename(match[0]) for line in lines for match in _TOKEN.finditer(line)}
        names = {name for name in names if "." in name.strip(".")}  # a word is no file name
        found = [path for path in self._walk() if os.path.basename(path) in names] if names else []
        return found[0] if len(found) == 1 else None

    def companions(self) -> Undeclared | None:
        """Return an input with the undeclared files whose names continue its own (``x.bam.bai``)."""
        for input_name, bound in self.job.inputs.items():
            for path in bound.paths:
                folder, name = os.path.split(path)
                try:
                    names = sorted(os.listdir(self.project / folder)) if name else []
                except OSError:
                    continue
                beside = [os.path.join(folder, other) for other in names if other.startswith(f"{name}.")]
                beside = [other for other in beside if other not in self.files and not other.startswith(self.folders)]
                if beside:
                    return _told_companions(input_name, self.job.step.inputs.get(input_name), path, beside)
        return None

    def module(self, lines: Iterable[str]) -> str | None:
        """Return the project's own Python module that an import did not find."""
        for line in lines:
            if match := _MODULE.search(line):
                stem = match[1].replace(".", "/")
                for path in self._walk():
                    if f"/{path}".endswith((f"/{stem}.py", f"/{stem}/__init__.py")):
                        return path
        return None

    def script_texts(self) -> Iterator[str]:
        """Give the texts of the job's own scripts."""
        for path in self.job.code:
            if not path.endswith("/"):
                try:
                    with open(self.project / path, "rb") as file:
                        yield file.read(_MOST_SCRIPT).decode(errors="replace")
                except OSError:
                    continue

    def _as_path(self, token: str) -> str | None:
        inside = f"{WORK}/"
        path = os.path.normpath(token.removeprefix(inside).rstrip(".") if token.startswith(inside) else token)
        if path.startswith(("/", "..", "-")) or path == "." or path.split("/")[0] in _PRIVATE:
            return None
        return path

    def _undeclared(self, path: str) -> str | None:
        if _GLOB.search(path):
            depth = path.count("/")  # the shell's * stays in its folder, fnmatch's does not
            matching = [p for p in self._walk() if p.count("/") == depth and fnmatch.fnmatchcase(p, path)]
            # All that it matches is wanted, so it is declared as it stands; but a glob never takes outputs.
            return next((p for p in matching if p in self.makers), path) if matching else None
        if path in self.files or f"{path}/".startswith(self.folders):
            return None
        if path in self.makers or f"{path}/" in self.makers:  # another step's, there or not yet
            return path if path in self.makers else f"{path}/"
        if self.pinned.has(path):
            return path
        host = self.project / path
        try:
            if host.is_file():
                return path
            # A folder that leads to something declared is there in the job's world too.
            if host.is_dir() and not any(known.startswith(f"{path}/") for known in (*self.files, *self.folders)):
                return f"{path}/"
        except (OSError, ValueError):  # a token need not be a possible name
            return None
        return None

    def _walk(self) -> Iterator[str]:
        """Give the project's undeclared files, in sorted order, up to a bound."""
        count = 0
        pending = [""]  # no recursion, unlike os.walk: a folder may be deeper than the stack
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self.project / folder) as found:
                    entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
            except OSError:
                continue
            inside = [f"{folder}{name}/" for name, is_folder in entries if is_folder and name not in _PRIVATE]
            pending += reversed(inside)
            for name in (name for name, is_folder in entries if not is_folder):
                count += 1
                if count > _MOST_WALKED:
                    return
                path = folder + name
                if path not in self.files and not path.startswith(self.folders):
                    yield path
