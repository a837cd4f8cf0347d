"""Names of images in a store, and what a user's text means among them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.errors import StoreError, UsageError
from repro.names import Reference

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from repro.digest import Digest

# "archive:debian/bookworm": a scheme of ours, no registry's host with a port in front of it.
_SCHEME = re.compile(r"[a-z][a-z0-9-]*:(?![0-9]+/)[^/\s]+/[^\s]+")
_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
_LONGEST = 240  # bytes of a file's name, with room for a temporary suffix


def full_name(text: str) -> str:
    """Return the name that ``text`` means: ``debian`` is ``docker.io/library/debian:latest``.

    Names with a scheme (``archive:debian/bookworm``) stay as they are. UsageError when it is no name.
    """
    if _SCHEME.fullmatch(text):
        return text
    return str(Reference.parse(text))


def file_name(name: str) -> str:
    """Return one file name for any text; `name_of_file` is its inverse."""
    encoded = re.sub(rb"[^A-Za-z0-9_.-]|^\.", lambda match: b"%%%02X" % match[0][0], name.encode()).decode()
    if not encoded or len(encoded) > _LONGEST:
        raise UsageError(f"a name of {len(encoded)} bytes is too long for the store: {name[:60]!r}")
    return encoded


def name_of_file(encoded: str) -> str:
    """Return the text that `file_name` made ``encoded`` of."""
    raw = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), encoded.encode())
    return raw.decode(errors="replace")


def find_image(text: str, refs: Mapping[str, Digest], images: Collection[Digest]) -> Digest:
    """Return the image that ``text`` means: a name, else an ID, else the first digits of an ID.

    StoreError when there is none or more than one; it names what comes near.
    """
    try:
        name = full_name(text)
    except UsageError as error:
        if _PREFIX.fullmatch(text) is None:
            raise StoreError(f"no image {text!r} here", why=error.message, hint=_near(text, refs)) from error
        name = text
    if name in refs:
        return refs[name]
    found: list[Digest] = []
    if _PREFIX.fullmatch(text):
        digits = text.removeprefix("sha256:")
        found = sorted(image for image in images if image.hex.startswith(digits))
        if len(found) > 1:
            shown = ", ".join(image.hex[: len(digits) + 4] for image in found[:5])
            raise StoreError(f"{text!r} could be {len(found)} images: {shown}", hint="give more digits")
    if not found:
        raise StoreError(f"no image {text!r} in the store", hint=_near(text, refs))
    return found[0]


def _near(text: str, refs: Mapping[str, Digest]) -> str:
    """Return what to do next: names like ``text``, if there are any."""
    from difflib import get_close_matches  # noqa: PLC0415 - only on the way to an error

    names = {familiar_name(name): name for name in refs}
    near = get_close_matches(text, [*names, *refs], n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "`repro image ls` lists what is there" if refs else "the store is empty: build an image first"


def familiar_name(name: str) -> str:
    """Return a ref's name as people write it: an image's without defaults, another kind's as it is."""
    return name if _SCHEME.fullmatch(name) else Reference.parse(name).familiar
