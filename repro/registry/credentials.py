"""Who the user is at each registry, as docker and podman keep it.

Read in this order, the first that knows the registry wins:

1. ``$REGISTRY_AUTH_FILE``
2. ``$XDG_RUNTIME_DIR/containers/auth.json`` (``/run/containers/UID/auth.json`` where that is not set)
3. ``$XDG_CONFIG_HOME/containers/auth.json`` (``~/.config/...``)
4. ``$DOCKER_CONFIG/config.json`` (``~/.docker/config.json``)

In each: ``credHelpers`` and ``credsStore`` (programs ``docker-credential-NAME``), then ``auths``. A key is a registry
or, as podman has it, a registry and the beginning of a path (``host/team``); the longest that fits wins. Sources:
containers-auth.json(5), Docker's "docker login", docker-credential-helpers.

A secret is in no message, no log and no ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import DataError, HostError, ReproError, UsageError
from repro.files import write_atomic
from repro.home import home
from repro.names import DEFAULT_DOMAIN, parse_domain
from repro.process import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_DOCKER_KEY = "https://index.docker.io/v1/"  # how docker itself spells docker.io in its file and to helpers
_TEXTS = ("auth", "username", "password", "identitytoken", "registrytoken")  # of an entry
_TOKEN = re.compile(r"[\x21-\x7e]*")  # what can stand in a header
_IDENTITY = "<token>"  # a helper's user name where its secret is an identity token
_HELPER_SECONDS = 60.0  # it may ask its user to unlock a key ring
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NONE_FOUND = "credentials not found"  # what helpers say, with exit status 1, of a registry that they do not know


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password, or an ``identity`` token instead of the password; ``source`` says for people whence.

    ``token`` is none that others are asked for with, but the bearer token itself (docker's ``registrytoken``).
    """

    user: str
    password: str = field(repr=False)
    identity: str = field(default="", repr=False)
    source: str = ""
    token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an Authorization field (RFC 7617, in UTF-8)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Credentials:
    """The logins of the user that ``environ`` describes, read when asked for.

    ``uid`` is the user's where this process has another, in a user namespace of its own.
    """

    def __init__(self, environ: Mapping[str, str], uid: int | None = None) -> None:
        self._environ = dict(environ)
        config = environ.get("XDG_CONFIG_HOME") or os.path.join(home(environ), ".config")
        runtime = environ.get("XDG_RUNTIME_DIR")
        shared = (
            os.path.join(runtime, "containers")
            if runtime
            else f"/run/containers/{os.geteuid() if uid is None else uid}"
        )
        docker = environ.get("DOCKER_CONFIG") or os.path.join(home(environ), ".docker")
        self._named = environ.get("REGISTRY_AUTH_FILE")
        self._own = os.path.join(config, "containers", "auth.json")
        files = (self._named, f"{shared}/auth.json", self._own, os.path.join(docker, "config.json"))
        self._files = tuple(file for file in files if file)

    def find(self, host: str, path: str = "") -> Login | None:
        """Return the login for a repository of ``host``; None where nobody is known.

        Raises:
            DataError: a file is not what docker or podman write.
            HostError, ReproError: a helper program is missing or failed.
        """
        for file in self._existing():
            login = file.login(host, path)
            if login is not None:
                return login
        return None

    def store(self, host: str, user: str, password: str) -> str:
        """Keep a login; return where, for people.

        That is where the registry's login is already; else ``$REGISTRY_AUTH_FILE``; else the first file there is, in
        the order of reading; else podman's ``~/.config/containers/auth.json``. A helper that the file names gets it.
        The file is replaced as a whole, with mode 0600 and all that it held otherwise.

        Raises:
            DataError, HostError, ReproError: as `find`.
            UsageError: the name has a colon, which Basic authentication cannot carry (RFC 7617, 2).
        """
        if ":" in user:
            raise UsageError(f"the user name {user!r} has a colon in it", why="no registry can be told such a name")
        files = list(self._existing())
        known = [file for file in files if file.knows(host)]
        named = [_File(self._named, self._environ)] if self._named else []
        chosen = [*known, *named, *files, _File(self._own, self._environ)][0]
        return chosen.store(host, user, password)

    def remove(self, host: str) -> tuple[str, ...]:
        """Forget the logins of ``host`` in all files and their helpers; return where there were any, for people."""
        return tuple(where for file in self._existing() for where in file.remove(host))

    def _existing(self) -> Iterator[_File]:
        seen = set()
        for path in self._files:
            if path not in seen and os.path.exists(path):
                seen.add(path)
                yield _File(path, self._environ)


class _File:
    """One file of logins; a file that is not there yet is an empty one."""

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._document = self._read()

    def _read(self) -> dict[str, object]:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DataError(f"the logins in {self._path} cannot be read", why=error.strerror) from error
        try:
            document = json.loads(data or b"{}")
        except (ValueError, RecursionError):  # the parser's words would show a part of the file
            document = None
        if not isinstance(document, dict):
            raise DataError(
                f"{self._path} is no JSON object, so the logins in it cannot be read",
                hint="repair or remove it, then log in again",
            )
        return document

    def _object(self, name: str) -> dict[str, object]:
        value = self._document.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise DataError(f"{self._path}: {name!r} must be an object")
        return value

    def login(self, host: str, path: str) -> Login | None:
        """Return the login for a repository."""
        for key in _best(self._object("credHelpers"), host, path):
            login = self._ask(self._object("credHelpers")[key], key)
            if login is not None:
                return login
        store = self._document.get("credsStore")
        if store:
            login = self._ask(store, _DOCKER_KEY if host == DEFAULT_DOMAIN else host)
            if login is not None:
                return login
        entries = self._object("auths")
        for key in _best(entries, host, path):
            login = self._entry(key, entries[key])
            if login is not None:
                return login
        return None

    def knows(self, host: str) -> bool:
        """Return whether the registry as a whole has an entry; its helper is not asked."""
        return any(next(_best(self._object(name), host, ""), None) for name in ("credHelpers", "auths"))

    def _entry(self, key: str, entry: object) -> Login | None:
        """Return the login in an entry of ``auths``; None where it is in the helper's keeping."""
        wrong = DataError(f"{self._path}: the login of {key!r} cannot be read", hint=f"repro registry login {key}")
        if not isinstance(entry, dict):
            raise wrong
        texts = {name: entry.get(name) or "" for name in _TEXTS}
        if not all(isinstance(text, str) for text in texts.values()) or not _TOKEN.fullmatch(texts["registrytoken"]):
            raise wrong
        user, password = texts["username"], texts["password"]
        if texts["auth"]:
            try:
                decoded = base64.b64decode(texts["auth"], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise wrong from None  # the cause would show the secret
            user, colon, password = decoded.partition(":")
            if not colon:
                raise wrong
            password = password.rstrip("\0")  # docker pads old ones
        if not user and not texts["identitytoken"] and not texts["registrytoken"]:
            return None
        return Login(user, password, texts["identitytoken"], self._path, texts["registrytoken"])

    def _ask(self, helper: object, key: str) -> Login | None:
        """Return what a helper says of ``key``; None where it knows nothing."""
        try:
            answer = self._call(helper, "get", key.encode())
        except HostError:
            raise
        except ReproError as error:
            if _NONE_FOUND in (error.why or ""):
                return None
            raise
        try:
            found = json.loads(answer)
            user, secret = found["Username"], found["Secret"]
        except (ValueError, KeyError, TypeError):
            user = secret = None
        if not isinstance(user, str) or not isinstance(secret, str):
            raise DataError(f"the answer of {_program(helper)} cannot be read", why="it is no login in JSON") from None
        if not secret:
            return None
        source = f"{_program(helper)}, named in {self._path}"
        return Login("", "", secret, source) if user == _IDENTITY else Login(user, secret, "", source)

    def _call(self, helper: object, action: str, data: bytes) -> bytes:
        if not isinstance(helper, str) or _HELPER_NAME.fullmatch(helper) is None:
            raise DataError(f"{self._path} names a helper that cannot be run: {helper!r}")
        try:
            return run([_program(helper), action], env=self._environ, stdin=data, timeout=_HELPER_SECONDS)
        except HostError as error:
            raise HostError(
                error.message, why=f"{self._path} says that it has the logins", hint="install it, or correct that file"
            ) from error

    def _helper_for(self, host: str) -> tuple[object, str] | None:
        """Return the helper that keeps the registry's login, and the registry's name there."""
        helpers = self._object("credHelpers")
        for key in _best(helpers, host, ""):
            return helpers[key], key
        store = self._document.get("credsStore")
        return (store, _DOCKER_KEY if host == DEFAULT_DOMAIN else host) if store else None

    def store(self, host: str, user: str, password: str) -> str:
        """Keep a login; return where."""
        auths = self._object("auths")
        for key in list(_best(auths, host, "")):
            del auths[key]
        docker = os.path.basename(self._path) == "config.json"
        key = _DOCKER_KEY if docker and host == DEFAULT_DOMAIN else host
        helper = self._helper_for(host)
        if helper is not None:
            login = {"ServerURL": helper[1], "Username": user, "Secret": password}
            self._call(helper[0], "store", json.dumps(login).encode())
            auths[key] = {}  # as docker does: says that there is a login, not which
        else:
            auths[key] = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
        self._write({**self._document, "auths": auths})
        return self._path if helper is None else f"{_program(helper[0])}, named in {self._path}"

    def remove(self, host: str) -> Iterator[str]:
        """Forget the registry's login; yield where there was one."""
        helper = self._helper_for(host)
        if helper is not None and self._ask(*helper) is not None:
            self._call(helper[0], "erase", helper[1].encode())
            yield f"{_program(helper[0])}, named in {self._path}"
        auths = self._object("auths")
        gone = list(_best(auths, host, ""))
        if gone:
            held = any(auths[key] for key in gone)
            self._write({**self._document, "auths": {key: auths[key] for key in auths if key not in gone}})
            if held:
                yield self._path

    def _write(self, document: Mapping[str, object]) -> None:
        from pathlib import Path  # noqa: PLC0415 - only a login writes

        path = Path(os.path.realpath(self._path))  # a symbolic link stays one
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, json.dumps(document, indent="\t", ensure_ascii=False).encode() + b"\n", mode=0o600)
        self._document = dict(document)


def _program(helper: object) -> str:
    return f"docker-credential-{helper}"


def _best(keys: Iterable[str], host: str, path: str) -> Iterator[str]:
    """Yield the keys that are for the repository, the longest first."""
    fitting = []
    for key in keys:
        name = _normal(key)
        registry, _, prefix = name.partition("/")
        if registry == host.lower() and (not prefix or path == prefix or path.startswith(f"{prefix}/")):
            fitting.append((-len(prefix), key))
    return (key for _, key in sorted(fitting))


def _normal(key: str) -> str:
    """Return a key as ``host`` or ``host/prefix``: docker wrote addresses of APIs (``https://host/v1/``)."""
    address = key.startswith(("http://", "https://"))
    host, _, prefix = re.sub(r"^https?://", "", key).rstrip("/").partition("/")
    try:
        host = parse_domain(host)
    except UsageError:  # a key that means something to somebody else
        return key
    return host if address or not prefix else f"{host}/{prefix}"
