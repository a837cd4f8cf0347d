"""What a minimal system consists of: the essential packages and all they need."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from repro.errors import LockError

if TYPE_CHECKING:
    from repro.environment.model import Package
    from repro.environment.resolvers.control import Relation
    from repro.environment.resolvers.index import Candidate, PackageIndex

ALWAYS = ("apt",)  # so that more can be installed
# Alternatives that win over those named before them, with the reason.
PREFERRED = {
    "usr-is-merged": "init-system-helpers asks for `usrmerge | usr-is-merged`; our tree begins merged, "
    "and usrmerge would bring perl",
}


def essential_closure(index: PackageIndex) -> tuple[Package, ...]:
    """Return the packages of a minimal system, sorted by name; one version each, the highest.

    Seeds are the packages that are Essential or of Priority required, and apt. Pre-Depends and Depends are
    followed; an alternative that is in already, itself or through what provides it, wins, then a preferred
    one, else the first that the index has. Recommends are not followed.

    Raises:
        LockError: a dependency cannot be satisfied; it names the package that asks for it.
    """
    chosen: dict[str, Candidate] = {}
    provided: dict[str, list[Relation]] = {}
    queue: deque[Candidate] = deque()

    def choose(candidate: Candidate) -> None:
        if candidate.package.name not in chosen:
            chosen[candidate.package.name] = candidate
            queue.append(candidate)
            for relation in candidate.provides:
                provided.setdefault(relation.name, []).append(relation)

    for name in (*index.required(), *ALWAYS):
        seed = index.newest(name)
        if seed is None:
            raise LockError(f"the archive has no package {name}, which every system needs")
        choose(seed)
    while queue:
        candidate = queue.popleft()
        for group in candidate.depends:
            if not any(_is_chosen(relation, chosen, provided) for relation in group):
                choose(_first_available(index, group, candidate.package))
    return tuple(chosen[name].package for name in sorted(chosen))


def _is_chosen(relation: Relation, chosen: dict[str, Candidate], provided: dict[str, list[Relation]]) -> bool:
    candidate = chosen.get(relation.name)
    if candidate is not None and relation.holds_for(candidate.package.version):
        return True
    return any(_provides(offer, relation) for offer in provided.get(relation.name, ()))


def _provides(offer: Relation, relation: Relation) -> bool:
    """Return whether a Provides entry satisfies ``relation``; without a version it meets none (Policy 7.5)."""
    return not relation.relation or (offer.relation == "=" and relation.holds_for(offer.version))


def _first_available(index: PackageIndex, group: tuple[Relation, ...], asking: Package) -> Candidate:
    """Return the package to add for a group of alternatives."""
    for relation in sorted(group, key=lambda relation: relation.name not in PREFERRED):
        newest = index.newest(relation.name)
        if newest is not None and relation.holds_for(newest.package.version):
            return newest
        for provider in index.providers(relation.name):
            if any(offer.name == relation.name and _provides(offer, relation) for offer in provider.provides):
                return provider
    alternatives = " | ".join(map(str, group))
    raise LockError(
        f"the archive cannot satisfy {asking.name} {asking.version}, which needs {alternatives}",
        hint="a suite may be missing, or its mirror is in the middle of an update: try again later",
    )
