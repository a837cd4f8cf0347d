"""`--output` read: what of a built image is written, in which form, and where to."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, BinaryIO

from repro.dataclass import dataclass
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Kind(Enum):
    """The types of `--output`, as Docker names them."""

    OCI = "oci"
    DOCKER = "docker"
    TAR = "tar"
    LOCAL = "local"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Output:
    """One `--output`. ``dest`` is None for standard output; ``folder``: an OCI layout is a folder, not a tar of one."""

    kind: Kind
    dest: Path | None
    folder: bool = False
    names: tuple[str, ...] = ()

    @property
    def streamed(self) -> bool:
        """Whether it goes to standard output."""
        return self.dest is None and self.kind is not Kind.IMAGE


_LATER = {
    "registry": "a build sends nothing anywhere",
    "cacheonly": "every build is in the store, whatever else is written",
}
_COMPRESSIONS = ("uncompressed",)
# Keys of `--output` besides type and dest, and the types that take them.
_KEYS = {
    "name": (Kind.OCI, Kind.DOCKER, Kind.IMAGE),
    "tar": (Kind.OCI, Kind.DOCKER),
    "compression": (Kind.OCI, Kind.DOCKER, Kind.IMAGE),
    "oci-mediatypes": (Kind.OCI, Kind.DOCKER, Kind.IMAGE),
    "push": (Kind.IMAGE,),
}


def split_fields(text: str, option: str) -> dict[str, str]:
    """Return ``a=1,b=2`` as a mapping, quotes read as in CSV; a field without ``=`` has the value ``""``."""
    import csv  # noqa: PLC0415 - only for the options that are lists of fields

    out: dict[str, str] = {}
    for row in csv.reader([text], strict=True):
        for field in row:
            key, _, value = field.partition("=")
            key = key.strip().lower()
            if not key or key in out:
                what = f"names {key} twice" if key else "has an empty field"
                raise UsageError(f"{option} {text} {what}", hint=f"write {option} key=value,key=value")
            out[key] = value
    return out


def parse_output(text: str, cwd: Path) -> Output:
    """Return what ``--output text`` asks for; UsageError says what is wrong with it.

    ``DIR`` alone is ``type=local,dest=DIR``, and ``-`` is ``type=tar,dest=-``, as in Docker.
    """
    if text == "-":
        return Output(Kind.TAR, None)
    if "=" not in text:
        if not text:
            raise UsageError("--output is empty", hint="write --output DIR, or --output type=oci,dest=FILE")
        return Output(Kind.LOCAL, cwd / text)
    fields = split_fields(text, "--output")
    kind = _kind(fields.pop("type", ""), text)
    dest = fields.pop("dest", "")
    for key in fields:
        if kind not in _KEYS.get(key, ()):
            known = ", ".join(["dest", *(name for name, kinds in _KEYS.items() if kind in kinds)])
            raise UsageError(f"--output {text}: {key} means nothing to type={kind.value}", hint=f"it takes {known}")
    if _flag(fields, "push", default=False):
        raise UsageError(f"--output {text}: {_LATER['registry']}", hint="run `repro image push NAME` after it")
    if fields.get("compression", _COMPRESSIONS[0]) not in _COMPRESSIONS:
        raise UsageError(
            f"--output {text}: layers are written uncompressed", hint="leave compression out, or compress the file"
        )
    if not _flag(fields, "oci-mediatypes", default=True):
        raise UsageError(f"--output {text}: manifests are written with OCI's media types", hint="leave it out")
    names = tuple(name for name in fields.get("name", "").split(",") if name)
    if kind is Kind.IMAGE:
        return Output(kind, None, names=names)
    if not dest:
        raise UsageError(f"--output {text} has no dest", hint=f"write --output type={kind.value},dest=PATH (or dest=-)")
    folder = kind is Kind.OCI and not _flag(fields, "tar", default=not (dest.endswith("/") or (cwd / dest).is_dir()))
    if kind is Kind.DOCKER and not _flag(fields, "tar", default=True):
        raise UsageError(f"--output {text}: docker reads a tar only", hint="leave tar=false out, or write type=oci")
    if dest == "-":
        if kind is Kind.LOCAL or folder:
            raise UsageError(f"--output {text}: a folder cannot go to standard output", hint="write type=tar,dest=-")
        return Output(kind, None, names=names)
    return Output(kind, cwd / dest, folder, names)


def _kind(text: str, whole: str) -> Kind:
    if text in _LATER:
        raise UsageError(f"--output {whole}: type={text} is not supported", why=_LATER[text])
    try:
        return Kind(text)
    except ValueError:
        known = ", ".join(kind.value for kind in Kind)
        what = f"there is no type {text!r}" if text else "no type is said"
        raise UsageError(f"--output {whole}: {what}", hint=f"types are {known}") from None


def _flag(fields: dict[str, str], key: str, *, default: bool) -> bool:
    text = fields.get(key)
    if text is None:
        return default
    if text.lower() not in ("true", "false", "1", "0"):
        raise UsageError(f"--output: {key}={text} is neither true nor false")
    return text.lower() in ("true", "1")


def check_outputs(outputs: Sequence[Output], stdout: BinaryIO | None) -> None:
    """Refuse what could only fail after the build: UsageError."""
    streams = sum(output.streamed for output in outputs)
    if streams > 1:
        raise UsageError("two outputs go to standard output", hint="give all but one of them a dest")
    if streams and stdout is None:
        raise UsageError("there is no standard output to write to", hint="give the output a dest")
    if streams and stdout is not None and stdout.isatty():
        raise UsageError(
            "an image is not written to a terminal", hint="redirect standard output, or give the output a dest"
        )
    for output in outputs:
        if output.dest is None:
            continue
        made = output.kind is Kind.LOCAL or output.folder
        if made and output.dest.exists() and not output.dest.is_dir():
            raise UsageError(f"{output.dest} is a file, and the output would be a folder", hint="give another dest")
        if not made and output.dest.is_dir():
            raise UsageError(f"{output.dest} is a folder, and the output would be a file", hint="give another dest")
