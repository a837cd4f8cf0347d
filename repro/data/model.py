"""What the inputs of a workflow resolved to, as values: the ``inputs`` of ``workflow.lock``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.digest import Digest


@dataclass(frozen=True, slots=True, order=True)
class InputFile:
    """A locked file: ``name`` in the folder (empty: the input is the file), digest, size in bytes.

    ``version`` is the S3 version that has these bytes; ``etag`` is what the server called their state, to notice a
    change without reading them; after ``W/`` it only speaks for a change, never against one
    (`repro.data.sources.model.SourceFile`).
    """

    name: str
    digest: Digest
    size: int
    version: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class InputLock:
    """A locked input.

    Attributes:
        path: the project path; a folder's ends in ``/``.
        uri: the address as declared, ``site:NAME`` for a place of sites.yaml; never with a login.
        origin: checksum of the declaration that was resolved (`repro.data.pinning.origin`).
        digest: of the file's bytes; of a folder `repro.data.checksum.tree_digest`; or of the fingerprint.
        size: of all files, in bytes.
        count: how many files there are.
        fingerprint: what ``digest`` stands on: ``sha256``, ``stat``, ``manifest`` or ``label``.
        files: the files, sorted; empty where a folder of this machine is bound in place.
    """

    path: str
    uri: str
    origin: Digest
    digest: Digest
    size: int
    count: int
    fingerprint: str = "sha256"
    files: tuple[InputFile, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files)))

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.endswith("/")

    @property
    def proven(self) -> bool:
        """Whether the digest is that of the bytes, and not of what somebody said about them."""
        return self.fingerprint == "sha256"
