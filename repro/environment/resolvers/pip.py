"""pip requirements become locked wheels: uv solves, and of each release the wheel that pip would take is kept.

1. What is declared is read: requirements, files that list them, pyproject.toml, lock files, own packages.
2. uv resolves it for the image's interpreter, wheels only: nothing of a package runs on the host.
3. Of the wheels of each release the one that fits best is locked, with size and sha256 and without any address.
4. pip itself, and what the project's own packages are built with, are resolved apart: they do not stay in the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from repro.digest import Digest
from repro.environment.resolvers.declared import read_declared
from repro.environment.resolvers.indexes import Indexes
from repro.environment.resolvers.requirement_files import RequirementsReader, normalized
from repro.errors import LockError
from repro.events import ignore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from repro.data.cache import Wanted
    from repro.data.transports import Transports
    from repro.environment.model import EnvironmentLock, Wheel
    from repro.environment.resolvers.declared import Declared
    from repro.environment.resolvers.python import Interpreter
    from repro.environment.resolvers.uv import Resolver
    from repro.environment.resolvers.wheels import Candidate
    from repro.events import Sink
    from repro.workflow.model import TemplateEnvironment

_INSTALLER: Final = "pip>=23.0.1"  # the first that knows --break-system-packages
_NO_INDEXES: Final = Indexes()


def lock_wheels(
    env: TemplateEnvironment,
    interpreter: Interpreter,
    root: Path,
    environ: Mapping[str, str],
    *,
    transports: Transports,
    before: EnvironmentLock | None = None,
    upgrade: bool = False,
) -> tuple[tuple[Wheel, ...], tuple[Wheel, ...]]:
    """Return the wheels that ``env.pip`` installs, and the tools that install and build, each sorted.

    Args:
        env: the declaration.
        interpreter: the image's (`probe_interpreter`).
        root: the workflow's folder.
        environ: names pip's and uv's configuration, caches, proxies and CA bundle.
        transports: brings a wheel of which the index does not tell size and sha256.
        before: the entry as it was; its releases stay where they still fit.
        upgrade: do not mind what was there before.

    Raises:
        UsageError: at ``env.where``: a file is missing.
        LockError: the requirements cannot be met, or not with wheels; at ``env.where`` or in the file that is wrong.
        FetchError: an index cannot be reached.
        HostError: uv is not installed.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - what follows is only to lock

    from repro.environment.resolvers.uv import Resolver  # noqa: PLC0415

    if not env.pip:
        return (), ()
    declared = read_declared(env, root)
    resolver = Resolver(env, interpreter, environ, declared.indexes)
    requirements, sums = declared.requirements(interpreter, env.where)
    exported, more = _exported(env, declared, resolver, root)
    for name, found in more.items():
        sums.setdefault(name, set()).update(found)
    held_wheels, held_tools = ((), ()) if before is None or upgrade else (before.wheels, before.tools)
    needs = {need for project, _ in declared.projects for need in project.requires}
    with ThreadPoolExecutor(2, thread_name_prefix="uv") as pool:
        resolving = pool.submit(
            resolver.resolve,
            (*requirements, *exported),
            declared.listed.constraints,
            before=held_wheels,
            pre=bool(declared.listed.pre),
        )
        tooling = pool.submit(resolver.resolve, (_INSTALLER, *sorted(needs)), before=held_tools)
    choice = _Choice(env, interpreter, transports)
    return choice.wheels(resolving.result(), sums, held_wheels), choice.wheels(tooling.result(), {}, held_tools)


def pip_files(env: TemplateEnvironment, root: Path) -> Mapping[str, Digest]:
    """Return every project file that decides what ``env.pip`` resolves to, by project path; errors as `read_declared`.

    Requirements files with those that they name, lock files, and each pyproject.toml that is looked at.
    """
    return read_declared(env, root).files if env.pip else {}


def declared_indexes(env: TemplateEnvironment, root: Path) -> Indexes:
    """Return the indexes that the requirements files of ``env`` name, for `locate`; errors as `read_declared`."""
    return read_declared(env, root).indexes if env.pip else _NO_INDEXES


def locate(
    wheels: Iterable[Wheel],
    environ: Mapping[str, str],
    transports: Transports,
    declared: Indexes = _NO_INDEXES,
    sink: Sink = ignore,
) -> list[Wanted]:
    """Return each wheel, sorted, with its addresses today; without any where no index offers it any more.

    Each project's page of each index is fetched: ask for the wheels that the cache lacks.

    Args:
        wheels: as locked.
        environ: names pip's and uv's configuration.
        transports: asks the indexes.
        declared: further indexes (`declared_indexes`).
        sink: takes a Notice for each index that could not be asked.
    """
    from repro.environment.resolvers.simple_index import offered  # noqa: PLC0415 - only to fetch
    from repro.environment.resolvers.uv import effective_indexes  # noqa: PLC0415

    return offered(wheels, effective_indexes(environ, declared), transports, sink)


def _exported(
    env: TemplateEnvironment, declared: Declared, resolver: Resolver, root: Path
) -> tuple[list[str], dict[str, set[str]]]:
    """Return what the uv.lock files of ``declared`` lock, with the sums that they allow."""
    reader = RequirementsReader(root, env.where, f"environments.{env.name}.pip")
    for path in declared.uv_locks:
        reader.take(resolver.exported(root / path), path)
    return reader.listed.requirements, reader.listed.hashes


class _Choice:
    """Chooses wheels of resolved releases for ``interpreter``."""

    def __init__(self, env: TemplateEnvironment, interpreter: Interpreter, transports: Transports) -> None:
        self._env = env
        self._interpreter = interpreter
        self._tags = interpreter.tags()
        self._transports = transports

    def wheels(
        self, document: dict[str, Any], sums: Mapping[str, set[str]], before: Iterable[Wheel]
    ) -> tuple[Wheel, ...]:
        """Return one wheel for each package of a PEP 751 document; LockError where one has none that may be taken."""
        keep = {wheel.digest for wheel in before}
        return tuple(sorted(self._wheel(package, sums, keep) for package in document.get("packages", ())))

    def _wheel(self, package: dict[str, Any], sums: Mapping[str, set[str]], keep: set[Digest]) -> Wheel:
        from repro.environment.resolvers.wheels import choose, measured  # noqa: PLC0415 - only to lock

        name = normalized(package["name"])
        release = f"{name} {package.get('version', '')}".rstrip()
        offered = tuple(_candidates(package))
        allowed = sums.get(name, set())
        chosen = choose(offered, self._tags, allowed=allowed, keep=keep)
        if chosen is not None:
            return measured(name, package["version"], chosen, self._transports)
        if choose(offered, self._tags) is not None:
            raise LockError(
                f"environments.{self._env.name}.pip: the wheels of {release} are not those that your files name",
                where=self._env.where,
                why=f"none for {self._interpreter} has one of the {len(allowed)} sha256 sums given for {name}",
                hint="find out why the files differ before you write other sums",
            )
        raise LockError(
            f"environments.{self._env.name}.pip: there is no wheel of {release} for {self._interpreter}",
            where=self._env.where,
            hint="install it from `apt` or `conda`, or build it in a Dockerfile of your own",
        )


def _candidates(package: dict[str, Any]) -> Iterator[Candidate]:
    from repro.environment.resolvers.wheels import Candidate  # noqa: PLC0415 - only to lock

    for wheel in package.get("wheels", ()):
        url = wheel.get("url") or f"file://{wheel.get('path', '')}"
        sha256 = wheel.get("hashes", {}).get("sha256")
        size = wheel.get("size")
        yield Candidate(url, None if sha256 is None else Digest(sha256), size)
