"""apt names become a closure of locked packages: apt itself solves, inside the base, with the network off.

1. The names are looked up in the verified indexes, so that a slip gets near names instead of apt's error.
2. The verified InRelease and Packages files are laid out as an archive and bound in as ``file:`` sources:
   apt checks their signature and sums again, and knows no host name.
3. ``apt-get install --print-uris`` runs on a throw-away overlay of the base and prints path, size and SHA256 of
   each package that it would fetch: what the base lacks.
4. Each line is held against the index that lists it, which also knows the exact version.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.resolvers.configure import PATH
from repro.environment.resolvers.flat import link_or_copy
from repro.environment.resolvers.index import PackageIndex
from repro.errors import LockError
from repro.runtime.spec import Bind, ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package
    from repro.environment.resolvers.index import Indexes
    from repro.oci.store import Store
    from repro.runtime.container import Launcher
    from repro.workflow.model import TemplateEnvironment

_ARCHIVE = "/run/repro/archive"  # in the container
_CONFIG = f"""\
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Dir::Etc::SourceList "{_ARCHIVE}/sources.list";
Dir::Etc::SourceParts "/dev/null";
"""
# Dates were checked when the indexes were fetched; a solve from the cache must not depend on today's.
_SOLVE = 'set -e; apt-get -qq update >&2; exec apt-get install --print-uris -q --no-install-recommends -- "$@"'
# What apt says before it comes to the point.
_CHATTER = re.compile(
    r"Reading |Building |Some packages could not|requested an impossible|distribution that some|or been moved out"
    r"|The following (information|packages have unmet)|'file:"
)
_NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?:=(?P<version>[A-Za-z0-9.+~:-]+))?")
_URI = re.compile(
    rf"'file:{_ARCHIVE}/(?P<root>[^/']+)/(?P<path>[^']+)' \S+ (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{{64}})"
)


@dataclass(frozen=True, slots=True)
class _Printed:
    """A line of --print-uris: the archive's root name, the path below it, size and digest."""

    root: str
    path: str
    size: int
    digest: Digest


def lock_packages(
    env: TemplateEnvironment,
    base_image: Digest,
    indexes: Indexes,
    *,
    keyring: bytes,
    downloads: Downloads,
    store: Store,
    launcher: Launcher,
) -> tuple[Package, ...]:
    """Return the packages that ``env.apt`` adds to the base, sorted; none where the base has them all.

    Args:
        env: the declaration; ``apt`` holds ``name`` or ``name=version``, in any order.
        base_image: image ID of the base, whose layers are in ``store``.
        indexes: the suites to choose from.
        keyring: certificates that sign them (`ArchiveSource.keyring`).
        downloads: holds the indexes' files.
        store: holds the base; gives the room for a throw-away container.
        launcher: starts it.

    Raises:
        LockError: at ``env.where``: an unknown name or version, or what apt says cannot be had together.
    """
    if not env.apt:
        return ()
    index = PackageIndex.load(indexes, downloads)
    _check_names(env, index)
    with store.workspace() as room:
        _lay_out(room / "archive", indexes, keyring, downloads)
        lines = _solve(env, store.image_layers(base_image), room, launcher)
    return tuple(sorted(_find(printed, index, env) for printed in lines))


def _check_names(env: TemplateEnvironment, index: PackageIndex) -> None:
    """Raise a LockError that names every unknown package and version."""
    known = frozenset(index.names())
    mistakes = [mistake for wish in env.apt if (mistake := _mistake(wish, index, known)) is not None]
    if mistakes:
        count = f"{len(mistakes)} of its apt packages" if len(mistakes) > 1 else "an apt package"
        raise LockError(
            f"environments.{env.name}.apt: {count} cannot be had",
            where=env.where,
            why="\n       ".join(mistakes),
            hint="correct the name or version; the archive's names are Debian's own",
        )


def _mistake(wish: str, index: PackageIndex, known: frozenset[str]) -> str | None:
    """Return what is wrong with a declared name, or None."""
    match = _NAME.fullmatch(wish)
    if match is None:
        return f"{wish!r} is not `name` or `name=version`"
    name, version = match["name"], match["version"]
    if name not in known:
        if version is None and index.providers(name):
            return None  # a virtual package: apt chooses, or says that there are several
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
        return f"there is no package {name!r}" + (f"; near it: {', '.join(near)}" if near else "")
    versions = [candidate.package.version for candidate in index.candidates(name)]
    if version is not None and version not in versions:
        return f"{name} has no version {version!r}; available: {', '.join(dict.fromkeys(versions))}"
    return None


def _solve(env: TemplateEnvironment, lowers: tuple[Path, ...], room: Path, launcher: Launcher) -> tuple[_Printed, ...]:
    """Return what apt would fetch for ``env`` in the base, from the archive laid out in ``room``."""
    for folder in ("upper", "work"):
        (room / folder).mkdir()
    spec = ContainerSpec(
        lowers=lowers,
        upper=room / "upper",
        work=room / "work",
        argv=("/bin/sh", "-c", _SOLVE, "sh", *sorted(set(env.apt))),
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", "APT_CONFIG": f"{_ARCHIVE}/apt.conf"},
        binds=(Bind(room / "archive", _ARCHIVE),),
        network=Network.NONE,
        privileges=Privileges.BUILD,
    )
    with (
        open(os.devnull, "rb") as nothing,
        open(room / "stdout", "w+b") as out,
        open(room / "stderr", "w+b") as errors,
    ):
        result = launcher.run(spec, stdin=nothing.fileno(), stdout=out.fileno(), stderr=errors.fileno())
        out.seek(0)
        errors.seek(0)
        if result.exit_status != 0:
            raise _refused(env, result.exit_status, (out.read() + errors.read()).decode(errors="replace"))
        return tuple(_parse(line, env) for line in out.read().decode().splitlines() if line.startswith("'"))


def _lay_out(folder: Path, indexes: Indexes, keyring: bytes, downloads: Downloads) -> None:
    """Make ``folder`` an archive of the verified indexes, with apt's configuration beside it."""
    folder.mkdir()
    lines = []
    for suite in indexes.suites:
        root, _, name = suite.label.rpartition("/")
        dists = folder / root / "dists" / name
        packages = dists / suite.path
        packages.parent.mkdir(parents=True)
        link_or_copy(downloads.path(suite.release.digest), dists / "InRelease")
        link_or_copy(downloads.path(suite.packages), packages)
        options = f"signed-by={_ARCHIVE}/keyring.gpg arch={indexes.architecture}"
        lines.append(f"deb [{options}] file:{_ARCHIVE}/{root} {name} main\n")
    (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
    (folder / "apt.conf").write_text(_CONFIG, encoding="utf-8")
    (folder / "keyring.gpg").write_bytes(keyring)


def _parse(line: str, env: TemplateEnvironment) -> _Printed:
    match = _URI.fullmatch(line.strip())
    if match is None:
        raise LockError(
            f"environments.{env.name}.apt: apt printed a line that is not understood",
            where=env.where,
            why=line,
        )
    path = unquote(match["path"])  # apt prints addresses, in which + is %2b
    return _Printed(match["root"], path, int(match["size"]), Digest(match["sha256"]))


def _find(printed: _Printed, index: PackageIndex, env: TemplateEnvironment) -> Package:
    """Return the package of the index that apt means; its size and digest must be those that apt printed."""
    name = printed.path.rpartition("/")[2].partition("_")[0]
    for candidate in index.candidates(name):
        package = candidate.package
        if package.path == printed.path and package.archive.partition("/")[0] == printed.root:
            if (package.size, package.digest) != (printed.size, printed.digest):
                break
            return package
    raise LockError(
        f"environments.{env.name}.apt: the indexes disagree about {name}",
        where=env.where,
        why=f"{printed.path} is not listed with {printed.size} bytes and {printed.digest}",
    )


def _refused(env: TemplateEnvironment, status: int, said: str) -> LockError:
    """Return apt's refusal in its own words, cut to what matters."""
    what = f"environments.{env.name}.apt: "
    if status == 127:
        return LockError(f"{what}the base has no apt-get", where=env.where, hint="use a Debian or Ubuntu base")
    lines = [line for line in said.splitlines() if line.strip() and not _CHATTER.match(line)]
    return LockError(
        f"{what}apt cannot install {_listed(env.apt)}" + (" together" if len(env.apt) > 1 else ""),
        where=env.where,
        why="\n       ".join(lines[-25:]) or f"apt-get ended with exit status {status}",
        hint="leave out or change the packages that apt names",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
