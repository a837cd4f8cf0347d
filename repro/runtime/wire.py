"""What the launcher and its helper say to each other: JSON frames over a stream socket.

A frame is its length (4 bytes, big-endian) and that many bytes of JSON, descriptors beside its first byte. Names
of files that are no UTF-8 travel as lone surrogates (os.fsdecode), which JSON's escapes carry.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = struct.Struct("!I")
_MAX_DESCRIPTORS = 3
_MAX_FRAME = 1 << 28  # no honest order is near it


class Order(TypedDict):
    """A container to be started, in the helper's terms: everything about the host is decided already."""

    single: bool  # a user namespace with one ID, else real root
    ids: tuple[int, int]  # the caller's uid and gid on the host
    lowers: list[str]  # lowest first
    upper: str
    work: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    user: tuple[int, int]
    groups: list[int] | None  # None: the caller's own
    tmpfs: list[tuple[str, int | None, int]]  # target, size in bytes, mode
    files: dict[str, str]  # target -> text: small writable files that never enter the upper folder
    binds: list[tuple[str, str, bool]]  # source, target, read-only
    own_network: bool
    build: bool  # Docker's capabilities, else none and no_new_privs
    hostname: str
    fake_owners: bool
    umask: int


class Failure(TypedDict):
    """Why a container could not be set up: the step, the errno (0: none) and the error's text."""

    step: str
    errno: int
    text: str


class Outcome(TypedDict):
    """How a container ended; times in seconds, ``max_rss`` in bytes."""

    exit_status: int
    wall: float
    user: float
    system: float
    max_rss: int
    made: list[str]


class Closed(ConnectionError):  # noqa: N818 - an end, expected by whoever reads
    """The other end is gone."""


def send(connection: socket.socket, message: object, descriptors: Sequence[int] = ()) -> None:
    """Send one frame, ``descriptors`` beside its first byte; OSError when the other end is gone."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    frame = memoryview(_HEADER.pack(len(payload)) + payload)
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sent = connection.sendmsg([frame], beside, socket.MSG_NOSIGNAL)
    if sent < len(frame):
        connection.sendall(frame[sent:], socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[Any, list[int]]:
    """Return the next frame and the descriptors that came with it (close-on-exec); Closed at the end."""
    descriptors = array.array("i")
    space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * descriptors.itemsize)
    head, beside, _flags, _address = connection.recvmsg(_HEADER.size, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not head:
        raise Closed
    if len(head) < _HEADER.size:
        head += _exactly(connection, _HEADER.size - len(head))
    (length,) = _HEADER.unpack(head)
    if length > _MAX_FRAME:
        raise Closed
    return json.loads(_exactly(connection, length)), list(descriptors)


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise Closed
        parts += part
    return bytes(parts)
