"""A store with a folder of canaries beside it, and what both look like before and after an attack."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from repro.oci.checking import check
from repro.oci.limits import DEFAULT_LIMITS, Limits
from repro.oci.store import Store

FORMS = ("real", "one") if os.geteuid() == 0 else ("one",)


class Place:
    """``root`` holds the store, and ``outside``, a folder with files that an attack may try to change."""

    def __init__(self, root: Path, form: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.root = root
        self.outside = root / "outside"
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "canary").write_text("alive")
        os.chmod(self.outside / "canary", 0o640)
        (self.outside / "folder" / "canary").write_text("alive, too")
        (self.outside / "passwd").write_text("root:x:0:0::/root:/bin/sh\nhost:x:4242:4242::/host:/bin/sh\n")
        self.store = Store(root / "store", form, limits=limits)
        self.look()

    def reopen(self, limits: Limits) -> None:
        """Open the store again with other limits."""
        self.store = Store(self.store.root, self.store.form, limits=limits)

    def look(self) -> None:
        """Remember what is there now, outside of the store."""
        self._before = dict(self._seen())

    def check(self, *, layers: int = 0, images: int = 0) -> None:
        """Assert that nothing outside has changed, and that the store is whole: that many layers, nothing half-done."""
        assert self._before == dict(self._seen())
        assert images == len(self.store.images())
        assert layers == len(self.layers())
        assert layers == sum(one.is_dir() for one in self._layers.iterdir())
        assert [] == [name for name in os.listdir(self.store.root / "tmp") if not name.startswith(".")]
        report = check(self.store)
        assert ((), layers) == (report.findings, report.layers)

    @property
    def _layers(self) -> Path:
        return self.store.root / "layers" / self.store.form

    def layers(self) -> set[str]:
        """Return the layers that the store says it has."""
        return {one.name for one in self._layers.glob("*.json")}

    def _seen(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        """Give everything but what is in the store: path, kind and mode, links, time of change, content."""
        for parent, folders, files in os.walk(self.root):
            if Path(parent) == self.root:
                folders.remove("store")
            for name in (*folders, *files):
                path = Path(parent, name)
                status = os.lstat(path)
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                changed = () if Path(parent) == self.root else (status.st_ctime_ns, status.st_mtime_ns)
                yield str(path), (status.st_mode, status.st_uid, status.st_nlink, *changed, content)
