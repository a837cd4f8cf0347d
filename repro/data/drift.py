"""Drift: what is there now is not what was locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from repro.data.cache import AlteredError
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.digest import Digest
    from repro.errors import FetchError

_NAMED = 20  # files that an error names


class DriftError(DataError):
    """What is there now is not what was locked."""

    code: ClassVar[str] = "drift"


def lost_line(name: str, locked: Digest, error: FetchError) -> str:
    """Return a line that says of the file ``name`` what was locked, and what is there now as far as ``error`` knows."""
    if isinstance(error, AlteredError):
        return f"{name}: locked {locked}, now {error.found}"
    return f"{name}: locked {locked}, and {error.why or error.message}"


def drifted(path: str, lines: Sequence[str]) -> DriftError:
    """Return the error that the input ``path`` is not as locked, and what to do; ``lines`` say why."""
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return DriftError(
        f"{path} is not what was locked",
        why="\n       ".join([*lines[:_NAMED], *more]),
        hint=f"`repro lock --upgrade {path}` accepts what is there now; or bring back what was there",
    )
