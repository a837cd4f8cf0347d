"""Layers: the folder on disk and the tar that is its identity.

On disk a layer is an overlay upper in a *form* (`repro.oci.inode`); as a tar it is what `repro.oci.tar`
writes and `repro.oci.apply` reads. Converting to and fro loses nothing that `write_tar` wrote: the diffID
stays.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from repro.digest import Digest
from repro.oci.apply import apply_tar
from repro.oci.clean import clean_upper
from repro.oci.inode import get_owner, set_owner
from repro.oci.limits import Limits
from repro.oci.model import LayerInfo
from repro.oci.tar import TAR_FORMAT, TarWriter, write_tar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "TAR_FORMAT",
    "LayerInfo",
    "Limits",
    "apply_tar",
    "clean_upper",
    "get_owner",
    "measure",
    "set_owner",
    "write_tar",
]


def measure(folder: Path, *, form: str) -> LayerInfo:
    """Return the identity of the layer in ``folder``: the digest of the tar that `write_tar` would write."""
    hasher = hashlib.sha256()
    writer = TarWriter(hasher.update, form)
    writer.write_tree(folder)
    return LayerInfo(diff_id=Digest(hasher.hexdigest()), size=writer.size, content=writer.content)
