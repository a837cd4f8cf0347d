"""Build an archive base from a pickled lock, offline: `python base_builder.py LOCK DOWNLOADS STORE MODE`."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from repro.data.cache import Downloads
from repro.environment.resolvers.archive import build_base
from repro.events import ignore
from repro.oci.store import Store
from repro.runtime.container import Launcher
from repro.runtime.spec import Mode


def main() -> None:
    """Print the image ID."""
    os.umask(0o077)  # nothing of the caller's may show in the image
    lock_file, downloads, store, mode = sys.argv[1:]
    launcher = Launcher(Mode(mode))
    try:
        image_id = build_base(
            pickle.loads(Path(lock_file).read_bytes()),
            source=None,
            downloads=Downloads(Path(downloads)),
            store=Store(Path(store), mode),
            launcher=launcher,
            sink=ignore,
        )
    finally:
        launcher.close()
    print(image_id)


if __name__ == "__main__":
    main()
