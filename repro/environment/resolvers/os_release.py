"""Which archive an image's packages are from, as its os-release says (os-release(5))."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from repro.environment.resolvers.distributions import DISTRIBUTIONS
from repro.errors import DataError, LockError
from repro.workflow.model import ArchiveBase

if TYPE_CHECKING:
    from repro.errors import Location
    from repro.oci.view import View

_PLACES = ("/etc/os-release", "/usr/lib/os-release")
_APT = "/usr/bin/apt-get"
_HINT = "take an image of Debian or Ubuntu with apt as the base, or leave `apt` out"


def archive_of(view: View, where: Location | None = None) -> ArchiveBase:
    """Return the archive that apt in the image would ask, with the components that its distribution's images have.

    Args:
        view: the image's files.
        where: the environment, for messages.

    Raises:
        LockError: the image does not say what it is, is of a distribution that is not known, or has no apt.
    """
    fields = _os_release(view, where)
    name, pretty = fields.get("ID", ""), fields.get("PRETTY_NAME") or fields.get("ID", "")
    distribution = DISTRIBUTIONS.get(name)
    if distribution is None:
        raise LockError(
            f"apt packages cannot be locked for the base image, which is {pretty or 'of an unknown system'}",
            where=where,
            why=f"its os-release says ID={name or '(nothing)'}; known are {', '.join(DISTRIBUTIONS)}",
            hint=_HINT,
        )
    suite = fields.get("VERSION_CODENAME", "")
    if not suite:
        raise LockError(
            f"the base image, {pretty}, does not say which suite it is of",
            where=where,
            why="its os-release has no VERSION_CODENAME",
            hint=_HINT,
        )
    if view.entry(view.resolve(_APT)) is None:
        raise LockError(f"the base image, {pretty}, has no apt-get", where=where, hint=_HINT)
    return ArchiveBase(distribution.name, suite, components=distribution.usual)


def _os_release(view: View, where: Location | None) -> dict[str, str]:
    """Return the fields of the image's os-release, unquoted as a shell would; the first of the two files counts."""
    for path in _PLACES:
        entry = view.entry(view.resolve(path))
        if entry is None:
            continue
        try:
            words = shlex.split(view.read(path).decode("utf-8", "replace"), comments=True)
        except (ValueError, DataError) as error:
            raise LockError(f"the base image's {path} cannot be read", where=where, why=str(error)) from error
        return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}
    raise LockError(
        "apt packages cannot be locked for the base image: it does not say which system it is",
        where=where,
        why=f"there is no {_PLACES[0]} in it",
        hint=_HINT,
    )
