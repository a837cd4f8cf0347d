"""Lists of checksums, as people and archives publish them: read into one shape, and files held against them.

Known are lines of sha256sum and its kin (``hex  name``, ``hex *name``, escaped names), BSD lines
(``SHA256 (name) = hex``), a file with nothing but a digest beside what it is of (``x.sha256``), BagIt manifests
(RFC 8493, 2.1.3 and 2.2.1), and the JSON of archives, which `repro.data.sums_json` reads.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from repro.dataclass import dataclass
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# digits of each, the weakest first; MD5 and SHA-1 find accidents, not forgeries
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
ALGORITHMS = tuple(_DIGITS)
_BY_DIGITS = {digits: name for name, digits in _DIGITS.items()}

_LINE = re.compile(r"(?P<escaped>\\?)(?P<hex>[0-9A-Fa-f]{32,})(?: [ *]|[ \t]+)(?P<name>.+)", re.DOTALL)
# OpenSSL writes the same without the blanks, and SHA2-256
_TAGGED = re.compile(r"(?P<escaped>\\?)(?P<kind>[A-Za-z0-9/-]+) ?\((?P<name>.+)\) ?= (?P<hex>[0-9A-Fa-f]+)", re.DOTALL)
_BAGGED = re.compile(r"(?P<hex>[0-9A-Fa-f]+)[ \t]+\*?(?P<name>.+)", re.DOTALL)
_BAG = re.compile(r"(?:tag)?manifest-(?P<kind>[a-z0-9]+)\.txt")
_SIDECAR = re.compile(r"(?P<name>.+)\.(?P<kind>md5|sha1|sha224|sha256|sha384|sha512)(?:sum)?(?:\.txt)?", re.IGNORECASE)
_ESCAPES = {r"\\": "\\", r"\n": "\n", r"\r": "\r"}
_OTHERS = re.compile(r"b[23]sum|blake[23]|sha3-?(?:224|256|384|512)", re.IGNORECASE)
_KNOWN = f"known are {', '.join(ALGORITHMS)}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file's checksum must be: ``algorithm`` one of `ALGORITHMS`, ``hex`` in lower case.

    DataError where the algorithm is another, or the digits are not as many as it has.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "hex", self.hex.lower())
        digits = _DIGITS.get(self.algorithm)
        if digits is None:
            raise DataError(f"checksums of {self.algorithm!r} cannot be checked", hint=_KNOWN)
        if len(self.hex) != digits or re.fullmatch("[0-9a-f]*", self.hex) is None:
            raise DataError(f"{self.hex!r} is no {self.algorithm} checksum", why=f"that has {digits} hex digits")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Expected:
        """Return what ``algorithm:hex`` spells, or bare digits, whose number says the algorithm; DataError if not."""
        kind, colon, digits = text.strip().rpartition(":")
        if colon:
            return cls(algorithm(kind), digits)
        if len(digits) not in _BY_DIGITS:
            raise DataError(f"{digits!r} is no checksum", why=f"it has {len(digits)} digits", hint=_KNOWN)
        return cls(_BY_DIGITS[len(digits)], digits)


class Sums:
    """What a list says: by name, relative to the folder of the list, with ``/`` between its parts."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, Expected]] = {}

    def add(self, name: str, expected: Expected) -> None:
        """Take up one line; DataError for a name outside the folder, or a second checksum that contradicts."""
        while name.startswith("./"):
            name = name[2:].lstrip("/")
        if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise DataError(f"{name!r} names no file in the folder of the list")
        known = self._by_name.setdefault(name, {})
        if known.setdefault(expected.algorithm, expected) != expected:
            raise DataError(f"{name!r} is listed twice, with different checksums")

    def expected(self, name: str) -> Expected | None:
        """Return what the file ``name`` must have, by the strongest algorithm listed; None where it is not listed."""
        known = self._by_name.get(name)
        return max(known.values(), key=lambda one: _DIGITS[one.algorithm]) if known else None

    def names(self) -> tuple[str, ...]:
        """Return the names of all files listed, sorted."""
        return tuple(sorted(self._by_name))


def algorithm(kind: str) -> str:
    """Return the name in `ALGORITHMS` of what is spelt ``SHA-256``, ``SHA2-256`` or alike; others in lower case."""
    return re.sub(r"^sha(?:2-|-|_)(?=\d)", "sha", kind.lower())


def read_sums(data: bytes, name: str) -> Sums:
    """Return what a list of checksums says.

    Args:
        data: its bytes; names in it that are no UTF-8 come out as Python's file names do.
        name: the name of its file, or its address: shown in errors, and for a BagIt manifest or a digest alone what
            says algorithm and file.

    Raises:
        DataError: it has a mistake, located by line (or JSON field), or no checksum at all.
    """
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    base = _base(name)
    if text.lstrip()[:1] in ("{", "["):
        from repro.data.sums_json import read_json  # noqa: PLC0415 - most lists are lines

        entries = read_json(text, name)
    elif base == "bagit.txt":
        hint = "name the manifest beside it: manifest-sha256.txt, or manifest-md5.txt"
        raise DataError(f"{name} declares a bag, and lists no checksums", hint=hint)
    else:
        entries = _read_lines(text, name, base)
    sums = Sums()
    for where, listed, expected in entries:
        try:
            sums.add(listed, expected)
        except DataError as error:
            error.where = where
            raise
    if not sums.names():
        raise DataError(f"{name} lists no checksums")
    return sums


def _base(name: str) -> str:
    """Return the last part of a file's name, or of its address, where it may be escaped and a query may follow."""
    web = name.startswith(("http://", "https://"))
    base = (name.partition("?")[0] if web else name).rstrip("/").rpartition("/")[2]
    return unquote(base, errors="surrogateescape") if web else base


def _read_lines(text: str, name: str, base: str) -> Iterator[tuple[str, str, Expected]]:
    """Yield place, name and checksum of each line."""
    lines = [
        (f"{name}:{number}", line.removesuffix("\r"))
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith("#")
    ]
    if _OTHERS.search(base):  # as long as SHA-512's or SHA-256's, and others
        raise DataError(f"the checksums in {name} are of an algorithm that cannot be checked", hint=_KNOWN)
    bag, sidecar = _BAG.fullmatch(base), _SIDECAR.fullmatch(base)
    for where, line in lines:
        try:
            if bag is not None:
                listed, expected = _bag_line(line, bag["kind"])
            elif sidecar is not None and len(lines) == 1:
                listed, expected = _sidecar_line(line, sidecar)
            else:
                listed, expected = _line(line)
        except DataError as error:
            error.where = where
            raise
        yield where, listed, expected


def _line(line: str) -> tuple[str, Expected]:
    """Return name and checksum of a line of sha256sum, or of sha256 on BSD."""
    if found := _TAGGED.fullmatch(line):
        expected = Expected(algorithm(found["kind"]), found["hex"])
    elif found := _LINE.fullmatch(line):
        expected = Expected.parse(found["hex"])
    else:
        hint = "a line is `HEX  NAME`, as sha256sum writes it, or `SHA256 (NAME) = HEX`"
        raise DataError(f"no checksum and name: {line[:80]!r}", hint=hint)
    return _unescaped(found["name"]) if found["escaped"] else found["name"], expected


def _sidecar_line(line: str, sidecar: re.Match[str]) -> tuple[str, Expected]:
    """Return name and checksum of the only line of ``x.sha256``: digits alone, or with ``x`` wherever it was."""
    if re.fullmatch(r"\s*[0-9A-Fa-f]+\s*", line):
        return sidecar["name"], Expected(sidecar["kind"].lower(), line.strip())
    listed, expected = _line(line)
    return (sidecar["name"] if listed.rpartition("/")[2] == sidecar["name"] else listed), expected


def _bag_line(line: str, kind: str) -> tuple[str, Expected]:
    """Return name and checksum of a line of a BagIt manifest: CR, LF and % are percent-encoded (RFC 8493, 2.1.3)."""
    found = _BAGGED.fullmatch(line)
    if found is None:
        raise DataError(f"no checksum and name: {line[:80]!r}", hint="a line of a BagIt manifest is `HEX NAME`")
    listed = re.sub("%(0[AaDd]|25)", lambda code: chr(int(code[1], 16)), found["name"])
    return listed, Expected(algorithm(kind), found["hex"])


def _unescaped(name: str) -> str:
    """Return a name that coreutils escaped; DataError where the escape is none of theirs."""

    def plain(code: re.Match[str]) -> str:
        if code[0] not in _ESCAPES:
            raise DataError(f"{code[0]!r} in a name means nothing", hint=r"known are \\, \n and \r")
        return _ESCAPES[code[0]]

    return re.sub(r"\\.?", plain, name, flags=re.DOTALL)


def verify(file: Path, expected: Expected) -> None:
    """Return where the bytes of ``file`` have that checksum; DataError with the one they have, or where unreadable."""
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.new(expected.algorithm, usedforsecurity=False))
    except OSError as error:
        raise DataError(f"{file} cannot be read", why=error.strerror) from error
    if found.hexdigest() != expected.hex:
        why = f"expected {expected}, found {expected.algorithm}:{found.hexdigest()}"
        raise DataError(f"{file} is not what its list of checksums says", why=why)
