"""Logins from the files where people keep them: ~/.netrc, and ~/.smbcredentials as mount.cifs reads it.

A file with passwords that other users may read is refused, as ssh does it. No message shows what is in such a file.
"""

from __future__ import annotations

import netrc
import re
import stat
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import Location, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELDS = {"username": "user", "user": "user", "password": "password", "pass": "password"} | dict.fromkeys(
    ("domain", "dom", "workgroup"), "domain"
)
_CREDENTIALS = 'mount.cifs(8), "credentials=filename": username=, password= and domain=, one a line'


@dataclass(frozen=True, slots=True)
class SmbLogin:
    """Who a caller is to an SMB server; ``domain`` is empty where the server's own is meant."""

    user: str
    password: str = field(repr=False)
    domain: str = ""

    @property
    def name(self) -> str:
        """The user's name with its domain."""
        return f"{self.domain}\\{self.user}" if self.domain else self.user


def netrc_login(environ: Mapping[str, str], host: str) -> tuple[str, str] | None:
    """Return name and password for ``host`` in the file $NETRC, else ~/.netrc; None where it names neither.

    ``host`` is looked for with its port, if it has one, then without; then the ``default`` entry counts. UsageError for
    a file that others may read, or that is none.
    """
    path = _find(environ, "NETRC", ".netrc")
    if path is None:
        return None
    try:
        entries = netrc.netrc(str(path)).hosts
    except netrc.NetrcParseError as error:
        raise UsageError(
            "it is no netrc file",
            where=Location(str(path), error.lineno or 1),
            hint="machine HOST login NAME password PASSWORD",
        ) from None  # the cause shows what stands there
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read as text") from None
    for name in (host, _without_port(host), "default"):
        if name in entries:
            user, _, password = entries[name]
            return user, password or ""
    return None


def smb_login(environ: Mapping[str, str], host: str, user: str) -> SmbLogin | None:
    """Return the login for an SMB server, ``user``'s where that is not empty; None where none is known.

    It stands in the file $REPRO_SMB_CREDENTIALS, else ~/.smbcredentials, else in ~/.netrc (`netrc_login`). UsageError
    for a file that others may read, or that is none.
    """
    path = _find(environ, "REPRO_SMB_CREDENTIALS", ".smbcredentials")
    if path is not None:
        login = _credentials(path)
        if not user or user == login.user:
            return login
    found = netrc_login(environ, host)
    if found is None or (user and user != found[0]):
        return None
    return SmbLogin(*found)


def _credentials(path: Path) -> SmbLogin:
    """Return what a file of credentials says; blanks before a value are part of it, as in mount.cifs."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read as text") from None
    said: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition("=")
        known = _FIELDS.get(name.strip().lower())
        if not separator or known is None:
            raise UsageError("it is no line of credentials", where=Location(str(path), number), hint=_CREDENTIALS)
        said[known] = value
    if not said.get("user"):
        raise UsageError("no username is in it", where=Location(str(path), 1), hint=_CREDENTIALS)
    return SmbLogin(said["user"], said.get("password", ""), said.get("domain", ""))


def _find(environ: Mapping[str, str], variable: str, name: str) -> Path | None:
    """Return the file that ``variable`` names, else ``name`` in the home; None where there is none."""
    named = environ.get(variable)
    home = environ.get("HOME")
    if not named and not home:
        return None
    path = Path(named) if named else Path(home or "", name)
    try:
        _check(path)
    except FileNotFoundError:
        if named:
            raise UsageError(f"there is no file {path}", why=f"{variable} names it") from None
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why=error.strerror) from error
    return path


def _check(path: Path) -> None:
    """Raise UsageError for a file with passwords that others may read or write."""
    found = path.stat()
    if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"other users may read {path}",
            why=f"there are passwords in it, and its mode is {stat.S_IMODE(found.st_mode):04o}",
            hint=f"chmod 600 {path}",
        )


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host).strip("[]")
