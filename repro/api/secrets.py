"""`--secret` read: an id, and a file or an environment variable that holds the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.outputs import split_fields
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.host import Host
    from repro.build.secrets import Secret

_LARGEST = 500 << 10  # bytes; Docker's limit


def read_secrets(given: Sequence[str], host: Host) -> dict[str, Secret]:
    """Return the secrets that ``--secret`` names, by id; UsageError for a spelling, a file or a variable that is wrong.

    ``id=x,src=FILE`` and ``id=x,env=NAME`` say where the bytes are. ``id=x`` alone is the variable ``x`` where that
    is set, else the file ``x``, as in Docker.
    """
    out: dict[str, Secret] = {}
    for text in given:
        secret = _secret(text, host)
        if secret.id in out:
            raise UsageError(f"two secrets have the id {secret.id!r}", hint="give each an id of its own")
        out[secret.id] = secret
    return out


def _secret(text: str, host: Host) -> Secret:
    from repro.build.secrets import Secret  # noqa: PLC0415 - only where one is given

    fields = split_fields(text, "--secret")
    kind = fields.pop("type", "")
    name = fields.pop("id", "")
    sources = [key for key in ("src", "source", "env") if key in fields]
    unknown = sorted(set(fields) - {"src", "source", "env"})
    if unknown:
        raise UsageError(f"--secret {text}: there is no field {unknown[0]!r}", hint="fields are id, src, env, type")
    if not name:
        raise UsageError(f"--secret {text} has no id", hint="write --secret id=NAME,src=FILE")
    if kind not in ("", "file", "env"):
        raise UsageError(f"--secret {text}: there is no type {kind!r}", hint="types are file and env")
    if len(sources) > 1:
        raise UsageError(f"--secret {text} names two sources", hint="give src or env")
    source = fields[sources[0]] if sources else name
    from_variable = sources == ["env"] or kind == "env" or (not sources and kind == "" and name in host.environ)
    return Secret(name, _variable(source, text, host) if from_variable else _file(source, text, host))


def _variable(name: str, text: str, host: Host) -> bytes:
    if name not in host.environ:
        raise UsageError(f"--secret {text}: the variable {name} is not set", hint="export it, or give src=FILE")
    return host.environ[name].encode("utf-8", "surrogateescape")


def _file(name: str, text: str, host: Host) -> bytes:
    try:
        with open(host.cwd / name, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"--secret {text}: {name} cannot be read", why=error.strerror) from error
    if len(data) > _LARGEST:
        raise UsageError(f"--secret {text}: {name} is larger than 500 KiB", hint="a secret is a key or a password")
    return data
