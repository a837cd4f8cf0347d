"""Where results are published, as addresses; and the state of publications, one folder for each."""

from __future__ import annotations

import json
import os
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import record_digest
from repro.errors import BusyError, ReproError
from repro.events import Notice, as_json
from repro.files import remove_tree, write_atomic
from repro.names import DataUri, hidden
from repro.workflow.model import Access

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.data.publication import Item, Publication
    from repro.data.sources.model import Reach, Source, Target
    from repro.events import Sink

_TARGET = "target.json"


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder that is published to. ``name`` is that of the one file in it, empty where it is a folder of files."""

    uri: DataUri
    name: str
    access: Access

    @classmethod
    def of(cls, text: str, access: Access, root: Path) -> Destination:
        """Return what an address means, or a path: absolute, or from the folder ``root``; UsageError for neither."""
        if "://" not in text:
            path = os.path.normpath(os.path.join(root, text))
            uri = DataUri("file", "", f"{path.rstrip('/')}/" if text.endswith("/") else path)
        else:
            uri = DataUri.parse(text)
        if uri.folder:
            return cls(uri, "", access)
        folder, name = posixpath.split(uri.path)
        return cls(replace(uri, path=f"{folder.rstrip('/')}/"), name, access)

    @property
    def address(self) -> str:
        """The folder as people are told it: ends in a slash, and has no login in it."""
        return self.uri.path if self.uri.scheme == "file" else hidden(str(self.uri))

    def target(self, reach: Reach) -> Target:
        """Open it for writing; a share that is mounted on this machine is written there."""
        from repro.data.sources.opening import open_target  # noqa: PLC0415 - a protocol's library comes with it

        return open_target(self._here(), self.access, reach)

    def source(self, reach: Reach) -> Source:
        """Open it for reading."""
        from repro.data.sources.opening import open_source  # noqa: PLC0415 - as above

        return open_source(self._here(), self.access, reach)

    def _here(self) -> DataUri:
        if self.uri.scheme not in ("nfs", "smb"):
            return self.uri
        from repro.data.sources.mounts import mounted  # noqa: PLC0415 - only for shares

        place = mounted(self.uri)
        return self.uri if place is None else DataUri("file", "", f"{os.fspath(place).rstrip('/')}/")

    def publication(self, files: Sequence[Item], folder: Path, reach: Reach, owner: str) -> Publication:
        """Return the publication of files to here, with its state in ``folder``."""
        from repro.data.publication import Publication  # noqa: PLC0415 - not to list what was published

        return Publication(
            self.target(reach),
            files,
            address=self.address,
            state=folder,
            reach=reach,
            source=lambda: self.source(reach),
            owner=owner,
            listed=not self.name,
        )

    def state(self, above: Path, workflow: str, path: str) -> Path:
        """Return the folder for the state of the publication of ``path``, a project path of ``workflow``, to here."""
        declared = record_digest("published-path/1", [workflow, path]).hex[:16]
        return above / declared / record_digest("destination/1", [as_json(self)]).hex[:16]

    def note(self, folder: Path) -> None:
        """Write down in ``folder`` that it is the state of a publication to here."""
        write_atomic(folder / _TARGET, json.dumps(as_json(self)).encode(), durable=False)


def settle_others(folder: Path, reach: Reach, owner: str, sink: Sink) -> None:
    """Remove what earlier publications of the same path left at other addresses, when they did not end."""
    from repro.data.publish_state import PublishState  # noqa: PLC0415 - not to list what was published

    for other in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else ():
        state = PublishState(other)
        state.load()
        if other == folder or not state.entries():
            continue
        try:
            known = _noted(other)
            with known.publication((), other, reach, owner) as old:
                old.survey(replace=True)
        except BusyError:
            continue
        except (ReproError, OSError, ValueError, KeyError, TypeError) as error:
            text = f"what an earlier publication left elsewhere could not be removed: {error}"
            sink(Notice("warning", text))
        remove_tree(other)


def _noted(folder: Path) -> Destination:
    value = json.loads((folder / _TARGET).read_bytes())
    return Destination(DataUri(**value["uri"]), str(value["name"]), Access(**value["access"]))
