"""Images pushed to and pulled from a real registry: the same image, and no byte more than is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from repro.api.bases import parsed
from repro.data.answers import UnreachableError
from repro.digest import Digest
from repro.errors import DataError, FetchError, Interrupted, Location
from repro.events import Notice, Progress
from repro.names import Reference
from repro.oci.known import blob_of, manifests_of
from repro.oci.model import Descriptor, ImageConfig, Index, Manifest, MediaTypes
from repro.oci.store import Store
from repro.registry.pull import pull
from repro.registry.push import _Push, push
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base

ARCH = "amd64" if os.uname().machine == "x86_64" else "arm64"


@pytest.fixture
def store(tmp_path):
    """A store with an image of two layers named `base`, and `more` of three."""
    made = Store(tmp_path / "store", MODE.value)
    base = made.config(put_base(made))
    two = _with_layer(made, base, "two", b"2" * 300_000)
    made.tag("base", made.put_image(two))
    made.tag("more", made.put_image(_with_layer(made, two, "three", b"3" * 200_000)))
    return made


@pytest.fixture
def other(tmp_path):
    """An empty store."""
    return Store(tmp_path / "other", MODE.value)


def _with_layer(store, config, name, data):
    with store.workspace() as room:
        (room / "upper").mkdir()
        (room / "upper" / name).write_bytes(data)
        info = store.commit_layer(room / "upper", epoch=1)
    return ImageConfig(
        architecture=ARCH, diff_ids=(*config.diff_ids, info.diff_id), env=config.env, created=config.created
    )


class Heard(list):
    """A sink that keeps what it hears."""

    __call__ = list.append

    def whats(self, unit):
        """Return what was sent or fetched to its end (`bytes`), or found there (`there`)."""
        return sorted({one.what for one in self if isinstance(one, Progress) and one.unit == unit})


def _pushed(connect, host, store, name, image="base"):
    heard = Heard()
    reference = Reference.parse(f"{host}/{name}")
    digest = push(connect(host, insecure=True, writes=True), reference, store, store.resolve(image), sink=heard)
    return digest, heard


def _pulled(connect, hosts, store, name, heard=None, **trust):
    registries = [connect(host, insecure=True, **trust) for host in hosts]
    reference = Reference.parse(f"{hosts[-1]}/{name}")
    return pull(registries, reference, store, arch=ARCH, sink=Heard() if heard is None else heard)


def test_a_compression_can_be_ended(connect, store):
    """Who is told to stop does not compress a layer to its end first."""
    reference = Reference.parse("127.0.0.1:1/transfer/stopped:1")
    sending = _Push(connect("127.0.0.1:1", insecure=True), reference, store, Heard(), "gzip")
    layer = store.config(store.resolve("base")).diff_ids[-1]
    sending._end()
    with pytest.raises(Interrupted):
        sending._layer(layer, None)
    assert blob_of(store, layer) is None
    assert list((store.root / "tmp").glob("[!.]*")) == []


def test_a_pulled_image_is_the_pushed_one(plain, connect, store, other):
    """Same ID, same manifest, same layers; it leaves again under the same digest, from the other store too."""
    digest, _ = _pushed(connect, plain.host, store, "transfer/round:1")
    pulled = _pulled(connect, [plain.host], other, "transfer/round:1")
    image_id = store.resolve("base")
    assert (pulled.image_id, pulled.manifest, pulled.fresh) == (image_id, digest, True)
    assert other.resolve(f"{plain.host}/transfer/round:1") == image_id
    assert all(other.verify_layer(one) for one in other.config(image_id).diff_ids)
    assert manifests_of(other, image_id) == {f"{plain.host}/transfer/round": digest}
    assert _pushed(connect, plain.host, other, "transfer/again:1", str(image_id))[0] == digest
    assert _pulled(connect, [plain.host], other, "transfer/round:1").fresh is False


def test_an_image_is_pulled_by_its_digest(plain, connect, store, other):
    """The name with the digest stands for it from then on."""
    digest, _ = _pushed(connect, plain.host, store, "transfer/cited:1")
    pulled = _pulled(connect, [plain.host], other, f"transfer/cited@{digest}")
    assert other.resolve(f"{plain.host}/transfer/cited@{digest}") == pulled.image_id


def test_what_is_there_is_not_sent(plain, connect, store):
    """A push that was done sends nothing, a layer more sends one, another repository takes them over."""
    _, first = _pushed(connect, plain.host, store, "transfer/sent:1")
    layers = len(store.config(store.resolve("base")).diff_ids)
    assert len(first.whats("bytes")) == layers + 1
    assert _pushed(connect, plain.host, store, "transfer/sent:1")[1].whats("bytes") == []
    _, more = _pushed(connect, plain.host, store, "transfer/sent:2", "more")
    assert len(more.whats("bytes")) == 2  # the layer, and the config
    _, mounted = _pushed(connect, plain.host, store, "transfer/elsewhere:1", "more")
    assert mounted.whats("bytes") == []


def test_a_store_that_forgot_what_it_sent_asks_the_registry(plain, connect, store):
    """The manifest of the same image at the target names its blobs: the digest stays, nothing is compressed again."""
    digest, _ = _pushed(connect, plain.host, store, "transfer/forgot:1")
    for kind in ("layer-blob", "manifests", "blob-places"):
        shutil.rmtree(store.root / "memory" / kind)
    again, heard = _pushed(connect, plain.host, store, "transfer/forgot:1")
    assert (again, heard.whats("bytes")) == (digest, [])


def test_layers_that_are_there_are_not_fetched(plain, connect, store, other):
    """Of an image with a layer more, that and the config come."""
    _pushed(connect, plain.host, store, "transfer/base:1")
    _pushed(connect, plain.host, store, "transfer/more:1", "more")
    _pulled(connect, [plain.host], other, "transfer/base:1")
    heard = Heard()
    _pulled(connect, [plain.host], other, "transfer/more:1", heard)
    assert len(heard.whats("bytes")) == 2


def test_other_tools_read_it(plain, connect, store, tmp_path):
    """`skopeo` copies it out, checking every digest; `umoci` unpacks what it wrote."""
    digest, _ = _pushed(connect, plain.host, store, "transfer/others:1")
    source = f"docker://{plain.host}/transfer/others:1"
    shown = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", source], capture_output=True, check=True, text=True
    )
    assert json.loads(shown.stdout)["Digest"] == str(digest)
    layout = tmp_path / "layout"
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{layout}:one"], capture_output=True, check=True
    )
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    subprocess.run(
        ["umoci", "unpack", *rootless, "--image", f"{layout}:one", tmp_path / "bundle"], capture_output=True, check=True
    )
    assert (tmp_path / "bundle/rootfs/two").read_bytes() == b"2" * 300_000


def test_what_other_tools_push_is_read(plain, connect, store, other, tmp_path):
    """An image in Docker's format, as `skopeo` writes it, is the same image."""
    digest, _ = _pushed(connect, plain.host, store, "transfer/theirs:oci")
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "--format=v2s2",
         f"docker://{plain.host}/transfer/theirs:oci", f"docker://{plain.host}/transfer/theirs:docker"],
        capture_output=True, check=True,
    )  # fmt: skip
    pulled = _pulled(connect, [plain.host], other, "transfer/theirs:docker")
    assert pulled.manifest != digest
    assert other.config(pulled.image_id).diff_ids == store.config(store.resolve("base")).diff_ids
    again, heard = _pushed(connect, plain.host, other, "transfer/theirs:back", str(pulled.image_id))
    assert (again, heard.whats("bytes")) == (pulled.manifest, [])


def _put_index(connect, host, path, tag, entries):
    data = Index(tuple(entries)).to_json()
    return connect(host, insecure=True, writes=True).put_manifest(path, tag, data, MediaTypes.INDEX)


def test_of_several_platforms_it_is_this_machines(plain, connect, store, other):
    """An index leads to the right image; one without it says what there is."""
    digest, _ = _pushed(connect, plain.host, store, "transfer/many:own")
    registry = connect(plain.host, insecure=True)
    size = len(registry.manifest("transfer/many", "own").data)
    own = Descriptor(MediaTypes.MANIFEST, digest, size, {}, {"os": "linux", "architecture": ARCH})
    foreign = Descriptor(MediaTypes.MANIFEST, digest, size, {}, {"os": "linux", "architecture": "riscv64"})
    index = _put_index(connect, plain.host, "transfer/many", "all", [foreign, own])
    pulled = _pulled(connect, [plain.host], other, "transfer/many:all")
    assert (pulled.image_id, pulled.manifest) == (store.resolve("base"), index)
    _put_index(connect, plain.host, "transfer/many", "other", [foreign])
    with pytest.raises(FetchError, match="no image for linux") as caught:
        _pulled(connect, [plain.host], other, "transfer/many:other")
    assert "riscv64" in str(caught.value)


def test_an_image_for_another_machine_is_refused(plain, connect, store, other):
    """Its config says so."""
    config = store.config(store.resolve("base"))
    store.tag("foreign", store.put_image(ImageConfig(architecture="riscv64", diff_ids=config.diff_ids)))
    _pushed(connect, plain.host, store, "transfer/foreign:1", "foreign")
    with pytest.raises(FetchError, match="is for linux/riscv64"):
        _pulled(connect, [plain.host], other, "transfer/foreign:1")
    assert other.images() == set()


def test_a_layer_that_is_not_the_configs_is_refused(plain, connect, store, other):
    """A blob with the right digest and another tar than the diffID says: no image, no name."""
    _pushed(connect, plain.host, store, "transfer/wrong:1")
    registry = connect(plain.host, insecure=True, writes=True)
    manifest = Manifest.from_json(registry.manifest("transfer/wrong", "1").data)
    swapped = Manifest(manifest.config, (manifest.layers[-1], *manifest.layers[1:-1], manifest.layers[0]))
    registry.put_manifest("transfer/wrong", "swapped", swapped.to_json(), MediaTypes.MANIFEST)
    with pytest.raises(DataError, match="not its own"):
        _pulled(connect, [plain.host], other, "transfer/wrong:swapped")
    assert (other.images(), other.refs()) == (set(), {})


def test_a_manifest_that_nobody_looked_into_is_not_passed_on(plain, connect, store, other):
    """A registry that names a wrong blob for a layer which is here already does not make a later push name it."""
    _pushed(connect, plain.host, store, "transfer/lie:1")
    _pulled(connect, [plain.host], other, "transfer/lie:1")
    _pushed(connect, plain.host, store, "transfer/lie:more", "more")
    registry = connect(plain.host, insecure=True, writes=True)
    manifest = Manifest.from_json(registry.manifest("transfer/lie", "more").data)
    lie = Manifest(manifest.config, (manifest.layers[1], manifest.layers[1], *manifest.layers[2:]))
    registry.put_manifest("transfer/lie", "lie", lie.to_json(), MediaTypes.MANIFEST)
    pulled = _pulled(connect, [plain.host], other, "transfer/lie:lie")
    digest, _ = _pushed(connect, plain.host, other, "transfer/truth:1", str(pulled.image_id))
    assert Manifest.from_json(registry.manifest("transfer/truth", digest).data).layers == manifest.layers


def test_a_damaged_blob_in_the_store_is_fetched_again(plain, connect, store, other):
    """What lies under the right name is read before it is believed."""
    _pushed(connect, plain.host, store, "transfer/damaged:1")
    blob = blob_of(store, store.config(store.resolve("base")).diff_ids[-1])
    other.blob_path(blob.digest).write_bytes(b"damaged")
    _pulled(connect, [plain.host], other, "transfer/damaged:1")
    assert Digest.of_file(other.blob_path(blob.digest)) == blob.digest


def test_mirrors_have_what_they_have(plain, tokens, connect, store, other):
    """Blobs come from a mirror or, where it lacks them, from the registry; a tag is the registry's word while it can."""
    _pushed(connect, plain.host, store, "transfer/mirrored:1")
    heard = Heard()
    pulled = _pulled(connect, [tokens.host, plain.host], other, "transfer/mirrored:1", heard)
    assert pulled.image_id == store.resolve("base")
    gone = "127.0.0.1:1"
    third = Store(other.root.parent / "third", MODE.value)
    pulled = _pulled(connect, [plain.host, gone], third, "transfer/mirrored:1", heard)
    assert pulled.image_id == store.resolve("base")
    assert any(isinstance(one, Notice) and "cannot be reached" in one.text for one in heard)
    with pytest.raises(UnreachableError):
        _pulled(connect, [gone], third, "transfer/mirrored:1")


@pytest.fixture
def desk(plain, store, tmp_path):
    """A function that runs `repro` as a user whose settings call the registry insecure."""
    settings = tmp_path / "registries.toml"
    settings.write_text(f'[registry."{plain.host}"]\ninsecure = true\n')
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT),
        "REPRO_REGISTRIES": str(settings),
        "REPRO_STORE": str(store.root),
    }

    def run(*arguments, **more):
        command = [sys.executable, "-m", "repro", *arguments]
        return subprocess.run(command, env={**env, **more}, text=True, capture_output=True, check=False, cwd=tmp_path)

    return run


def test_the_commands_say_what_they_did(plain, desk, store, tmp_path):
    """`push` and `pull` print NAME@DIGEST; what is wrong is said, with an exit status that scripts can use."""
    name = f"{plain.host}/transfer/command:1"
    store.tag(name, store.resolve("base"))
    sent = desk("image", "push", name)
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.startswith(f"{name}@sha256:")
    fetched = desk("image", "pull", "--json", name, REPRO_STORE=str(tmp_path / "new"))
    [known] = json.loads(fetched.stdout)
    assert known["image_id"] == str(store.resolve("base"))
    assert sent.stdout == f"{known['name']}@{known['digest']}\n"
    missing = desk("image", "pull", f"{plain.host}/transfer/command:none")
    assert missing.returncode == 4
    assert "none" in missing.stderr
    assert desk("image", "push", f"{plain.host}/transfer/nothing:1").returncode == 5
    assert desk("image", "push", f"{name}@{known['digest']}").returncode == 2
    assert desk("image", "pull", "UPPER").returncode == 2


def test_from_fetches_what_the_store_lacks(plain, desk, store, tmp_path):
    """FROM with a registry's name; with --pull the registry's word is newer than the store's."""
    name = f"{plain.host}/transfer/from:1"
    store.tag(name, store.resolve("base"))
    assert desk("image", "push", name).returncode == 0
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text(f"# check=skip=all\nFROM {name}\nLABEL a=b\n")
    new = {"REPRO_STORE": str(tmp_path / "new")}
    done = desk("image", "build", "-t", "made", "context", **new)
    assert done.returncode == 0, done.stderr
    old = Store(tmp_path / "new", MODE.value).config(Digest.parse(done.stdout.strip())).diff_ids
    assert old == store.config(store.resolve("base")).diff_ids
    store.tag(name, store.resolve("more"))
    assert desk("image", "push", name).returncode == 0
    assert desk("image", "build", "-t", "made", "context", **new).stdout == done.stdout
    assert desk("image", "build", "--pull", "-t", "made", "context", **new).stdout != done.stdout
    (tmp_path / "context/Dockerfile").write_text(f"# check=skip=all\nFROM {plain.host}/transfer/none:1\n")
    gone = desk("image", "build", "context", **new)
    assert gone.returncode == 4
    assert "context/Dockerfile:2:6: " in gone.stderr


def test_a_name_in_from_that_is_none_is_located():
    """The error says where it stands."""
    with pytest.raises(Exception, match="UPPER") as caught:
        parsed("UPPER", Location("Dockerfile", 1, 6))
    assert str(caught.value.where) == "Dockerfile:1:6"


def test_check_takes_from_the_registry_what_is_damaged_here(plain, desk, store, tmp_path):
    """A blob, a layer and a config that lost their bytes are named, and whole again after --repair."""
    name = f"{plain.host}/transfer/mended:1"
    store.tag(name, store.resolve("base"))
    assert desk("image", "push", name).returncode == 0
    new = {"REPRO_STORE": str(tmp_path / "new")}
    assert desk("image", "pull", name, **new).returncode == 0
    made = Store(tmp_path / "new", MODE.value)
    image_id = made.resolve(name)
    layers = made.config(image_id).diff_ids
    assert desk("store", "check", **new).returncode == 0
    made.blob_path(blob_of(made, layers[0]).digest).write_bytes(b"damaged")
    (made.layer_path(layers[1]) / "two").write_bytes(b"changed")
    made.blob_path(blob_of(made, layers[1]).digest).unlink()
    made.blob_path(image_id).write_bytes(b"{}")
    found = desk("store", "check", "--json", **new)
    assert found.returncode == 1
    assert len(json.loads(found.stdout)["findings"]) == 3  # what an unreadable config needs, nobody knows
    mended = desk("store", "check", "--repair", **new)
    assert desk("store", "check", **new).returncode == 0, mended.stdout + mended.stderr
    assert made.has_image(image_id)
    assert all(map(made.verify_layer, layers))
    assert (made.layer_path(layers[1]) / "two").read_bytes() == b"2" * 300_000


WORKFLOW = """\
repro: 1
name: counted
environments:
  tool: {image: "%s"}
steps:
  count:
    environment: tool
    outputs: {out: results/count.txt}
    run: cat /two > {{ outputs.out }}
"""


def test_an_image_is_the_environment_of_a_step(plain, desk, store, tmp_path):
    """Elsewhere, with nothing but workflow and lock, it is the same image, though the name there has moved on."""
    name = f"{plain.host}/transfer/step:1"
    store.tag(name, store.resolve("base"))
    assert desk("image", "push", name).returncode == 0
    project = tmp_path / "project"
    project.mkdir()
    (project / "workflow.yaml").write_text(WORKFLOW % name)
    first = desk("-C", "project", "run", "workflow.yaml")
    assert first.returncode == 0, first.stderr
    assert (project / "results/count.txt").read_bytes() == b"2" * 300_000
    lock = (project / "workflow.lock").read_text()
    assert f"{name}@sha256:" in lock
    assert str(store.resolve("base")) in lock
    store.tag(name, store.resolve("more"))
    assert desk("image", "push", name).returncode == 0
    shutil.rmtree(project / ".repro")
    shutil.rmtree(project / "results")
    empty = {"REPRO_STORE": str(tmp_path / "elsewhere")}
    again = desk("-C", "project", "run", "--locked", "workflow.yaml", **empty)
    assert again.returncode == 0, again.stderr
    assert (project / "workflow.lock").read_text() == lock
    assert store.resolve("base") in Store(tmp_path / "elsewhere", MODE.value).images()
    moved = desk("-C", "project", "lock", "--upgrade", "workflow.yaml")
    assert moved.returncode == 0, moved.stderr
    assert (project / "workflow.lock").read_text() != lock


def test_what_a_dockerfile_is_based_on_is_pinned(plain, desk, store, tmp_path):
    """FROM and COPY --from of an environment's Dockerfile are locked by digest, though their names move on."""
    name = f"{plain.host}/transfer/from:1"
    store.tag(name, store.resolve("base"))
    assert desk("image", "push", name).returncode == 0
    project = tmp_path / "project"
    project.mkdir()
    (project / "workflow.yaml").write_text(WORKFLOW.replace('{image: "%s"}', "{dockerfile: Dockerfile}"))
    (project / "Dockerfile").write_text(f"FROM {name}\nCOPY --from={name} /two /copied\n")
    assert desk("-C", "project", "build").returncode == 0
    lock = json.loads((project / "workflow.lock").read_text())["environments"]["tool"]
    assert [name] == list(lock["froms"])
    assert lock["froms"][name].startswith(f"{name}@sha256:")
    store.tag(name, store.resolve("more"))
    assert desk("image", "push", name).returncode == 0
    again = desk("-C", "project", "build", REPRO_STORE=str(tmp_path / "elsewhere"))
    assert again.returncode == 0, again.stderr
    assert json.loads((project / "workflow.lock").read_text())["environments"]["tool"] == lock
    moved = desk("-C", "project", "lock", "--upgrade", "--diff")
    assert f"tool: FROM {name} sha256:" in moved.stdout
    (project / "Dockerfile").write_text(f"FROM {name}\n")
    stale = desk("-C", "project", "run", "--locked")
    assert stale.returncode == 3
    assert "files: Dockerfile has changed" in stale.stderr
