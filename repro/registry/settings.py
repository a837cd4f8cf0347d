"""What the user says about registries: plain HTTP, certificates, mirrors.

`registries.toml` (``$REPRO_REGISTRIES``, else ``$XDG_CONFIG_HOME/repro/registries.toml``)::

    [registry."localhost:5000"]
    insecure = true                       # plain HTTP instead of TLS

    [registry."images.lab.example"]
    ca = "lab-ca.crt"                     # trusted beside the system's authorities; relative to this file
    mirrors = ["cache.lab.example/hub"]   # asked first for what is known by its digest
    timeout = 20                          # seconds of silence that end an attempt
    attempts = 3                          # that bring nothing, before it is given up

Certificates that docker and podman were given (``certs.d/HOST/*.crt``) are trusted as well. Nothing is insecure
unless this file says so, the loopback included.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from repro.dataclass import dataclass
from repro.errors import Location, UsageError
from repro.home import home
from repro.names import API_HOSTS, parse_domain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEYS = ("insecure", "verify", "ca", "mirrors", "timeout", "attempts")
_LONGEST_TIMEOUT = 3600  # seconds
_MOST_ATTEMPTS = 100
_HEADER = re.compile(r"\s*\[[^\[].*\]\s*(?:#.*)?")
_TOML_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


class SettingsError(UsageError):
    """registries.toml has a mistake; ``where`` names its line."""

    code: ClassVar[str] = "settings"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A registry that holds what another has: below ``prefix`` (``hub``; empty: at the same paths)."""

    host: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """How one registry is spoken to.

    ``insecure``: plain HTTP. ``verify``: its certificate is checked. ``authorities`` are PEM files trusted beside the
    system's; ``clients`` pairs of certificate and key that prove who we are. ``timeout``, in seconds, and ``attempts``
    say how patient to be; None is what `repro.registry.connections.Timing` has.
    """

    insecure: bool = False
    verify: bool = True
    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    timeout: float | None = None
    attempts: int | None = None


class Settings:
    """What is known of each registry; ``file`` is where the user writes it, there or not."""

    def __init__(self, file: str, registries: Mapping[str, Trust], folders: Sequence[str] = ()) -> None:
        self.file = file
        self._registries = dict(registries)
        self._folders = tuple(folders)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of the user that ``environ`` describes; no file is no settings.

        Raises:
            SettingsError: the file cannot be read or has a mistake; the file that $REPRO_REGISTRIES names is missing.
        """
        config = environ.get("XDG_CONFIG_HOME") or os.path.join(home(environ), ".config")
        named = environ.get("REPRO_REGISTRIES")
        file = named or os.path.join(config, "repro", "registries.toml")
        folders = (
            "/etc/docker/certs.d",
            "/etc/containers/certs.d",
            os.path.join(config, "containers", "certs.d"),
        )
        try:
            with open(file, encoding="utf-8") as opened:
                text = opened.read()
        except FileNotFoundError:
            if named:
                raise SettingsError(f"{named} is not there", hint="correct or unset REPRO_REGISTRIES") from None
            return cls(file, {}, folders)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} cannot be read", why=str(error)) from error
        return cls(file, _Reading(file, text).registries(), folders)

    def of(self, host: str) -> Trust:
        """Return how ``host`` (with its port, where it has one) is spoken to, with the certificates of ``certs.d``."""
        trust = self._registries.get(host.lower(), Trust())
        authorities, clients = list(trust.authorities), list(trust.clients)
        for folder in self._folders:
            for name in sorted({host, API_HOSTS.get(host, host)}):
                _add_certificates(os.path.join(folder, name), authorities, clients)
        return replace(trust, authorities=tuple(authorities), clients=tuple(clients))


def _add_certificates(folder: str, authorities: list[str], clients: list[tuple[str, str]]) -> None:
    """Add the ``*.crt`` files of a folder, and its pairs of ``NAME.cert`` and ``NAME.key`` (docker's and podman's)."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # none, or another user's
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.endswith(".crt"):
            authorities.append(path)
        elif name.endswith(".cert") and (key := f"{name[:-5]}.key") in names:
            clients.append((path, os.path.join(folder, key)))


class _Reading:
    """One registries.toml, read with the line of each mistake."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._lines = text.split("\n")
        self._text = text

    def registries(self) -> dict[str, Trust]:
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_PLACE.search(str(error))
            line, column = (int(place[1]), int(place[2])) if place else (len(self._lines), 1)
            message = _TOML_PLACE.sub("", str(error))
            raise SettingsError(f"not TOML: {message}", where=Location(self._file, line, column)) from error
        for key in document:
            if key != "registry":
                raise self._unknown((), key, ("registry",))
        tables = document.get("registry", {})
        if not isinstance(tables, dict):
            raise self._wrong((), "registry", 'tables: [registry."HOST"]')
        return {self._host(key): self._trust(key, table) for key, table in tables.items()}

    def _host(self, key: str) -> str:
        try:
            host = parse_domain(key)
        except UsageError as error:
            raise SettingsError(error.message, where=self._place(("registry", key), None), hint=error.hint) from error
        if host != key:
            where = self._place(("registry", key), None)
            raise SettingsError(f"{key!r} is not how a registry is named", where=where, hint=f"write {host!r}")
        return host

    def _trust(self, host: str, table: object) -> Trust:
        path = ("registry", host)
        if not isinstance(table, dict):
            raise self._wrong(("registry",), host, f"a table: [registry.{_quoted(host)}]")
        for key in table:
            if key not in _KEYS:
                raise self._unknown(path, key, _KEYS)
        insecure, verify = table.get("insecure", False), table.get("verify", True)
        for key, value in (("insecure", insecure), ("verify", verify)):
            if not isinstance(value, bool):
                raise self._wrong(path, key, "true or false")
        if insecure:
            for key in ("ca", "verify"):
                if key in table:
                    raise SettingsError(
                        f"{key!r} is about TLS, and `insecure = true` means plain HTTP",
                        where=self._place(path, key),
                        hint="keep one of the two; `verify = false` is TLS without checking the certificate",
                    )
        authorities = (self._authority(path, table["ca"]),) if "ca" in table else ()
        return Trust(
            insecure,
            verify,
            authorities,
            mirrors=self._mirrors(path, table.get("mirrors", [])),
            timeout=self._timeout(path, table["timeout"]) if "timeout" in table else None,
            attempts=self._attempts(path, table["attempts"]) if "attempts" in table else None,
        )

    def _timeout(self, path: tuple[str, str], value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST_TIMEOUT:
            raise self._wrong(path, "timeout", f"a number of seconds, above 0 and at most {_LONGEST_TIMEOUT}")
        return float(value)

    def _attempts(self, path: tuple[str, str], value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_ATTEMPTS:
            raise self._wrong(path, "attempts", f"a whole number from 1 to {_MOST_ATTEMPTS}")
        return value

    def _authority(self, path: tuple[str, str], value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong(path, "ca", "the path of a PEM file")
        file = os.path.join(os.path.dirname(self._file), os.path.expanduser(value))
        if not os.path.isfile(file):
            raise SettingsError(f"the certificate {file} is not there", where=self._place(path, "ca"))
        return file

    def _mirrors(self, path: tuple[str, str], value: object) -> tuple[Mirror, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(path, "mirrors", "a list of registries: host[:port][/prefix]")
        found = []
        for item in value:
            host, _, prefix = item.partition("/")
            try:
                found.append(Mirror(parse_domain(host), prefix.strip("/")))
            except UsageError as error:
                raise SettingsError(error.message, where=self._place(path, "mirrors"), hint=error.hint) from error
        return tuple(found)

    def _unknown(self, path: tuple[str, ...], key: str, known: Sequence[str]) -> SettingsError:
        near = difflib.get_close_matches(key.lower(), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return SettingsError(f"unknown key {key!r}", where=self._place(path, key), hint=hint)

    def _wrong(self, path: tuple[str, ...], key: str, wanted: str) -> SettingsError:
        return SettingsError(f"{key!r} must be {wanted}", where=self._place(path, key))

    def _place(self, path: tuple[str, ...], key: str | None) -> Location:
        """Return where ``key`` of a table stands, else where the table begins: the parser of TOML keeps no places."""
        table: tuple[str, ...] = ()
        header = 1
        for number, line in enumerate(self._lines, start=1):
            if _HEADER.fullmatch(line):
                table = _header_path(line)
                if table == path:
                    header = number
                if key is not None and table == (*path, key):
                    return Location(self._file, number)
            elif key is not None and table == path and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
                return Location(self._file, number, len(line) - len(line.lstrip()) + 1)
        return Location(self._file, header)


def _header_path(line: str) -> tuple[str, ...]:
    """Return the names in a table's header line: ``[registry."a:1"]``."""
    try:
        value: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    names = []
    while isinstance(value, dict) and value:
        (name, value), *_ = value.items()
        names.append(name)
    return tuple(names)


def _quoted(host: str) -> str:
    return f'"{host}"'


def lines_for(host: str, line: str) -> str:
    """Return what to write to registries.toml so that ``host`` has ``line``, for a hint."""
    return f"\n         [registry.{_quoted(host)}]\n         {line}"
