"""EXPOSE's ports and STOPSIGNAL's signals, as Docker takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.errors import DockerfileError

if TYPE_CHECKING:
    from repro.errors import Location

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_PROTOCOLS = ("tcp", "udp", "sctp")

# Linux's names (signal(7)); real-time ones are counted from both ends.
_SIGNALS = frozenset(
    [
        *(
            "ABRT",
            "ALRM",
            "BUS",
            "CHLD",
            "CLD",
            "CONT",
            "FPE",
            "HUP",
            "ILL",
            "INT",
            "IO",
            "IOT",
            "KILL",
            "PIPE",
            "POLL",
        ),
        *("PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG"),
        *("USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX"),
        *(f"RTMIN+{number}" for number in range(1, 16)),
        *(f"RTMAX-{number}" for number in range(1, 15)),
    ]
)


def ports(text: str, where: Location) -> tuple[str, ...]:
    """Return the container's ports that ``text`` names, as ``80/tcp``; a host part is checked and left out.

    Forms: ``80``, ``80/udp``, ``8000-8010``, ``9000:80``, ``127.0.0.1:9000:80``, ``[::1]:9000:80``.
    """
    spec, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise _bad(text, where, f"there is no protocol {protocol}")
    address, colon, host = spec.rpartition(":")[0].rpartition(":")
    if colon and address:
        import ipaddress  # noqa: PLC0415 - hardly ever

        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError as error:
            raise _bad(text, where, f"{address} is no address") from error
    inside = _numbers(spec.rpartition(":")[2], text, where)
    if host and len(_numbers(host, text, where)) != len(inside):
        raise _bad(text, where, "the host has not as many ports as the container")
    return tuple(f"{port}/{protocol}" for port in inside)


def _numbers(spec: str, text: str, where: Location) -> range:
    match = _RANGE.fullmatch(spec)
    if match is None:
        raise _bad(text, where, None)
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < 65536:
        raise _bad(text, where, "ports are up to 65535, ranges go up")
    return range(first, last + 1)


def _bad(text: str, where: Location, why: str | None) -> DockerfileError:
    return DockerfileError(f"not a port: {text!r}", where=where, why=why, hint="80, 80/udp or 8000-8010")


def stop_signal(text: str, where: Location) -> str:
    """Return ``text``, which is a signal's number, or its name with or without ``SIG``; DockerfileError if not."""
    name = text.upper().removeprefix("SIG")
    number = re.fullmatch(r"[+-]?[0-9]+", text)
    if (number is None and name not in _SIGNALS) or (number is not None and int(text) == 0):
        raise DockerfileError(f"not a signal: {text!r}", where=where, hint="a name like SIGTERM, or a number")
    return text
