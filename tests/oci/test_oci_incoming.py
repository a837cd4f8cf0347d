"""Archives of images: written by us and by others, read back as the same image; hostile ones refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oci_trees import Node, make

from repro.digest import Digest
from repro.errors import DataError
from repro.files import remove_tree
from repro.names import Reference
from repro.oci import known
from repro.oci.archive import write_layout
from repro.oci.finding import find_images
from repro.oci.image_tar import write_docker_archive, write_oci_archive
from repro.oci.incoming import take_image
from repro.oci.members import FolderMembers, TarMembers
from repro.oci.model import Descriptor, ImageConfig
from repro.oci.outgoing import outgoing
from repro.oci.platforms import choose
from repro.oci.store import Store

FIRST = Node("folder", 0o755, children={b"a": Node("file", content=b"a" * 3000), b"b": Node("link", content=b"a")})
SECOND = Node("folder", 0o755, children={b"a": Node("whiteout"), b"c": Node("file", 0o4755, (0, 7), 5, b"c")})
NAME = Reference.parse("lab/tool:1.0")
ARCH = "amd64"


@pytest.fixture
def form() -> str:
    """One form is enough here: layers in every form are tested elsewhere."""
    return "one"


def commit(store: Store, tree: Node) -> Digest:
    """Commit a tree as a layer."""
    with store.workspace() as work:
        make(work / "upper", tree, store.form)
        return store.commit_layer(work / "upper", epoch=1_000_000_000).diff_id


@pytest.fixture
def image_id(store: Store) -> Digest:
    """An image of two layers."""
    diff_ids = (commit(store, FIRST), commit(store, SECOND))
    return store.put_image(ImageConfig("amd64", created="1970-01-01T00:00:00Z", cmd=("sh",), diff_ids=diff_ids))


@pytest.fixture
def other(tmp_path: Path, form: str):
    """A second store."""
    yield Store(tmp_path / "other", form)
    remove_tree(tmp_path / "other")


def tool(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run another tool; skip where it is not installed."""
    if shutil.which(str(argv[0])) is None:
        pytest.skip(f"{argv[0]} is not installed")
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, cwd=cwd)
    assert (0, "") == (done.returncode, done.stderr if done.returncode else "")
    return done.stdout


def load(path: Path, store: Store) -> dict[Digest, tuple[str, ...]]:
    """Take all images of an archive; return them with their names."""
    if path.is_dir():
        return take(FolderMembers(path), store)
    with open(path, "rb") as file:
        return take(TarMembers(file, str(path)), store)


def take(members, store: Store) -> dict[Digest, tuple[str, ...]]:
    """Take all images of an archive; return them with their names."""
    images = find_images(members, ARCH)
    return {take_image(image, members, store): tuple(name.familiar for name in image.names) for image in images}


def write(store: Store, images, kind: str, path: Path) -> Path:
    """Write an archive of one of our kinds."""
    if kind == "oci-dir":
        for image_id, names in images.items():
            write_layout(store, image_id, path, names=names)
        return path
    with open(path, "wb") as out:
        {"oci-archive": write_oci_archive, "docker-archive": write_docker_archive}[kind](store, images, out)
    return path


KINDS = ["docker-archive", "oci-archive", "oci-dir"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_write_we_read(kind, store, image_id, other, tmp_path):
    """Several images in one archive, sharing a layer, come back with their IDs and all their names."""
    second = store.put_image(ImageConfig("amd64", diff_ids=store.config(image_id).diff_ids[:1]))
    names = [NAME, Reference.parse("lab/tool:latest"), Reference.parse("example.org/other:1.0")]
    images = {image_id: names, second: [Reference.parse("lab/two:1.0")]}
    archive = write(store, images, kind, tmp_path / "archive")

    expected = {image: tuple(name.familiar for name in named) for image, named in images.items()}
    assert expected == load(archive, other)
    assert {image_id, second} == other.images()
    assert all(other.verify_layer(diff_id) for diff_id in other.config(image_id).diff_ids)
    again = write(store, images, kind, tmp_path / "again")
    if kind != "oci-dir":
        assert archive.read_bytes() == again.read_bytes()


SKOPEO = {"docker-archive": "docker-archive:{}", "oci-archive": "oci-archive:{}", "oci-dir": "oci:{}:1.0"}


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_reads_what_we_write(kind, store, image_id, tmp_path):
    """Each of our formats is inspected and copied by it, with the image ID that we gave."""
    archive = write(store, {image_id: [NAME]}, kind, tmp_path / "archive")
    source = SKOPEO[kind].format(archive)
    raw = json.loads(tool("skopeo", "inspect", "--raw", source))
    assert str(image_id) == raw["config"]["digest"]
    tool("skopeo", "copy", "-q", source, f"dir:{tmp_path}/copy")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("oci:{}/x:any", ()),
        ("oci:{}/x", ()),
        ("oci-archive:{}/x:docker.io/lab/tool:1.0", ("lab/tool:1.0",)),
        ("docker-archive:{}/x:lab/tool:1.0", ("lab/tool:1.0",)),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_we_read_what_skopeo_writes(target, expected, compressed, store, image_id, other, tmp_path):
    """Folders and archives of its own making, layers gzipped or not, are the same image, under the name that it gave."""
    source = write(store, {image_id: [NAME]}, "oci-dir", tmp_path / "layout")
    more = ("--dest-compress",) if compressed and target.startswith("oci:") else ()
    tool("skopeo", "copy", "-q", *more, f"oci:{source}:1.0", target.format(tmp_path))
    assert {image_id: expected} == load(tmp_path / "x", other)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="podman and buildah want root here, or subordinate IDs")


@as_root
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_podman_and_we_read_each_other(kind, store, image_id, other, tmp_path, fresh):
    """What it loads from us it saves again, with our image ID, and we load that."""
    archive = write(store, {image_id: [NAME]}, kind, tmp_path / "archive")
    podman = ("podman", "--root", fresh(), "--runroot", fresh(), "--storage-driver", "vfs")
    tool(*podman, "load", "-q", "-i", archive)
    shown = tool(*podman, "image", "inspect", "--format", "{{ .Id }}", "docker.io/lab/tool:1.0")
    assert image_id.hex == shown.strip()
    tool(*podman, "save", "-q", "--format", kind, "-o", tmp_path / "back", "docker.io/lab/tool:1.0")
    assert {image_id: ("lab/tool:1.0",)} == load(tmp_path / "back", other)


def test_umoci_unpacks_what_we_write(store, image_id, tmp_path):
    """Its root file system has what the layers show together."""
    layout = write(store, {image_id: [NAME]}, "oci-dir", tmp_path / "layout")
    tool("umoci", "unpack", "--rootless", "--image", f"{layout}:1.0", tmp_path / "bundle")
    assert {"b", "c"} == {path.name for path in (tmp_path / "bundle" / "rootfs").iterdir()}


def packer(kind: str):
    """Return a function from bytes to the same compressed; skip where this Python has not the means."""
    if kind == "gzip":
        return lambda data: gzip.compress(data, 3, mtime=0)
    return pytest.importorskip("zstandard").ZstdCompressor().compress


def pack(folder: Path, kind: str) -> None:
    """Compress the layers of a layout, and give it a manifest that nobody's canonical JSON would give."""
    pack_one = packer(kind)
    index = json.loads((folder / "index.json").read_bytes())
    blobs = folder / "blobs" / "sha256"
    for entry in index["manifests"]:
        manifest = json.loads((blobs / entry["digest"][7:]).read_bytes())
        for layer in manifest["layers"]:
            data = pack_one((blobs / layer["digest"][7:]).read_bytes())
            layer["mediaType"] = f"application/vnd.oci.image.layer.v1.tar+{kind}"
            layer["digest"], layer["size"] = put(blobs, data)
        entry["digest"], entry["size"] = put(blobs, json.dumps(manifest, indent=3).encode())
    (folder / "index.json").write_text(json.dumps(index))


def put(blobs: Path, data: bytes) -> tuple[str, int]:
    """Write a blob; return its digest and size."""
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return f"sha256:{digest}", len(data)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("leaves_as", ["oci-archive", "oci-dir"])
def test_an_image_leaves_as_it_came(kind, leaves_as, store, image_id, other, tmp_path):
    """Compressed layers and the very bytes of the manifest survive load and save, and so does the manifest's digest."""
    layout = write(store, {image_id: [NAME]}, "oci-dir", tmp_path / "layout")
    pack(layout, kind)
    expected = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]

    assert {image_id: ("lab/tool:1.0",)} == load(layout, other)
    assert expected == str(known.manifests_of(other, image_id)["docker.io/lab/tool"])
    archive = write(other, {image_id: [NAME]}, leaves_as, tmp_path / "again")
    third = Store(tmp_path / "third", "one")
    assert {image_id: ("lab/tool:1.0",)} == load(archive, third)
    assert expected == str(outgoing(third, image_id).descriptor.digest)
    for diff_id in third.config(image_id).diff_ids:
        blob = known.blob_of(third, diff_id)
        assert third.has_blob(blob.digest)
        assert blob.media_type.endswith(kind)
    remove_tree(tmp_path / "third")


def test_an_image_whose_blobs_went_leaves_uncompressed(store, image_id, other, tmp_path):
    """A manifest whose blobs are not all there is not given out; the image is whole all the same."""
    layout = write(store, {image_id: [NAME]}, "oci-dir", tmp_path / "layout")
    pack(layout, "gzip")
    load(layout, other)
    top = other.config(image_id).diff_ids[-1]
    other.blob_path(known.blob_of(other, top).digest).unlink()
    leaving = outgoing(other, image_id)
    assert ["tar+gzip", "tar"] == [layer.media_type.rpartition(".")[2] for layer, _ in leaving.layers]
    assert {image_id: ()} == load(write(other, {image_id: []}, "oci-archive", tmp_path / "again"), store)


def test_docker_archives_of_old_are_read(store, image_id, other, tmp_path):
    """Folders with VERSION and json, layers linked to each other, an image without a name."""
    config = store.read_blob(image_id)
    lower = layer_bytes(store, store.config(image_id).diff_ids[0])
    twice = json.loads(config)
    twice["rootfs"]["diff_ids"][1] = twice["rootfs"]["diff_ids"][0]
    data = json.dumps(twice).encode()
    hexes = ["1" * 64, "2" * 64]
    files = {
        f"{hexes[0]}/": None, f"{hexes[0]}/VERSION": b"1.0", f"{hexes[0]}/json": b"{}", f"{hexes[0]}/layer.tar": lower,
        f"{hexes[1]}/": None, f"{hexes[1]}/json": b"{}", f"{hexes[1]}/layer.tar": f"../{hexes[0]}/layer.tar",
        f"{hashlib.sha256(data).hexdigest()}.json": data, "repositories": b"{}",
        "manifest.json": json.dumps([{"Config": f"{hashlib.sha256(data).hexdigest()}.json", "RepoTags": None,
                                      "Layers": [f"{one}/layer.tar" for one in hexes]}]).encode(),
    }  # fmt: skip
    assert {Digest.of(data): ()} == load(tar_of(tmp_path / "old.tar", files), other)


def layer_bytes(store: Store, diff_id: Digest) -> bytes:
    """Return a layer's tar."""
    out = io.BytesIO()
    store.write_layer(diff_id, out)
    return out.getvalue()


def tar_of(path: Path, files: dict[str, bytes | str | None]) -> Path:
    """Write a tar: bytes are files, texts are links, None are folders; names may be of another case twice."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("+"))
            if data is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


def test_docker_of_today_writes_both(store, image_id, other, tmp_path):
    """An OCI layout with a manifest.json beside it: names come from there where the index has none."""
    layout = write(store, {image_id: []}, "oci-dir", tmp_path / "layout")
    entry = {
        "Config": f"blobs/sha256/{image_id.hex}",
        "RepoTags": ["lab/tool:1.0", "lab/tool:2"],
        "Layers": [f"blobs/sha256/{diff_id.hex}" for diff_id in store.config(image_id).diff_ids],
    }
    (layout / "manifest.json").write_text(json.dumps([entry]))
    assert {image_id: ("lab/tool:1.0", "lab/tool:2")} == load(layout, other)


def nested(layout: Path, platforms: list[tuple[str, str]], store: Store, image_ids: list[Digest]) -> None:
    """Put an index of these platforms, in a further index, into a layout, with an attestation beside them."""
    blobs = layout / "blobs" / "sha256"
    entries = []
    for (os_name, arch), image_id in zip(platforms, image_ids, strict=True):
        descriptor = write_layout(store, image_id, layout).as_json()
        entries.append({**descriptor, "platform": {"os": os_name, "architecture": arch}})
    attestation = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": f"sha256:{'0' * 64}", "size": 3,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }  # fmt: skip
    kind = "application/vnd.oci.image.index.v1+json"
    inner = {"schemaVersion": 2, "mediaType": kind, "manifests": [*entries, attestation]}
    digest, size = put(blobs, json.dumps(inner).encode())
    outer = {"mediaType": kind, "digest": digest, "size": size, "annotations": {"io.containerd.image.name": str(NAME)}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [outer]}))


def test_this_machines_platform_is_taken(store, image_id, other, tmp_path):
    """Of an index in an index that one is, not the attestation; without it the error says what there is."""
    arm = store.put_image(ImageConfig("arm64", diff_ids=store.config(image_id).diff_ids[:1]))
    nested(tmp_path / "both", [("linux", "arm64"), ("linux", "amd64")], store, [arm, image_id])
    assert {image_id: ("lab/tool:1.0",)} == load(tmp_path / "both", other)
    nested(tmp_path / "none", [("linux", "arm64"), ("windows", "amd64")], store, [arm, image_id])
    with pytest.raises(DataError, match="no image for linux/amd64") as caught:
        load(tmp_path / "none", other)
    assert "linux/arm64, windows/amd64" in (caught.value.why or "")


def test_variants_that_every_machine_runs_are_preferred():
    """v1 of amd64 before v3; an entry that says nothing is for all."""

    def entry(number, variant, arch="amd64"):
        platform = {"os": "linux", "architecture": arch, **({"variant": variant} if variant else {})}
        return Descriptor("m", Digest(str(number) * 64), 1, platform=platform)

    assert 2 == int(choose([entry(1, "v3"), entry(2, "v1"), entry(3, "")], "amd64").digest.hex[0])
    assert 3 == int(choose([entry(1, "v3"), entry(3, "")], "amd64").digest.hex[0])
    assert 1 == int(choose([entry(1, "v8", "arm64"), entry(2, "v9", "arm64")], "arm64").digest.hex[0])
    assert choose([entry(1, "v3")], "amd64") is None
    assert choose([entry(1, "v8", "arm64")], "amd64") is None


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_compressed_layers_of_docker_archives_are_kept(kind, store, image_id, other, tmp_path):
    """The format says nothing of compression: it is told by the bytes, and the blobs are known afterwards."""
    files = docker_files(store, image_id)
    packed = {name: packer(kind)(data) if name.endswith("layer.tar") else data for name, data in files.items()}
    assert {image_id: ("a:1",)} == load(tar_of(tmp_path / "x.tar", packed), other)
    for diff_id in other.config(image_id).diff_ids:
        blob = known.blob_of(other, diff_id)
        assert f"application/vnd.oci.image.layer.v1.tar+{kind}" == blob.media_type
        assert packed[f"{diff_id.hex}/layer.tar"] == other.read_blob(blob.digest)


def test_a_blob_leaves_as_what_it_is(store, image_id, other, tmp_path):
    """A layer that is gzipped, though its descriptor says that it is not, is told as gzipped to others."""
    layout = write(store, {image_id: []}, "oci-dir", tmp_path / "layout")
    pack(layout, "gzip")

    def plain(manifest, blobs):
        for layer in manifest["layers"]:
            layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar"

    edit_manifest(layout, plain)
    load(layout, other)
    assert {"application/vnd.oci.image.layer.v1.tar+gzip"} == {
        layer.media_type for layer, _ in outgoing(other, image_id).layers
    }


# ---- hostile and damaged archives


def docker_files(store: Store, image_id: Digest) -> dict[str, bytes | str | None]:
    """Return the files of a good Docker archive."""
    config = store.config(image_id)
    files: dict[str, bytes | str | None] = {
        f"{diff_id.hex}/layer.tar": layer_bytes(store, diff_id) for diff_id in config.diff_ids
    }
    files[f"{image_id.hex}.json"] = store.read_blob(image_id)
    files["manifest.json"] = json.dumps(
        [{"Config": f"{image_id.hex}.json", "RepoTags": ["a:1"], "Layers": list(files)[:2]}]
    ).encode()
    return files


def changed(files, name, data):
    """Return the files with one of them changed, or added."""
    return {**files, name: data}


def manifest_with(files, **fields):
    """Return the files with other fields in manifest.json."""
    (entry,) = json.loads(files["manifest.json"])
    return changed(files, "manifest.json", json.dumps([{**entry, **fields}]).encode())


def without(files, place):
    """Return the files without one of them."""
    return {name: data for number, (name, data) in enumerate(files.items()) if number != place}


def swapped(files):
    """Return the files with the two layers in each other's place."""
    first, second, *rest = files
    return {first: files[second], second: files[first], **{name: files[name] for name in rest}}


HOSTILE = {
    "a name that leads upwards": lambda files: changed(files, "../evil", b"x"),
    "an absolute name": lambda files: changed(files, "/evil", b"x"),
    "two members of a name": lambda files: changed(files, "manifest.json+", b"[]"),
    "a link out of it": lambda files: changed(files, "link", "../../etc/passwd"),
    "an absolute link": lambda files: changed(files, "link", "/etc/passwd"),
    "a config elsewhere": lambda files: manifest_with(files, Config="../../etc/passwd"),
    "an absolute config": lambda files: manifest_with(files, Config="/etc/passwd"),
    "a layer elsewhere": lambda files: manifest_with(files, Layers=["/etc/passwd", "/etc/passwd"]),
    "a layer that is a folder": lambda files: manifest_with(changed(files, "d/", None), Layers=["d", "d"]),
    "links in a circle": lambda files: manifest_with({**files, "x": "y", "y": "x"}, Layers=["x", "y"]),
    "no config": lambda files: without(files, 2),
    "no layer": lambda files: without(files, 0),
    "no manifest": lambda files: without(files, 3),
    "another config under its digest": lambda files: changed(files, list(files)[2], b'{"os": "linux"}'),
    "layers in each other's place": swapped,
    "too few layers": lambda files: manifest_with(files, Layers=list(files)[:1]),
    "a layer that is no tar": lambda files: changed(files, next(iter(files)), b"x" * 2048),
    "a gzipped layer of other bytes": lambda files: changed(files, next(iter(files)), gzip.compress(b"x" * 2048)),
    "a broken gzip": lambda files: changed(files, next(iter(files)), b"\x1f\x8b\x08" + b"x" * 2048),
    "manifest.json is no list": lambda files: changed(files, "manifest.json", b"{}"),
    "manifest.json is no JSON": lambda files: changed(files, "manifest.json", b"[" * 100_000),
    "manifest.json of numbers": lambda files: changed(files, "manifest.json", b"[7]"),
    "manifest.json without fields": lambda files: changed(files, "manifest.json", b"[{}]"),
    "a name that is none": lambda files: manifest_with(files, RepoTags=["../../x"]),
    "a name of a wrong type": lambda files: manifest_with(files, RepoTags=[7]),
    "a huge document": lambda files: changed(files, "manifest.json", b"[" + b" " * (5 << 20) + b"]"),
    "too many layers": lambda files: manifest_with(
        changed(files, "c", json.dumps({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"] * 2000}}).encode()),
        Config="c", Layers=[next(iter(files))] * 2000),
}  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_docker_archives_are_refused(hostile, store, image_id, other, tmp_path):
    """Each is a DataError that says what is wrong; no image, blob or name comes of it, and nothing is written outside."""
    archive = tar_of(tmp_path / "x.tar", HOSTILE[hostile](docker_files(store, image_id)))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DataError):
        load(archive, other)
    assert (set(), {}) == (other.images(), other.refs())
    assert [] == list((other.root / "blobs" / "sha256").iterdir())
    assert [] == [path.name for path in (other.root / "tmp").iterdir() if path.name != ".lock"]
    assert before == sorted(path.name for path in tmp_path.iterdir())


def edit_entry(layout: Path, **fields) -> None:
    """Change the entry of the index."""
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"][0].update(fields)
    (layout / "index.json").write_text(json.dumps(index))


def edit_manifest(layout: Path, change) -> None:
    """Change the manifest, and the entry with it."""
    index = json.loads((layout / "index.json").read_bytes())
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    change(manifest, blobs)
    digest, size = put(blobs, json.dumps(manifest).encode())
    edit_entry(layout, digest=digest, size=size)


def deep(layout: Path) -> None:
    """Put indexes in indexes."""
    blobs = layout / "blobs" / "sha256"
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    kind = "application/vnd.oci.image.index.v1+json"
    for _ in range(8):
        digest, size = put(blobs, json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        entry = {"mediaType": kind, "digest": digest, "size": size}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def swap(manifest, blobs) -> None:
    """Put the layers in each other's place."""
    manifest["layers"].reverse()


def bigger(manifest, blobs) -> None:
    """Say that a layer has a byte more."""
    manifest["layers"][0]["size"] += 1


def foreign(manifest, blobs) -> None:
    """Give a layer a type that cannot be read."""
    manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar"


def bomb(manifest, blobs) -> None:
    """Put something that swells in a layer's place."""
    data = gzip.compress(bytes(64 << 20))
    digest, size = put(blobs, data)
    manifest["layers"][0] = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size}


HOSTILE_LAYOUTS = {
    "another version": lambda layout: (layout / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}'),
    "no version": lambda layout: (layout / "oci-layout").write_text("{}"),
    "an index that is none": lambda layout: (layout / "index.json").write_text("[]"),
    "no such manifest": lambda layout: edit_entry(layout, digest=f"sha256:{'0' * 64}"),
    "a manifest of another size": lambda layout: edit_entry(layout, size=7),
    "a digest that leads elsewhere": lambda layout: edit_entry(layout, digest="sha256:../../../../etc/passwd"),
    "a digest of another kind": lambda layout: edit_entry(layout, digest=f"sha512:{'0' * 128}"),
    "no image": lambda layout: edit_entry(layout, mediaType="application/vnd.cncf.helm.config.v1+json"),
    "a name that is none": lambda layout: edit_entry(layout, annotations={"io.containerd.image.name": "A B"}),
    "indexes in indexes": deep,
    "layers swapped": lambda layout: edit_manifest(layout, swap),
    "a layer of another size": lambda layout: edit_manifest(layout, bigger),
    "a layer of another type": lambda layout: edit_manifest(layout, foreign),
    "a layer that swells": lambda layout: edit_manifest(layout, bomb),
}


@pytest.mark.parametrize("hostile", HOSTILE_LAYOUTS)
def test_hostile_layouts_are_refused(hostile, store, image_id, other, tmp_path):
    """Each is a DataError, and no image or blob comes of it."""
    layout = write(store, {image_id: []}, "oci-dir", tmp_path / "layout")
    HOSTILE_LAYOUTS[hostile](layout)
    with pytest.raises(DataError):
        load(layout, other)
    assert set() == other.images()
    assert [] == list((other.root / "blobs" / "sha256").iterdir())


def test_a_blob_that_is_not_the_layer_is_not_remembered_as_it(store, image_id, tmp_path):
    """A manifest that puts another blob to a layer that the store has is refused: no push may send that blob for it."""
    layout = write(store, {image_id: [NAME]}, "oci-dir", tmp_path / "layout")
    pack(layout, "gzip")

    def other_blob(manifest, blobs):
        data = gzip.compress(b"x" * 10240)
        digest, size = put(blobs, data)
        manifest["layers"][0] = {**manifest["layers"][0], "digest": digest, "size": size}

    edit_manifest(layout, other_blob)
    with pytest.raises(DataError, match="not its own"):
        load(layout, store)
    lowest = store.config(image_id).diff_ids[0]
    assert known.blob_of(store, lowest) is None
    assert lowest == outgoing(store, image_id).layers[0][0].digest


def test_a_refused_archive_takes_no_blob_of_another_image_along(store, image_id, other, tmp_path):
    """What a hostile archive brings and the store had before stays: another image needs it."""
    files = docker_files(store, image_id)
    packed = {name: gzip.compress(data, mtime=0) if name.endswith("tar") else data for name, data in files.items()}
    load(tar_of(tmp_path / "good.tar", packed), other)
    blobs = {path.name for path in other.blobs_folder.iterdir()}
    with pytest.raises(DataError, match="not its own"):
        load(tar_of(tmp_path / "bad.tar", swapped(packed)), other)
    assert blobs == {path.name for path in other.blobs_folder.iterdir()}
    assert image_id in other.images()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=st.data())
def test_any_damage_is_told_or_harmless(store, tmp_path_factory, drawn):
    """An archive cut anywhere, or with a byte changed, is refused by a DataError or gives the very same images."""
    folder = tmp_path_factory.mktemp("damage")
    diff_ids = (commit(store, FIRST),)
    image_id = store.put_image(ImageConfig("amd64", diff_ids=diff_ids))
    kind = drawn.draw(st.sampled_from(["docker-archive", "oci-archive"]))
    raw = bytearray(write(store, {image_id: [NAME]}, kind, folder / "x.tar").read_bytes())
    place = drawn.draw(st.integers(0, len(raw) - 1))
    if drawn.draw(st.booleans()):
        del raw[place:]
    else:
        raw[place] ^= drawn.draw(st.integers(1, 255))
    other = Store(folder / "other", "one")
    try:
        loaded = take(TarMembers(io.BytesIO(raw), "x"), other)
    except DataError:
        assert set() == other.images()
    else:
        assert {image_id} == set(loaded)
        assert other.verify_layer(diff_ids[0])
    remove_tree(folder)


@as_root
def test_buildah_and_we_read_each_other(store, image_id, other, tmp_path, fresh):
    """It pulls from our folder and archives, and pushes them again, with our image ID."""
    write(store, {image_id: [NAME]}, "oci-dir", tmp_path / "layout")
    buildah = ("buildah", "--root", fresh(), "--runroot", fresh(), "--storage-driver", "vfs")
    assert image_id.hex == tool(*buildah, "pull", "-q", "oci:layout:1.0", cwd=tmp_path).strip()
    for kind in ("docker-archive", "oci-archive"):
        tool(*buildah, "push", "-q", image_id.hex, f"{kind}:{tmp_path}/{kind}:docker.io/lab/tool:1.0")
        assert {image_id: ("lab/tool:1.0",)} == load(tmp_path / kind, other)


def docker_works() -> bool:
    """Whether there is a docker with a daemon to talk to."""
    if shutil.which("docker") is None:
        return False
    return 0 == subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_docker_and_we_read_each_other(kind, store, image_id, other, tmp_path):
    """What it loads from us it saves again, and we load that."""
    if not docker_works():
        pytest.skip("there is no docker daemon")
    name = Reference.parse("repro-test/incoming:1.0")
    archive = write(store, {image_id: [name]}, kind, tmp_path / "archive")
    try:
        assert "repro-test/incoming:1.0" in tool("docker", "load", "-i", archive)
        tool("docker", "save", "-o", tmp_path / "back", "repro-test/incoming:1.0")
    finally:
        subprocess.run(["docker", "rmi", "-f", "repro-test/incoming:1.0"], capture_output=True, check=False)
    assert {image_id: ("repro-test/incoming:1.0",)} == load(tmp_path / "back", other)
