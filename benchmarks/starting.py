"""Starts next to peers': our command line, a cached run, a container, the archive base."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import compare, quiet

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).resolve().parent.parent
REPRO = (str(Path(sys.executable).parent / "repro"),)


def help_text() -> None:
    """Budget: 4 times a bare interpreter."""
    compare(
        {
            "repro --help": lambda: quiet(*REPRO, "--help", cwd=PROJECT),
            "python -c pass": lambda: quiet(sys.executable, "-c", "pass"),
        },
        runs=20,
    )


def noop() -> None:
    """A cached run of the example's 19 jobs."""
    compare(
        {
            "repro run, 19 jobs cached": lambda: quiet(*REPRO, "run", "examples/samtools/workflow.yaml", cwd=PROJECT),
            "python -c pass": lambda: quiet(sys.executable, "-c", "pass"),
        },
        runs=10,
    )


def make_base(root: Path, cache: Path | None = None) -> tuple[Path, ...]:
    """Return the layers of an archive base, locked and made in a store below ``root``.

    ``cache`` holds the downloads; default: $REPRO_CACHE, else one below ``root``.
    """
    from repro.api.archives import Archives
    from repro.api.engine import opened
    from repro.api.host import Host
    from repro.events import ignore
    from repro.workflow.model import ArchiveBase

    downloads = str(cache or os.environ.get("REPRO_CACHE", root / "cache"))
    environ = {**os.environ, "REPRO_STORE": str(root / "store"), "REPRO_CACHE": downloads}
    base = ArchiveBase("debian", "bookworm")
    with opened(replace(Host.current(), cwd=root, environ=environ), ignore) as engine:
        engine.enter()
        archives = Archives(engine)
        return engine.store.image_layers(archives.image(base, archives.lock(base)))


def start() -> None:
    """Budget: crun's time on a prepared bundle, for a warm launcher."""
    from repro.runtime.container import Launcher
    from repro.runtime.probe import choose_mode
    from repro.runtime.spec import ContainerSpec

    with tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
        root = Path(name)
        layers = make_base(root)
        null = os.open(os.devnull, os.O_RDWR)
        launcher = Launcher(choose_mode(os.getuid(), os.getgid()).mode)
        numbers = iter(range(1_000_000))

        def ours() -> None:
            room = root / f"room{next(numbers)}"
            for part in ("upper", "work"):
                (room / part).mkdir(parents=True)
            spec = ContainerSpec(layers, room / "upper", room / "work", ("/bin/true",), {"PATH": "/usr/bin:/bin"})
            assert launcher.run(spec, stdin=null, stdout=null, stderr=null).exit_status == 0

        sides: dict[str, Callable[[], None]] = {"repro, warm, overlay, own network": ours}
        for peer in ("runc", "crun"):
            if shutil.which(peer) is None:
                print(f"  {peer}: not installed, left out")
                continue
            sides[f"{peer} on a prepared bundle"] = bundle(peer, root / f"bundle-{peer}", layers[0], numbers)
        compare(sides, runs=30, warm=3)
        launcher.close()


def bundle(peer: str, folder: Path, rootfs: Path, numbers: object) -> Callable[[], None]:
    """Return a function that starts `true` in a bundle made by runc's own template."""
    folder.mkdir()
    quiet("runc", "spec", cwd=folder)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/true"], "rlimits": []}
    config["root"] = {"path": str(rootfs), "readonly": True}
    config["linux"].pop("resources", None)
    (folder / "config.json").write_text(json.dumps(config))
    # crun refuses hosts with both cgroup versions unless the second one is hidden.
    hide = "umount /sys/fs/cgroup/unified 2>/dev/null; exec"
    prefix = ("unshare", "-m", "sh", "-c", f'{hide} "$@"', "sh") if peer == "crun" else ()
    return lambda: quiet(*prefix, peer, "run", "--bundle", str(folder), f"bench{next(numbers)}")  # type: ignore[call-overload]


def base() -> None:
    """Budget: half of mmdebstrap's time for the same set of packages."""
    with tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
        root = Path(name)
        numbers = iter(range(1000))

        def ours() -> None:
            place = root / f"ours{next(numbers)}"
            place.mkdir()
            make_base(place, cache=place / "cache")

        sides: dict[str, Callable[[], None]] = {"repro: archive base, with downloads": ours}
        if shutil.which("mmdebstrap") is None:
            print("  mmdebstrap: not installed, left out")
        else:
            sources = [str(path) for path in Path("/etc/apt/sources.list.d").glob("*.sources")]
            sides["mmdebstrap, with downloads"] = lambda: quiet(
                "mmdebstrap",
                "--variant=minbase",
                "--include=usr-is-merged",
                "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
                "bookworm",
                str(root / f"peer{next(numbers)}"),
                *sources,
            )
        compare(sides, runs=3)
