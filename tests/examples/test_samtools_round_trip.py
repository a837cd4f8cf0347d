"""The samtools images go to a registry and come back: the same bytes for author, recipient, skopeo, umoci and podman."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from repro.digest import Digest
from tests import servers
from tests.conformance.judges import Buildah, call, install
from tests.examples.conftest import FILES, Desk, Samtools, SamtoolsImage

pytestmark = [
    pytest.mark.judge,
    pytest.mark.archive,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="the judges are run by root"),
]
WORKFLOW = """\
repro: 1
name: trip
environments:
  ready: {{image: "{name}"}}
steps:
  version:
    environment: ready
    outputs: {{said: said.txt}}
    run: samtools --version > {{{{ outputs.said }}}}
"""


@dataclass(frozen=True)
class Sent:
    """An image at the registry: under ``name``, with a manifest of ``digest``; ``built`` is what it was before."""

    name: str
    digest: str
    built: SamtoolsImage

    @property
    def cited(self) -> str:
        """The name as a paper gives it."""
        return f"{self.name.rpartition(':')[0]}@{self.digest}"


@dataclass(frozen=True)
class Trip:
    """Both images at the registry, by Dockerfile, and the author's desk, whose store was emptied."""

    author: Desk
    folder: Path
    sent: dict[str, Sent]
    left: list[str]

    def newcomer(self, name: str) -> Desk:
        """Return a desk that has nothing: no image, no download."""
        return Desk(self.folder / name / "store", self.folder / name / "cache", self.author.env)


@pytest.fixture(scope="module")
def trip(samtools: Samtools) -> Iterator[Trip]:
    """Push both images, then remove everything from the author's store."""
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    folder = Path(tempfile.mkdtemp(prefix="repro-trip-", dir="/var/tmp"))
    try:
        with servers.plain_registry(folder / "registry") as served:
            registries = folder / "registries.toml"
            registries.write_text(f'[registry."{served.host}"]\ninsecure = true\n')
            author = samtools.desk.with_env(
                REPRO_REGISTRIES=str(registries), REPRO_APT_MIRROR="http://127.0.0.1:9/debian"
            )
            sent = {}
            for file, built in samtools.images.items():
                name = f"{served.host}/lab/samtools:{file.lower()}"
                author.repro("image", "tag", built.name, name)
                cited = author.repro("image", "push", "-q", name)
                author.repro("image", "rm", built.name, name)
                sent[file] = Sent(name, cited.partition("@")[2], built)
            author.repro("image", "prune", "-a", "-f")
            author.repro("store", "gc", "--cache")
            yield Trip(author, folder, sent, _content(author.store))
    finally:
        from repro.files import remove_tree

        remove_tree(folder)


def _content(store: Path) -> list[str]:
    """Return every image, layer, blob and name in a store, by path; locks are none of them."""
    files = [path for part in ("blobs", "images", "refs") for path in (store / part).rglob("*") if path.is_file()]
    paths = [*files, *(store / "layers").glob("*/*")]
    return sorted(str(path.relative_to(store)) for path in paths if not path.name.startswith("."))


def _project(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "workflow.yaml").write_text(WORKFLOW.format(name=name))
    return folder


def _outcome(project: Path) -> tuple[str, dict]:
    """Return what the step wrote, and the one environment of the lock."""
    lock = json.loads((project / "workflow.lock").read_text())
    return (project / "said.txt").read_text(), lock["environments"]["ready"]


def test_nothing_stays_after_removal(trip: Trip) -> None:
    """Without its names and the build cache the author's store holds no blob, no layer, no image and no name."""
    assert [] == trip.left


@pytest.mark.parametrize("file", FILES)
def test_the_author_takes_it_back(file: str, trip: Trip) -> None:
    """Pulled again and used by a step, it has the same ID and manifest, and samtools says the same, byte for byte."""
    sent, author = trip.sent[file], trip.author
    pulled = author.repro("image", "pull", "-q", sent.name)
    project = _project(trip.folder / f"author-{file}", sent.name)
    author.repro("lock", cwd=project)
    author.repro("run", "--locked", cwd=project)
    said, locked = _outcome(project)

    assert f"{sent.name}@{sent.digest}" == pulled
    assert sent.built.image_id == author.repro("image", "inspect", "-f", "{{ .Id }}", sent.name)
    assert sent.built.size == int(author.repro("image", "inspect", "-f", "{{ .Size }}", sent.name))
    assert sent.built.version == said
    assert [sent.built.image_id] == list(set(locked["images"].values()))
    assert sent.digest in locked["base"]


@pytest.mark.parametrize("file", FILES)
def test_the_recipient_runs_the_same(file: str, trip: Trip) -> None:
    """From workflow and lock alone, and from NAME@DIGEST alone, an empty store gets that image and that result."""
    sent = trip.sent[file]
    for number, name in enumerate((sent.name, sent.cited)):
        desk = trip.newcomer(f"recipient-{file}-{number}")
        project = _project(trip.folder / f"project-{file}-{number}", name)
        if name == sent.name:
            author = _project(trip.folder / f"sender-{file}", name)
            trip.newcomer(f"sender-{file}").repro("lock", cwd=author)
            shutil.copy(author / "workflow.lock", project)
        else:
            desk.repro("lock", cwd=project)
        desk.repro("run", "--locked", cwd=project)
        said, locked = _outcome(project)
        assert sent.built.version == said
        assert [sent.built.image_id] == list(set(locked["images"].values()))
        assert sent.built.image_id == desk.repro("image", "inspect", "-f", "{{ .Id }}", sent.cited)
        desk.repro("store", "check")


@pytest.mark.parametrize("file", FILES)
def test_skopeo_and_umoci_read_it(file: str, trip: Trip, tmp_path: Path) -> None:
    """Skopeo shows and copies manifest and config unchanged; samtools runs from what umoci unpacks of the copy."""
    install()
    sent, source = trip.sent[file], f"docker://{trip.sent[file].name}"
    shown = json.loads(call(["skopeo", "inspect", "--tls-verify=false", source]).stdout)
    copied = {"dir": tmp_path / "dir", "oci": tmp_path / "layout"}
    for kind, folder in copied.items():
        target = f"{kind}:{folder}" + (":it" if kind == "oci" else "")
        call(["skopeo", "copy", "-q", "--src-tls-verify=false", source, target])
    manifest = (copied["dir"] / "manifest.json").read_bytes()
    (entry,) = json.loads((copied["oci"] / "index.json").read_bytes())["manifests"]
    call(["umoci", "unpack", "--image", f"{copied['oci']}:it", str(tmp_path / "bundle")])

    assert [sent.digest] * 3 == [shown["Digest"], str(Digest.of(manifest)), entry["digest"]]
    assert sent.built.image_id == json.loads(manifest)["config"]["digest"]
    assert sent.built.version == _chroot(tmp_path / "bundle/rootfs")


@pytest.mark.parametrize("file", FILES)
def test_podman_runs_it(file: str, trip: Trip) -> None:
    """Podman pulls it under the same ID and digest, and a container of it says the same."""
    install()
    sent = trip.sent[file]
    podman = Buildah(Path(tempfile.mkdtemp(prefix="trip-", dir="/var/tmp")) / "p")  # podman refuses long paths
    try:
        podman.start()
        podman.podman("pull", "-q", "--tls-verify=false", sent.name)
        (shown,) = json.loads(podman.podman("image", "inspect", sent.name).stdout)
        run = podman.podman("run", "--rm", "--network=none", sent.name, "samtools", "--version")
    finally:
        podman.stop()
        podman.folder.parent.rmdir()
    assert (sent.built.image_id, sent.digest) == (f"sha256:{shown['Id']}", shown["Digest"])
    assert sent.built.version == run.stdout


def _chroot(root: Path) -> str:
    path = "PATH=/opt/samtools-install/bin:/usr/local/bin:/usr/bin:/bin"
    return call(["chroot", str(root), "/usr/bin/env", path, "samtools", "--version"]).stdout
