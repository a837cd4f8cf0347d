"""Hostile layers as data: what each is, how it is made, and what the error must say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from repro.errors import DataError, ReproError, StoreError
from repro.oci.limits import DEFAULT_LIMITS, Limits, Swelling
from tests.security.tars import (
    BLOCK,
    CHAR,
    DEVICE,
    END,
    FIFO,
    FILE,
    FOLDER,
    GLOBAL,
    LINK,
    PAX,
    SYMLINK,
    attribute,
    base256,
    file,
    folder,
    gnu_name,
    header,
    link,
    packed,
    padded,
    pax,
    record,
    symlink,
    tar,
)


@dataclass(frozen=True)
class Case:
    """A hostile layer.

    Attributes:
        name: what it tries.
        make: gives its bytes; is told the absolute path of a folder outside that it may try to reach.
        says: what the message and its reason must hold, in this order: the entry first, where there is one.
        limits: those of the store that it meets.
        error: its class.
    """

    name: str
    make: Callable[[bytes], bytes]
    says: tuple[str, ...]
    limits: Limits = DEFAULT_LIMITS
    error: type[ReproError] = DataError

    @property
    def pattern(self) -> str:
        """What the error's text must match."""
        return ".*".join(re.escape(part) for part in self.says)


def case(
    name: str,
    make: bytes | Callable[[bytes], bytes],
    *says: str,
    limits: Limits = DEFAULT_LIMITS,
    error: type[ReproError] = DataError,
) -> Case:
    """Return a case; ``make`` may be the bytes themselves."""
    return Case(name, (lambda _: make) if isinstance(make, bytes) else make, says, limits, error)


GOOD = tar(folder(b"d/"), file(b"d/f", b"x" * 700), symlink(b"d/s", b"f"))
_UP = b"../../../../../../../../../../../.."  # more than enough from any layer's folder
_FEW = Limits(entries=20)
_SMALL = Limits(size=1 << 20)
_SHORT = Limits(names=10_000)
_SWELLING = Limits(swelling=Swelling(free=1 << 20, ratio=10))
_HUGE = Limits(size=1 << 62)


def _deep(count: int) -> bytes:
    name = b"d/" * count + b"f"
    return tar(pax(path=name), file(b"f"))


# Ways out: by a name, through a link that an earlier entry made, by a hard link.
ESCAPES = (
    case("an absolute name", lambda out: tar(pax(path=out + b"/evil"), file(b"x", b"evil")), "/evil", "absolute name"),
    case("an absolute name with many slashes", tar(file(b"///etc/evil")), "///etc/evil", "absolute name"),
    case("an absolute folder", lambda out: tar(pax(path=out + b"/evil/"), folder(b"x")), "/evil/", "absolute name"),
    case("a prefix that makes a name absolute", tar(file(b"evil", prefix=b"/etc")), "/etc/evil", "absolute name"),
    case("a GNU long name that is absolute", tar(gnu_name(b"/" + b"e" * 120), file(b"x")), "/eee", "absolute name"),
    case("a name upwards", lambda out: tar(pax(path=_UP + out + b"/evil"), file(b"x")), "evil", "leads upwards"),
    case("a name upwards from within", tar(folder(b"a"), file(b"a/../../evil")), "a/../../evil", "leads upwards"),
    case("a name that is the folder above", tar(folder(b"..")), "'..'", "leads upwards"),
    case("a name upwards behind a dot", tar(file(b"./../evil")), "./../evil", "leads upwards"),
    case("a name that ends upwards", tar(folder(b"a"), folder(b"a/..")), "a/..", "leads upwards"),
    case("an absolute opaque mark", tar(file(b"/.wh..wh..opq")), ".wh..wh..opq", "absolute name"),
    case("an opaque mark above", tar(file(b"../.wh..wh..opq")), "../.wh..wh..opq", "leads upwards"),
    case("a whiteout above", tar(file(b"../.wh.layer")), "../.wh.layer", "leads upwards"),
    case("through a link to outside", lambda out: tar(symlink(b"d", out), file(b"d/evil")), "d/evil", "symbolic link"),
    case("through a link upwards", tar(symlink(b"d", b".."), file(b"d/evil")), "d/evil", "'d' is a symbolic link"),
    case(
        "through a link inside",
        tar(folder(b"r"), symlink(b"d", b"r"), file(b"d/x")),
        "d/x", "'d' is a symbolic link",
    ),
    case(
        "through a chain of links",
        tar(symlink(b"a", b".."), symlink(b"b", b"a"), file(b"b/c/evil")),
        "b/c/evil", "'b' is a symbolic link",
    ),
    case(
        "a folder through a link",
        lambda out: tar(symlink(b"d", out), folder(b"d/evil/")),
        "d/evil/", "symbolic link",
    ),
    case(
        "a folder in place of a link to outside",
        lambda out: tar(symlink(b"d", out), folder(b"d"), file(b"d/evil")),
        "'d'", "a second entry",
    ),
    case(
        "a link in place of a folder",
        lambda out: tar(folder(b"d"), symlink(b"d", out), file(b"d/evil")),
        "'d'", "a second entry",
    ),
    case(
        "a link in place of a folder that is only implied",
        lambda out: tar(file(b"d/x"), symlink(b"d", out), file(b"d/evil")),
        "'d'", "a second entry",
    ),
    case(
        "a link through a link",
        lambda out: tar(symlink(b"d", out), symlink(b"d/evil", b"/")),
        "d/evil", "symbolic link",
    ),
    case(
        "a file written through a link of its name",
        lambda out: tar(symlink(b"f", out + b"/canary"), file(b"f", b"evil")),
        "'f'", "a second entry",
    ),
    case(
        "a whiteout through a link",
        lambda out: tar(symlink(b"d", out), file(b"d/.wh.canary")),
        "d/.wh.canary", "symbolic link",
    ),
    case(
        "an opaque mark through a link",
        lambda out: tar(symlink(b"d", out), file(b"d/.wh..wh..opq")),
        "d/.wh..wh..opq", "symbolic link",
    ),
    case(
        "a device through a link",
        lambda out: tar(symlink(b"d", out), header(b"d/evil", CHAR, major=1, minor=3)),
        "d/evil", "symbolic link",
    ),
    case("a hard link to outside", lambda out: tar(link(b"l", out + b"/canary")), "'l'", "an absolute name"),
    case("a hard link upwards", lambda out: tar(link(b"l", _UP + out + b"/canary")), "'l'", "leads upwards"),
    case(
        "a hard link through a link",
        lambda out: tar(symlink(b"s", out), link(b"l", b"s/canary")),
        "'l'", "'s/canary'", "no regular file",
    ),
    case(
        "a hard link to a link",
        lambda out: tar(symlink(b"s", out + b"/canary"), link(b"l", b"s")),
        "'l'", "no regular file",
    ),
    case(
        "a file written through a hard link to outside",
        lambda out: tar(link(b"l", out + b"/canary"), file(b"l", b"evil")),
        "'l'", "an absolute name",
    ),
    case("a hard link to a folder", tar(folder(b"d"), link(b"l", b"d")), "'l'", "no regular file"),
    case("a hard link to a pipe", tar(header(b"p", FIFO), link(b"l", b"p")), "'l'", "no regular file"),
    case("a hard link to nothing", tar(link(b"l", b"missing")), "'l'", "no regular file"),
    case("a hard link to itself", tar(link(b"l", b"l")), "'l'", "no regular file"),
    case("a hard link to what follows", tar(link(b"l", b"f"), file(b"f")), "'l'", "no regular file"),
    case("a hard link to a whiteout", tar(file(b".wh.f"), link(b"l", b"f")), "'l'", "no regular file"),
    case("a hard link to the root", tar(link(b"l", b".")), "'l'", "no regular file"),
    case(
        "a GNU long target upwards",
        lambda out: tar(gnu_name(b"../" * 60 + out[1:] + b"/canary", b"K"), header(b"l", LINK)),
        "'l'", "leads upwards",
    ),
    case("the root as a link", lambda out: tar(symlink(b"./", out)), "root of a layer must be a folder"),
    case("the root as a file", tar(file(b".", b"evil")), "root of a layer must be a folder"),
    case("the root as a hard link", tar(file(b"f"), link(b"./", b"f")), "root of a layer must be a folder"),
)  # fmt: skip

# Names, and entries of one name.
NAMES = (
    case("no name", tar(file(b"")), "without a name"),
    case("a zero byte in a name", tar(pax(path=b"a\0b"), file(b"x")), "a\\x00b", "zero byte"),
    case("a zero byte in a link", tar(pax(linkpath=b"a\0b"), symlink(b"l", b"x")), "'l'", "zero byte"),
    case("a zero byte in a GNU name", tar(gnu_name(b"a\0b"), file(b"x")), "zero byte"),
    case("a name of 256 bytes", tar(pax(path=b"n" * 256), file(b"x")), "nnn", "longer than Linux takes"),
    case("a whiteout of 256 bytes", tar(pax(path=b".wh." + b"n" * 252), file(b"x")), ".wh.nnn", "longer than Linux"),
    case("a path of 5000 bytes", tar(pax(path=b"/".join([b"n" * 249] * 20)), file(b"x")), "nnn", "longer than Linux"),
    case("301 folders deep", _deep(301), "d/d/", "folders deep"),
    case("a link to nothing", tar(symlink(b"l", b"")), "'l'", "to nothing"),
    case("a link of 4096 bytes", tar(symlink(b"l", b"t" * 4096)), "'l'", "4096 bytes"),
    case("a file below a file", tar(file(b"f"), file(b"f/x")), "f/x", "is no folder"),
    case("a file below a pipe", tar(header(b"p", FIFO), file(b"p/x")), "p/x", "is no folder"),
    case("a file below a hard link", tar(file(b"f"), link(b"l", b"f"), file(b"l/x")), "l/x", "is no folder"),
    case("a file below a device", tar(header(b"n", CHAR, major=1, minor=3), file(b"n/x")), "n/x", "is no folder"),
    case("a file twice", tar(file(b"f"), file(b"f")), "'f'", "a second entry"),
    case("a file twice by two spellings", tar(file(b"f"), file(b".//f")), ".//f", "a second entry"),
    case("a folder in place of a file", tar(file(b"f"), folder(b"f")), "'f'", "a second entry"),
    case("a file in place of a folder", tar(folder(b"d"), file(b"d")), "'d'", "a second entry"),
    case("a pipe in place of a file", tar(file(b"f"), header(b"f", FIFO)), "'f'", "a second entry"),
    case("a hard link in place of its file", tar(file(b"f"), link(b"f", b"f")), "'f'", "a second entry"),
    case("a whiteout of nothing", tar(file(b"d/.wh.")), "d/.wh.", "whiteout of nothing"),
    case("a whiteout of its own folder", tar(file(b"d/.wh..")), "d/.wh..", "whiteout of nothing"),
    case("a whiteout of the folder above", tar(file(b"d/.wh...")), "d/.wh...", "whiteout of nothing"),
    case("a file below a whiteout", tar(file(b".wh.d/x")), ".wh.d/x", "below a whiteout"),
    case("a file below an opaque mark", tar(file(b".wh..wh..opq/x")), "opq/x", "below a whiteout"),
    case("a device that is a whiteout", tar(header(b"w", CHAR)), "'w'", "would be a whiteout"),
)

# Numbers and attributes that no inode can have.
VALUES = (
    case("a negative size", tar(header(b"f", size=base256(-512, 12))), "negative size"),
    case("a size with a sign", tar(header(b"f", size=b"-0000000010\0")), "not a size"),
    case("a size in Python's spelling", tar(header(b"f", size=b"0o00000010\0\0")), "not a size"),
    case("a size of 2**80", tar(header(b"f", size=base256(1 << 80, 12))), "'f'", "holds more than", "REPRO_LIMITS"),
    case("a size of 2**60 in an extended header", tar(pax(size=b"%d" % (1 << 60)), file(b"f")), "'f'", "more than"),
    case("a negative size in an extended header", tar(pax(size=b"-1"), file(b"f")), "'f'", "not a number"),
    case(
        "a file larger than the disk",
        tar(header(b"f", size=base256(1 << 61, 12))),
        "'f'", "no room for the layer", "were free",
        limits=_HUGE, error=StoreError,
    ),
    case("an owner of 2**32-1", tar(pax(uid=b"4294967295"), file(b"f")), "'f'", "owner that cannot be", "4294967295:0"),
    case("a group of 2**32", tar(pax(gid=b"4294967296"), file(b"f")), "'f'", "owner that cannot be"),
    case("an owner of twenty digits", tar(pax(uid=b"9" * 20), file(b"f")), "'f'", "owner that cannot be"),
    case("a negative owner", tar(header(b"f", uid=base256(-1, 8))), "'f'", "owner that cannot be", "-1:0"),
    case("a negative owner of a link", tar(header(b"l", SYMLINK, target=b"x", gid=base256(-1, 8))), "'l'", "0:-1"),
    case("an owner that is no number", tar(pax(uid=b"root"), file(b"f")), "'f'", "not a number"),
    case("a time beyond all", tar(header(b"f", mtime=base256(1 << 80, 12))), "'f'", "time that no file can have"),
    case("a time before all", tar(header(b"d", FOLDER, mtime=base256(-(1 << 80), 12))), "'d'", "time that no file"),
    case("a time that is no number", tar(pax(mtime=b"nan"), file(b"f")), "'f'", "not a time"),
    case("a time with an exponent", tar(pax(mtime=b"1e9"), file(b"f")), "'f'", "not a time"),
    case("a mode that is no number", tar(header(b"f", mode=b"0o777\0\0\0")), "not a mode"),
    case("a device number beyond all", tar(header(b"n", CHAR, major=base256(1 << 40, 8))), "'n'", "device that cannot"),
    case("a device number that wraps to 0", tar(header(b"n", CHAR, major=4096)), "'n'", "device that cannot be"),
    case("a negative device number", tar(header(b"n", DEVICE, minor=base256(-1, 8))), "'n'", "device that cannot be"),
    case("an attribute with a zero byte", tar(attribute(b"user.a\0b", b"1"), file(b"f")), "'f'", "name cannot be"),
    case("an attribute without a name", tar(attribute(b"", b"1"), file(b"f")), "'f'", "name cannot be"),
    case("an attribute's name of 300 bytes", tar(attribute(b"user." + b"a" * 300, b"1"), file(b"f")), "name cannot be"),
    case("an attribute of 70000 bytes", tar(attribute(b"user.a", b"1" * 70_000), file(b"f")), "'f'", "70000 bytes"),
    case("a broken file capability", tar(attribute(b"security.capability", b"\1"), file(b"f")), "'f'", "capability"),
    case(
        "a file capability of no known revision",
        tar(attribute(b"security.capability", bytes(3) + b"\xff" + bytes(16)), file(b"f")),
        "'f'", "capability",
    ),
)  # fmt: skip

_RECORD = record(b"path", b"y")

# Streams that are no tar, or not the whole of one.
STREAMS = (
    case("nothing", b"", "cut short after the start"),
    case("no tar", b"#!/bin/sh\nrm -rf /\n" * 100, "after the start"),
    case("cut in a header", GOOD[:700], "cut short after 'd/'"),
    case("cut in the data", GOOD[:1200], "'d/f'", "cut short"),
    case("cut in an extended header", pax(path=b"n" * 900)[:900], "cut short"),
    case("cut before the end", GOOD[: -len(END)], "cut short after 'd/s'"),
    case("an extended header without an entry", tar(pax(path=b"x")), "ends in the middle of an entry"),
    case("a long name without an entry", tar(gnu_name(b"x")), "ends in the middle of an entry"),
    case("something behind the end", GOOD + b"x", "goes on after its end"),
    case("a second tar behind the end", GOOD + tar(file(b"evil")), "goes on after its end"),
    case("a broken checksum", tar(file(b"d", checksum=b"0000001\0")), "broken tar header"),
    case("a checksum that is no number", tar(file(b"d", checksum=b"checksum")), "not a checksum"),
    case("a flipped bit", GOOD[:3] + b"!" + GOOD[4:], "broken tar header"),
    case("a GNU sparse file", tar(header(b"s", b"S")), "'s'", "unknown type"),
    case("a pax sparse file", tar(pax(record(b"GNU.sparse.major", b"1")), file(b"s")), "'s'", "sparse"),
    case("a part of a larger archive", tar(header(b"m", b"M")), "'m'", "unknown type"),
    case("a volume label", tar(header(b"v", b"V")), "'v'", "unknown type"),
    case("an entry of a type of its own", tar(header(b"z", b"\xff")), "'z'", "unknown type"),
    case("a record that is too long for its header", tar(pax(b"99 path=x\n"), file(b"f")), "broken extended header"),
    case("a record without an end", tar(pax(_RECORD[:-1] + b"z"), file(b"f")), "broken extended header"),
    case("a record without a key", tar(pax(b"6 =x\n\n"), file(b"f")), "broken extended header"),
    case("a record of no length", tar(pax(b"0 path=x\n"), file(b"f")), "broken extended header"),
    case("a record of a length of 30 digits", tar(pax(b"9" * 30 + b" path=x\n"), file(b"f")), "broken extended header"),
    case("a cut gzip", packed(GOOD)[:-20], "gzip", "cut short"),
    case("a gzip with another checksum", packed(GOOD)[:-8] + bytes(8), "gzip", "broken"),
    case("a gzip of something else", packed(b"evil" * 400), "after the start"),
    case("something behind a gzip", packed(GOOD) + b"evil", "gzip"),
    case("a second gzip of another tar", packed(GOOD) + packed(GOOD), "goes on after its end"),
)

# More than a host should spend on it.
BOMBS = (
    case("twenty-one files", tar(*(file(b"%d" % n) for n in range(21))), "'20'", "than 20 entries", limits=_FEW),
    case("folders that are only implied", _deep(40), "than 20 entries", "entries=N", limits=_FEW),
    case("whiteouts", tar(*(file(b".wh.%d" % n) for n in range(21))), "'.wh.20'", "20 entries", limits=_FEW),
    case("hard links", tar(file(b"f"), *(link(b"%d" % n, b"f") for n in range(20))), "20 entries", limits=_FEW),
    case("the root again and again", tar(*[folder(b"./")] * 21), "'./'", "20 entries", limits=_FEW),
    case("what AUFS left", tar(*[file(b".wh..wh.plnk")] * 21), "plnk", "20 entries", limits=_FEW),
    case("one large file", tar(file(b"f", bytes(1 << 20))), "'f'", "more than 1048576 bytes", "size=N", limits=_SMALL),
    case("a large file that is left out", tar(file(b".wh..wh.x", bytes(1 << 20))), "more than", limits=_SMALL),
    case("many files", tar(*(file(b"%d" % n, bytes(9000)) for n in range(120))), "more than", limits=_SMALL),
    case("zeros behind the end", GOOD + bytes(3 << 20), "more than 1048576 bytes", limits=_SMALL),
    case("an extended header of 2 MiB", tar(pax(path=b"n" * (2 << 20)), file(b"x")), "1 MiB is the limit"),
    case("extended headers without end", pax(comment=b"x" * 500_000) * 3, "1 MiB is the limit"),
    case("empty extended headers without end", header(b"x", PAX) * 3000, "1 MiB is the limit"),
    case("a long name of 2 MiB", tar(gnu_name(b"n" * (2 << 20)), file(b"x")), "1 MiB is the limit"),
    case(
        "global headers that grow",
        tar(*(pax(record(b"k%d" % n, b"x" * 300_000), GLOBAL) + file(b"%d" % n) for n in range(5))),
        "global headers of more than",
    ),
    case(
        "names", tar(*(pax(path=b"%0200d" % n) + file(b"x") for n in range(60))), "names in the layer", limits=_SHORT
    ),
    case("paths of names", _deep(200), "names in the layer", "names=N", limits=_SHORT),
    case(
        "attributes of folders",
        tar(*(attribute(b"user.a", b"x" * 3000) + folder(b"%d" % n) for n in range(5))),
        "names in the layer", limits=_SHORT,
    ),
    case("a gzip that swells", packed(tar(file(b"f", bytes(4 << 20)))), "swell", "ratio=N", limits=_SWELLING),
    case("a gzip that swells behind the end", packed(GOOD + bytes(4 << 20)), "swell", "ratio=N", limits=_SWELLING),
    case("a gzip of a gzip", packed(packed(GOOD)), "after the start"),
)  # fmt: skip

CASES = (*ESCAPES, *NAMES, *VALUES, *STREAMS, *BOMBS)
BY_NAME = {one.name: one for one in CASES}
assert len(BY_NAME) == len(CASES)
assert BLOCK == len(padded(b"x"))
assert FILE != FOLDER
