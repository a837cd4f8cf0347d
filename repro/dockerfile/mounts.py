"""The options of ``RUN --mount=`` (Dockerfile reference, "RUN --mount"), variables in their values still in place."""

from __future__ import annotations

import csv
import difflib
from typing import TYPE_CHECKING

from repro.dockerfile.instructions import Mount
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.dockerfile.instructions import Word

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
# Every spelling of an option with its own name.
_OPTIONS = {
    "type": "type", "from": "from", "source": "source", "src": "source", "target": "target", "dst": "target",
    "destination": "target", "readonly": "readonly", "ro": "readonly", "readwrite": "readwrite", "rw": "readwrite",
    "id": "id", "sharing": "sharing", "required": "required", "size": "size", "mode": "mode", "uid": "uid",
    "gid": "gid", "env": "env",
}  # fmt: skip
_SWITCHES = frozenset({"readonly", "readwrite", "required"})
# The options that only some types take; all others go with every type.
_ONLY_OF = {
    "size": ("tmpfs",), "sharing": ("cache",), "required": ("secret", "ssh"), "env": ("secret",),
    "mode": ("cache", "secret", "ssh"), "uid": ("cache", "secret", "ssh"), "gid": ("cache", "secret", "ssh"),
    "from": ("bind", "cache", "tmpfs"),
}  # fmt: skip


def nearest(text: str, known: Iterable[str]) -> str:
    """Return the hint for a word that is none of ``known``: the nearest of them, or all."""
    choices = list(dict.fromkeys(known))
    near = difflib.get_close_matches(text, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(choices)}"


def read_mount(word: Word) -> Mount:
    """Return the mount that the flag's value spells; DockerfileError for an option or type that is none."""
    options: dict[str, str] = {}
    for field in _fields(word):
        key, equals, value = field.partition("=")
        name = _OPTIONS.get(key.lower())
        if name is None:
            hint = nearest(key.lower(), _OPTIONS)
            raise DockerfileError(f"unknown option {key!r} of --mount", where=word.where, hint=hint)
        if not equals and name not in _SWITCHES:
            raise DockerfileError(f"the option {key!r} of --mount needs a value", where=word.where, hint=f"{key}=…")
        options[name] = value if equals else "true"
    kind = options.pop("type", "bind").lower()
    if kind not in _TYPES:
        raise DockerfileError(f"unknown mount type {kind!r}", where=word.where, hint=nearest(kind, _TYPES))
    _check(kind, options, word)
    return Mount(kind, tuple(sorted(options.items())), word.where)


def _fields(word: Word) -> list[str]:
    """Return the comma-separated fields; a field in double quotes may hold commas."""
    try:
        fields = next(csv.reader([word.text], strict=True), [])
    except csv.Error as error:
        hint = 'quote a whole field: "source=a,b"'
        raise DockerfileError(
            "--mount is not a list of options", where=word.where, why=str(error), hint=hint
        ) from error
    if not fields:
        raise DockerfileError("--mount needs options", where=word.where, hint="--mount=type=…,target=/path")
    return fields


def _check(kind: str, options: dict[str, str], word: Word) -> None:
    for name in options:
        takers = _ONLY_OF.get(name, (kind,))
        if kind not in takers:
            hint = f"it goes with type={' or '.join(takers)}"
            raise DockerfileError(f"a mount of type {kind} takes no option {name!r}", where=word.where, hint=hint)
    if "$" in options.get("from", ""):
        hint = "name a stage: FROM $IMAGE AS name, then from=name"
        raise DockerfileError("from= of --mount takes no variable", where=word.where, hint=hint)
    if kind in ("bind", "cache", "tmpfs") and not options.get("target"):
        raise DockerfileError(f"--mount=type={kind} needs a target", where=word.where, hint="target=/path")
    if kind == "secret" and not any(options.get(name) for name in ("id", "source", "target")):
        raise DockerfileError("--mount=type=secret needs an id or a target", where=word.where, hint="id=name")
    if kind == "secret" and options.get("id") and options.get("source"):
        raise DockerfileError("a secret has an id or a source, not both", where=word.where, hint="keep the id")
    if (sharing := options.get("sharing")) is not None and "$" not in sharing:
        modes = ("shared", "private", "locked")
        if sharing.lower() not in modes:
            message = f"unknown sharing {sharing!r} of a cache mount"
            raise DockerfileError(message, where=word.where, hint=nearest(sharing, modes))
