"""Why two builds of one file differ, and what to do about it, as data.

A cause is known by where the file lies (`PLACES`), by a format that keeps times (`repro.build.formats`), or by what
stands where the two differ (`SIGNS`).
"""

from __future__ import annotations

import re
from typing import Final

from repro.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """``code`` is for programs, ``title`` continues "it ...", ``hint`` says what to do about it."""

    code: str
    title: str
    hint: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause of one difference, with what shows it: ``2026-01-31 and 2027-02-01``."""

    cause: Cause
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Sign:
    """What shows ``cause`` where two builds differ: each has a match of ``pattern`` that the other has not."""

    cause: Cause
    pattern: re.Pattern[bytes]


IDENTITY: Final = Cause(
    "random-identity",
    "is an identity that is drawn by lot when it is made",
    "remove it in the same RUN, and let it be made when a container starts: no two machines should share it anyway",
)
LOG: Final = Cause("log", "is a log", "remove it in the same RUN, or send it to /dev/null")
CACHE: Final = Cause("cache", "is a cache", "remove it in the same RUN: it is made again when it is missing")
TEMPORARY: Final = Cause("temporary-file", "is a temporary file", "remove it in the same RUN")
DATE: Final = Cause(
    "date",
    "holds a date or a time of day",
    "take it from SOURCE_DATE_EPOCH, which is set in every RUN (date -d @$SOURCE_DATE_EPOCH), or leave it out",
)
EPOCH: Final = Cause("epoch", "holds seconds since 1970", "take them from SOURCE_DATE_EPOCH, or leave them out")
HOST: Final = Cause("host-name", "holds the host name", "do not ask for it: the host of a build is nobody's business")
UUID: Final = Cause("uuid", "holds a random UUID", "derive it from a name (uuid5), or remove the file in the same RUN")
NAME: Final = Cause(
    "temporary-name", "holds the random name of a temporary file", "give the file a fixed name, or strip the output"
)
ORDER: Final = Cause("order", "holds the same lines in another order", "sort them: a folder's entries have no order")
ADDRESS: Final = Cause(
    "address", "holds memory addresses", "print no pointers; set PYTHONHASHSEED=0 where the order of a set decides"
)
PROCESS: Final = Cause("process-id", "holds a process ID", "do not name or mark files by $$")
ENVIRONMENT: Final = Cause(
    "environment",
    "holds the whole environment, in which this check sets variables of its own",
    "write only the variables that are needed",
)
BUILD_ID: Final = Cause(
    "build-id",
    "is a program whose build ID differs: so does something in it",
    "look at what differs in its sources and objects; a path or date in them is the usual reason",
)
GZIP: Final = Cause("gzip-time", "is gzipped with the time in its header", "use gzip -n, or pigz -n -T")
BYTECODE: Final = Cause(
    "bytecode-time",
    "is Python bytecode that is checked against its source's time",
    "compile with --invalidation-mode unchecked-hash, or set PYTHONDONTWRITEBYTECODE=1 where Python is only run",
)
ARCHIVE: Final = Cause(
    "archive-times",
    "is an archive that keeps the times or owners of its members",
    "ar D; tar --sort=name --mtime=@$SOURCE_DATE_EPOCH --owner=0 --group=0 --numeric-owner; for zip, touch -d "
    "@$SOURCE_DATE_EPOCH the files first, and zip -X",
)
MEMBERS: Final = Cause(
    "archive-members", "is an archive whose members differ, or stand in another order", "mend the members; sort them"
)
TIME: Final = Cause(
    "old-time",
    "has another modification time, before the build's epoch",
    "times after the epoch are set back to it; this one was set on purpose, to something that changes",
)
SOURCE: Final = Cause(
    "source-changed",
    "was copied from what is not the same any more",
    "the build context or the address changed between the two builds: verify again when nothing writes there",
)
R_HELP: Final = Cause(
    "r-help",
    "is R's help, which keeps the random name of the folder that the package was unpacked in",
    "unpack the package and run R CMD INSTALL on the folder, or install without help: "
    'install.packages(…, INSTALL_opts = "--no-docs")',
)
GNUPG: Final = Cause(
    "gnupg",
    "is GnuPG's keyring, which keeps when each key was put in",
    "let it lie in a folder that goes in the same RUN: GNUPGHOME=$(mktemp -d); keep the result of gpg --dearmor only",
)
IDENTIFIER: Final = Cause(
    "identifier",
    "holds other hexadecimal identifiers",
    "seed what draws them (matplotlib's svg.hashsalt, PYTHONHASHSEED); a digest differs because its content does",
)
GIT: Final = Cause("git", "is git's own folder, which keeps inode numbers and times", "remove .git in the same RUN")
UNKNOWN: Final = Cause("unknown", "differs for an unknown reason", "look at the bytes, and at what writes the file")
CONSEQUENCE: Final = Cause(
    "consequence", "follows from a difference before it", "mend that one first; this one may go with it"
)

# By the path alone: what kind of file it is says why it differs.
PLACES: Final = (
    (
        IDENTITY,
        re.compile(r"(etc/machine-id|var/lib/dbus/machine-id|etc/ssh/ssh_host_\w+(\.pub)?|etc/hostid|.*/random-seed)$"),
    ),
    (IDENTITY, re.compile(r"(etc/ssl|etc/letsencrypt|.*/(certs?|tls|private|pki))/.*\.(pem|key|crt|csr|p12|srl)$")),
    (R_HELP, re.compile(r".*/help/(paths\.rds|[^/]+\.rd[bx])$")),
    (GIT, re.compile(r"(.*/)?\.git/.*")),
    (GNUPG, re.compile(r"(.*/)?\.gnupg/.*")),
    (IDENTITY, re.compile(r"etc/ssl/certs/[0-9a-f]{8}\.\d+$")),  # links to a certificate, by its hash
    (LOG, re.compile(r"(var/log/.*|.*\.log(\.\d+)?(\.(gz|xz))?)$")),
    (TEMPORARY, re.compile(r"(tmp|var/tmp|run|dev/shm)/.*")),
    (
        CACHE,
        re.compile(r"(var/cache/.*|(root|home/[^/]+)/\.cache/.*|.*/__pycache__/[^/]*\.nbi|.*/\.ipynb_checkpoints/.*)$"),
    ),
)

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_CLOCK = rb"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?"
_YEAR = rb"(?:19|20)\d\d"
_MONTHS, _DAYS = rb"(?:0?[1-9]|1[0-2])", rb"(?:0?[1-9]|[12]\d|3[01])"
_ISO = _YEAR + rb"[-/.]" + _MONTHS + rb"[-/.]" + _DAYS + rb"(?:[T ]" + _CLOCK + rb")?"
_ENGLISH = _DAYS + rb"[-/. ]" + _MONTH + rb"[-/. ,]+" + _YEAR
_AMERICAN = rb"(?:" + _DAY + rb",? )?" + _MONTH + rb" [ 0-3]?\d,?(?: " + _CLOCK + rb")?(?: [A-Z]{3,4})? " + _YEAR
_COMPACT = _YEAR + rb"(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:T?[0-2]\d[0-5]\d(?:[0-5]\d)?Z?)?"
SIGNS: Final = (
    Sign(ENVIRONMENT, re.compile(rb"(?:LD_PRELOAD|FAKETIME\w*|NO_FAKE_STAT|APT_CONFIG)\b")),
    Sign(UUID, re.compile(rb"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")),
    *(Sign(DATE, re.compile(rb"\b" + form + rb"\b")) for form in (_ISO, _ENGLISH, _AMERICAN, _COMPACT)),
    Sign(DATE, re.compile(rb"\b" + _CLOCK + rb"\b")),
    Sign(EPOCH, re.compile(rb"\b(?:1[4-9]|2[0-3])\d{8}(?:\.\d+)?\b")),
    Sign(EPOCH, re.compile(rb"\b(?:1[4-9]|2[0-3])\d{11}(?:\d{3}|\d{6})?\b")),
    Sign(NAME, re.compile(rb"/(?:tmp|var/tmp)/[\w.+-]+")),
    Sign(NAME, re.compile(rb"\b(?:tmp|Rtmp|pip-[a-z-]+-|conda-)(?=\w*[A-Z0-9_])\w{6,12}\b")),
    Sign(ADDRESS, re.compile(rb"\b0x[0-9a-f]{6,16}\b")),
    Sign(PROCESS, re.compile(rb"(?i)\bpid\W{0,3}\d{1,7}\b")),
    Sign(IDENTIFIER, re.compile(rb"(?<![0-9A-Za-z])[a-z]{0,2}[0-9a-f]{8,64}\b")),
)  # fmt: skip
