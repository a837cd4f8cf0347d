"""uv, the resolver of Python packages, as a subprocess that builds nothing and reads no project.

It runs in an empty folder, told all that it needs: the requirements, the interpreter to resolve for, the indexes that
pip is configured for. What it answers is a lock file in the standard form (PEP 751).
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from repro import process
from repro.environment.resolvers.indexes import Indexes, parse_options, pip_settings, reaching
from repro.environment.resolvers.projects import parse_toml
from repro.environment.resolvers.requirement_files import expanded
from repro.errors import FetchError, HostError, Location, LockError, ReproError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.environment.model import Wheel
    from repro.environment.resolvers.python import Interpreter
    from repro.workflow.model import TemplateEnvironment

# Variables that would point uv to a Python, a project or another kind of answer, or that are given as options.
_NOT_OURS: Final = (
    "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_WORKING_DIR", "UV_NO_BINARY",
    "UV_UPGRADE", "UV_FIND_LINKS", "RUST_LOG", "FORCE_COLOR",
)  # fmt: skip
# glibc versions whose tags uv can resolve for, by minor version; the newest that the image satisfies is taken.
_GLIBC: Final = (17, 28, *range(31, 41))
_MARKS: Final = re.compile(r"^\s*(?:[\u00d7│├╰─▶]+\s*)*(?:(?:error|cause):\s*)?")
_GENERAL: Final = re.compile(r"No solution found when resolving|^$")
_ITS_OWN_OPTIONS: Final = re.compile(r"`--|\(e\.g\., `|--no-build")
_NO_WHEEL: Final = re.compile(
    r"Wheels are (?:required|available) for `([^`]+)`|\b(\S+?)(?:==\S+)? has no (?:usable )?wheels"
)
_UNREACHED: Final = re.compile(
    r"Failed to fetch|Request failed|error sending request|dns error|Failed to download|network was disabled"
)


class Resolver:
    """Resolves for ``env``, ``interpreter`` and the indexes that ``environ`` and ``indexes`` name."""

    def __init__(
        self, env: TemplateEnvironment, interpreter: Interpreter, environ: Mapping[str, str], indexes: Indexes
    ) -> None:
        self._env = env
        self._interpreter = interpreter
        self._environ = environ
        self._program = _program()  # once: it is no work for several threads (sysconfig)
        settings = pip_settings(environ)
        self._options = _there(settings.indexes.merged(expanded(indexes, environ.get))).options()
        self._constraints = settings.constraints

    def resolve(
        self,
        requirements: Sequence[str],
        constraints: Iterable[str] = (),
        *,
        before: Iterable[Wheel] = (),
        pre: bool = False,
    ) -> dict[str, Any]:
        """Return a PEP 751 document of one release per project, each with the wheels that may fit.

        Args:
            requirements: what to install (PEP 508).
            constraints: the same, of projects that come along anyway.
            before: releases to stay with where they still fit.
            pre: whether pre-releases are taken.

        Raises:
            LockError: at the environment: they cannot be had together, or not as wheels; in uv's words.
            FetchError: an index cannot be reached.
            HostError: uv is not installed.
        """
        argv = [
            "pip", "compile", "--format", "pylock.toml", "--output-file", "pylock.toml", "--no-build", "--no-header",
            "--no-annotate", "--python", sys.executable, "--python-version", self._interpreter.version,
            "--python-platform", _platform(self._env, self._interpreter), "--constraints", "constraints.in",
        ]  # fmt: skip
        for file in self._constraints:
            argv += ["--constraints", file]
        if "UV_INDEX_STRATEGY" not in self._environ:
            argv += ["--index-strategy", "unsafe-best-match"]  # as pip: the best release of any index
        if pre:
            argv += ["--prerelease", "allow"]
        with tempfile.TemporaryDirectory(prefix="repro-uv-") as name:
            folder = Path(name)
            _write(folder / "requirements.in", requirements)
            _write(folder / "constraints.in", constraints)
            held = sorted(before)
            if held:
                (folder / "pylock.toml").write_text(_preferences(held), encoding="utf-8")
            try:
                _run([self._program, *argv, *self._options, "requirements.in"], folder, self._environ)
            except ReproError as error:
                raise _refused(self._env, self._interpreter, error.why or error.message) from error
            text = (folder / "pylock.toml").read_text(encoding="utf-8")
        return parse_toml(text, Location("pylock.toml", 1))

    def exported(self, lock: Path) -> str:
        """Return what a ``uv.lock`` holds as a requirements file with hashes; the project's own packages are left out.

        Raises:
            LockError: at the environment: it does not belong to the pyproject.toml beside it, or is damaged.
        """
        with tempfile.TemporaryDirectory(prefix="repro-uv-") as name:
            folder = Path(name)
            for file in (lock, lock.parent / "pyproject.toml"):
                (folder / file.name).write_bytes(file.read_bytes())
            argv = [
                "export", "--frozen", "--format", "requirements.txt", "--no-emit-workspace", "--no-default-groups",
                "--no-header", "--no-annotate", "--python", sys.executable,
            ]  # fmt: skip
            try:
                return _run([self._program, *argv], folder, self._environ).decode()
            except ReproError as error:
                raise LockError(
                    f"environments.{self._env.name}.pip: {lock.name} cannot be read",
                    where=self._env.where,
                    why=_told(error.why or error.message),
                    hint="make it anew with `uv lock`",
                ) from error


def effective_indexes(environ: Mapping[str, str], declared: Indexes) -> Indexes:
    """Return every place that wheels are looked for: pip's, uv's, those ``declared``, and the default index.

    Only uv knows the default; where uv is not installed, it is left out.
    """
    ours = pip_settings(environ).indexes.merged(expanded(declared, environ.get))
    try:
        program = _program()
    except HostError:
        return ours
    argv = [
        program, "pip", "compile", "--emit-index-url", "--emit-find-links", "--no-header", "--offline",
        "--python", sys.executable, *_there(ours).options(),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="repro-uv-") as name:
        _write(Path(name, "requirements.in"), ())
        said = _run([*argv, "requirements.in"], Path(name), environ).decode()
    return ours.merged(parse_options(said.splitlines()))


def _there(indexes: Indexes) -> Indexes:
    """Return the indexes without find-links folders that do not exist: pip passes over them, uv does not."""
    places = tuple(place for place in indexes.find_links if "://" in place or Path(place).expanduser().is_dir())
    return replace(indexes, find_links=places)


def _program() -> str:
    """Return the path of uv; HostError where it is not installed."""
    try:
        import uv  # noqa: PLC0415 - only to lock

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise HostError(
            "Python packages are resolved by uv, which is not installed",
            hint="pip install 'repro-workflow[pip]'",
        ) from error


def _run(argv: Sequence[str], folder: Path, environ: Mapping[str, str]) -> bytes:
    """Run uv in ``folder`` and return what it prints; a ReproError with what it said when it fails."""
    env = {key: value for key, value in reaching(environ).items() if key not in _NOT_OURS}
    env |= {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return process.run([*argv, "--quiet"], cwd=folder, env=env)


def _platform(env: TemplateEnvironment, interpreter: Interpreter) -> str:
    """Return the interpreter's platform as uv spells it; LockError, at ``env.where``, where uv knows none."""
    family, _, minor = interpreter.libc.split("_")
    if interpreter.machine in ("x86_64", "aarch64"):
        if family == "musllinux":
            return f"{interpreter.machine}-unknown-linux-musl"
        known = [number for number in _GLIBC if number <= int(minor)]
        if known:
            return f"{interpreter.machine}-manylinux_2_{known[-1]}"
    raise LockError(
        f"environments.{env.name}.pip: wheels cannot be locked for {interpreter}",
        where=env.where,
        hint="glibc 2.17 or newer, or musl, on x86_64 or aarch64",
    )


def _preferences(before: Iterable[Wheel]) -> str:
    """Return a lock file that tells uv which releases to stay with; where they are from, it need not know."""
    lines = ['lock-version = "1.0"', 'created-by = "repro"']
    for wheel in before:
        sums = f'hashes = {{sha256 = "{wheel.digest.hex}"}}'
        lines += ["[[packages]]", f'name = "{wheel.name}"', f'version = "{wheel.version}"']
        lines.append(f'wheels = [{{url = "https://index.invalid/{wheel.file}", {sums}}}]')
    return "\n".join(lines) + "\n"


def _refused(env: TemplateEnvironment, interpreter: Interpreter, said: str) -> ReproError:
    """Return uv's refusal in its own words, cut to what matters."""
    what = f"environments.{env.name}.pip: "
    if _UNREACHED.search(said):
        return FetchError(
            f"{what}an index cannot be asked",
            where=env.where,
            why=_told(said),
            hint="indexes are those that pip and uv are configured for (`pip config list`)",
        )
    lacking = list(dict.fromkeys(match[1] or match[2] for match in _NO_WHEEL.finditer(said)))
    if lacking:
        return LockError(
            f"{what}there is no wheel of {', '.join(lacking)} for {interpreter}",
            where=env.where,
            why=_told(said),
            hint="install it from `apt` or `conda`, allow another version, or build it in a Dockerfile of your own",
        )
    return LockError(
        f"{what}the requirements cannot be met",
        where=env.where,
        why=_told(said),
        hint="leave out or change the requirements that are named",
    )


def _told(said: str) -> str:
    """Return what uv said without its marks, and without hints about options of its own."""
    lines = [_MARKS.sub("", line).rstrip() for line in said.splitlines()]
    kept = [line for line in lines if not _GENERAL.search(line)]
    kept = [line for line in kept if not (line.startswith("hint:") and _ITS_OWN_OPTIONS.search(line))]
    return "\n       ".join(kept[-25:])


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
