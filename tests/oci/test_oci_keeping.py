"""What stays in a store and what goes; a store's damage is found, named, and mended where that can be."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from stores import commit, contents, image, process, prune, pulled

from repro.digest import Digest
from repro.errors import BusyError, CorruptError, FetchError, StoreError
from repro.files import locked, remove_tree
from repro.oci.checking import check
from repro.oci.keeping import Freed, collect, remove_image
from repro.oci.known import blob_of, manifests_of
from repro.oci.layers import Layers
from repro.oci.model import ImageConfig, LayerInfo
from repro.oci.outgoing import outgoing
from repro.oci.reach import reach
from repro.oci.store import Store
from repro.oci.usage import Part, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repro.oci.checking import Finding

KEY = Digest.of(b"key")


@pytest.fixture
def source(tmp_path: Path, form: str) -> Iterator[Store]:
    """A second store, from which images come."""
    yield Store(tmp_path / "source", form)
    remove_tree(tmp_path / "source")


def age(store: Store, seconds: float) -> None:
    """Let everything in the store be older."""
    for folder, _, files in os.walk(store.root):
        for name in files:
            path = os.path.join(folder, name)
            os.utime(path, (time.time() - seconds, os.lstat(path).st_mtime - seconds), follow_symlinks=False)


# What is collected


def test_nothing_that_an_image_needs_is_collected(store: Store, source: Store) -> None:
    """Built and pulled images, with and without a name, stay to the last byte, with all that is known of them."""
    image(store, {"a": b"1"}, {"b": b"2"}, name="tool")
    image(store, {"c": b"3"})
    pulled(store, image(source, {"d": b"4"}), source, name="other:1")
    before = contents(store)

    assert Freed() == collect(store, cache=True)
    assert before == contents(store)


def test_what_only_a_removed_image_needed_goes(store: Store, source: Store) -> None:
    """Its config, manifest, own layers, their blobs and what was remembered of them go; shared layers stay."""
    kept = image(store, {"base": b"0"}, {"a": b"1"}, name="kept")
    before = contents(store)
    gone = image(store, {"base": b"0"}, {"own": b"12345"})
    also = pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    store.untag("pulled")
    remove_image(store, gone)
    remove_image(store, gone)
    remove_image(store, also)

    freed = collect(store)

    assert (2, 4) == (freed.layers, freed.blobs)
    assert before == {path: what for path, what in contents(store).items() if not path.startswith("memory/")}
    assert kept == store.resolve("kept")
    assert [] == [path for path in contents(store) if path.startswith("memory/") and path.endswith(".json")]
    assert check(store).good


def test_a_name_keeps_its_image(store: Store) -> None:
    """An image whose mark is gone stays as long as a name stands for it."""
    image_id = image(store, {"a": b"1"}, name="tool")
    remove_image(store, image_id)
    collect(store)
    assert store.has_image(image_id)


def test_the_build_cache_is_kept_unless_it_is_asked_for(store: Store) -> None:
    """A layer that only a build's key names stays; with cache it goes with its fact, those of images stay with theirs."""
    cached = commit(store, {"c": b"123"}).diff_id
    image_id = image(store, {"a": b"1"}, name="tool")
    used = store.config(image_id).diff_ids[0]
    store.remember("build", KEY, str(cached))
    store.remember("build", Digest.of(b"2"), str(used))
    for path in ("replays/0", f"caches/{store.form}/apt/0"):
        (store.root / path).parent.mkdir(parents=True)
        (store.root / path).write_bytes(b"said")

    assert Freed() == collect(store)
    assert Part(3, 11, 11) == usage(store).cache

    freed = collect(store, cache=True)
    assert (11, 1, 1, 2) == (freed.bytes - freed.facts * len(f'"{cached}"'), freed.layers, freed.facts, freed.caches)
    assert (None, str(used)) == (store.recall("build", KEY), store.recall("build", Digest.of(b"2")))
    assert not store.has_layer(cached)
    assert store.has_image(image_id)


def test_facts_without_a_subject_go(store: Store) -> None:
    """What is remembered of layers, images, builds and trees that are not there any more is forgotten; the rest is not."""
    here = image(store, {"a": b"1"}, name="tool")
    layer = store.config(here).diff_ids[0]
    gone, tree, old_tree = Digest.of(b"gone"), Digest.of(b"tree"), Digest.of(b"old tree")
    entry = {"text": "COPY", "key": str(KEY), "parts": {"sources": str(tree)}}
    kept = {
        ("build", KEY): str(layer),
        ("build-trace", KEY): [entry],
        ("build-listing", tree): [["a", 1]],
        ("build-tree", KEY): str(tree),
        ("layer-sizes", layer): [1, 2],
        ("archive-base", KEY): str(here),
        ("of-another-release", gone): 1,
    }
    lost = {
        ("build", gone): str(gone),
        ("build-trace", gone): [entry | {"key": str(gone)}],
        ("build-listing", old_tree): [],
        ("build-tree", gone): str(old_tree),
        ("layer-blob", gone): {"digest": str(gone)},
        ("blob-places", gone): ["x"],
        ("manifests", gone): {"x": str(gone)},
        ("archive-base", gone): str(gone),
    }
    for (kind, key), value in {**kept, **lost}.items():
        store.remember(kind, key, value)

    assert len(lost) == collect(store).facts
    assert kept == {which: store.recall(*which) for which in kept}
    assert dict.fromkeys(lost) == {which: store.recall(*which) for which in lost}


def test_what_killed_processes_left_goes(store: Store) -> None:
    """Half-made folders of layers, files about to be renamed, broken-off pulls: none is counted as a layer or blob in use."""
    image(store, {"a": b"1"}, name="tool")
    before = contents(store)
    half = store.layers_root / store.form / Digest.of(b"half").hex
    half.mkdir()
    (half / "a").write_bytes(b"123")
    for path in ("refs/.x.tmp", "images/.y.tmp", "partial/tmp/z.part", ".version.tmp"):
        (store.root / path).parent.mkdir(parents=True, exist_ok=True)
        (store.root / path).write_bytes(b"1")
    stray = store.blobs_folder / "not-a-digest"
    stray.write_bytes(b"1")

    freed = collect(store)

    assert (1, 1, 8) == (freed.layers, freed.blobs, freed.bytes)
    assert before.keys() == {path for path in contents(store) if not path.startswith("partial")}
    assert not (store.root / "refs" / ".x.tmp").exists()


def test_only_what_is_old_goes(store: Store) -> None:
    """What was made since stays, whether nothing refers to it or the build cache does."""
    for text in (b"1", b"2"):
        layer = commit(store, {"a": text}).diff_id
        store.remember("build", Digest.of(text), str(layer))
        commit(store, {"b": text})
        if text == b"1":
            age(store, 3600)
    freed = collect(store, cache=True, older_than=1800)
    assert (2, 1) == (freed.layers, freed.facts)
    assert store.recall("build", Digest.of(b"2")) is not None
    assert 2 == collect(store, cache=True).layers


def test_a_dry_run_tells_what_would_go_and_leaves_it(store: Store) -> None:
    """It says the same as the collection that follows, and needs nobody to leave."""
    image_id = image(store, {"a": b"12345"})
    remove_image(store, image_id)
    before = contents(store)
    other = Store(store.root, store.form)
    other.leases.share()
    would = collect(store, dry_run=True)
    other.leases.unshare()
    assert before == contents(store)
    assert would == collect(store)
    assert 1 == would.layers


def test_downloads_go_only_when_asked_for(store: Store, tmp_path: Path) -> None:
    """Files fetched by hash are counted apart."""
    file = tmp_path / "cache" / "sha256" / "ab" / "abc"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12")
    assert Freed() == collect(store)
    assert Part(1, 2, 2) == usage(store, tmp_path / "cache").downloads
    assert Freed(bytes=2, downloads=1) == collect(store, downloads=tmp_path / "cache")


def test_downloads_go_with_their_trees_and_marks(store: Store, tmp_path: Path) -> None:
    """By age it is their use that counts; while somebody uses them nothing goes."""
    cache = tmp_path / "cache"
    file, tree = cache / "sha256" / "ab" / "abc", cache / "trees" / "def"
    for folder in (file.parent, tree, cache / "used"):
        folder.mkdir(parents=True)
    file.write_bytes(b"12")
    os.utime(file, (0, 0))
    os.link(file, tree / "a")
    for name in ("abc", "def"):
        (cache / "used" / name).touch()
    assert Freed() == collect(store, downloads=cache, older_than=3600)
    with locked(cache / "users", shared=True), pytest.raises(BusyError):
        collect(store, downloads=cache)
    assert Freed(bytes=2, downloads=1) == collect(store, downloads=cache, dry_run=True)
    assert Freed(bytes=2, downloads=1) == collect(store, downloads=cache)
    assert [] == [path for name in ("trees", "used") for path in (cache / name).iterdir()]


def test_an_image_that_cannot_be_read_stops_the_collection(store: Store) -> None:
    """It is not known which layers it needs, so none goes; given up, it goes."""
    image_id = image(store, {"a": b"1"})
    commit(store, {"b": b"2"})
    store.blob_path(image_id).write_bytes(b"damaged")
    before = contents(store)
    with pytest.raises(CorruptError, match="cannot be read"):
        collect(store)
    assert before == contents(store)
    remove_image(store, image_id)
    assert 2 == collect(store).layers


def test_layers_of_every_form_go(store: Store) -> None:
    """A layer that is unpacked in another form, too, goes there with the image."""
    image_id = image(store, {"a": b"1"})
    layer = image_layer(store, image_id.hex)
    other = Store(store.root, "other")
    shutil.copytree(store.layers_root / store.form, other.layers_root / "other", dirs_exist_ok=True)
    assert other.unpacked(layer)
    remove_image(store, image_id)
    assert 2 == collect(store).layers
    assert not other.unpacked(layer)


def test_what_belongs_to_other_ids_is_left_and_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without them can neither read nor remove such layers; all else is done."""
    layer = commit(store, {"a": b"1"}).diff_id
    store.add_blob(io.BytesIO(b"unused"))

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("repro.oci.keeping.remove_layer", refused)
    monkeypatch.setattr(Store, "verify_layer", refused)
    report = check(store)
    assert ((str(layer),), 0, True) == (report.unread, report.layers, report.good)
    freed = collect(store)
    assert ((str(store.layer_path(layer)),), 0, 1) == (freed.left, freed.layers, freed.blobs)


# Who is in the way


def test_who_works_in_the_store_is_waited_for_or_named(store: Store) -> None:
    """Nothing goes while another process shares the lease; the error names it; once it is killed, all is free."""
    remove_image(store, image(store, {"a": b"1"}))
    worker = process(store, "store.leases.share(); ready()")
    assert worker.stdout is not None
    worker.stdout.readline()
    with pytest.raises(BusyError) as caught:
        collect(store)
    assert f"pid {worker.pid} on {os.uname().nodename}" in str(caught.value)
    assert 5 == caught.value.exit_status

    told: list[str] = []

    def waiting(who: str) -> None:
        told.append(who)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()

    assert 1 == collect(store, wait=True, waiting=waiting).layers
    assert str(worker.pid) in told[0]


# What is taken


def test_what_images_take_is_told_apart(store: Store, source: Store) -> None:
    """Layers of one image, layers in common, the build cache, what nothing needs, and blobs add up, each in one part."""
    one = image(store, {"base": b"12345"}, {"a": b"1"}, name="one")
    two = image(store, {"base": b"12345"}, {"b": b"22"})
    store.remember("build", KEY, str(commit(store, {"c": b"333"}).diff_id))
    commit(store, {"d": b"4444"})
    found = usage(store)
    sizes = {use.image_id: (use.names, use.unique, use.shared) for use in found.images}
    assert {one: (("docker.io/library/one:latest",), 1, 5), two: ((), 2, 5)} == sizes
    assert (Part(3, 8, 2), Part(1, 5, 0)) == (found.layers, found.shared)
    assert (Part(1, 3, 3), Part(1, 4, 4)) == (found.cache, found.unused)
    assert 2 == found.blobs.count
    pulled(store, image(source, {"d": b"4444"}), source)
    assert (0, 5) == ((again := usage(store)).unused.count, again.blobs.count)


# What is damaged


def one_finding(store: Store, **how: object) -> Finding:
    """Return what a check found, which must be one thing."""
    (finding,) = check(store, **how).findings
    return finding


def test_a_good_store_is_found_good(store: Store, source: Store) -> None:
    """Everything is read, nothing is changed."""
    pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    image(store, {"a": b"1"}, name="built")
    before = contents(store)
    told: list[tuple[int, int]] = []
    report = check(store, tell=lambda done, total: told.append((done, total)))
    assert ((), 4, 2) == (report.findings, report.blobs, report.layers)
    assert told[-1] == (report.bytes, report.bytes)
    assert before == contents(store)
    assert check(store, mend=True).good
    assert before == contents(store)


def test_other_processes_find_the_same(store: Store, source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is much to read, several processes do; what they find is in the same order."""
    pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    path = store.layer_path(image_layer(store, "pulled")) / "d"
    path.write_bytes(b"5")
    alone = check(store)
    monkeypatch.setattr("repro.oci.checking._WORTH_MANY", 0)
    assert alone == check(store, jobs=2)
    assert 1 == len(alone.findings)


def image_layer(store: Store, name: str) -> Digest:
    """Return the one layer of an image."""
    (layer,) = store.config(store.resolve(name)).diff_ids
    return layer


def damage_layer(store: Store, name: str) -> None:
    """Change a file of the image's layer."""
    (file,) = [path for path in store.layer_path(image_layer(store, name)).iterdir() if path.is_file()]
    file.write_bytes(b"damaged")


def lose_layer(store: Store, name: str) -> None:
    """Remove the folder of the image's layer, and leave what says that it is there."""
    remove_tree(store.layer_path(image_layer(store, name)))


def tear_layer(store: Store, name: str) -> None:
    """Cut off what is known of the image's layer."""
    path = store.layer_path(image_layer(store, name))
    path.with_name(f"{path.name}.json").write_bytes(b"{")


@pytest.mark.parametrize("damage", [damage_layer, lose_layer, tear_layer])
def test_a_damaged_layer_is_named_and_unpacked_again(
    store: Store, source: Store, damage: Callable[[Store, str], None]
) -> None:
    """The finding says which layer, where, and whose; the compressed blob gives it back without any registry."""
    image_id = pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    before = contents(store)
    damage(store, "pulled")
    finding = one_finding(store)
    assert ("layer", str(image_layer(store, "pulled"))) == (finding.kind, finding.subject)
    assert ("docker.io/library/pulled:latest",) == finding.images
    assert image_layer(store, "pulled").hex in finding.where
    assert not check(store).good

    assert "from its blob" in one_finding(store, mend=True).mended
    assert before == contents(store)
    assert store.has_image(image_id)


def test_a_damaged_layer_of_a_build_has_to_be_built_again(store: Store) -> None:
    """There is no other copy: it is taken out, so that the next build makes it, and the report says so."""
    image(store, {"a": b"1"}, name="built")
    other = image(store, {"b": b"1"}, name="other")
    damage_layer(store, "built")
    finding = one_finding(store, mend=True)
    assert ("", True) == (finding.mended, "build or pull" in finding.hint)
    assert not store.has_layer(image_layer(store, "built"))
    assert store.has_image(other)
    assert "it is missing" == one_finding(store).why
    commit(store, {"a": b"1"})
    assert check(store).good


def test_an_image_is_taken_again_from_its_registry(store: Store, source: Store) -> None:
    """Damaged blob and layer both: the callback is asked for the image, and what it brings is verified."""
    image_id = pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    before = contents(store)
    layer = image_layer(store, "pulled")
    packed = blob_of(store, layer)
    assert packed is not None
    damage_layer(store, "pulled")
    store.blob_path(packed.digest).write_bytes(b"damaged")
    store.blob_path(image_id).write_bytes(b"damaged")
    store.blob_path(manifests_of(store, image_id)["registry.example/tool"]).write_bytes(b"")
    asked: list[Digest] = []

    def fetch(which: Digest) -> None:
        asked.append(which)
        pulled(store, which, source)

    report = check(store, mend=True, repair=fetch)
    assert [] == [finding for finding in report.findings if not finding.mended]
    assert {"docker.io/library/pulled:latest"} == {name for finding in report.findings for name in finding.images}
    assert {image_id} == set(asked)
    assert before == contents(store)


def test_a_registry_that_does_not_answer_is_part_of_the_report(store: Store, source: Store) -> None:
    """What could not be had again says why; the rest of the store is mended all the same."""
    pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    packed = blob_of(store, image_layer(store, "pulled"))
    assert packed is not None
    damage_layer(store, "pulled")
    store.blob_path(packed.digest).unlink()
    (store.root / "refs" / "x").write_bytes(b"?")

    def fetch(which: Digest) -> None:
        raise FetchError(f"{which} cannot be had", why="no route")

    by_kind = {finding.kind: finding for finding in check(store, mend=True, repair=fetch).findings}
    assert "no route" in by_kind["layer"].why
    assert ("", "removed") == (by_kind["layer"].mended, by_kind["name"].mended)


def test_a_damaged_layer_without_its_blob_is_taken_again(store: Store, source: Store) -> None:
    """The pull finds that the layer is missing, though its folder is there until another is in its place."""
    image_id = pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    before = contents(store)
    packed = blob_of(store, image_layer(store, "pulled"))
    assert packed is not None
    store.blob_path(packed.digest).unlink()
    damage_layer(store, "pulled")
    finding = one_finding(store, mend=True, repair=lambda which: pulled(store, which, source))
    assert "from the registry" in finding.mended
    assert before == contents(store)
    assert store.has_image(image_id)


def test_a_good_folder_is_not_given_up_with_its_tar(store: Store, tmp_path: Path) -> None:
    """Of another writer's layer the tar is the proof; where it is lost for good, the files are still as they were."""
    with tarfile.open(tmp_path / "tar", "w", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo("a")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"1"))
    layer = store.add_layer(tmp_path / "tar").diff_id
    store.put_image(ImageConfig("amd64", diff_ids=(layer,)))
    store.blob_path(layer).write_bytes(b"damaged")
    assert ["blob", "layer"] == sorted(finding.kind for finding in check(store, mend=True).findings)
    assert not store.has_blob(layer)
    assert ("layer", "") == ((finding := one_finding(store, mend=True)).kind, finding.mended)
    assert b"1" == (store.layer_path(layer) / "a").read_bytes()
    store.add_blob(io.BytesIO((tmp_path / "tar").read_bytes()))
    assert check(store).good


def test_a_damaged_blob_of_an_unpacked_layer_is_done_without(store: Store, source: Store) -> None:
    """The layer is intact, so nothing is asked of a registry; the image stays as it is."""
    image_id = pulled(store, image(source, {"d": b"4"}), source, name="pulled")
    packed = blob_of(store, image_layer(store, "pulled"))
    assert packed is not None
    store.blob_path(packed.digest).write_bytes(b"damaged")
    finding = one_finding(store)
    assert ("blob", ("docker.io/library/pulled:latest",)) == (finding.kind, finding.images)
    assert "intact" in one_finding(store, mend=True).mended
    assert check(store).good
    assert store.has_image(image_id)


@pytest.mark.parametrize("content", [b"", b"sha256:12\n", b"\xff\xfe"])
def test_a_damaged_name_blocks_no_other(store: Store, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The others are listed, with a warning; check names it; repair removes it and nothing else."""
    image_id = image(store, {"a": b"1"}, name="good")
    store.tag("bad", image_id)
    (path,) = [path for path in store.ref_files() if "bad" in path.name]
    path.write_bytes(content)
    (store.root / "images" / "not-an-id").write_bytes(b"")
    (store.root / "refs" / "Not%20A%20Name").write_text(f"{image_id}\n")

    assert ({"docker.io/library/good:latest": image_id}, {image_id}) == (store.refs(), store.images())
    assert 3 == sum("store check" in record.getMessage() for record in caplog.records)
    with pytest.raises(CorruptError, match="bad:latest"):
        store.resolve("bad")
    found = {(finding.kind, finding.subject) for finding in check(store).findings}
    assert {("name", "docker.io/library/bad:latest"), ("name", "Not A Name"), ("image", "not-an-id")} == found
    assert check(store, mend=True).good
    assert (1, {image_id}) == (len(store.ref_files()), store.images())


def test_a_name_or_mark_without_an_image_is_found(store: Store) -> None:
    """A mark whose config is gone stays: its layers may serve the build that makes it again. A name goes."""
    image_id = image(store, {"a": b"1"}, name="tool")
    config = store.read_blob(image_id)
    store.blob_path(image_id).unlink()
    assert {"image", "name"} == {finding.kind for finding in check(store).findings}
    mended = {finding.kind: finding.mended for finding in check(store, mend=True).findings}
    assert {"image": "", "name": "removed"} == mended
    store.put_image_bytes(config)
    assert check(store).good


def test_a_damaged_config_is_no_leftover(store: Store) -> None:
    """Its image is damaged until it is built or pulled again, or given up; its layers are there for that."""
    image_id = image(store, {"a": b"1"}, name="tool")
    config = store.read_blob(image_id)
    store.blob_path(image_id).write_bytes(b"damaged")
    finding = one_finding(store, mend=True)
    assert ("blob", ("docker.io/library/tool:latest",), "") == (finding.kind, finding.images, finding.mended)
    assert "repro image rm" in finding.hint
    assert image_id == store.resolve("tool")
    store.put_image_bytes(config)
    assert check(store).good


def test_facts_that_cannot_be_read_are_removed(store: Store) -> None:
    """They count as forgotten anyway."""
    store.remember("build", KEY, "x")
    store.memory_text("build", KEY, "x")[0].write_bytes(b"{")
    assert "fact" == one_finding(store).kind
    assert check(store, mend=True).good
    assert check(store).findings == ()


# Layers kept elsewhere


@pytest.fixture
def cluster(tmp_path: Path, form: str) -> Iterator[Callable[[str], Store]]:
    """A maker of stores on several machines, which have blobs and names in common and unpack layers each its own."""
    yield lambda machine: Store(tmp_path / "common", form, tmp_path / machine)
    remove_tree(tmp_path)
    tmp_path.mkdir()


def test_another_machine_unpacks_what_it_needs(cluster: Callable[[str], Store]) -> None:
    """Built on one, an image is there on the other at once, its sizes known; its layers are unpacked when they are used."""
    one, two = cluster("one"), cluster("two")
    image_id = image(one, {"a": b"1"}, {"b": b"22"}, name="tool")
    layers = one.config(image_id).diff_ids
    assert not (one.root / "layers" / one.form).exists()

    assert two.has_image(two.resolve("tool"))
    assert [1, 2] == [two.layer_info(layer).content for layer in layers]
    assert (one.image_files(image_id), False) != (two.image_files(image_id), any(map(two.unpacked, layers)))
    assert all(path.exists() for path in two.image_files(image_id))
    assert [b"1", b"22"] == [next(path.iterdir()).read_bytes() for path in two.image_layers(image_id)]
    assert all(map(two.verify_layer, layers))
    assert check(one).good
    assert check(two).good
    assert outgoing(one, image_id) == outgoing(two, image_id)


def test_a_layer_that_many_need_is_unpacked_once(
    cluster: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes while it is unpacked waits for that."""
    image_id = image(cluster("one"), {"a": b"1"})
    unpacked = []

    def slow(self: Layers, blob: Path, diff_id: Digest) -> LayerInfo:
        unpacked.append(diff_id)
        time.sleep(0.05)
        return add(self, blob, diff_id)

    add = Layers.add
    monkeypatch.setattr(Layers, "add", slow)
    stores = [cluster("two") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert 1 == len(set(pool.map(lambda store: store.image_layers(image_id), stores)))
    assert 1 == len(unpacked)


def test_a_pulled_layer_is_not_kept_twice(cluster: Callable[[str], Store], source: Store) -> None:
    """The compressed blob serves other machines; no plain tar lies beside it."""
    one, two = cluster("one"), cluster("two")
    image_id = pulled(one, image(source, {"a": b"1"}), source)
    assert 3 == len(os.listdir(one.blobs_folder))
    (path,) = two.image_layers(image_id)
    assert b"1" == (path / "a").read_bytes()
    packed = blob_of(one, image_layer(one, image_id.hex))
    assert packed is not None
    one.blob_path(packed.digest).write_bytes(b"damaged")
    assert check(one, mend=True).good
    assert b"1" == (cluster("three").image_layers(image_id)[0] / "a").read_bytes()


def test_a_blob_that_does_not_hold_the_layer_is_refused(cluster: Callable[[str], Store]) -> None:
    """Damaged while no folder was there to prove it: an error that says so, and no layer."""
    one, two = cluster("one"), cluster("two")
    image_id = image(one, {"a": b"1"})
    (layer,) = one.config(image_id).diff_ids
    data = bytearray(one.blob_path(layer).read_bytes())
    data[600] ^= 1
    one.blob_path(layer).write_bytes(data)
    with pytest.raises(CorruptError, match="cannot be unpacked"):
        two.image_layers(image_id)
    assert not two.unpacked(layer)
    assert "from the unpacked layer" in one_finding(one, mend=True).mended
    assert b"1" == (two.image_layers(image_id)[0] / "a").read_bytes()


def test_what_was_never_unpacked_is_no_layer(store: Store, source: Store) -> None:
    """A blob with the digest of a layer may be anything, or hostile: it has to be unpacked once before it counts."""
    tar = io.BytesIO()
    (layer,) = source.config(image(source, {"a": b"1"})).diff_ids
    source.write_layer(layer, tar)
    assert layer == store.add_blob(io.BytesIO(tar.getvalue()))
    assert not store.has_layer(layer)
    with pytest.raises(StoreError, match="not in the store"):
        store.put_image(ImageConfig("amd64", diff_ids=(layer,)))
    store.add_layer(store.blob_path(layer), diff_id=layer)
    store.drop_layer(layer)
    assert b"1" == (store.layer_path(layer) / "a").read_bytes()


def test_each_machine_collects_its_own_layers(cluster: Callable[[str], Store]) -> None:
    """The blob goes with the first; the other's folder with its own collection."""
    one, two = cluster("one"), cluster("two")
    image_id = image(one, {"a": b"1"})
    two.image_layers(image_id)
    remove_image(one, image_id)
    assert (1, 2) == ((freed := collect(one)).layers, freed.blobs)
    assert (1, 0) == ((freed := collect(two)).layers, freed.blobs)


def test_another_form_is_unpacked_from_the_blob(store: Store, source: Store) -> None:
    """An image that was pulled as one kind of root serves the other without a registry; one that was built does not."""
    image_id = pulled(store, image(source, {"a": b"1"}), source)
    built = image(store, {"b": b"2"})
    other = Store(store.root, "sub-100000-65536" if store.form != "real" else "one")
    if store.form == "real":
        assert b"1" == (other.image_layers(image_id)[0] / "a").read_bytes()
        assert other.verify_layer(image_layer(store, image_id.hex))
    assert (True, False) == (other.has_image(image_id), other.has_image(built))
    with pytest.raises(StoreError, match="for mode"):
        other.image_layers(built)


def test_all_of_it_works_on_a_network_file_system(
    cluster: Callable[[str], Store], source: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as one machine can tell: blobs and names there, leases by files, layers here."""
    monkeypatch.setattr("repro.oci.leases.on_network", lambda _: True)
    store = cluster("one")
    store.leases.share()
    assert not store.leases.local
    image(store, {"a": b"1"}, name="built")
    remove_image(store, pulled(store, image(source, {"b": b"2"}), source))
    with pytest.raises(BusyError, match="others work"):
        collect(cluster("two"))
    store.leases.unshare()
    assert (1, 3) == ((freed := collect(store)).layers, freed.blobs)
    store.sweep()
    assert [[], []] == [os.listdir(store.root / "leases"), os.listdir(store.root / "tmp")]
    assert check(store).good
    assert b"1" == (cluster("two").layer_path(image_layer(store, "built")) / "a").read_bytes()


# Power cuts


def reboot(store: Store, layer: Digest) -> Path:
    """Let the layer have been made in another boot of the machine, not yet surely written; return its folder."""
    path = store.layer_path(layer)
    path.with_name(f"{path.name}.new").write_text("11111111-1111-1111-1111-111111111111")
    return path


def test_a_layer_that_a_power_cut_emptied_is_dropped(store: Store) -> None:
    """Its folder was renamed and its facts written, its bytes were not: the next start sees that."""
    torn, whole = commit(store, {"a": b"1"}).diff_id, commit(store, {"b": b"1"}).diff_id
    (reboot(store, torn) / "a").write_bytes(b"")
    reboot(store, whole)
    Store(store.root, store.form).sweep()
    assert (False, True) == (store.has_layer(torn), store.has_layer(whole))
    assert [] == [name for name in os.listdir(store.layers_root / store.form) if name.endswith(".new")]


def test_a_layer_of_this_boot_is_not_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mark goes once the kernel has surely written it; until then a start costs a look at a file."""
    layer = commit(store, {"a": b"1"}).diff_id
    mark = store.layer_path(layer).with_name(f"{layer.hex}.new")
    monkeypatch.setattr("repro.oci.layers.measure", None)
    store.sweep()
    assert mark.exists()
    os.utime(mark, (0, 0))
    store.sweep()
    assert not mark.exists()
    assert store.has_layer(layer)


# Many at once, and kills

_WORK = """
    seed = int(sys.argv[1])
    random.seed(seed)
    for turn in range(6):
        store.leases.share()
        store.sweep()
        made = image(store, {"base": b"x" * 1000}, {"n": b"%d" % random.randrange(4)}, name=f"t{random.randrange(3)}")
        assert store.has_image(made), made
        for path in store.image_layers(made):
            assert path.is_dir()
        if random.random() < 0.3:
            assert check(store).good, check(store)
        assert store.has_image(made)
        store.leases.unshare()
        if random.random() < 0.5:
            collect(store, cache=random.random() < 0.5, wait=True)
        if random.random() < 0.2:
            prune(store)
    print("done", flush=True)
"""


def test_many_processes_build_name_collect_and_check_at_once(store: Store) -> None:
    """Eight of them: nothing that one holds goes, nobody fails, and the store is good in the end."""
    workers = [process(store, _WORK, str(seed)) for seed in range(8)]
    ends = [worker.communicate() for worker in workers]
    assert [("done\n", "")] * 8 == [(out, err) for out, err in ends]
    assert check(store).good
    assert 3 >= len(store.refs())
    assert all(map(store.has_image, store.refs().values()))


_TOIL = """
    random.seed(int(sys.argv[1]))
    print("ready", flush=True)
    while True:
        store.leases.share()
        store.sweep()
        made = image(store, {"base": b"x" * 5000}, {f"n{i}": b"%d" % random.randrange(9) for i in range(20)}, name="t")
        store.remember("build", made, str(store.config(made).diff_ids[1]))
        store.leases.unshare()
        prune(store)
        collect(store, cache=random.random() < 0.5, wait=True)
"""


def test_a_process_killed_anywhere_leaves_a_good_store(store: Store) -> None:
    """Ten kills at random moments of commit, put, tag, prune and collect: each time all is good, and nobody is in the way."""
    lucky = random.Random(4)
    other = image(store, {"kept": b"1"}, name="kept")
    for turn in range(10):
        victim = process(store, _TOIL, str(turn))
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(lucky.uniform(0.0, 0.06))
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        assert () == check(store).findings
        assert store.has_image(other)
    store.sweep()
    assert [".lock"] == os.listdir(store.root / "tmp")
    store.untag("t") if "docker.io/library/t:latest" in store.refs() else None
    prune(store)
    collect(store, cache=True)
    known = reach(store)
    assert ({other}, {other.hex}) == (set(known.images), set(os.listdir(store.blobs_folder)))
    assert {layer.hex for layer in known.layers} == {
        name for name in os.listdir(store.layers_root / store.form) if len(name) == 64
    }
