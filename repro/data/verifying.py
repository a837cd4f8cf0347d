"""Files held against what their owner says of them: the ``checksum`` and ``checksums`` of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from repro.data.sums import Expected, read_sums, verify
from repro.errors import DataError
from repro.names import DataUri, hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repro.data.sums import Sums
    from repro.digest import Digest

    Files = Mapping[str, tuple[Digest, Path]]  # by name in the folder: digest, and where the bytes are on this machine

LARGEST_LIST = 64 << 20  # bytes of a list of checksums


class Listing:
    """A list of checksums at ``uri``, which ``read`` brings; of files below ``base``, a folder or a file."""

    def __init__(self, text: str, base: DataUri, read: Callable[[DataUri], bytes]) -> None:
        """Read the list that ``text`` names: an address, or a path from the folder ``base`` is, or lies in."""
        folder = base.path[: base.path.rfind("/") + 1]
        if "://" in text:
            self.uri = DataUri.parse(text)
            self._below = ""
        else:
            path = quote(text) if base.scheme in ("http", "https") else text
            self.uri = DataUri(base.scheme, base.host, folder + path, base.user)
            self._below = text[: text.rfind("/") + 1]
        self._base = base
        self._sums: Sums = read_sums(read(self.uri), hidden(str(self.uri)))

    def check(self, files: Files, *, whole: bool) -> int:
        """Return how many of ``files`` are not listed; where there is one, with an empty name, it must be.

        Args:
            files: by their names in the folder.
            whole: they are all that the folder has: what is listed must be there.

        Raises:
            DataError: a file is not as listed, or is missing; or none of the files is listed.
        """
        names = {name: self._name(name) for name in files}
        unlisted = 0
        for name in sorted(files):
            expected = self._sums.expected(names[name])
            if expected is None:
                unlisted += 1
            else:
                check(self._shown(name), *files[name], expected, str(self.uri))
        if unlisted == len(files) > 0:
            which = self._shown(next(iter(files))) if len(files) == 1 else f"no file of {hidden(str(self._base))}"
            raise DataError(f"{hidden(str(self.uri))} does not list {which}", hint="name the list that does")
        missing = sorted(set(self._sums.names()) - set(names.values())) if whole else []
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise DataError(f"{hidden(str(self._base))} lacks {missing[0]}{more}", why=f"{self._said()} lists it")
        return unlisted

    def _name(self, name: str) -> str:
        """Return how the list calls a file: lists have names relative to their own folder."""
        return (name or self._base.path.rpartition("/")[2]).removeprefix(self._below)

    def _shown(self, name: str) -> str:
        return hidden(str(self._base)) + name

    def _said(self) -> str:
        return hidden(str(self.uri))


def check(shown: str, digest: Digest, place: Path, expected: Expected, said: str) -> None:
    """Return where a file is as ``said`` by somebody; DataError with what was expected and what was found.

    Its ``digest`` is known; its bytes, at ``place``, are only read for another algorithm.
    """
    why = None
    if expected.algorithm != "sha256":
        try:
            verify(place, expected)
        except DataError as error:
            why = error.why
    elif expected.hex != digest.hex:
        why = f"expected {expected}, found {digest}"
    if why is not None:
        raise DataError(
            f"{shown} is not what its checksum says",
            why=f"{why} ({hidden(said)})",
            hint="nothing is locked: ask whoever gave the checksum, or correct it",
        )
