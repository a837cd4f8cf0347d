"""Builds the Dockerfiles beside this file twice each, from an empty store, and prints what came out.

``python -m tests.same_bits.twice [NAME...]``: a table. With ``--json``, a line of JSON for each, for tests.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from repro.api.host import Host
from repro.api.image_build import BuildRequest, build_image
from repro.cli.verdict import verdict_lines
from repro.errors import ReproError
from repro.files import remove_tree

DOCKERFILES = Path(__file__).with_name("dockerfiles")
NAMES = tuple(sorted(path.name for path in DOCKERFILES.iterdir()))


def build_twice(name: str) -> dict:
    """Build one, verify it in the same command, and return the verdict with the seconds that it took."""
    host = Host.current()
    place = Path(tempfile.mkdtemp(prefix="repro-same-bits-"))
    try:
        context = shutil.copytree(DOCKERFILES / name, place / "context")
        host = replace(host, environ={**host.environ, "REPRO_STORE": os.fspath(place / "store")})
        started = time.monotonic()
        try:
            built = build_image(host, BuildRequest(os.fspath(context), verify=True), sink=lambda _: None)
        except ReproError as error:
            return {"name": name, "same": False, "error": str(error), "seconds": time.monotonic() - started}
        lines = [] if built.verdict.same else list(verdict_lines(built.verdict, name))
        return {"name": name, **built.verdict.as_json(), "lines": lines, "seconds": time.monotonic() - started}
    finally:
        remove_tree(place)


def row(result: dict) -> str:
    """Return a line of the table."""
    if "error" in result:
        return f"{result['name']:<14} failed: {result['error']}"
    clock = "a year ahead" if any("ahead in RUN" in text for text in result["conditions"]) else "just later"
    clock += (
        ", not everywhere" if any("just later" in text for text in result["conditions"]) and "ahead" in clock else ""
    )
    first, second = (result[key].removeprefix("sha256:")[:12] for key in ("first", "second"))
    verdict = "same" if result["same"] else "DIFFERENT"
    return f"{result['name']:<14} {first}  {second}  {verdict:<9}  {clock:<14} {result['seconds']:6.0f} s"


HEAD = f"{'Dockerfile':<14} {'first':<12}  {'second':<12}  {'verdict':<9}  {'second clock':<14}  seconds"


def main() -> int:
    """Print the table; return 1 unless all are the same."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print(HEAD)
    same = True
    for name in options.names or NAMES:
        result = build_twice(name)
        same = same and result["same"]
        print(json.dumps(result) if options.json else row(result), flush=True)
        for line in result.get("lines", ()):
            print(line, file=sys.stderr)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
