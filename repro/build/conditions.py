"""Surroundings of a build that must not show in its image: a check by a second build changes each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.errors import Location
    from repro.runtime.spec import ContainerSpec


class Surround(Protocol):
    """Gives the container of a RUN other surroundings (clock, host name) and leaves its command alone."""

    def __call__(self, spec: ContainerSpec, where: Location, /) -> ContainerSpec:
        """Return the container to start in place of ``spec``, for the instruction at ``where``."""


def as_it_is(spec: ContainerSpec, where: Location, /) -> ContainerSpec:  # noqa: ARG001 - as `Surround` has it
    """Return ``spec``: what an ordinary build does."""
    return spec


@dataclass(frozen=True, slots=True)
class Conditions:
    """What of a build's surroundings is other than usual. No part of any key: no layer may depend on it.

    A RUN's umask is not among them: Docker defines it, as 022. The process's own is, but that is its caller's.

    Attributes:
        reverse: wherever the engine chooses an order of creation, it goes the other way round.
        surround: see `Surround`.
    """

    reverse: bool = False
    surround: Surround = as_it_is
