"""Where data is, as a workflow says it: an address of another machine, or a path of this one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.names import DATA_SCHEMES, DataUri, hidden
from repro.workflow import fields
from repro.workflow.model import Access
from repro.workflow.paths import normal
from repro.workflow.source import SIGNED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location
    from repro.workflow.fields import Problems
    from repro.workflow.source import Node

ACCESS_KEYS = ("endpoint", "profile", "anonymous", "requester_pays")

_WEB = ("http", "https")
_GLOB = re.compile(r"[*?[]")
_SLIP = re.compile(rf"({'|'.join(DATA_SCHEMES)}):/*(.*)", re.IGNORECASE)
_SITE = re.compile(r"site:/*(.*)")
_HOST = re.compile(r"(?:[^\s:@?#\[\]{}]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_SIGNED = re.compile(rf"(?:^|&){SIGNED}", re.IGNORECASE)
_ENDPOINT = re.compile(r"https?://[^/@\s?#]+/?")


@dataclass(frozen=True, slots=True)
class Address:
    """An address or a path; ``uri`` is None for a path: absolute, or from the workflow's folder.

    ``folder``: it ends in a slash; ``pattern``: it has a glob in it, and so means files of a folder.
    """

    text: str
    uri: DataUri | None
    folder: bool
    pattern: bool

    @property
    def scheme(self) -> str:
        """Its scheme; empty for a path."""
        return self.uri.scheme if self.uri is not None else ""


def read_address(text: str, where: Location, path: str, problems: Problems, *, globs: bool = True) -> Address | None:
    """Return what ``text``, which stands at ``where``, means; None after a reported mistake.

    ``globs``: whether ``*``, ``?`` and ``[`` choose files; else they are letters as any others.
    """
    made, wrong = _parsed(text, globs=globs)
    if wrong is None and made is not None and made.pattern:
        wrong = _pattern_mistake(made)
    if wrong is not None:
        problems.add(where, path, *wrong)
        return None
    return made


def _parsed(text: str, *, globs: bool) -> tuple[Address | None, tuple[str, str] | None]:
    """Return the address, or the mistake with its fix."""
    if "://" not in text:
        if wrong := _path_mistake(text):
            return None, wrong
        clean = normal(text)
        return Address(clean, None, clean.endswith("/"), globs and _GLOB.search(clean) is not None), None
    try:
        uri = DataUri.parse(text)
    except UsageError as error:
        return None, (error.message, error.hint or "")
    if uri.scheme != "file" and (_HOST.fullmatch(uri.host) is None or (uri.scheme == "s3" and ":" in uri.host)):
        what = "bucket" if uri.scheme == "s3" else "host"
        return None, (f"no {what}'s name stands in the {uri.scheme} address", f"write it as {uri.scheme}://{what}/path")
    if _SIGNED.search(uri.query):
        hint = "take it out: docs/reference/data.md says where logins are looked for"
        return None, (f"a login stands in the query of {uri.scheme}://{uri.host}{uri.path}", hint)
    if ".." in uri.path.split("/"):
        return None, (f"there is a '..' in {hidden(text)!r}", "write the path out")
    if uri.scheme == "smb" and uri.path.strip("/") == "":
        return None, (f"no share in {text!r}", "smb://host/share/path")
    pattern = globs and _GLOB.search(uri.path) is not None
    return Address(str(uri), uri, uri.folder, pattern), None


def _path_mistake(text: str) -> tuple[str, str] | None:
    """Return what is wrong with ``text`` as a path of this machine and the fix, or None."""
    if not text:
        return "the address is empty", "write scheme://host/path, or a path"
    if not text.isprintable():
        return f"the path {text!r} has characters in it that do not print", "rename the file"
    if text == "~" or text.startswith("~/"):
        return "'~' is not expanded here", "write the path out, or name the place in sites.yaml and say {site: NAME}"
    if slip := _SLIP.fullmatch(text):
        meant = f"{slip[1].lower()}://{slip[2] or 'host/path'}"
        return "a scheme without '://' after it", f"write it as {hidden(meant)}"
    if site := _SITE.fullmatch(text):
        return f"not an address: {text!r}", f"write it as a mapping: {{site: {site[1] or 'NAME'}}}"
    return None


def _pattern_mistake(address: Address) -> tuple[str, str] | None:
    """Return what is wrong with the globs of an address and the fix, or None."""
    if address.folder:
        return (
            f"{address.text!r} is a pattern and ends in '/'",
            "a pattern chooses files: end it in their names, as in *.gz",
        )
    if address.uri is not None and _GLOB.search(address.uri.host):
        return f"a pattern cannot stand in {address.uri.host!r}", "write out the part before the path"
    return None


def read_access(found: Mapping[str, Node], scheme: str | None, path: str, problems: Problems) -> Access:
    """Return how an s3 address is reached, from the keys of `ACCESS_KEYS`; a mistake for an address of another kind.

    ``scheme`` is None where the address is not known.
    """
    given = [key for key in ACCESS_KEYS if key in found]
    if scheme not in ("s3", None):
        for key in given:
            problems.add(found[key].where, f"{path}.{key}", f"{key!r} is said of s3 addresses alone", "remove it")
        return Access()
    endpoint, profile = (
        fields.text(found[key], f"{path}.{key}", problems) if key in found else None for key in ("endpoint", "profile")
    )
    anonymous, requester_pays = (
        key in found and bool(fields.truth(found[key], f"{path}.{key}", problems))
        for key in ("anonymous", "requester_pays")
    )
    if endpoint is not None and _ENDPOINT.fullmatch(endpoint) is None:
        message, hint = "this is not a server's URL", "write it as https://host or https://host:port"
        problems.add(found["endpoint"].where, f"{path}.endpoint", message, hint)
    if anonymous and profile is not None:
        message, hint = "'profile' says whose login is sent, and 'anonymous' that none is", "remove one of them"
        problems.add(found["profile"].where, f"{path}.profile", message, hint)
    return Access(endpoint, profile, anonymous, requester_pays)
