"""Small random changes to bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LONGEST = 20_000  # bytes of an input


def mutated(chance: random.Random, seeds: Sequence[bytes], dictionary: Sequence[bytes]) -> bytes:
    """Return one of ``seeds`` after one to eight changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(1 << chance.randrange(4)):
        _change(chance, data, seeds, dictionary)
    return bytes(data[:LONGEST])


def _change(chance: random.Random, data: bytearray, seeds: Sequence[bytes], dictionary: Sequence[bytes]) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((1, 1, 2, 4, 16, 64, 512)))
    match chance.randrange(9):
        case 0:
            del data[start:end]
        case 1 | 2:
            data[start:start] = chance.choice(dictionary)
        case 3:
            data[start:end] = chance.choice(dictionary)
        case 4:  # the same again, many times: what is slow shows here
            data[start:start] = (bytes(data[start:end]) or chance.choice(dictionary)) * chance.choice((1, 3, 50, 400))
        case 5:
            other = chance.choice(seeds)
            cut = chance.randint(0, len(other))
            data[start:end] = other[cut : cut + chance.choice((8, 64, 512))]
        case 6:
            data[start:end] = bytes(chance.randrange(256) for _ in range(end - start))
        case 7:
            lines = bytes(data).split(b"\n")
            chance.shuffle(lines)
            data[:] = b"\n".join(lines)
        case _:
            if data:
                data[start - 1] ^= 1 << chance.randrange(8)


def smaller(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Return a shorter input for which ``fails(input)`` still holds: pieces are left out, smaller and smaller."""
    size = max(len(data) // 2, 1)
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data
