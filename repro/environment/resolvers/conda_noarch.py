"""Packages of pure Python, which conda packs without saying for which Python (``noarch: python``, conda CEP 20).

When they are installed, ``site-packages/`` goes to where the prefix's Python looks for modules, ``python-scripts/`` to
``bin/``, and each entry point becomes a program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.environment.resolvers.conda_package import clean
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.environment.resolvers.conda_package import Unpacked

_DOTTED: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_POINT: Final = re.compile(rf"(?P<name>[A-Za-z0-9_.][\w.+-]*)\s*=\s*(?P<module>{_DOTTED})\s*:\s*(?P<call>{_DOTTED})")
_VERSION: Final = re.compile(r"(\d+\.\d+)(?:[.+a-z]\S*)?")


@dataclass(frozen=True, slots=True)
class Python:
    """The Python of a prefix: ``program`` and ``site`` (site-packages) are paths in the prefix."""

    program: str
    site: str


def find_python(packages: Iterable[Unpacked]) -> Python | None:
    """Return the Python among ``packages``; None if there is none. DataError for a version that is none."""
    for package in packages:
        if package.text("name") == "python":
            version = _VERSION.fullmatch(package.text("version"))
            if version is None:
                raise DataError(f"{package.text('version')!r} is no version of Python")
            own = package.text("python_site_packages_path")  # conda CEP 17
            return Python(f"bin/python{version[1]}", clean(own or f"lib/python{version[1]}/site-packages"))
    return None


def placed(path: str, python: Python) -> str:
    """Return where a noarch package's ``path`` goes in the prefix."""
    for folder, target in (("site-packages/", python.site), ("python-scripts/", "bin")):
        if path.startswith(folder):
            return f"{target}/{path.removeprefix(folder)}"
    return path


def entry_point(line: str, python: Python, prefix: str) -> tuple[str, bytes]:
    """Return the path and the bytes of the program that ``name = module:function`` declares.

    DataError for anything else: the line becomes code.
    """
    read = _POINT.fullmatch(line.strip())
    if read is None or read["name"] in (".", ".."):
        raise DataError(f"{line!r} is no entry point", hint="an entry point is written as name = module:function")
    first = read["call"].partition(".")[0]
    lines = [
        f"#!{prefix}/{python.program}",
        "import sys",
        "",
        f"from {read['module']} import {first}",
        "",
        'if __name__ == "__main__":',
        f"    sys.exit({read['call']}())",
        "",
    ]
    return f"bin/{read['name']}", "\n".join(lines).encode()
