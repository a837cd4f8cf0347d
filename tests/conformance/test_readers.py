"""Every image of the table, in each form that we write, as skopeo, umoci and podman read it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from repro.digest import Digest
from repro.events import ignore
from repro.names import Reference
from repro.oci.archive import write_layout
from repro.oci.image_tar import write_docker_archive, write_oci_archive
from repro.oci.store import Store
from repro.registry.client import Registry
from repro.registry.credentials import Credentials
from repro.registry.push import push
from repro.registry.settings import Settings, Trust
from tests import servers
from tests.conformance.arena import Arena, arena
from tests.conformance.bases import unpack
from tests.conformance.cases import load_all
from tests.conformance.judges import Buildah, JudgeError, call, install
from tests.conformance.trees import Image, compare, walk

pytestmark = [
    pytest.mark.judge,
    pytest.mark.archive,  # some cases are built upon our archive base
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="the readers unpack owners as root"),
]
# Under the names of the transports by which skopeo and podman reach them.
FORMS = ("oci", "oci-archive", "docker-archive", "docker")
OCI_FORMS = ("oci", "oci-archive", "docker")
_AT_ONCE = 20  # images that one call of podman takes
# Not here: it would take 5 GB in each form and again in each reader. umoci unpacks its layout in test_conformance.
_TOO_LARGE = {"run-large"}

_LINK_TWICE = "a symbolic link with two names leaves as two links, which only an inode number tells apart"
# What a reader refuses or reads otherwise: (test, case): why. Checked to be still so.
LISTED = {("umoci oci", "run-hard-links"): _LINK_TWICE, ("umoci docker", "run-hard-links"): _LINK_TWICE}

Check = Callable[[str], str | None]


@dataclass(frozen=True)
class Shelf:
    """The images, by case, written into ``folder`` in every form and pushed to the registry at ``host``."""

    store: Store
    folder: Path
    host: str
    images: dict[str, Digest]
    manifests: dict[tuple[str, str], Digest] = field(default_factory=dict)  # by form and case
    _trees: dict[str, dict] = field(default_factory=dict)

    def name(self, case: str) -> Reference:
        """Return the name under which an image is at the registry and in archives; the case is its tag."""
        return Reference.parse(f"{self.host}/cases:{case}")

    def source(self, form: str, case: str) -> str:
        """Return where an image is in one form, as skopeo and podman say it."""
        return {
            "oci": f"oci:{self.folder}/layout:{case}",
            "oci-archive": f"oci-archive:{self.folder}/{case}.oci",
            "docker-archive": f"docker-archive:{self.folder}/{case}.docker",
            "docker": f"docker://{self.name(case)}",
        }[form]

    def write(self, case: str, registry: Registry) -> None:
        """Write one image in all forms."""
        image_id, name = self.images[case], self.name(case)
        self.manifests["oci", case] = write_layout(self.store, image_id, self.folder / "layout", case).digest
        self.manifests["oci-archive", case] = self.manifests["oci", case]
        for kind, write in (("oci", write_oci_archive), ("docker", write_docker_archive)):
            with open(self.folder / f"{case}.{kind}", "wb") as out:
                write(self.store, {image_id: [name]}, out)
        self.manifests["docker", case] = push(registry, name, self.store, image_id, sink=ignore)

    def tree(self, case: str) -> dict:
        """Return an image's tree as the kernel shows our layers to a container."""
        if case not in self._trees:
            lowers = [str(path) for path in reversed(self.store.image_layers(self.images[case]))]
            with tempfile.TemporaryDirectory(dir=self.folder) as room:
                (empty := Path(room, "empty")).mkdir()  # overlay wants two folders at least
                (mounted := Path(room, "mounted")).mkdir()
                options = f"ro,userxattr,lowerdir={':'.join([*lowers, str(empty)])}"
                call(["mount", "-t", "overlay", "overlay", "-o", options, str(mounted)])
                try:
                    self._trees[case] = walk(mounted)
                finally:
                    call(["umount", str(mounted)])
        return self._trees[case]

    def faults(self, test: str, check: Check) -> dict[str, str]:
        """Return, by case, what ``check`` says of it or raises; but what is listed for ``test`` and still so."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            said = dict(zip(self.images, pool.map(lambda case: _said(check, case), self.images), strict=True))
        return judged(test, {case: fault for case, fault in said.items() if fault})


def judged(test: str, faults: dict[str, str]) -> dict[str, str]:
    """Return the faults that are not listed, and the listed ones that are none any more."""
    listed = {case for tried, case in LISTED if tried == test}
    idle = dict.fromkeys(listed - set(faults), "listed, but the reader takes it")
    return {case: fault for case, fault in faults.items() if case not in listed} | idle


def _said(check: Check, case: str) -> str | None:
    try:
        return check(case)
    except (JudgeError, RuntimeError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture(scope="module")
def place() -> Iterator[Arena]:
    """Where the cases are built: as root, without a judge."""
    install()
    with arena(judges=False) as made:
        yield made


@pytest.fixture(scope="module")
def shelf(place: Arena) -> Iterator[Shelf]:
    """Every Dockerfile of the table that is not to be refused, built and written in all forms."""
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    images = {}
    for case in load_all():
        if case.refused is None and case.name not in _TOO_LARGE:
            built = place.build(case)
            assert built.status == 0, f"{case.name}: {built.output[-3000:]}"
            images[case.name] = Digest.parse(built.image_id)
    folder = place.place / "shelf"
    folder.mkdir()
    with servers.plain_registry(place.place / "registry") as served:
        made = Shelf(Store(place.builders["real"].place / "store", "real"), folder, served.host, images)
        environ = {"HOME": str(place.place), "PATH": "/usr/bin:/bin"}
        settings = Settings("registries.toml", {served.host: Trust(insecure=True)})
        with closing(Registry(served.host, settings, Credentials(environ), environ, writes=True)) as registry:
            for case_name in images:
                made.write(case_name, registry)
        yield made


def test_enough_is_read(shelf: Shelf) -> None:
    """Of the table's Dockerfiles at least 200 make an image."""
    assert 200 <= len(shelf.images)


@pytest.mark.parametrize("form", FORMS)
def test_skopeo_inspects(form: str, shelf: Shelf) -> None:
    """Skopeo shows each image, finds the manifest that we wrote, and reads the config whose digest is the image ID."""

    def check(case: str) -> str | None:
        source = shelf.source(form, case)
        shown = json.loads(call(["skopeo", "inspect", "--tls-verify=false", source]).stdout)
        raw = _raw(["skopeo", "inspect", "--tls-verify=false", "--config", "--raw", source])
        expected = (_diff_ids(shelf, case), str(shelf.images[case]), str(shelf.manifests.get((form, case), "")))
        seen = (len(shown["Layers"]), str(Digest.of(raw)), shown["Digest"] if form in OCI_FORMS else "")
        return None if expected == seen else f"expected {expected}, is {seen}"

    assert {} == shelf.faults(f"skopeo inspect {form}", check)


@pytest.mark.parametrize("form", FORMS)
def test_skopeo_copies(form: str, shelf: Shelf) -> None:
    """Skopeo copies each image, checking every blob, with the manifest that we wrote and the config that is its ID."""

    def check(case: str) -> str | None:
        with tempfile.TemporaryDirectory(dir=shelf.folder) as copy:
            call(["skopeo", "copy", "-q", "--src-tls-verify=false", shelf.source(form, case), f"dir:{copy}"])
            data = Path(copy, "manifest.json").read_bytes()
            config = Path(copy, json.loads(data)["config"]["digest"].partition(":")[2]).read_bytes()
        expected = (shelf.images[case], shelf.manifests.get((form, case)))
        seen = (Digest.of(config), Digest.of(data) if form in OCI_FORMS else None)
        return None if expected == seen else f"expected {expected}, is {seen}"

    assert {} == shelf.faults(f"skopeo copy {form}", check)


@pytest.mark.parametrize("form", ["oci", "docker"])  # with the manifest of its archive, a layout is the archive's
def test_umoci_unpacks(form: str, shelf: Shelf) -> None:
    """The tree that umoci unpacks is the one that a container of ours has; skopeo makes it a layout where it is none."""

    def check(case: str) -> str | None:
        with tempfile.TemporaryDirectory(dir=shelf.folder) as room:
            layout, tag = shelf.folder / "layout", case
            if form != "oci":
                layout, tag = Path(room, "layout"), "copied"
                target = f"oci:{layout}:{tag}"
                call(["skopeo", "copy", "-q", "--src-tls-verify=false", shelf.source(form, case), target])
            tree = walk(unpack(layout, tag, Path(room, "root")))
        found = compare(Image(shelf.tree(case), {}), Image(tree, {}))
        return "\n".join(map(str, found[:10])) or None

    assert {} == shelf.faults(f"umoci {form}", check)


@pytest.mark.parametrize("form", OCI_FORMS)
def test_podman_takes(form: str, shelf: Shelf, place: Arena) -> None:
    """Podman takes each image into an empty store, under our image ID."""
    podman = Buildah(place.place / f"p{FORMS.index(form)}")
    podman.start()
    try:
        faults = _pulled(podman, form, shelf)
    finally:
        podman.stop()
    assert {} == judged(f"podman {form}", faults)


def test_podman_loads_one_archive_of_all(shelf: Shelf, place: Arena) -> None:
    """Of a docker archive of many images podman loads each under its name and image ID."""
    names: dict[Digest, list[Reference]] = {}
    for case, image_id in shelf.images.items():
        names.setdefault(image_id, []).append(shelf.name(case))
    archive = shelf.folder / "all.docker"
    with open(archive, "wb") as out:
        write_docker_archive(shelf.store, names, out)
    podman = Buildah(place.place / "p")
    podman.start()
    try:
        podman.podman("load", "-q", "-i", str(archive))
        found = {name: Digest(row["Id"]) for row in _images(podman) for name in row.get("Names") or ()}
    finally:
        podman.stop()
        archive.unlink()
    assert {str(name): image_id for image_id, given in names.items() for name in given} == found


def _pulled(podman: Buildah, form: str, shelf: Shelf) -> dict[str, str]:
    """Have podman pull all images, many in one call; return what is wrong, by case."""
    faults: dict[str, str] = {}

    def pull(cases: Sequence[str]) -> None:
        try:
            podman.podman("pull", "-q", "--tls-verify=false", *(shelf.source(form, case) for case in cases))
        except JudgeError as error:
            if len(cases) == 1:
                faults[cases[0]] = str(error)
            else:
                for case in cases:
                    pull([case])

    cases = list(shelf.images)
    for first in range(0, len(cases), _AT_ONCE):
        pull(cases[first : first + _AT_ONCE])
    taken = {row["Id"] for row in _images(podman)}
    lost = {case: "podman gave it another ID" for case, one in shelf.images.items() if one.hex not in taken}
    return lost | faults


def _images(podman: Buildah) -> list[dict]:
    return json.loads(podman.podman("image", "ls", "--all", "--format", "json").stdout)


def _diff_ids(shelf: Shelf, case: str) -> int:
    return len(shelf.store.config(shelf.images[case]).diff_ids)


def _raw(argv: list[str]) -> bytes:
    return subprocess.run(argv, capture_output=True, check=True).stdout
