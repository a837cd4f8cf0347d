"""apt names become a closure of locked packages: apt itself solves, inside the base, with the network off.

1. The names are looked up in the verified indexes, so that a slip gets near names instead of apt's error.
2. The verified InRelease and Packages files are laid out as an archive and bound in as ``file:`` sources: apt knows no
   host name. It checks no signature again: it would hold the keys against today's date, and with what an image's
   apt understands of keys.
3. ``apt-get install --print-uris`` runs on a throw-away overlay of the base and prints path, size and SHA256 of
   each package that it would fetch: what the base lacks. Versions that were locked before are preferred (`kept`).
4. Each line is held against the index that lists it, which also knows the exact version.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.resolvers.captured import captured
from repro.environment.resolvers.configure import PATH
from repro.environment.resolvers.flat import link_or_copy
from repro.environment.resolvers.index import PackageIndex
from repro.environment.resolvers.kept import Kept
from repro.errors import LockError
from repro.runtime.spec import Bind, ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package
    from repro.environment.resolvers.index import Indexes
    from repro.errors import Location
    from repro.oci.store import Store
    from repro.runtime.container import Launcher

_ARCHIVE = "/run/repro/archive"  # in the container
_KEPT = "kept"  # the folder in it with packages that the archive has no more
# An image's own preferences would choose otherwise than the flat repository that a build installs from.
_CONFIG = f"""\
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Dir::Etc::SourceList "{_ARCHIVE}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "{_ARCHIVE}/preferences";
Dir::Etc::PreferencesParts "/dev/null";
"""
# Dates were checked when the indexes were fetched; a solve from the cache must not depend on today's.
_UPDATE = "apt-get -qq update >&2 || exit; "
_INSTALL = 'exec apt-get install --print-uris -q --no-install-recommends -- "$@"'
_ROUNDS = 5  # in which versions are given up that apt names, before all are
# What apt says before it comes to the point.
_CHATTER = re.compile(
    r"Reading |Building |Some packages could not|requested an impossible|distribution that some|or been moved out"
    r"|The following (information|packages have unmet)|'file:|W: "
)
_NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?:=(?P<version>[A-Za-z0-9.+~:-]+))?")
_URI = re.compile(
    rf"'file:{_ARCHIVE}/(?P<root>[^/']+)/(?P<path>[^']+)' \S+ (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{{64}})"
)


@dataclass(frozen=True, slots=True)
class _Request:
    """The names, what declares them (``environments.align.apt``) and where."""

    names: tuple[str, ...]
    what: str
    where: Location


@dataclass(frozen=True, slots=True)
class _Printed:
    """A line of --print-uris: the archive's root name, the path below it, size and digest."""

    root: str
    path: str
    size: int
    digest: Digest


def lock_packages(
    names: Sequence[str],
    base_image: Digest,
    indexes: Indexes,
    *,
    what: str,
    where: Location,
    downloads: Downloads,
    store: Store,
    launcher: Launcher,
    keep: Sequence[Package] = (),
) -> tuple[Package, ...]:
    """Return the packages that ``names`` add to the base, sorted; none where the base has them all.

    A package that the base has in a version that does not do comes along in a newer one.

    Args:
        names: ``name`` or ``name=version``, in any order.
        base_image: image ID of the base, whose layers are in ``store``; it has apt.
        indexes: the suites to choose from.
        what: what declares the names, for messages: ``environments.align.apt``.
        where: the place of that.
        downloads: holds the indexes' files.
        store: holds the base; gives the room for a throw-away container.
        launcher: starts it.
        keep: packages that were locked before. Their versions stay where they do with the others and can still be
            had, from the archive or from ``downloads``.

    Raises:
        LockError: at ``where``: an unknown name or version, or what apt says cannot be had together.
    """
    if not names:
        return ()
    request = _Request(tuple(names), what, where)
    index = PackageIndex.load(indexes, downloads)
    kept = Kept.of(keep, index, downloads)
    _check_names(request, index, kept)
    with store.workspace() as room:
        _lay_out(room / "archive", indexes, downloads)
        kept.lay_out(room / "archive", _ARCHIVE, _KEPT, downloads)
        lines = _solve(request, kept, store.image_layers(base_image), room, launcher)
    return tuple(sorted(_find(printed, index, kept, request) for printed in lines))


def _check_names(request: _Request, index: PackageIndex, kept: Kept) -> None:
    """Raise a LockError that names every unknown package and version."""
    known = frozenset(index.names())
    mistakes = [mistake for wish in request.names if (mistake := _mistake(wish, index, kept, known)) is not None]
    if mistakes:
        count = f"{len(mistakes)} of its apt packages" if len(mistakes) > 1 else "an apt package"
        raise LockError(
            f"{request.what}: {count} cannot be had",
            where=request.where,
            why="\n       ".join(mistakes),
            hint="correct the name or version; the names are those of the distribution",
        )


def _mistake(wish: str, index: PackageIndex, kept: Kept, known: frozenset[str]) -> str | None:
    """Return what is wrong with a declared name, or None."""
    match = _NAME.fullmatch(wish)
    if match is None:
        return f"{wish!r} is not `name` or `name=version`"
    name, version = match["name"], match["version"]
    if kept.has(name, version):
        return None
    if name not in known:
        if version is None and index.providers(name):
            return None  # a virtual package: apt chooses, or says that there are several
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
        return f"there is no package {name!r}" + (f"; near it: {', '.join(near)}" if near else "")
    versions = [candidate.package.version for candidate in index.candidates(name)]
    if version is not None and version not in versions:
        return f"{name} has no version {version!r}; available: {', '.join(dict.fromkeys(versions))}"
    return None


def _solve(
    request: _Request, kept: Kept, lowers: tuple[Path, ...], room: Path, launcher: Launcher
) -> tuple[_Printed, ...]:
    """Return what apt would fetch in the base, from the archive laid out in ``room``.

    Where apt cannot do it with the kept versions, those that it names are given up, and in the end all.
    """
    for folder in ("upper", "work"):
        (room / folder).mkdir()
    declared = {match["name"] for name in request.names if (match := _NAME.fullmatch(name)) and match["version"]}
    pinned = {name: version for name, version in kept.versions().items() if name not in declared}
    script, rounds = _UPDATE + _INSTALL, 0
    while True:
        kept.prefer(pinned, room / "archive")
        status, out, said = _apt(request, script, lowers, room, launcher)
        if status == 0:
            return tuple(_parse(line, request) for line in out.splitlines() if line.startswith("'"))
        if not pinned:
            raise _refused(request, status, out + said)
        script, rounds = _INSTALL, rounds + 1
        named = pinned.keys() & {word.rstrip(".") for word in re.findall(r"[a-z0-9][a-z0-9+.-]+", out + said)}
        given_up = named if named and rounds < _ROUNDS else pinned.keys()
        pinned = {name: version for name, version in pinned.items() if name not in given_up}


def _apt(
    request: _Request, script: str, lowers: tuple[Path, ...], room: Path, launcher: Launcher
) -> tuple[int, str, str]:
    """Run ``script`` with the names in the base; return its exit status, output and error output."""
    spec = ContainerSpec(
        lowers=lowers,
        upper=room / "upper",
        work=room / "work",
        argv=("/bin/sh", "-c", script, "sh", *sorted(set(request.names))),
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", "APT_CONFIG": f"{_ARCHIVE}/apt.conf"},
        binds=(Bind(room / "archive", _ARCHIVE),),
        network=Network.NONE,
        privileges=Privileges.BUILD,
    )
    return captured(spec, room, launcher)


def _lay_out(folder: Path, indexes: Indexes, downloads: Downloads) -> None:
    """Make ``folder`` an archive of the verified indexes, with apt's configuration beside it.

    CorruptError where a cached file is damaged.
    """
    folder.mkdir()
    lines = []
    for suite in indexes.suites:
        if not suite.files:  # updates of other components alone
            continue
        root, _, name = suite.label.rpartition("/")
        dists = folder / root / "dists" / name
        dists.mkdir(parents=True)
        (dists / "InRelease").write_bytes(downloads.read(suite.release.digest))
        for file in suite.files:
            (dists / file.path).parent.mkdir(parents=True)
            link_or_copy(downloads.path(file.digest), dists / file.path)
        options = f"trusted=yes arch={indexes.architecture}"
        components = " ".join(file.component for file in suite.files)
        lines.append(f"deb [{options}] file:{_ARCHIVE}/{root} {name} {components}\n")
    (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
    (folder / "apt.conf").write_text(_CONFIG, encoding="utf-8")


def _parse(line: str, request: _Request) -> _Printed:
    match = _URI.fullmatch(line.strip())
    if match is None:
        raise LockError(f"{request.what}: apt printed a line that is not understood", where=request.where, why=line)
    path = unquote(match["path"])  # apt prints addresses, in which + is %2b
    return _Printed(match["root"], path, int(match["size"]), Digest(match["sha256"]))


def _find(printed: _Printed, index: PackageIndex, kept: Kept, request: _Request) -> Package:
    """Return the package that apt means; its size and digest must be those that apt printed."""
    name = printed.path.rpartition("/")[2].partition("_")[0]
    if printed.root == _KEPT:
        known = [package for package in kept.lost if package.file_name == printed.path.removeprefix("./")]
    else:
        listed = [candidate.package for candidate in index.candidates(name)]
        known = [
            package
            for package in listed
            if package.path == printed.path and package.archive.partition("/")[0] == printed.root
        ]
    for package in known[:1]:
        if (package.size, package.digest) == (printed.size, printed.digest):
            return package
    raise LockError(
        f"{request.what}: the indexes disagree about {name}",
        where=request.where,
        why=f"{printed.path} is not listed with {printed.size} bytes and {printed.digest}",
    )


def _refused(request: _Request, status: int, said: str) -> LockError:
    """Return apt's refusal in its own words, cut to what matters."""
    if status == 127:
        hint = "use a Debian or Ubuntu base"
        return LockError(f"{request.what}: the base has no apt-get", where=request.where, hint=hint)
    lines = [line for line in said.splitlines() if line.strip() and not _CHATTER.match(line)]
    together = " together" if len(request.names) > 1 else ""
    return LockError(
        f"{request.what}: apt cannot install {_listed(request.names)}{together}",
        where=request.where,
        why="\n       ".join(lines[-25:]) or f"apt-get ended with exit status {status}",
        hint="leave out or change the packages that apt names",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
