"""Install locked packages offline on a locked base: `python apt_installer.py LOCK DOWNLOADS STORE MODE COMMAND`.

LOCK is a pickled (archive lock, packages). Prints what COMMAND says in the image that results.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from repro.data.cache import Downloads
from repro.digest import Digest
from repro.environment.model import EnvironmentLock
from repro.environment.render import render, shipped_template
from repro.environment.resolvers.archive import build_base
from repro.environment.resolvers.flat import TARGET, flat_repository
from repro.errors import Location
from repro.events import ignore
from repro.oci.store import Store
from repro.runtime.container import Launcher
from repro.runtime.spec import Bind, ContainerSpec, Mode, Network, Privileges
from repro.workflow.model import ArchiveBase, TemplateEnvironment

if TYPE_CHECKING:
    from repro.environment.model import Package

ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def run_command(packages: tuple[Package, ...]) -> str:
    """Return the shell text of the RUN instruction that the shipped template writes for ``packages``."""
    base = ArchiveBase("debian", "bookworm")
    env = TemplateEnvironment("test", Location("workflow.yaml", 1), base)
    entry = EnvironmentLock("test", Digest.of(b""), base.name, packages)
    text = shipped_template("debian")
    recipe = render(env, entry, text, template_file="debian", base_digest=Digest.of(b"base"))
    instruction = recipe.dockerfile.partition("RUN --network=none ")[2].partition("\n\n")[0]
    mount, _, command = instruction.partition("\n")
    assert mount == f"--mount=type=bind,source=apt,target={TARGET} \\"
    return command


def run(launcher, lowers, room: Path, command: str, log: Path, *, network=Network.NONE, env=ENV, **more) -> int:
    """Run ``command`` in a container on ``lowers`` with the upper in ``room``; return its exit status."""
    for name in ("upper", "work"):
        (room / name).mkdir()
    spec = ContainerSpec(
        lowers=tuple(lowers),
        upper=room / "upper",
        work=room / "work",
        argv=("/bin/sh", "-c", command),
        env=env,
        network=network,
        **more,
    )
    with open(os.devnull, "rb") as nothing, open(log, "wb") as out:
        return launcher.run(spec, stdin=nothing.fileno(), stdout=out.fileno(), stderr=out.fileno()).exit_status


def install(packages, downloads: Downloads, store: Store, launcher, base: Digest, place: Path) -> Digest:
    """Return the diffID of the layer that installing ``packages`` offline on ``base`` makes."""
    flat_repository(packages, downloads, place / "apt")
    with store.workspace() as room:
        status = run(
            launcher,
            store.image_layers(base),
            room,
            run_command(packages),
            place / "install.log",
            binds=(Bind(place / "apt", TARGET),),
            privileges=Privileges.BUILD,
        )
        assert status == 0, (place / "install.log").read_text()
        return store.commit_layer(room / "upper", epoch=0).diff_id


def say(command: str, store: Store, launcher, base: Digest, layer: Digest, place: Path) -> str:
    """Return what ``command`` prints as a step on ``layer`` over ``base``."""
    lowers = (*store.image_layers(base), store.layer_path(layer))
    with store.workspace() as room:
        status = run(launcher, lowers, room, command, place / "say.log", fake_owners=True)
    assert status == 0, (place / "say.log").read_text()
    return (place / "say.log").read_text()


def main() -> None:
    """Print what the command says."""
    lock_file, downloads_root, store_root, mode, command = sys.argv[1:]
    lock, packages = pickle.loads(Path(lock_file).read_bytes())
    downloads, store, launcher = Downloads(Path(downloads_root)), Store(Path(store_root), mode), Launcher(Mode(mode))
    try:
        base = build_base(lock, source=None, downloads=downloads, store=store, launcher=launcher, sink=ignore)
        with store.workspace() as place:
            layer = install(packages, downloads, store, launcher, base, place)
            print(say(command, store, launcher, base, layer, place), end="")
    finally:
        launcher.close()


if __name__ == "__main__":
    main()
