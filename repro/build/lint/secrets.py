"""The rule about secrets in ARG and ENV, which everybody who has the image can read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.build.lint.model import Rule, Subject
from repro.dockerfile import instructions as model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.errors import Location

# Parts of a name, as underscores and capitals divide it, that speak of a secret.
_SECRET = frozenset({
    "apikey", "auth", "credential", "credentials", "key", "keys", "passphrase", "passwd", "password", "passwords",
    "pword", "pwd", "secret", "secrets", "token", "tokens", "privatekey", "secretkey", "accesskey",
})  # fmt: skip
# Parts that say that the value is something else: what everybody may know, or where the secret is.
_HARMLESS = frozenset({"public", "pub", "fingerprint", "gpg", "pgp", "keyring", "host"})
_ELSEWHERE = frozenset(
    {"file", "files", "path", "dir", "folder", "url", "uri", "id", "name", "type", "size", "length", "ttl"}
)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def speaks_of_secret(name: str) -> bool:
    """Say whether a variable of this name would hold a secret: API_KEY and dbPassword, not MONKEY nor PUBLIC_KEY."""
    if name.upper() == "PWD":
        return False  # the shell's working folder
    parts = [part.lower() for part in _PARTS.findall(name)]
    if not parts or parts[-1] in _ELSEWHERE or not _HARMLESS.isdisjoint(parts):
        return False
    return not _SECRET.isdisjoint(parts)


def _secrets(subject: Subject) -> Iterator[tuple[str, Location]]:
    for one in subject.dockerfile.instructions:
        match one:
            case model.Arg():
                items, kind = one.arguments, "ARG"
            case model.Env():
                items, kind = one.variables, "ENV"
            case _:
                continue
        for item in items:
            empty = item.value is not None and item.value.text in ("", '""', "''")
            if speaks_of_secret(item.name.text) and not (kind == "ENV" and empty):
                yield f"{kind} {item.name.text} looks like a secret: it stays readable in the image", item.name.where


RULES = (Rule("secrets-in-arg-env", "a secret is put into ARG or ENV", _secrets, docker="SecretsUsedInArgOrEnv"),)
