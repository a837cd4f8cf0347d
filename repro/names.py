"""Image names, as Docker spells them."""

from __future__ import annotations

import re
from typing import Self

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import UsageError

# distribution/reference: the grammar of Docker's image names
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LONGEST_PATH = 255


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An image name in full: ``domain/path:tag@digest``. ``str()`` prints what ``parse`` reads back as equal."""

    domain: str
    path: str
    tag: str | None = DEFAULT_TAG
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference that ``text`` means: no domain is docker.io, no tag and no digest is ``latest``.

        UsageError says what is wrong and what would be right.
        """
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        tag: str | None = None
        slash = rest.rfind("/")
        colon = rest.find(":", slash + 1)
        if colon >= 0:
            rest, tag = rest[:colon], rest[colon + 1 :]
            if _TAG.fullmatch(tag) is None:
                raise UsageError(f"not a tag: {tag!r} in {text!r}", hint="letters, digits, '_', '.', '-'; at most 128")
        first, has_slash, remainder = rest.partition("/")
        if has_slash and (first == "localhost" or "." in first or ":" in first or first != first.lower()):
            domain, path = first, remainder
        else:
            domain, path = DEFAULT_DOMAIN, rest
        if _DOMAIN.fullmatch(domain) is None:
            raise UsageError(f"not a registry's host name: {domain!r} in {text!r}")
        if domain == DEFAULT_DOMAIN and "/" not in path:
            path = f"library/{path}"
        if _PATH.fullmatch(path) is None or len(path) > _LONGEST_PATH:
            lower = path.lower()
            hint = f"write it in lower case: {lower}" if _PATH.fullmatch(lower) else "parts of a-z, 0-9, '.', '_', '-'"
            raise UsageError(f"not an image name: {text!r}", hint=hint)
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        return cls(domain, path, tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """The shortest spelling that means the same, as ``docker images`` prints it."""
        text = str(self)
        for prefix in (f"{DEFAULT_DOMAIN}/library/", f"{DEFAULT_DOMAIN}/"):
            if text.startswith(prefix):
                return text.removeprefix(prefix)
        return text
