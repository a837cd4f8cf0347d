"""What environments resolved to, as values, and the whole of ``workflow.lock``; inputs are `repro.data.model`'s."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Self

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.data.model import InputLock
    from repro.digest import Digest


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One locked ``.deb``: enough to find it on any mirror and to know it when it comes.

    ``path`` is its path below the archive's root (``pool/main/s/samtools/…``), ``archive`` the label of the
    suite whose index named it (``debian/bookworm``), ``size`` in bytes. No host anywhere.
    """

    name: str
    version: str
    architecture: str
    digest: Digest
    size: int
    path: str
    archive: str

    @property
    def file_name(self) -> str:
        """The last part of ``path``, as the archive spells it."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, order=True)
class Wheel:
    """One locked wheel: its file ``name-version-…-any.whl``, found on any index by project and file name."""

    name: str  # normalised (PEP 503)
    version: str
    file: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, order=True)
class CondaPackage:
    """One locked conda package: ``file`` in ``subdir`` of ``channel``.

    ``channel`` is as it was declared where that is a name; of a URL or a path it is the last part.
    """

    name: str
    version: str
    build: str
    channel: str
    subdir: str  # "linux-64", "noarch"
    file: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """The locked tarball of a source build; where it can be had, the workflow says."""

    file: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, order=True)
class Installed:
    """A package found in an image; ``kind`` says by whose database: ``deb``, ``pip``, ``conda``, ``r``, ``apk``."""

    kind: str
    name: str
    version: str


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """One suite as it stood when locked: ``date`` and ``digest`` are its InRelease's."""

    label: str
    suite: str
    codename: str
    date: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class ArchiveLock:
    """A base made from the archive: the ``.deb`` files it consists of; ``epoch`` in seconds since 1970.

    Its lists are kept sorted: two locks of the same things are equal.
    """

    name: str
    epoch: int
    releases: tuple[Release, ...]
    packages: tuple[Package, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "releases", tuple(sorted(self.releases)))
        object.__setattr__(self, "packages", tuple(sorted(self.packages)))


@dataclass(frozen=True, slots=True)
class EnvironmentLock:
    """An environment: the ``.deb`` files that its ``apt`` names add to ``base``, and the images made of them.

    ``origin`` is the checksum of what was resolved (`lock.origin`), ``images`` maps a mode (``real``, ``one``) to
    the image ID that a build in that mode gave, and ``declaration`` is the checksum of all that decided those
    images: packages, variables, commands and template. With another declaration they say nothing. All packages
    are kept sorted.

    ``releases`` are the suites that ``packages`` and ``build_packages`` were chosen from; the latter are those of the
    stage that compiles a source, ``sources`` its tarball. ``wheels`` are installed for ``interpreter``
    (``cpython-3.11.2-manylinux_2_36-x86_64``) by ``tools``: pip itself, and what builds the project's own packages.
    ``froms`` maps what a Dockerfile's FROM names to the same with its digest, ``installed`` is what the package
    databases of an image that was not made from this lock say. ``requested`` is what was declared when it was
    resolved, by field: to say what has changed since.
    """

    name: str
    origin: Digest
    base: str
    packages: tuple[Package, ...]
    images: Mapping[str, Digest] = field(default_factory=dict)
    declaration: Digest | None = None
    build_packages: tuple[Package, ...] = ()
    sources: tuple[SourceFile, ...] = ()
    conda: tuple[CondaPackage, ...] = ()
    interpreter: str = ""
    wheels: tuple[Wheel, ...] = ()
    tools: tuple[Wheel, ...] = ()
    froms: Mapping[str, str] = field(default_factory=dict)
    installed: tuple[Installed, ...] = ()
    requested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        for name in ("packages", "build_packages", "sources", "conda", "wheels", "tools", "installed", "releases"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))


@dataclass(frozen=True, slots=True)
class FetchedLock:
    """What a step with ``fetch: true`` brought from outside at ``path``, a folder where it ends in ``/``.

    ``digest`` is as in `repro.events.FileRecord`, ``size`` in bytes.
    """

    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Lock:
    """The whole of ``workflow.lock``."""

    archives: Mapping[str, ArchiveLock] = field(default_factory=dict)
    environments: Mapping[str, EnvironmentLock] = field(default_factory=dict)
    inputs: Mapping[str, InputLock] = field(default_factory=dict)  # by project path
    fetched: Mapping[str, FetchedLock] = field(default_factory=dict)  # by project path

    def with_archive(self, entry: ArchiveLock) -> Self:
        """Return the lock with ``entry``; every other entry stays as it is."""
        return replace(self, archives={**self.archives, entry.name: entry})

    def with_environment(self, entry: EnvironmentLock) -> Self:
        """Return the lock with ``entry``; every other entry stays as it is."""
        return replace(self, environments={**self.environments, entry.name: entry})

    def with_input(self, entry: InputLock) -> Self:
        """Return the lock with ``entry``; every other entry stays as it is."""
        return replace(self, inputs={**self.inputs, entry.path: entry})

    def with_fetched(self, entries: Iterable[FetchedLock]) -> Self:
        """Return the lock with ``entries``; every other entry stays as it is."""
        return replace(self, fetched={**self.fetched, **{entry.path: entry for entry in entries}})
