"""`repro image diff`: like diff(1), for images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro import api
from repro.cli.arguments import add_json, print_json, print_table, print_text

if TYPE_CHECKING:
    import argparse

    from repro.api.image_diff import ImageDifference

EPILOG = """\
Files are compared as the images show them, whatever layers they are in: type, content, size, mode, owner, link, xattr;
not times. Packages are those of dpkg, apk, Python, conda and R. Exit status: 0 no difference, 1 some; 2 and
more as `repro --help` says.
"""
_MARKS: Final = {"added": "A", "removed": "D", "changed": "C"}  # as `docker diff` has them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("first", metavar="A", help="a name, an image ID or the start of one")
    add("second", metavar="B", help="the image that is compared with it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--files", action="store_true", help="files alone")
    which.add_argument("--packages", action="store_true", help="packages alone")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the differences; 1 if there are any."""
    found = api.diff_images(api.Host.current(), options.first, options.second)
    packages = () if options.files else found.packages
    files = () if options.packages else found.files
    if options.json:
        shown: dict[str, object] = {"first": found.first, "second": found.second}
        if not options.files:
            shown["packages"] = packages
        if not options.packages:
            shown["files"] = files
        print_json(shown)
    else:
        _print(found, with_packages=bool(packages), with_files=bool(files))
    return 1 if packages or files else 0


def _print(found: ImageDifference, *, with_packages: bool, with_files: bool) -> None:
    if with_packages:
        rows = [(one.manager, one.name, one.before or "-", one.after or "-") for one in found.packages]
        print_table(("packages", "name", found.first.short, found.second.short), rows)
    if with_packages and with_files:
        print()
    if with_files:
        for one in found.files:
            what = f"  ({', '.join(one.changes)})" if one.changes else ""
            print_text(f"{_MARKS[one.kind]} {one.path}{what}")
