"""Random layer folders for the tests: what they are, how to make them on disk, how to read them back."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from repro.oci.layer import get_owner, set_owner

FORMS = ("real", "one") if os.geteuid() == 0 else ("one",)


@dataclass
class Node:
    """One inode: ``kind`` is file, folder, link, fifo or whiteout; ``also`` are further names of a file."""

    kind: str
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime: int = 0
    content: bytes = b""
    attributes: dict[str, bytes] = field(default_factory=dict)
    children: dict[bytes, Node] = field(default_factory=dict)
    opaque: bool = False
    also: tuple[bytes, ...] = ()


_short = st.sampled_from(
    [b"a", b"b", b"c", b"a-b", b"A", b"with blank", "ü".encode(), b"\xff\xfe", b"new\nline", b"-x"]
)
_long = st.integers(90, 250).map(lambda count: b"n" * count)
names = st.one_of(_short, _short, _short, _long, st.binary(min_size=1, max_size=12)).filter(
    lambda name: name not in {b".", b".."} and b"/" not in name and b"\0" not in name and not name.startswith(b".wh.")
)
_modes = st.one_of(st.sampled_from([0o644, 0o755, 0, 0o111, 0o333, 0o4755, 0o2755, 0o1777]), st.integers(0, 0o7777))
_owners = st.one_of(st.just((0, 0)), st.tuples(st.integers(0, 70000), st.integers(0, 3_000_000)))
_times = st.one_of(st.integers(0, 2_000_000_000), st.integers(-1000, 2**33 + 5))
_attributes = st.dictionaries(st.sampled_from(["user.a", "user.b.c", "user.ü"]), st.binary(max_size=20), max_size=2)
_files = st.builds(
    Node,
    kind=st.just("file"),
    mode=_modes,
    owner=_owners,
    mtime=_times,
    content=st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 511, b"y" * 512, b"z" * 513, b"w" * 2000])),
    attributes=_attributes,
    also=st.lists(names, max_size=2).map(tuple),
)
_links = st.builds(
    Node, kind=st.just("link"), owner=_owners, mtime=_times, content=st.one_of(names, st.just(b"/t/" + b"x" * 120))
)
_others = st.builds(Node, kind=st.sampled_from(["fifo", "whiteout"]), mode=_modes, mtime=_times)


def _folders(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        kind=st.just("folder"),
        mode=_modes,
        owner=_owners,
        mtime=_times,
        attributes=_attributes,
        opaque=st.booleans(),
        children=st.dictionaries(names, children, max_size=4),
    )


trees = st.builds(
    Node,
    kind=st.just("folder"),
    mode=st.sampled_from([0o755, 0o755, 0o555, 0o700]),
    owner=st.sampled_from([(0, 0), (3, 4)]),
    opaque=st.booleans(),
    children=st.dictionaries(names, st.recursive(_files | _links | _others, _folders, max_leaves=12), max_size=5),
)


def make(folder: Path, tree: Node, form: str, *, backwards: bool = False) -> None:
    """Make ``tree`` at ``folder``, which is empty or not there; ``backwards`` makes the names in another order."""
    folder.mkdir(exist_ok=True)
    _fill(os.fsencode(folder), tree, form, backwards)
    _dress(os.fsencode(folder), tree, form)


def further_names(tree: Node) -> dict[bytes, list[bytes]]:
    """Return, for each name in a folder, the further names that its file gets: those that nothing else has."""
    taken = set(tree.children)
    further: dict[bytes, list[bytes]] = {}
    for name, node in sorted(tree.children.items()):
        further[name] = []
        for other in node.also if node.kind == "file" else ():
            if other not in taken:
                taken.add(other)
                further[name].append(other)
    return further


def _fill(path: bytes, tree: Node, form: str, backwards: bool) -> None:
    further = further_names(tree)
    for name, node in sorted(tree.children.items(), reverse=backwards):
        child = path + b"/" + name
        if node.kind == "folder":
            os.mkdir(child)
            _fill(child, node, form, backwards)
        elif node.kind == "file":
            with open(child, "wb") as file:
                file.write(node.content)
            for other in further[name]:
                os.link(child, path + b"/" + other)
        elif node.kind == "link":
            os.symlink(node.content, child)
        elif node.kind == "fifo":
            os.mkfifo(child)
        else:
            os.mknod(child, stat.S_IFCHR, 0)
        _dress(child, node, form)


def _dress(path: bytes, node: Node, form: str) -> None:
    if node.kind == "whiteout":
        return
    for name, value in node.attributes.items():
        os.setxattr(path, name, value)
    if node.opaque:
        os.setxattr(path, "user.overlay.opaque", b"y")
    if node.kind in {"file", "folder"} or (form == "real" and node.kind == "link"):
        set_owner(path, *node.owner, form)
    if node.kind != "link":
        os.chmod(path, node.mode)
    os.utime(path, (node.mtime, node.mtime), follow_symlinks=False)


@dataclass(frozen=True)
class Found:
    """What is compared of an inode."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    content: bytes
    attributes: tuple[tuple[str, bytes], ...]
    names: tuple[bytes, ...]


def read(folder: Path, form: str) -> dict[bytes, Found]:
    """Return every inode below ``folder`` by its name from there. Modes are widened to read, and set back."""
    found: dict[bytes, Found] = {}
    same: dict[int, list[bytes]] = {}
    _read(os.fsencode(folder), b"", form, found, same)
    return found


def _read(path: bytes, name: bytes, form: str, found: dict[bytes, Found], same: dict[int, list[bytes]]) -> None:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    regular, is_folder = stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode)
    content = b""
    attributes: tuple[tuple[str, bytes], ...] = ()
    owner = get_owner(path, status, form)
    if regular or is_folder:
        os.chmod(path, mode | 0o700)
        attributes = tuple(
            sorted((key, os.getxattr(path, key)) for key in os.listxattr(path) if not key.startswith("user.repro."))
        )
        if regular:
            content = Path(os.fsdecode(path)).read_bytes()
        else:
            for child in os.listdir(path):
                _read(path + b"/" + child, name + b"/" + child if name else child, form, found, same)
        os.chmod(path, mode)
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
        mode = 0o777
    whiteout = stat.S_ISCHR(status.st_mode)
    linked = same.setdefault(status.st_ino, []) if regular else []
    linked.append(name)
    found[name] = Found(
        kind=stat.filemode(status.st_mode)[0],
        mode=0 if whiteout else mode,
        owner=(0, 0) if whiteout else owner,
        mtime=0 if whiteout or not name else int(status.st_mtime // 1),
        content=content,
        attributes=attributes,
        names=(),
    )
    if len(linked) > 1:
        for other in linked:
            old = found[other]
            found[other] = Found(
                old.kind, old.mode, old.owner, old.mtime, old.content, old.attributes, tuple(sorted(linked))
            )
