"""REPRO_LAYERS set later: layers that were made in the store's own folder before are found, packed, and unpacked again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from stores import commit, contents, image

from repro.errors import CorruptError, StoreError
from repro.files import remove_tree
from repro.oci.checking import check
from repro.oci.keeping import collect
from repro.oci.reach import BUILD
from repro.oci.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repro.digest import Digest


@pytest.fixture
def image_id(store: Store) -> Digest:
    """An image of two layers, made before the layers were kept apart."""
    return image(store, {"a": b"1" * 500}, {"b": b"2"}, name="made")


@pytest.fixture
def apart(store: Store, image_id: Digest, tmp_path: Path) -> Iterator[Store]:
    """The same store with its layers elsewhere."""
    yield Store(store.root, store.form, tmp_path / "apart")
    remove_tree(tmp_path / "apart")


def test_an_image_made_before_is_whole(store: Store, apart: Store, image_id: Digest) -> None:
    """It is there, with its sizes, and good; to look changes nothing."""
    before = contents(store)
    assert apart.has_image(image_id)
    assert all(path.exists() for path in apart.image_files(image_id))
    for diff_id in store.config(image_id).diff_ids:
        assert store.layer_info(diff_id) == apart.layer_info(diff_id)
        assert not apart.unpacked(diff_id)
    assert check(apart).good
    assert before == contents(store)


def test_its_layers_are_unpacked_where_layers_are_now(
    store: Store, apart: Store, image_id: Digest, tmp_path: Path
) -> None:
    """The first who needs them packs them; another machine, which has no such folder, gets them from those blobs."""
    folders = apart.image_layers(image_id)
    assert [["a"], ["b"]] == [os.listdir(folder) for folder in folders]
    assert all(folder.is_relative_to(tmp_path / "apart") for folder in folders)
    assert check(apart).good
    for diff_id in store.config(image_id).diff_ids:
        assert store.unpacked(diff_id)
        store.drop_layer(diff_id)
    other = Store(store.root, store.form, tmp_path / "other")
    assert [["a"], ["b"]] == [os.listdir(folder) for folder in other.image_layers(image_id)]
    assert ["a"] == os.listdir(store.image_layers(image_id)[0])
    remove_tree(tmp_path / "other")


def test_what_refers_to_them_is_not_collected(store: Store, apart: Store, image_id: Digest) -> None:
    """Neither they nor what the build cache knows of others; not even where layers are kept apart."""
    cached = commit(store, {"c": b"3"}).diff_id
    store.remember(BUILD, cached, str(cached))
    before = contents(store)
    freed = collect(apart)
    assert (0, 0, 0) == (freed.layers, freed.blobs, freed.facts)
    assert before == contents(store)
    assert ["c"] == os.listdir(apart.layer_path(cached))


def test_a_damaged_one_is_told_and_not_packed(store: Store, apart: Store, image_id: Digest) -> None:
    """Its folder is named, and no blob comes of it."""
    diff_id = store.config(image_id).diff_ids[0]
    (store.layer_path(diff_id) / "a").write_bytes(b"other")
    with pytest.raises(CorruptError) as caught:
        apart.layer_path(diff_id)
    assert str(store.root / "layers" / store.form / diff_id.hex) == caught.value.where
    assert "without REPRO_LAYERS" in (caught.value.hint or "")
    assert not apart.has_blob(diff_id)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps layers in two forms")
def test_those_of_another_form_are_not_taken(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """Who works in another mode is told so, as without REPRO_LAYERS."""
    other = Store(store.root, "one" if store.form == "real" else "real", tmp_path / "apart")
    assert not other.has_image(image_id)
    with pytest.raises(StoreError, match="not in the store for mode"):
        other.image_layers(image_id)
