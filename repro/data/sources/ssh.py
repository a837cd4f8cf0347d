"""A connection to an SSH server as the caller's ssh(1) would make it: his configuration, agent, keys and known hosts.

Host keys are always checked strictly, whatever the configuration says: nothing here asks a question. Passwords are not
sent; a key with a passphrase is used through the agent.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import pwd
import re
import shlex
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import paramiko

from repro.data.answers import Broken
from repro.data.sources.known_hosts import SSH_PORT, HostKey, check_host_key, kinds_known, name_of, read_known_hosts
from repro.data.sources.model import DeniedError
from repro.dataclass import dataclass
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.data.sources.model import Reach

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it writes tracebacks to standard error

_SYSTEM = Path("/etc/ssh")
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_CONNECT_TIMEOUT = 15.0  # seconds
_LAST_WORDS = 1.0  # seconds in which a command is to end whose connection was closed
_DEEPEST_INCLUDE = 16  # as OpenSSH
# What may stand in an address: both go into the command of a ProxyCommand, which a shell reads.
_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.][\w.-]*))(?::(?P<port>\d{1,5}))?")
_USER = re.compile(r"[\w.][\w.@\\+-]*")
_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # RFC 8332: what a key of the type ssh-rsa signs with


@dataclass(frozen=True, slots=True)
class Settings:
    """What ssh_config(5) says of a server.

    ``known_hosts`` are files; ``known_as`` is the name that is looked up in them. ``identities`` are files of keys,
    ``only_identities`` says that the agent's other keys are not to be tried, ``agent`` is the agent's socket.
    ``proxy`` is a command whose input and output are the connection.
    """

    host: str
    port: int
    user: str
    known_hosts: tuple[Path, ...]
    known_as: str | None = None
    identities: tuple[Path, ...] = ()
    only_identities: bool = False
    agent: str = ""
    proxy: str = ""


def read_settings(authority: str, user: str, reach: Reach) -> Settings:
    """Return the settings for ``host[:port]``; what the address says goes before ~/.ssh/config, and that before /etc.

    Raises:
        UsageError: the configuration cannot be used.
    """
    host, port = _split(authority)
    if user and _USER.fullmatch(user) is None:
        raise UsageError(f"not a user's name: {user!r}", hint="sftp://USER@host/path")
    home = _home(reach)
    given = [f"Port {port}"] * bool(port) + [f"User {user}"] * bool(user)  # of each setting the first counts
    try:
        config = paramiko.SSHConfig.from_text("\n".join([*given, _config_text(home)]))
        found: Mapping[str, str] = config.lookup(host)
        identities = tuple(Path(item) for item in found.get("identityfile", ()))
        default = tuple(home / ".ssh" / name for name in _DEFAULT_KEYS)
        return Settings(
            host=found["hostname"],
            port=int(found.get("port", SSH_PORT)),
            user=found.get("user") or _login_name(reach),
            known_hosts=_known_hosts(found, home),
            known_as=found.get("hostkeyalias"),
            identities=identities or default,
            only_identities=found.get("identitiesonly", "no").lower() == "yes",
            agent=_agent(found, reach),
            proxy=_proxy(found, home),
        )
    except (paramiko.SSHException, ImportError, ValueError, KeyError, OSError) as error:
        raise UsageError(
            f"the SSH configuration cannot be used for {host}", why=str(error), hint="see ~/.ssh/config"
        ) from error


def connect(settings: Settings, reach: Reach) -> paramiko.Transport:
    """Return a connection whose server was recognized and has accepted the user.

    Raises:
        DeniedError: the server's key is not the known one, or it does not accept the user.
        Broken: there was no connection, or it broke.
    """
    known = read_known_hosts(settings.known_hosts)
    known_as, known_port = (settings.known_as, SSH_PORT) if settings.known_as else (settings.host, settings.port)
    timeout = min(_CONNECT_TIMEOUT, reach.timeout)
    with contextlib.ExitStack() as undo:
        stream: socket.socket | None = None
        try:
            stream = _reached(settings, reach, timeout)
            transport = paramiko.Transport(stream)
            undo.callback(transport.close)
            transport.banner_timeout = transport.handshake_timeout = timeout
            transport.auth_timeout = transport.channel_timeout = reach.timeout
            _prefer(transport, kinds_known(known, name_of(known_as, known_port)))
            transport.start_client(timeout=timeout)
            key = transport.get_remote_server_key()
            check_host_key(known, known_as, known_port, HostKey(key.get_name(), key.asbytes()))
            _log_in(transport, settings)
            transport.set_keepalive(max(1, int(reach.timeout / 4)))
        except (paramiko.SSHException, EOFError, OSError) as error:
            said = stream.said() if isinstance(stream, _ProxySocket) else ""
            raise Broken(f"cannot connect to {settings.host}: {said or reason(error)}") from error
        undo.pop_all()
    return transport


def reason(error: Exception) -> str:
    """Return in plain words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host is not known here: is the network up?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "it was closed"


def _split(authority: str) -> tuple[str, int]:
    """Return host and port of ``host[:port]``; 0 where there is no port."""
    found = _AUTHORITY.fullmatch(authority)
    port = int(found["port"] or 0) if found is not None else -1
    if found is None or not 0 <= port < 1 << 16:
        raise UsageError(f"not a host and a port: {authority!r}", hint="sftp://host/path or sftp://host:port/path")
    return found["six"] or found["host"], port


def _home(reach: Reach) -> Path:
    """Return the caller's home."""
    if home := reach.environ.get("HOME"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(reach.uid).pw_dir)
    except KeyError:
        return Path("/")


def _login_name(reach: Reach) -> str:
    try:
        return pwd.getpwuid(reach.uid).pw_name
    except KeyError:
        if name := reach.environ.get("USER"):
            return name
        raise UsageError("this user has no name here", hint="name one in the address: sftp://USER@HOST/path") from None


def _config_text(home: Path) -> str:
    """Return the configuration, the caller's own first, with ``~`` and ``%d`` as the caller's home.

    paramiko would put the home of this process there.
    """
    own = _included(home / ".ssh" / "config", home / ".ssh", 0)
    system = _included(_SYSTEM / "ssh_config", _SYSTEM, 0)
    text = f"{own}\nHost *\n{system}\n"
    return re.sub(r'(?<=[\s="])~(?=/)', lambda _: str(home), text).replace("%d", str(home))


def _included(file: Path, folder: Path, depth: int) -> str:
    """Return the text of a configuration with the files that it includes, which paramiko does not read."""
    try:
        lines = file.read_text(errors="surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    result: list[str] = []
    block = "Host *"
    for line in lines:
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() in ("host", "match"):
            block = line
        if keyword.lower() != "include" or depth >= _DEEPEST_INCLUDE:
            result.append(line)
            continue
        for pattern in shlex.split(rest):
            whole = re.sub(r"^~(?=/)", lambda _: str(folder.parent), pattern)
            for name in sorted(glob.glob(os.path.join(folder, whole))):
                result.append(_included(Path(name), folder, depth + 1))
                result.append(block)  # what follows belongs where it stood
    return "\n".join(result)


def _known_hosts(found: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    own = found.get("userknownhostsfile", f"{home}/.ssh/known_hosts {home}/.ssh/known_hosts2")
    system = found.get("globalknownhostsfile", f"{_SYSTEM}/ssh_known_hosts {_SYSTEM}/ssh_known_hosts2")
    return tuple(Path(name) for name in (*shlex.split(own), *shlex.split(system)) if name != "none")


def _agent(found: Mapping[str, str], reach: Reach) -> str:
    """Return the socket of the caller's agent; empty where he has none."""
    named = found.get("identityagent", "SSH_AUTH_SOCK")
    if named.lower() == "none":
        return ""
    return reach.environ.get(named.lstrip("$"), "") if named.lstrip("$").isidentifier() else named


def _proxy(found: Mapping[str, str], home: Path) -> str:
    """Return the command whose input and output are the connection; empty for a direct one."""
    if command := found.get("proxycommand"):
        return command
    jumps = found.get("proxyjump", "none")
    if jumps.lower() == "none":
        return ""
    *before, last = jumps.removeprefix("ssh://").split(",")
    jump, _, jump_port = last.removeprefix("ssh://").partition(":")
    target = f"{found['hostname']}:{found.get('port', SSH_PORT)}"
    argv = ["ssh", "-o", "BatchMode=yes", "-W", target]
    if (config := home / ".ssh" / "config").is_file():
        argv += ["-F", str(config)]
    if before:
        argv += ["-J", ",".join(before)]
    if jump_port:
        argv += ["-p", jump_port]
    return shlex.join([*argv, jump])


def _reached(settings: Settings, reach: Reach, timeout: float) -> socket.socket:
    """Return a stream to the server, through the proxy's command where there is one."""
    if not settings.proxy:
        return socket.create_connection((settings.host, settings.port), timeout)
    ours, theirs = socket.socketpair()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
    with theirs:
        # It ends with the connection: its input does. `exec`, as ssh(1) does it, leaves no shell between.
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {settings.proxy}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=errors,
            env=dict(reach.environ),
        )
    return _ProxySocket(ours, process, errors)


class _ProxySocket(socket.socket):
    """Our end of a connection through a command, which ends when the connection is closed."""

    def __init__(self, end: socket.socket, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        super().__init__(fileno=end.detach())
        self._process = process
        self._errors = errors
        self._said = ""
        self._lock = threading.Lock()  # paramiko's thread closes it, too

    def said(self) -> str:
        """Close the connection, and return what the command wrote to its standard error."""
        self.close()
        return self._said

    def close(self) -> None:
        """Close the connection, and end the command."""
        super().close()
        with self._lock:
            if self._errors.closed:
                return
            try:
                self._process.wait(_LAST_WORDS)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                self._process.wait()
            self._errors.seek(0)
            self._said = self._errors.read(2000).decode(errors="replace").strip()
            self._errors.close()


def _prefer(transport: paramiko.Transport, kinds: list[str]) -> None:
    """Have the server show a key of a type that is known of it, where it has one."""
    options = transport.get_security_options()
    wanted = [name for kind in kinds for name in (_RSA if kind == "ssh-rsa" else (kind,))]
    first = [name for name in wanted if name in options.key_types]
    if first:
        options.key_types = [*first, *(name for name in options.key_types if name not in first)]


def _log_in(transport: paramiko.Transport, settings: Settings) -> None:
    """Have the user accepted by one of his keys; DeniedError where none is."""
    tried = 0
    unusable: list[str] = []
    with contextlib.closing(_Agent(settings.agent)) as agent:
        for key in _keys(settings, agent, unusable):
            tried += 1
            try:
                more = transport.auth_publickey(settings.user, key)
            except paramiko.BadAuthenticationType as error:
                why = f"it takes {', '.join(error.allowed_types)}, and no keys"
                raise _denied(settings, why) from error
            except paramiko.AuthenticationException as error:
                if not transport.is_active():
                    raise _denied(settings, f"it hung up after {tried} keys") from error
                continue
            if not more:
                return
            raise _denied(settings, f"beyond a key it wants {', '.join(more)}")
    found = f"none of {tried} keys is accepted" if tried else "no key was found"
    raise _denied(settings, "; ".join([found, *unusable]))


def _denied(settings: Settings, why: str) -> DeniedError:
    return DeniedError(
        f"the server {settings.host} does not accept the user {settings.user}",
        why=why,
        hint="add a key to the agent (ssh-add), or name its file and the user in ~/.ssh/config",
    )


def _keys(settings: Settings, agent: _Agent, unusable: list[str]) -> Iterator[paramiko.PKey]:
    """Yield the agent's keys, those of the files first, then the files' own; note those that cannot be used."""
    named = {blob for file in settings.identities if (blob := _public(file)) is not None}
    held = list(agent.get_keys())
    yield from (key for key in held if key.asbytes() in named)
    if not settings.only_identities:
        yield from (key for key in held if key.asbytes() not in named)
    in_agent = {key.asbytes() for key in held}
    for file in settings.identities:
        if _public(file) in in_agent:
            continue
        try:
            yield paramiko.PKey.from_path(file)
        except FileNotFoundError:
            continue
        except TypeError:  # cryptography's word for a passphrase that was not given
            unusable.append(f"{file} has a passphrase, and is not in the agent")
        except (paramiko.SSHException, ValueError, OSError) as error:
            unusable.append(f"{file} cannot be used: {reason(error)}")


def _public(file: Path) -> bytes | None:
    """Return the public half of a key, from the file beside it."""
    try:
        lines = Path(f"{file}.pub").read_text(errors="replace").splitlines()
        return paramiko.PublicBlob.from_string(lines[0]).key_blob if lines else None
    except (OSError, ValueError):
        return None


class _Agent(paramiko.agent.AgentSSH):  # type: ignore[misc] # paramiko has no types
    """The agent behind a socket; paramiko's own looks for it in the variables of this process."""

    def __init__(self, path: str) -> None:
        super().__init__()
        if not path:
            return
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_CONNECT_TIMEOUT)
            connection.connect(path)
            self._connect(connection)
        except (OSError, paramiko.SSHException):  # an agent that is gone has no keys
            connection.close()
            self._close()

    def close(self) -> None:
        """Let go of the socket."""
        self._close()
