"""Secrets kept out of what a job prints: found however the output is cut into pieces, and replaced by ``***``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = b"***"
_SHORTEST = 4  # bytes; masking "a" would hide more of the output than of the secret
_SHORTEST_LINE = 8  # of a secret of several lines, most of which may be punctuation
_SHORTEST_CODED = 8
_WRAPS = (64, 76)  # characters in a line of base64: as openssl and PEM have it, and as base64(1) and MIME (RFC 2045)
_HEAD = 16  # bytes of a value that are looked for before the rest is compared


def forms(secret: bytes) -> frozenset[bytes]:
    """Return what gives ``secret`` away: itself, each of its lines, and the whole in base64 and as part of a URL.

    Base64 is found also where more was encoded with it, as a login in a header is. Other encodings are not known.
    """
    whole = {value for value in (secret, secret.strip()) if len(value) >= _SHORTEST}
    lines = [line.strip() for line in secret.splitlines()] if b"\0" not in secret else []  # bytes have no lines
    long = {line for line in lines if len(line) >= _SHORTEST_LINE} if len(lines) > 1 else set()
    coded = {text for value in whole for text in _coded(value) if len(text) >= _SHORTEST_CODED}
    return frozenset(whole | long | coded)


def _coded(value: bytes) -> Iterator[bytes]:
    import base64  # noqa: PLC0415 - only where there is a secret
    import urllib.parse  # noqa: PLC0415

    quoted = urllib.parse.quote_from_bytes(value, safe="")
    yield quoted.encode()
    yield quoted.replace("%20", "+").encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(value)
        yield text
        yield from (b"\n".join(text[at : at + wrap] for at in range(0, len(text), wrap)) for wrap in _WRAPS)
        for shift in range(3):  # how many bytes of a group of three come before it
            before = bytes(shift) + value
            # the characters at both ends that hold bits of neighbours as well are left out
            yield encode(before)[-(-shift * 8 // 6) : len(before) * 8 // 6]


class Mask:
    """Puts ``***`` in place of secrets. Values of fewer than four bytes are left alone: they are everywhere."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._values = tuple(sorted({value for secret in secrets for value in forms(secret)}))

    def __bool__(self) -> bool:
        return bool(self._values)

    def stream(self) -> Stream:
        """Return what masks one output as it comes."""
        return Stream(self._values)

    def text(self, text: str) -> str:
        """Return ``text`` masked."""
        if not self._values:
            return text
        stream = self.stream()
        data = text.encode("utf-8", "surrogateescape")
        return (stream.feed(data) + stream.finish()).decode("utf-8", "surrogateescape")


class Stream:
    """Masks one output, given piece by piece: what comes out does not depend on how it was cut.

    Every byte of a value that occurs is covered, also where values overlap, and each covered stretch becomes one
    mark. Bytes are held back only while they may be the beginning of a value, so that never more is kept than that.
    """

    def __init__(self, values: tuple[bytes, ...]) -> None:
        self._values = values
        self._held = b""
        self._covered = 0  # of the held bytes, how many at their beginning lie in a value that began before them
        self._marked = False  # the byte before the held ones is covered, and its mark is out

    def feed(self, data: bytes) -> bytes:
        """Return what of the output up to here is decided."""
        return self._decide(self._held + data, last=False)

    def finish(self) -> bytes:
        """Return the rest, at the end of the output."""
        return self._decide(self._held, last=True)

    def _decide(self, data: bytes, *, last: bool) -> bytes:
        end = len(data) if last else min((_begun(data, value) for value in self._values), default=len(data))
        out: list[bytes] = []
        at = covered = 0
        marked = self._marked and end == 0
        for first, behind in self._stretches(data):
            if first >= end:
                break
            out.append(data[at:first])
            if first > 0 or not self._marked:
                out.append(MASK)
            at, covered = min(behind, end), max(0, behind - end)
            marked = at == end
        out.append(data[at:end])
        self._held, self._covered, self._marked = data[end:], covered if end else self._covered, marked
        return b"".join(out)

    def _stretches(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the covered stretches in order, those that touch as one."""
        found = [(0, self._covered)] if self._covered else []
        for value in self._values:
            at = data.find(value)
            while at >= 0:
                found.append((at, at + len(value)))
                at = data.find(value, at + 1)
        if not found:
            return
        found.sort()
        first, behind = found[0]
        for start, stop in found:
            if start > behind:
                yield first, behind
                first = start
            behind = max(behind, stop)
        yield first, behind


def _begun(data: bytes, value: bytes) -> int:
    """Return where in ``data`` its longest end is that ``value`` goes on from; its length where there is none."""
    at = start = max(0, len(data) - len(value) + 1)
    head = value[:_HEAD]
    while (at := data.find(head, at)) >= 0:
        if value.startswith(data[at:]):
            return at
        at += 1
    for at in range(max(start, len(data) - len(head) + 1), len(data)):
        if head.startswith(data[at:]):
            return at
    return len(data)
