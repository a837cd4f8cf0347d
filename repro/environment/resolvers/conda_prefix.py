"""A conda prefix linked outside the image that it is for: the context folder ``conda/`` of a rendered recipe.

::

    prefix/       to be copied to /opt/conda, with conda-meta/ as conda, mamba and pixi read it
    finish.sh     what only the image's own tools can do: post-link scripts, byte-code of noarch Python packages

Equal packages give an equal folder: times 0, fixed modes, files of packages installed in order of their dependencies,
and nothing of this machine in ``conda-meta``. rattler's own installer is not used: it writes paths of its cache into
``conda-meta``, and follows ``..`` in what a package lists (0.28), so that a hostile one could write outside the prefix.
Here every folder of the prefix is one that was made here, and no link of a package is ever followed on the host.

Byte-code that packages bring carries the time of its source, by which Python knows it to be fresh (PEP 552). As every
file's time becomes 0 here, so does the one in the byte-code.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repro.environment.resolvers import conda_noarch
from repro.environment.resolvers.conda_package import unpack
from repro.errors import CorruptError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.data.cache import Downloads
    from repro.environment.model import CondaPackage
    from repro.environment.resolvers.conda_noarch import Python
    from repro.environment.resolvers.conda_package import Installs, Member, Unpacked

PREFIX: Final = "/opt/conda"
_PARALLEL: Final = 4  # packages unpacked at a time: decompression runs beside the writing of others
_MOST_LINKS: Final = 40  # as the kernel: ELOOP
_PYC: Final = re.compile(rb"..\r\n\0\0\0\0(?P<time>.{4}).{4}", re.DOTALL)  # magic, no flags, source's time and size
_PYC_TIME: Final = slice(8, 12)
_START: Final = f"""\
#!/bin/sh
# Ends the installation of the conda packages in {PREFIX}, in the image and without network.
set -eu
export PREFIX={PREFIX} CONDA_PREFIX={PREFIX} ROOT_PREFIX={PREFIX} PATH="{PREFIX}/bin:$PATH"
"""
_POST_LINK: Final = """\

shell=$(command -v bash || echo sh)
post_link() {
  echo "post-link script of $1 $2"
  PKG_NAME=$1 PKG_VERSION=$2 PKG_BUILDNUM=$3 "$shell" "$PREFIX/bin/.$1-post-link.sh"
  if [ -f "$PREFIX/.messages.txt" ]; then
    cat "$PREFIX/.messages.txt"
    rm "$PREFIX/.messages.txt"
  fi
}
"""
_COMPILE: Final = """\

# A template among the modules need not compile; conda passes over it, too.
"$PREFIX/{program}" -m compileall -qq --invalidation-mode timestamp "$PREFIX/{site}" || true
"""
_ACTIVATE: Final = """\

echo "activation scripts, which a step that needs them sources itself: "{names}
"""


def conda_prefix(packages: Iterable[CondaPackage], downloads: Downloads, folder: Path) -> None:
    """Fill ``folder``, which is made and must be empty, with a prefix of ``packages`` and what finishes it.

    Each package must have been fetched; its bytes are verified again here. Nothing else is read, no network used.

    Raises:
        CorruptError: a package is not in the cache with the locked bytes.
        DataError: a package is another one than the lock says, damaged, or would write outside the prefix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(packages)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder) as unpacked:
        places = [Path(unpacked) / str(number) for number in range(len(ordered))]
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="conda") as pool:
            tasks = [pool.submit(_unpack, item, downloads, place) for item, place in zip(ordered, places, strict=True)]
            found = {package.name: (package, task.result()) for package, task in zip(ordered, tasks, strict=True)}
        tree = _Tree(folder / "prefix")
        python = conda_noarch.find_python(package for _, package in found.values())
        names = _by_dependency({name: package.depends for name, (_, package) in found.items()})
        for name in names:
            _install(*found[name], python, tree)
        tree.write("conda-meta/history", b"", executable=False)  # by which conda knows an environment
    tree.settle()
    _write_script(folder / "finish.sh", _script([found[name][1] for name in names], python, tree))
    os.chmod(folder, 0o755)  # noqa: S103 - as in every image
    os.utime(folder, (0, 0))


def _unpack(package: CondaPackage, downloads: Downloads, place: Path) -> Unpacked:
    """Return the package's content, its bytes verified; it is the one that the lock means."""
    file = downloads.find(package.digest)
    if file is None:
        raise CorruptError(
            f"{package.file} is not among the downloads with the bytes that are locked",
            why=f"{package.digest} is missing or was damaged",
            hint="run it again where it can be fetched",
        )
    found = unpack(file, package.file, place)
    said = (found.text("name").lower(), found.text("version"), found.text("build"))
    if said != (package.name, package.version, package.build):
        raise DataError(
            f"{package.file} is not the package that the lock says",
            why=f"it calls itself {' '.join(said)}",
            hint="resolve it anew with `repro lock --upgrade`",
        )
    return found


def _by_dependency(depends: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names, each after those it depends on where they form no circle (python and pip do), else by name."""
    result: dict[str, None] = {}
    for start in sorted(depends):
        seen = {start}
        way = [(start, iter(depends[start]))]
        while way:
            name, left = way[-1]
            below = next((one for one in left if one in depends and one not in seen and one not in result), None)
            if below is not None:
                seen.add(below)
                way.append((below, iter(depends[below])))
            else:
                result.setdefault(name)
                way.pop()
    return list(result)


def _install(package: CondaPackage, content: Unpacked, python: Python | None, tree: _Tree) -> None:
    """Put one package into the prefix."""
    noarch = python if content.noarch_python else None
    if content.noarch_python and noarch is None:
        raise DataError(f"{package.file} is a package of Python, and the environment has no python")
    paths = []
    try:
        for item in content.installs:
            path = conda_noarch.placed(item.path, noarch) if noarch is not None else item.path
            tree.place(path, item)
            paths.append({"_path": path, "path_type": _path_type(item.member)})
        if noarch is not None:
            for line in content.entry_points:
                path, program = conda_noarch.entry_point(line, noarch, PREFIX)
                tree.write(path, program, executable=True)
                paths.append({"_path": path, "path_type": "unix_python_entry_point"})
        record = {
            **content.index,
            "channel": package.channel,
            "files": [path["_path"] for path in paths],
            "fn": package.file,
            "paths_data": {"paths": paths, "paths_version": 1},
            "sha256": package.digest.hex,
            "size": package.size,
        }
        document = json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
        stem = f"{package.name}-{package.version}-{package.build}"
        tree.write(f"conda-meta/{stem}.json", document.encode(), executable=False)
    except DataError as error:
        raise DataError(
            f"{package.file} cannot be installed: {error.message}", why=error.why, hint=error.hint
        ) from error
    except (OSError, UnicodeError) as error:  # a name that no file can have, or a full disk
        raise DataError(f"{package.file} cannot be installed", why=str(error)) from error


def _path_type(member: Member | None) -> str:
    if member is None:
        return "directory"
    return "hardlink" if member.file is not None else "softlink"


class _Tree:
    """The prefix in the making; every folder in it was made by this object.

    Paths are relative. Links are resolved by what was placed, never by the host.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: set[str] = set()
        self._files: set[str] = set()
        self._links: dict[str, str] = {}
        root.mkdir()

    def names(self, folder: str) -> list[str]:
        """Return the names of files right below ``folder``, sorted."""
        return sorted(path.rpartition("/")[2] for path in self._files if path.rpartition("/")[0] == folder)

    def has(self, path: str) -> bool:
        """Return whether there is a file at ``path``."""
        return path in self._files

    def place(self, path: str, item: Installs) -> None:
        """Put a package's file or link at ``path``, the build's prefix in it replaced; a folder is made."""
        if item.member is None:
            self._folder(path)
        elif item.member.file is None:
            here = self._free(path)
            self._links[here] = item.member.target
            os.symlink(item.member.target, self._root / here)
        elif item.placeholder is not None:
            data = item.member.file.read_bytes()
            data = (_in_binary if item.binary else _in_text)(data, item.placeholder.encode())
            self.write(path, data, executable=item.member.executable)
        else:
            here = self._free(path)
            os.rename(item.member.file, self._root / here)
            self._finish(here, executable=item.member.executable)

    def write(self, path: str, data: bytes, *, executable: bool) -> None:
        """Put a file with ``data`` at ``path``."""
        here = self._free(path)
        with open(self._root / here, "xb") as file:
            file.write(data)
        self._finish(here, executable=executable)

    def settle(self) -> None:
        """Give every inode the time 0, and folders the mode 0755."""
        for path, folders, files in os.walk(self._root, topdown=False):
            for name in (*folders, *files):
                os.utime(os.path.join(path, name), (0, 0), follow_symlinks=False)
            os.chmod(path, 0o755)  # noqa: S103 - as in every image
            os.utime(path, (0, 0))

    def _finish(self, here: str, *, executable: bool) -> None:
        self._files.add(here)
        path = self._root / here
        if here.endswith(".pyc"):
            _forget_time(path)
        os.chmod(path, 0o755 if executable else 0o644)

    def _free(self, path: str) -> str:
        """Return the real path of ``path``, where nothing is any more: of two packages' files, the later one stays."""
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        here = f"{parent}/{name}" if parent else name
        if here in self._folders:
            raise DataError(f"{path!r} is a folder of another package")
        if here in self._files or here in self._links:
            os.unlink(self._root / here)
            self._files.discard(here)
            self._links.pop(here, None)
        return here

    def _folder(self, path: str) -> str:
        """Return the real path of the folder ``path``, made where it is missing; the root is the empty string."""
        real = ""
        followed = 0
        left = path.split("/")[::-1]
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            if part == "..":  # of a link's target
                if not real:
                    raise DataError(f"{path!r} lies below a link that leads out of the prefix")
                real = real.rpartition("/")[0]
                continue
            here = f"{real}/{part}" if real else part
            if here in self._links:
                followed += 1
                target = self._links[here]
                if target.startswith("/") or followed > _MOST_LINKS:
                    raise DataError(f"{path!r} lies below {here!r}, a link to {target!r}")
                left += target.split("/")[::-1]
                continue
            if here in self._files:
                raise DataError(f"{path!r} lies below {here!r}, which is a file")
            if here not in self._folders:
                os.mkdir(self._root / here)
                self._folders.add(here)
            real = here
        return real


def _in_text(data: bytes, placeholder: bytes) -> bytes:
    return data.replace(placeholder, PREFIX.encode())


def _in_binary(data: bytes, placeholder: bytes) -> bytes:
    """Return ``data`` with the build's prefix replaced in each C string, padded so that all offsets stay."""
    if len(PREFIX) > len(placeholder):
        raise DataError(f"it was built for a prefix shorter than {PREFIX}, which cannot be replaced in binaries")

    def replaced(match: re.Match[bytes]) -> bytes:
        return match[0].replace(placeholder, PREFIX.encode()).ljust(len(match[0]), b"\0")

    return re.sub(re.escape(placeholder) + rb"[^\0]*", replaced, data)


def _forget_time(path: Path) -> None:
    """Give byte-code that is checked by its source's time the time 0, as its source has it."""
    with open(path, "r+b") as file:
        head = file.read(16)
        if _PYC.fullmatch(head) is not None:
            file.seek(_PYC_TIME.start)
            file.write(bytes(4))


def _script(packages: Sequence[Unpacked], python: Python | None, tree: _Tree) -> str:
    """Return what finishes the prefix in the image."""
    lines = []
    for package in packages:
        if tree.has(f"bin/.{package.text('name')}-post-link.sh"):
            number = package.index.get("build_number")
            words = (package.text("name"), package.text("version"), str(number if isinstance(number, int) else 0))
            lines.append(f"post_link {shlex.join(words)}\n")
    result = _START
    if lines:
        result += _POST_LINK + "".join(lines)
    if python is not None and any(package.noarch_python for package in packages):
        result += _COMPILE.format(program=shlex.quote(python.program), site=shlex.quote(python.site))
    scripts = [name for name in tree.names("etc/conda/activate.d") if name.endswith(".sh")]
    if scripts:
        names = shlex.quote(" ".join(f"$CONDA_PREFIX/etc/conda/activate.d/{name}" for name in scripts))
        result += _ACTIVATE.format(names=names)
    return result


def _write_script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.chmod(path, 0o644)
    os.utime(path, (0, 0))
