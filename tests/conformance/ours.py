"""Our side: `repro image build` as one kind of user, in a store of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.accounts import Account
from tests.conformance.bases import unpack
from tests.conformance.cases import Case
from tests.conformance.judges import config_of
from tests.conformance.layout import lay_out
from tests.conformance.trees import Image, walk

EPOCH = 1_700_000_000  # seconds since 1970: the time of our builds


@dataclass(frozen=True, slots=True)
class Built:
    """What `repro image build` did: its exit status, what it said, and the image ID."""

    status: int
    output: str
    image_id: str


@dataclass(frozen=True, slots=True)
class Builder:
    """An account that builds; ``mode`` is what `$REPRO_MODE` asks for, ``place`` its own folder."""

    account: Account
    mode: str
    place: Path

    def load(self, layout: Path, name: str) -> None:
        """Take the layout's image into the store under ``name``."""
        done = self._run("-m", "tests.conformance.ours", str(layout), name)
        if done.returncode != 0:
            raise RuntimeError(f"{name} cannot be loaded in mode {self.mode}: {done.stderr[-3000:]}")

    def build(self, case: Case) -> Built:
        """Build the case and the images it needs first, in a folder laid out for this account."""
        folder = self.place / case.name
        owner = (self.account.uid, self.account.gid) if self.account.uid else None
        lay_out(case, folder, owner)
        for name, file in case.images.items():
            built = self._image(case, folder, name, file)
            if built.status != 0:
                return built
        return self._image(case, folder, f"conformance/{case.name}", "Dockerfile")

    def read(self, case: Case, room: Path) -> Image:
        """Return the image of a case that was built, as an OCI layout says it; its build is recalled from the cache."""
        layout = self.layout(case)
        tag, options = f"conformance/{case.name}", ("-o", f"type=oci,dest={layout}/")
        again = self._image(replace(case, options=case.options + options), self.place / case.name, tag, "Dockerfile")
        if again.status != 0:
            raise RuntimeError(f"{case.name} cannot be written in mode {self.mode}: {again.output[-3000:]}")
        (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
        whole = _blob(layout, _blob(layout, entry["digest"])["config"]["digest"])
        root = unpack(layout, "latest", room / f"{self.mode}-root")
        return Image(walk(root), config_of(whole.get("config", {}), whole))

    def layout(self, case: Case) -> Path:
        """Return where `read` leaves the image's layout, tagged ``latest``."""
        return self.place / "out" / case.name

    def archive_base(self, layout: Path) -> Path:
        """Make the base image from the distribution's archive, as a layout tagged ``latest``; return its folder."""
        folder = self.place / "archive-base"
        (folder / "context").mkdir(parents=True)
        (folder / "Dockerfile").write_text("FROM archive:debian/bookworm\n")
        case = Case("archive-base", folder, "", options=("-o", f"type=oci,dest={layout}/"))
        made = self._image(case, folder, "conformance/archive-base", "Dockerfile")
        if made.status != 0:
            raise RuntimeError(f"there is no archive base: {made.output[-3000:]}")
        return layout

    def _image(self, case: Case, folder: Path, tag: str, file: str) -> Built:
        done = self._run(
            "-m", "repro.cli.main", "image", "build", "--network", "host", "--progress", "plain", "-t", tag, "-f", file,
            *case.options, "context", cwd=folder,
        )  # fmt: skip
        return Built(done.returncode, done.stderr, done.stdout.strip())

    def _run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {"REPRO_STORE": str(self.place / "store"), "REPRO_MODE": self.mode, "SOURCE_DATE_EPOCH": str(EPOCH)}
        return self.account.run(self.account.python, *arguments, env=env, cwd=cwd or self.place)


def _blob(layout: Path, digest: str) -> dict:
    return json.loads((layout / "blobs" / "sha256" / digest.partition(":")[2]).read_text())


def main(arguments: list[str]) -> None:
    """``LAYOUT NAME``: take an image into the store, for which the command line has no command yet."""
    from repro.api.engine import opened
    from repro.api.host import Host
    from repro.events import ignore
    from repro.names import Reference
    from repro.oci.archive import read_layout

    layout, name = arguments
    with opened(Host.current(), ignore) as engine:
        engine.enter()
        engine.store.tag(str(Reference.parse(name)), read_layout(Path(layout), engine.store, "latest"))


if __name__ == "__main__":
    main(sys.argv[1:])
