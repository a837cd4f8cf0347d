"""What a build may be told, and what it answers."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from repro.build.conditions import Conditions
from repro.dataclass import dataclass
from repro.runtime.spec import Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.build.secrets import Secret
    from repro.digest import Digest
    from repro.errors import Location


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a build may be told.

    Attributes:
        name: what events call the build.
        target: the stage whose image is wanted; None is the last.
        args, labels: ``--build-arg`` and ``--label``.
        epoch: seconds since 1970 to which times are clamped; None: the newest base's creation time, else 0.
        network: of RUN without ``--network``.
        no_cache: recall nothing from earlier builds (what is made is remembered all the same).
        secrets: what ``RUN --mount=type=secret`` can show, by id.
        normalize: drop from RUN layers what `repro.build.rules` name.
        jobs: how many instructions of different stages run at once; 0: as many as there are CPUs.
        conditions: surroundings that must not show in the image; ``--verify`` changes them.
        explain: say also of what came from the cache why it did (a miss is always explained).
        origin: where the Dockerfile comes from; reasons compare a build with the last one of the same origin.
        lint: warn of what `repro.build.lint` finds; off for Dockerfiles that we wrote ourselves from a lock.
    """

    name: str
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    network: Network = Network.HOST
    no_cache: bool = False
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    normalize: bool = True
    jobs: int = 0
    conditions: Conditions = field(default_factory=Conditions)
    explain: bool = False
    origin: str = ""
    lint: bool = True


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """The layer of one instruction, made now or recalled: the stage's label, the instruction, and where it stands."""

    stage: str
    where: Location
    text: str
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The image, and how many instructions could make a layer (RUN, COPY, ADD, WORKDIR), and came from the cache.

    ``layers`` has those of all stages that were needed, in the order of the file; ``recalled`` those of earlier builds,
    by key.
    """

    image_id: Digest
    instructions: int
    cached: int
    layers: tuple[MadeLayer, ...] = ()
    recalled: Mapping[Digest, Digest] = field(default_factory=dict)


class FindBase(Protocol):
    """Returns the image ID for a FROM or COPY --from name that is no stage: pulls it, makes it, or looks it up."""

    def __call__(self, name: str, where: Location, /) -> Digest:
        """Return the image ID of ``name``; a ReproError located at ``where`` if it cannot be had."""
