"""Names of images: a file each, which holds the image ID."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from repro.digest import Digest
from repro.errors import CorruptError, DataError, StoreError, UsageError
from repro.files import fsync_folder
from repro.oci.refs import file_name, full_name, name_of_file

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)
_warned: set[Path] = set()  # a command that looks twice tells once


def warn(path: Path, text: str) -> None:
    """Tell that a file of the store is passed over, once a process; goes to stderr where nothing else is set up."""
    if path not in _warned:
        _warned.add(path)
        log.warning("warning: %s; `repro store check` says more", text)


class Names:
    """The names in ``folder``; each stands for one image."""

    def __init__(self, folder: Path) -> None:
        self._refs = folder

    def ref_text(self, name: str, image_id: Digest) -> tuple[Path, bytes]:
        """Return the file of a full name, and the bytes that it holds while it stands for the image."""
        return self._refs / file_name(name), f"{image_id}\n".encode()

    def untag(self, name: str) -> None:
        """Forget the name; the image stays. StoreError if there is no such name."""
        try:
            os.unlink(self._refs / file_name(full_name(name)))
        except FileNotFoundError as error:
            raise StoreError(f"no image is named {name!r}") from error
        fsync_folder(self._refs)

    def refs(self) -> dict[str, Digest]:
        """Return all names with the image IDs that they stand for, sorted; a damaged one is passed over with a warning.

        So one damaged file keeps no other image from being listed. `resolve` of that very name raises.
        """
        found = {}
        for name in os.listdir(self._refs):
            if not name.startswith("."):  # a name being written
                try:
                    found[name_of_file(name)] = self.read_ref(name)
                except FileNotFoundError:
                    continue
                except CorruptError as error:
                    warn(self._refs / name, error.message)
        return dict(sorted(found.items()))

    def all_refs(self) -> dict[str, Digest]:
        """Return all names as `refs` does, for who takes an image without one for nobody's.

        Raises:
            CorruptError: a name is damaged, and may be that image's.
        """
        for path in self.ref_files():
            try:
                self.read_ref(path.name)
            except FileNotFoundError:
                continue
            except CorruptError as error:
                raise CorruptError(
                    f"which images have no name is not known, for {name_of_file(path.name)} is damaged",
                    where=str(path),
                    why=error.why,
                    hint="give it its image again (`repro image tag`), or remove it (`repro store check --repair`)",
                ) from error
        return self.refs()

    def ref_files(self) -> list[Path]:
        """Return the files of all names, sorted, whatever they hold."""
        return sorted(self._refs / name for name in os.listdir(self._refs) if not name.startswith("."))

    def read_ref(self, name: str) -> Digest:
        """Return what a ref's file holds, by the file's name; CorruptError where it is no image ID."""
        path = self._refs / name
        try:
            found = Digest.parse(path.read_text(encoding="ascii").strip())
        except (DataError, UnicodeDecodeError) as error:
            raise _damaged_name(path, "it holds no image ID") from error
        with contextlib.suppress(UsageError):
            if full_name(name_of_file(name)) == name_of_file(name):
                return found
        raise _damaged_name(path, "it is no name of an image")


def _damaged_name(path: Path, why: str) -> CorruptError:
    return CorruptError(
        f"the name {name_of_file(path.name)} in the store is damaged",
        where=str(path),
        why=why,
        hint="remove it with `repro store check --repair`, then build, pull or tag the image again",
    )
