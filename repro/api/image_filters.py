"""Which images are meant: ``--filter`` and names with wildcards, as `docker image ls` has them."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from repro.api.image_lookup import resolve
from repro.api.times import moment
from repro.dataclass import dataclass
from repro.dockerfile.globs import GlobError, name_regex
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.oci.model import ImageConfig
    from repro.oci.store import Store

NAMELESS: Final = "<none>"
_LISTING: Final = ("dangling", "label", "label!", "reference", "before", "since", "until")
PRUNING: Final = ("label", "label!", "until")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image as a filter sees it: one of its names (`NAMELESS` for none), and its config."""

    name: str
    config: ImageConfig


class Filters:
    """Filters, checked. Those of one kind are alternatives, but for labels; those of different kinds all hold.

    Args:
        texts: as ``--filter`` takes them: ``KEY=VALUE``.
        patterns: names, with wildcards or without.
        store: where the images of ``before=`` and ``since=`` are looked up.
        now: what ``until=24h`` is counted from.
        allowed: the keys that make sense here.

    Raises:
        UsageError: there is no such filter, or its value makes no sense.
        StoreError: there is no such image.
    """

    def __init__(
        self,
        texts: Sequence[str],
        patterns: Sequence[str],
        store: Store,
        now: datetime,
        allowed: Sequence[str] = _LISTING,
    ) -> None:
        self._tests: dict[str, list[Callable[[Candidate], bool]]] = {}
        if patterns:
            self._tests["name"] = [_reference(pattern) for pattern in patterns]
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals or key not in allowed:
                near = difflib.get_close_matches(key, allowed, 1)
                hint = f"did you mean {near[0]}=?" if near and equals else f"there are: {'=, '.join(allowed)}="
                raise UsageError(f"--filter {text!r} is not understood", hint=hint)
            kind = f"{key} {value}" if key.startswith("label") else key
            self._tests.setdefault(kind, []).append(_test(key, value, store, now))

    def __bool__(self) -> bool:
        return bool(self._tests)

    def fit(self, candidate: Candidate) -> bool:
        """Return whether the image is meant."""
        return all(any(test(candidate) for test in tests) for tests in self._tests.values())


def _test(key: str, value: str, store: Store, now: datetime) -> Callable[[Candidate], bool]:
    match key:
        case "dangling":
            if value.lower() not in {"true", "false", "1", "0"}:
                raise UsageError(f"--filter dangling={value}: not a truth value", hint="write true or false")
            wanted = value.lower() in {"true", "1"}
            return lambda one: (one.name == NAMELESS) is wanted
        case "label" | "label!":
            return _label(value, wanted=key == "label")
        case "reference":
            return _reference(value)
        case _:
            limit = moment(value, now) if key == "until" else created_at(store.config(resolve(store, value)))
            if limit is None:
                raise UsageError(f"--filter {key}={value}: the image bears no time")
            if key == "since":
                return lambda one: (created_at(one.config) or limit) > limit
            return lambda one: (created_at(one.config) or limit) < limit


def _label(text: str, *, wanted: bool) -> Callable[[Candidate], bool]:
    name, equals, value = text.partition("=")

    def has(one: Candidate) -> bool:
        return name in one.config.labels and (not equals or one.config.labels[name] == value)

    return lambda one: has(one) is wanted


def _reference(pattern: str) -> Callable[[Candidate], bool]:
    """Return a test of names: with or without the tag, with or without the defaults; wildcards match no slash."""
    try:
        regex = re.compile(name_regex(pattern))
    except (GlobError, re.error) as error:
        raise UsageError(f"not a pattern of names: {pattern!r}", why=str(error)) from error

    def fits(one: Candidate) -> bool:
        from repro.oci.refs import full_name  # noqa: PLC0415 - only where names are compared

        if one.name == NAMELESS:
            return False
        spellings = {one.name, full_name(one.name)}
        return any(regex.fullmatch(text) for name in spellings for text in (name, _without_tag(name)))

    return fits


def _without_tag(name: str) -> str:
    slash, colon = name.rfind("/"), name.rfind(":")
    return name[:colon] if colon > slash else name


def created_at(config: ImageConfig) -> datetime | None:
    """Return when an image says that it was made; None if it does not say so in words that can be read."""
    try:
        found = datetime.fromisoformat(config.created or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
