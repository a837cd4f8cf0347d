"""Conda packages for an environment: solved by rattler for the image, not for this machine; locked by sha256.

The solver sees the channels of the workflow in strict priority (the first that has a name is the only one for it; of a
name that the workflow itself asks for, the first that has such a version), packages of the image's platform and
``noarch``, and these virtual packages, which say what the image brings (conda's "Managing virtual packages"):

===============  ==============================================================================================
``__glibc``      the C library of the image (`image_libc`); none where it has none, as with musl
``__linux``      `KERNEL`: an image has no kernel, and the lock may not depend on who made it
``__unix``       0
``__archspec``   the oldest processor of the platform: packages for newer ones would not run everywhere
===============  ==============================================================================================

Repodata is kept in ``repodata/`` of the downloads cache. rattler fetches it by itself, through the proxies and with the
``SSL_CERT_FILE`` of this process; packages come through `repro.data.transports`.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from repro.data.transports import Transports
from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.environment.model import CondaPackage
from repro.environment.resolvers.conda_channels import Channels, locked_name
from repro.environment.resolvers.conda_file import read_spec
from repro.errors import DataError, FetchError, HostError, LockError, Problem, WorkflowError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import rattler

    from repro.data.cache import Downloads
    from repro.environment.resolvers.conda_file import CondaFile, Explicit
    from repro.errors import Location
    from repro.oci.view import View
    from repro.workflow.model import CondaSpec

KERNEL: Final = "5.10"
SUBDIRS: Final = {"amd64": "linux-64", "arm64": "linux-aarch64", "ppc64le": "linux-ppc64le", "s390x": "linux-s390x"}
_PROCESSORS: Final = {
    "linux-64": "x86_64",
    "linux-aarch64": "aarch64",
    "linux-ppc64le": "ppc64le",
    "linux-s390x": "s390x",
}
_LIBC: Final = ("lib64", "lib/{0}-linux-gnu", "usr/lib64", "usr/lib/{0}-linux-gnu", "lib", "usr/lib")
_LIBC_NAMES: Final = ("x86_64", "aarch64", "powerpc64le", "s390x")
_LIBC_VERSION: Final = re.compile(rb"GNU C Library [^\n\0]{0,200}?release version (\d+\.\d+)")
_REASONS: Final = 30  # lines of the solver's explanation that are shown
_INSTALL: Final = "run `pip install 'repro-workflow[conda]'`"


@dataclass(frozen=True, slots=True)
class CondaImage:
    """What of an image decides which packages fit: ``subdir`` (``linux-64``) and its glibc's version, if it has one."""

    subdir: str
    libc: str | None


def image_libc(view: View) -> str | None:
    """Return the version of the GNU C library in an image (``2.36``), as the library itself says it; None without.

    It is read from ``libc.so.6``, which every distribution has under one of few paths, and not from a package database,
    of which each has its own.
    """
    for folder in dict.fromkeys(place.format(name) for place in _LIBC for name in _LIBC_NAMES):
        try:
            found = _LIBC_VERSION.search(view.read(f"/{folder}/libc.so.6"))
        except DataError:
            continue
        if found is not None:
            return found[1].decode()
    return None


def lock_conda(
    spec: CondaSpec,
    root: Path,
    image: CondaImage,
    *,
    where: Location,
    downloads: Downloads,
    environ: Mapping[str, str],
    keep: Sequence[CondaPackage] = (),
) -> tuple[CondaPackage, ...]:
    """Return the packages that ``spec`` resolves to, sorted; the same channels, image and ``keep`` give the same.

    An explicit list is taken as it is: its packages are fetched, hashed and compared with the digests it gives. So is a
    package whose repodata has no sha256 or size.

    Args:
        spec: channels and match specs, or the file that holds them.
        root: of the project, from which files and ``./`` channels are read.
        image: what the packages are to run on.
        where: of the environment in the workflow, for messages.
        downloads: keeps what is fetched.
        environ: configuration of channels (`Channels`) and of the network.
        keep: packages of the lock so far: they stay where they still fit and are still offered. None to upgrade.

    Raises:
        WorkflowError: the file has mistakes.
        LockError: nothing satisfies the specs, in the solver's words, or a channel's name has no address.
        FetchError: a channel or a package cannot be had.
        DataError: a package is not what its list or channel says.
        HostError: the solver is not installed.
    """
    asked = read_spec(spec, root)
    hashing = _Hashing(downloads, Transports(environ))
    if asked.explicit:
        return _taken(asked.explicit, image.subdir, keep, hashing)
    if not asked.packages:
        return ()
    _require_solver()
    sources = _sources(asked, Channels(root, environ), where)
    records = _run(_solve(sources, asked, image, keep, downloads.root / "repodata", where))
    return tuple(sorted(_locked(record, sources, hashing) for record in records))


def _sources(asked: CondaFile, channels: Channels, where: Location) -> dict[str, str]:
    """Return the channels' URLs, in order of priority, each with the channel as it was declared."""
    result: dict[str, str] = {}
    for channel in asked.channels:
        addresses = channels.addresses(channel)
        if not addresses:
            hint = "name it in `default_channels` of ~/.condarc, or declare another, such as conda-forge"
            raise LockError(f"the channel {channel!r} has no address on this machine", where=where, hint=hint)
        for address in addresses:
            result.setdefault(f"{address}/", channel)
    return result


async def _solve(
    sources: Mapping[str, str],
    asked: CondaFile,
    image: CondaImage,
    keep: Sequence[CondaPackage],
    cache: Path,
    where: Location,
) -> list[rattler.RepoDataRecord]:
    """Return the solver's choice."""
    import rattler  # noqa: PLC0415 - an extra, and 100 ms
    from rattler import exceptions  # noqa: PLC0415 - as above

    channels = [rattler.Channel(url) for url in sources]
    platforms = [rattler.Subdir(image.subdir), rattler.Subdir("noarch")]
    gateway = rattler.Gateway(cache_dir=cache, client=rattler.Client.default_client())
    try:
        specs = [rattler.MatchSpec(_qualified(text, sources)) for text in asked.packages]
        kept = await _still_there(gateway, channels, platforms, keep)
        return await rattler.solve(
            channels,
            specs,
            gateway=gateway,
            platforms=platforms,
            locked_packages=kept,
            virtual_packages=_virtual(image),
            channel_priority=rattler.ChannelPriority.Strict,
            channel_relations="disabled",
        )
    except (exceptions.InvalidMatchSpecError, exceptions.InvalidVersionSpecError) as error:
        raise LockError(
            "a conda package is not spelled as one",
            where=where,
            why=_told(str(error), sources),
            hint="as in samtools=1.21 or numpy>=2",
        ) from error
    except exceptions.SolverError as error:
        hint = "loosen the versions, or add a channel that has what is missing"
        raise LockError(
            "no set of conda packages fits", where=where, why=_told(str(error), sources), hint=hint
        ) from error
    except (exceptions.GatewayError, exceptions.FetchRepoDataError) as error:
        raise FetchError("a conda channel cannot be read", where=where, why=_told(str(error), sources)) from error


async def _still_there(
    gateway: rattler.Gateway,
    channels: list[rattler.Channel],
    platforms: list[rattler.Subdir],
    keep: Sequence[CondaPackage],
) -> list[rattler.RepoDataRecord]:
    """Return the channels' records of the locked packages; what a channel has no longer cannot be kept."""
    if not keep:
        return []
    wanted = {(package.subdir, package.file): package for package in keep}
    names = sorted({package.name for package in keep})
    found = await gateway.query(channels, platforms, names, recursive=False, channel_relations="disabled")
    return [
        record
        for records in found
        for record in records
        if (package := wanted.get((record.subdir, record.file_name))) is not None
        and record.sha256 in (None, bytes.fromhex(package.digest.hex))
    ]


def _virtual(image: CondaImage) -> list[rattler.GenericVirtualPackage]:
    """Return what the image brings."""
    import rattler  # noqa: PLC0415 - an extra, and 100 ms

    facts = [("__unix", "0", "0"), ("__linux", KERNEL, "0")]
    if image.libc is not None:
        facts.append(("__glibc", image.libc, "0"))
    if image.subdir in _PROCESSORS:
        facts.append(("__archspec", "1", _PROCESSORS[image.subdir]))
    return [
        rattler.GenericVirtualPackage(rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build))
        for name, version, build in facts
    ]


def _qualified(text: str, sources: Mapping[str, str]) -> str:
    """Return the match spec with the URL of a channel that it names (``bioconda::samtools``) for its name."""
    channel, colons, rest = text.partition("::")
    if not colons:
        return text
    url = next((url for url, declared in sources.items() if channel in (declared, locked_name(declared))), None)
    return f"{url}::{rest}" if url is not None else text


def _locked(record: rattler.RepoDataRecord, sources: Mapping[str, str], hashing: _Hashing) -> CondaPackage:
    """Return a record as a lock keeps it."""
    channel = next((declared for url, declared in sources.items() if record.url.startswith(url)), "")
    md5 = record.md5.hex() if record.md5 is not None else None
    if record.sha256 is None or record.size is None:
        digest, size = hashing.digest(record.url, record.file_name, md5)
        if record.sha256 is not None and record.sha256.hex() != digest.hex:
            raise _other(record.file_name, f"its channel says sha256:{record.sha256.hex()}, and {digest} came")
    else:
        digest, size = Digest(record.sha256.hex()), record.size
    return CondaPackage(
        record.name.normalized,
        str(record.version),
        str(record.build),
        locked_name(channel),
        record.subdir,
        record.file_name,
        digest,
        size,
    )


def _taken(
    lines: Sequence[Explicit], subdir: str, keep: Sequence[CondaPackage], hashing: _Hashing
) -> tuple[CondaPackage, ...]:
    """Return the packages of an explicit list, each fetched unless ``keep`` has it with the list's sha256."""
    known = {(package.subdir, package.file, package.digest): package for package in keep}
    problems = []
    names = set()
    for line in lines:
        name, _, _ = line.parts
        if line.subdir not in (subdir, "noarch"):
            problems.append(Problem(line.where, "", f"{line.file} is for {line.subdir}, and the image is {subdir}"))
        if name in names:
            problems.append(Problem(line.where, "", f"{name} stands here a second time"))
        names.add(name)
    if problems:
        raise WorkflowError(problems)
    kept = (known.get((line.subdir, line.file, line.digest)) if line.digest else None for line in lines)
    return tuple(sorted(found or _listed(line, hashing) for line, found in zip(lines, kept, strict=True)))


def _listed(line: Explicit, hashing: _Hashing) -> CondaPackage:
    """Return a line's package, fetched; DataError where it is not the one that the list means."""
    digest, size = hashing.digest(line.url, line.file, line.md5)
    if line.digest is not None and line.digest != digest:
        raise _other(line.file, f"the list says {line.digest}, and {digest} came", line.where)
    return CondaPackage(*line.parts, line.channel, line.subdir, line.file, digest, size)


class _Hashing:
    """Fetches packages whose sha256 nobody has said yet, and keeps them."""

    def __init__(self, downloads: Downloads, transports: Transports) -> None:
        self._downloads = downloads
        self._transports = transports

    def digest(self, url: str, name: str, md5: str | None) -> tuple[Digest, int]:
        """Return the sha256 and size of the package at ``url``; DataError where its md5 is another."""
        with tempfile.TemporaryFile() as file:
            self._transports.download(url, _Target(file))
            size = file.tell()
            file.seek(0)
            state, weak = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
            while piece := file.read(CHUNK):
                state.update(piece)
                weak.update(piece)
            if md5 is not None and weak.hexdigest() != md5:
                raise _other(name, f"md5 {weak.hexdigest()} came instead of {md5}")
            digest = Digest(state.hexdigest())
            file.seek(0)
            self._downloads.add_file(file, digest)
        return digest, size


class _Target:
    """A file that takes a download, which may begin again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> object:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()


def _other(name: str, why: str, where: Location | None = None) -> DataError:
    return DataError(f"{name} is another package than was asked for", where=where, why=why)


def _told(words: str, sources: Mapping[str, str]) -> str:
    """Return the solver's words without preamble, not longer than people read, channels as they were declared."""
    for url, channel in sources.items():
        place = url.rstrip("/")
        words = words.replace(place, channel).replace(place.removeprefix("file://"), channel)
    lines = [line.rstrip() for line in words.strip().splitlines() if line.strip()]
    if lines:
        lines[0] = lines[0].removeprefix("Cannot solve the request because of: ")
    more = [f"and {len(lines) - _REASONS} more lines"] if len(lines) > _REASONS else []
    return "\n       ".join([*lines[:_REASONS], *more])


def _run(work: Coroutine[Any, Any, list[rattler.RepoDataRecord]]) -> list[rattler.RepoDataRecord]:
    """Run ``work`` in a thread of its own: who calls may have an event loop already, as a notebook has."""
    with ThreadPoolExecutor(1, thread_name_prefix="conda") as pool:
        return pool.submit(asyncio.run, work).result()


def _require_solver() -> None:
    if importlib.util.find_spec("rattler") is None:
        raise HostError("conda packages are resolved by py-rattler, which is not installed here", hint=_INSTALL)
