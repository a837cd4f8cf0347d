"""examples/samtools as images: what the Dockerfiles hold, and, with the archive at hand, that the images run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from repro.api.contexts import folder_context
from repro.build.stages import architecture, plan_build
from repro.dockerfile.grammar import read

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/samtools"
REPRO = Path(sys.executable).with_name("repro")


def plan(name: str):
    """Return the stages of one of the example's Dockerfiles."""
    text = (EXAMPLE / name).read_text()
    return plan_build(read(text, name), target=None, arguments={}, arch=architecture())


@pytest.mark.parametrize(("name", "stages"), [("Dockerfile", [None]), ("Dockerfile.multi", ["builder", None])])
def test_stages(name, stages):
    """The first file has one stage, the second builds in one and copies from it into another; both on one base."""
    found = plan(name)
    assert stages == [stage.name for stage in found.stages]
    assert {"archive:debian/bookworm"} == {stage.base for stage in found.stages}
    assert list(range(len(stages))) == list(found.needed)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.multi"])
def test_only_the_script_is_in_the_context(name):
    """.dockerignore leaves nothing but analyze.sh, whatever the workflow beside it made."""
    context = folder_context(EXAMPLE, name)
    root = context.node("")
    assert root is not None
    assert ["analyze.sh"] == [node.name for node in context.children(root)]


@pytest.mark.judge
@pytest.mark.archive
@pytest.mark.timeout(1800)
def test_both_images_run_samtools(tmp_path, download_cache):
    """Both files build from the served tarball; what they made runs; two stages make less than half the bytes."""
    made = subprocess.run([EXAMPLE / "source.sh", tmp_path / "source"], capture_output=True, text=True, check=True)
    version = Path(made.stdout.strip()).name.removeprefix("samtools-").removesuffix(".tar.bz2")
    env = {**os.environ, "REPRO_STORE": str(tmp_path / "store"), "REPRO_CACHE": str(download_cache)}

    def repro(*arguments: str | Path) -> str:
        done = subprocess.run([REPRO, "image", *arguments], env=env, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr[-3000:]
        return done.stdout.strip()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "source"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sizes = {}
    with server:
        for name in ("Dockerfile", "Dockerfile.multi"):
            arguments = ("--build-arg", f"VERSION={version}")
            source = ("--build-arg", f"SOURCE=http://127.0.0.1:{server.server_port}")
            tag = f"lab/samtools:{name.lower()}"
            repro("build", "-q", *arguments, *source, "-f", EXAMPLE / name, "-t", tag, EXAMPLE)
            run = tmp_path / "run"
            run.mkdir(exist_ok=True)
            (run / "Dockerfile").write_text(f"FROM {tag}\nRUN bash /opt/analyze.sh | grep 'Version: {version}'\n")
            repro("build", "-q", "--network", "none", run)
            sizes[name] = int(repro("inspect", "-f", "{{ .Size }}", tag))
        server.shutdown()
    assert 2 * sizes["Dockerfile.multi"] < sizes["Dockerfile"]
