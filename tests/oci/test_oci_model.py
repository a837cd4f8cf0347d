"""The model: what is read is kept, what is written is one encoding, what is wrong is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.errors import DataError
from repro.oci.model import Descriptor, History, ImageConfig, Index, Manifest, MediaTypes, chain_id

letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(letters, max_size=8)
lists = st.lists(texts, max_size=3).map(tuple)
keys = st.sets(st.text(letters, min_size=1, max_size=8), max_size=3).map(sorted).map(tuple)
digests = st.binary(max_size=4).map(Digest.of)
configs = st.builds(
    ImageConfig,
    architecture=st.sampled_from(["amd64", "arm64"]),
    created=st.none() | st.just("2026-01-01T00:00:00Z"),
    env=lists,
    entrypoint=st.none() | lists,
    cmd=st.none() | lists,
    working_dir=texts,
    user=texts,
    labels=st.dictionaries(texts, texts, max_size=2),
    exposed_ports=keys,
    volumes=keys,
    stop_signal=texts,
    shell=st.none() | lists,
    healthcheck=st.none() | st.just({"Test": ["CMD", "true"], "Interval": 5}),
    on_build=lists,
    diff_ids=st.lists(digests, max_size=3).map(tuple),
    history=st.lists(st.builds(History, created_by=st.none() | texts, empty_layer=st.booleans()), max_size=2).map(
        tuple
    ),
    other=st.just({}) | st.just({"variant": "v8", "os.version": "1"}),
    other_config=st.just({}) | st.just({"ArgsEscaped": True}),
)


@given(config=configs)
def test_a_config_read_back_is_the_same(config: ImageConfig) -> None:
    """Every field, known or not, survives writing and reading, and so does the image ID."""
    again = ImageConfig.from_json(config.to_json())

    assert config == again
    assert config.image_id == again.image_id


def test_a_config_is_written_as_the_specification_says() -> None:
    """The names and shapes are those of image-spec config.md; what is not set is not written."""
    config = ImageConfig("amd64", env=("A=1",), cmd=("sh",), volumes=("/data",), diff_ids=(Digest.of(b""),))

    assert {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=1"], "Cmd": ["sh"], "Volumes": {"/data": {}}},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b""))]},
    } == json.loads(config.to_json())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "must be an object"),
        (b'{"os": "linux", "rootfs": {"type": "layers"}}', "has no architecture"),
        (b'{"architecture": 5, "os": "linux", "rootfs": {"type": "layers"}}', "architecture must be a string"),
        (b'{"architecture": "a", "os": "l", "rootfs": {"type": "other"}}', "rootfs.type"),
        (b'{"architecture": "a", "os": "l", "config": {"Env": "A=1"}, "rootfs": {"type": "layers"}}', "config.Env"),
        (b'{"architecture": "a", "os": "l", "rootfs": {"type": "layers", "diff_ids": ["md5:1"]}}', "sha256"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_wrong_in_a_config_is_named(document: bytes, message: str) -> None:
    """A config from outside that is no config is a DataError that names the field."""
    with pytest.raises(DataError, match=message):
        ImageConfig.from_json(document)


def test_null_counts_as_not_set() -> None:
    """Docker writes null for empty lists and objects."""
    document = (
        b'{"architecture":"a","os":"l","config":{"Cmd":null,"Labels":null,"Env":null},"rootfs":{"type":"layers"}}'
    )

    assert ImageConfig("a", "l") == ImageConfig.from_json(document)


def test_a_manifest_and_an_index_read_back_are_the_same() -> None:
    """Descriptors keep annotations and platform through both documents."""
    descriptor = Descriptor(MediaTypes.LAYER, Digest.of(b"l"), 5, {"a": "b"}, {"os": "linux", "architecture": "arm64"})
    manifest = Manifest(Descriptor(MediaTypes.CONFIG, Digest.of(b"c"), 3), (descriptor,), {"k": "v"})
    index = Index((descriptor,))

    assert manifest == Manifest.from_json(manifest.to_json())
    assert index == Index.from_json(index.to_json())


def test_a_manifest_of_schema_1_is_refused() -> None:
    """The oldest Docker manifests cannot be verified; the message says what to do."""
    with pytest.raises(DataError, match="schemaVersion"):
        Manifest.from_json(b'{"schemaVersion": 1}')


def test_chain_ids_follow_the_recursion_of_the_specification() -> None:
    """ChainID(A|B|C) is the digest of ChainID(A|B), a blank, and C; of one layer it is the diffID."""
    a, b, c = (Digest.of(name) for name in (b"a", b"b", b"c"))
    ab = Digest.of(f"{a} {b}".encode())

    assert a == chain_id([a])
    assert Digest.of(f"{ab} {c}".encode()) == chain_id([a, b, c])
    with pytest.raises(DataError, match="no layers"):
        chain_id([])
