"""Image names, as Docker spells them, and addresses of data."""

from __future__ import annotations

import re
from typing import Self

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, UsageError

# distribution/reference: the grammar of Docker's image names
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

DEFAULT_DOMAIN = "docker.io"
RECIPES = f"{DEFAULT_DOMAIN}/repro/"  # repositories of environments' images, each tagged with a recipe's checksum
DEFAULT_TAG = "latest"
API_HOSTS = {DEFAULT_DOMAIN: "registry-1.docker.io"}  # a registry's name, and the host that answers for it if another
_LEGACY_DEFAULT = "index.docker.io"
_ALSO_DEFAULT = (_LEGACY_DEFAULT, *API_HOSTS.values())  # other spellings of docker.io, as Docker has them
_LONGEST_PATH = 255
_OFFICIAL = "library/"  # where docker.io has names without a slash
_ID = re.compile(r"[0-9a-f]{64}")

DATA_SCHEMES = ("file", "s3", "nfs", "smb", "http", "https", "sftp")


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

        What comes before the first slash is a domain if it could be nothing else: it is ``localhost``, has a dot, a
        colon or an upper-case letter (distribution/reference, "splitDockerDomain"). UsageError says what is wrong and
        what would be right.
        """
        if _ID.fullmatch(text) is not None:
            raise UsageError(f"not an image name but an image ID: {text}", hint="give it a tag to use it as a name")
        rest, at, digest_text = text.partition("@")
        digest = _digest(digest_text, text) if at else None
        tag: str | None = None
        slash = rest.rfind("/")
        colon = rest.find(":", slash + 1)
        if colon >= 0:
            rest, tag = rest[:colon], rest[colon + 1 :]
            if _TAG.fullmatch(tag) is None:
                raise UsageError(f"not a tag: {tag!r} in {text!r}", hint="letters, digits, '_', '.', '-'; at most 128")
        first, has_slash, remainder = rest.partition("/")
        if has_slash and _is_domain(first):
            domain, path = first, remainder
        else:
            domain, path = DEFAULT_DOMAIN, rest
        if _DOMAIN.fullmatch(domain) is None:
            hint = "write an IPv6 address in brackets, as in [::1]:5000/name" if domain.count(":") > 1 else None
            raise UsageError(f"not a registry's host name: {domain!r} in {text!r}", hint=hint)
        if domain == _LEGACY_DEFAULT:
            domain = DEFAULT_DOMAIN
        if domain == DEFAULT_DOMAIN and "/" not in path:
            path = f"{_OFFICIAL}{path}"
        if _PATH.fullmatch(path) is None or len(path) > _LONGEST_PATH:
            raise _wrong_path(path, text)
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        return cls(domain, path, tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"

    @property
    def repository(self) -> str:
        """The name without tag and digest, in full: ``docker.io/library/debian``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The shortest spelling that means the same, as ``docker images`` prints it."""
        short = familiar_repository(self.repository)
        return f"{short}{str(self)[len(self.repository) :]}"


@dataclass(frozen=True, slots=True, order=True)
class DataUri:
    """An address of data: ``scheme://[user@]host/path[?query]``. ``str()`` prints what ``parse`` reads back as equal.

    ``host`` has its port where one is given; of s3 it is the bucket, of file it is empty. ``path`` begins with a slash
    and is taken literally, but for http and https, where it is escaped as the server wants it; a folder's ends in a
    slash. Only smb and sftp have a ``user``, only http and https a ``query``.
    """

    scheme: str
    host: str
    path: str
    user: str = ""
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that ``text`` spells; UsageError says what is wrong and what would be right."""
        scheme, separator, rest = text.partition("://")
        scheme = scheme.lower()
        if not separator:
            raise UsageError(f"not an address: {text!r}", hint="write it as scheme://host/path")
        if scheme not in DATA_SCHEMES:
            hint = f"known here: {', '.join(f'{name}://' for name in DATA_SCHEMES)}"
            raise UsageError(f"addresses of {scheme!r} are not known: {hidden(text)!r}", hint=hint)
        authority, slash, path = rest.partition("/")
        query = ""
        if scheme in ("http", "https"):
            path, _, query = path.partition("?")
        user, _, host = authority.rpartition("@")
        if ":" in user or (user and scheme not in ("smb", "sftp")):
            raise UsageError(
                f"a login stands in the address {hidden(text)!r}",
                hint="take it out: docs/reference/data.md says where logins are looked for",
            )
        if scheme == "file":
            if host not in ("", "localhost"):
                raise UsageError(f"{text!r} names files of {host!r}", hint="file:///path names files of this machine")
            host = ""
        elif not host:
            raise UsageError(f"no {'bucket' if scheme == 's3' else 'host'} in {text!r}", hint=f"{scheme}://host/path")
        if any(not one.isprintable() for one in text):
            raise UsageError(f"the address {text!r} has characters in it that do not print")
        return cls(scheme, host, f"/{path}" if slash else "/", user, query)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{user}{self.host}{self.path}{query}"

    @property
    def folder(self) -> bool:
        """Whether it ends in a slash."""
        return self.path.endswith("/")


def hidden(address: str) -> str:
    """Return an address without what may be a login in it, fit for a message: no user, and no values of a query."""
    bare = re.sub(r"(?<=://)[^/@]*@", "", address)
    return re.sub(r"(?<==)[^&\s]+", "***", bare) if re.match(r"https?://", bare) and "?" in bare else bare


def familiar_repository(repository: str) -> str:
    """Return a repository's full name without what `Reference.parse` would put there again."""
    domain, _, path = repository.partition("/")
    if domain != DEFAULT_DOMAIN:
        return repository
    bare = path.removeprefix(_OFFICIAL)
    if bare != path and "/" not in bare:
        return bare
    first, slash, _ = path.partition("/")
    return repository if slash and _is_domain(first) else path


def _is_domain(first: str) -> bool:
    """Whether what is before a name's first slash is a registry and no part of a path."""
    return first == "localhost" or "." in first or ":" in first or first != first.lower()


def _digest(digits: str, text: str) -> Digest:
    try:
        return Digest.parse(digits)
    except DataError as error:
        algorithm = digits.partition(":")[0]
        if algorithm in {"sha384", "sha512", "blake3"}:
            raise UsageError(f"digests of {algorithm} are not supported: {text!r}", hint=error.hint) from error
        raise UsageError(f"not a digest: {digits!r} in {text!r}", hint=error.hint) from error


def _wrong_path(path: str, text: str) -> UsageError:
    lower = path.lower()
    if len(path) > _LONGEST_PATH:
        return UsageError(
            f"a name of {len(path)} letters is too long: {text[:60]!r}...", hint=f"{_LONGEST_PATH} at most"
        )
    if path != lower and _PATH.fullmatch(lower):
        return UsageError(f"not an image name: {text!r}", hint=f"write it in lower case: {lower}")
    why = "nothing stands between two slashes" if "//" in f"/{path}/" else None
    hint = "parts of a-z and 0-9 between slashes, with '.', '_', '__' or '-' inside each"
    return UsageError(f"not an image name: {text!r}", why=why, hint=hint)


def parse_domain(text: str) -> str:
    """Return the registry that ``text`` names: ``host[:port]``, as in an image's name, in lower case.

    ``https://`` and a path (``https://index.docker.io/v1/``, as docker keeps it) are left off. UsageError for the rest.
    """
    host = re.sub(r"^https?://", "", text).partition("/")[0].lower()
    if _DOMAIN.fullmatch(host) is None:
        raise UsageError(f"not a registry's host name: {text!r}", hint="write it as host or host:port")
    return DEFAULT_DOMAIN if host in _ALSO_DEFAULT else host
