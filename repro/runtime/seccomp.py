"""The filter that answers ownership changes with success and hides the kernel's keyrings, as a BPF program.

A single-ID user namespace has one owner, and a step has no capabilities; yet ``tar x``, ``dpkg`` and the like
call chown and give up when it fails. The filter makes such calls return 0 without doing anything
(SECCOMP_RET_ERRNO with the number 0). Keyrings know no namespaces: those of the caller's session would be
the container's too, so their calls do not exist there. All else is allowed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# uapi/linux/audit.h
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# System calls that are answered with 0. From the kernel's syscall_64.tbl and asm-generic/unistd.h.
_FAKED: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
        "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setgroups": 116,
        "setresuid": 117, "setresgid": 119, "setfsuid": 122, "setfsgid": 123, "capset": 126,
    },
    "aarch64": {
        "fchown": 55, "fchownat": 54,
        "setuid": 146, "setgid": 144, "setreuid": 145, "setregid": 143, "setgroups": 159,
        "setresuid": 147, "setresgid": 149, "setfsuid": 151, "setfsgid": 152, "capset": 91,
    },
}  # fmt: skip

# System calls that do not exist: ENOSYS.
_REFUSED: Mapping[str, Mapping[str, int]] = {
    "x86_64": {"add_key": 248, "request_key": 249, "keyctl": 250},
    "aarch64": {"add_key": 217, "request_key": 218, "keyctl": 219},
}

# mknod's family: number of the call, index of its mode argument; the device number is the argument after it.
_MKNOD: Mapping[str, tuple[tuple[int, int], ...]] = {"x86_64": ((133, 1), (259, 2)), "aarch64": ((33, 2),)}

_S_IFMT, _S_IFCHR, _S_IFBLK = 0o170000, 0o020000, 0o060000
_X32_BIT = 0x40000000
_ENOSYS = 38

# uapi/linux/bpf_common.h, seccomp.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_GREATER_EQUAL = 0x15, 0x35
_RET_KILL_PROCESS, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one instruction (struct sock_filter); jumps count the instructions they skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def known(machine: str) -> bool:
    """Return whether there is a filter for this machine (as ``uname -m`` names it)."""
    return machine in _ARCHITECTURES


def fake_owners(machine: str) -> bytes:
    """Return the filter for ``machine``; KeyError when it is not `known`.

    - Calls of another architecture (i386 on x86_64) kill the process: their numbers mean other calls, so
      letting them through would be a hole and answering them nonsense. x32 calls do not exist here: ENOSYS.
    - mknod of a block or character device is answered with 0. Whiteouts (character device 0:0), FIFOs,
      sockets and regular files need no privilege and pass.
    """
    answer = _instruction(_RETURN, _RET_ERRNO)
    program = [
        _instruction(_LOAD, _OFFSET_ARCHITECTURE),
        _instruction(_JUMP_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _instruction(_RETURN, _RET_KILL_PROCESS),
        _instruction(_LOAD, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program.append(_instruction(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1))
        program.append(_instruction(_RETURN, _RET_ERRNO | _ENOSYS))
    for number in sorted(_FAKED[machine].values()):
        program.append(_instruction(_JUMP_EQUAL, number, 0, 1))
        program.append(answer)
    for number in sorted(_REFUSED[machine].values()):
        program.append(_instruction(_JUMP_EQUAL, number, 0, 1))
        program.append(_instruction(_RETURN, _RET_ERRNO | _ENOSYS))
    for number, argument in _MKNOD[machine]:
        body = _mknod(argument)
        program.append(_instruction(_JUMP_EQUAL, number, 0, len(body)))
        program.extend(body)
    program.append(_instruction(_RETURN, _RET_ALLOW))
    return b"".join(program)


def _mknod(argument: int) -> list[bytes]:
    """Return the instructions that decide on a mknod whose mode is ``argument``; they always return."""
    mode = _OFFSET_ARGUMENTS + 8 * argument  # the low half: both machines are little-endian
    device = mode + 8
    return [
        _instruction(_LOAD, mode),
        _instruction(_AND, _S_IFMT),
        _instruction(_JUMP_EQUAL, _S_IFBLK, 3, 0),  # a block device: answer
        _instruction(_JUMP_EQUAL, _S_IFCHR, 0, 3),  # neither: allow
        _instruction(_LOAD, device),
        _instruction(_JUMP_EQUAL, 0, 1, 0),  # a whiteout: allow
        _instruction(_RETURN, _RET_ERRNO),
        _instruction(_RETURN, _RET_ALLOW),
    ]
