"""Addresses: what of them may be shown, who is named in them, and through which proxy they are reached."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


def redacted(url: str) -> str:
    """Return ``url`` without user name and password, fit for a message and for a request line."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def user(url: str) -> str | None:
    """Return ``name:password`` as ``url`` holds it, unquoted; None where it names nobody."""
    parts = urlsplit(url)
    return None if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """Return the proxy's address for ``url``; empty for a direct connection; lower case wins."""

    def variable(name: str) -> str:
        return environ.get(name) or environ.get(name.upper()) or ""

    parts = urlsplit(url)
    proxy = variable(f"{parts.scheme}_proxy") or variable("all_proxy")
    if not proxy or bypasses(parts.hostname or "", variable("no_proxy")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def bypasses(host: str, no_proxy: str) -> bool:
    """Return whether ``no_proxy`` (``*``, hosts, domains with or without a leading dot) covers ``host``."""
    for entry in no_proxy.lower().replace(",", " ").split():
        domain = entry.rpartition(":")[0] if re.fullmatch(r"[^:]+:\d+", entry) else entry
        domain = domain.strip("[]").removeprefix("*.").lstrip(".")
        if entry == "*" or host == domain or host.endswith(f".{domain}"):
            return True
    return False
