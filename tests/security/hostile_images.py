"""Hostile images as data: sound layers, and documents that lie, confuse or break a reader."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro.digest import Digest
from repro.oci.model import MediaTypes
from tests.security.hostile_layers import GOOD
from tests.security.images import Image, image
from tests.security.tars import file, packed, tar

OTHER = tar(file(b"other"))
_LAYER = Digest.of(GOOD).hex


@dataclass(frozen=True)
class Case:
    """A hostile image: ``make`` gives its documents, ``spoil`` then changes the written layout."""

    name: str
    make: Callable[[], Image]
    says: str
    spoil: Callable[[Path], object] = lambda layout: None


def _config(change: Callable[[dict], object]) -> Callable[[], Image]:
    """Return a maker of a good image but for what ``change`` does to its config."""

    def make() -> Image:
        made = image(GOOD)
        change(made.config)
        return made.seal()

    return make


def _setting(name: str, value: object) -> Callable[[], Image]:
    return _config(lambda config: config["config"].update({name: value}))


def _text(old: str, new: str) -> Callable[[], Image]:
    """Return a maker of a good image but for one place in the text of its config."""

    def make() -> Image:
        made = image(GOOD)
        text = json.dumps(made.config)
        assert old in text
        return made.seal_with(text.replace(old, new, 1).encode("utf-8", "surrogatepass"))

    return make


def _manifest(change: Callable[[dict], object]) -> Callable[[], Image]:
    def make() -> Image:
        made = image(GOOD)
        change(made.manifest)
        made.index["manifests"] = [made.add(json.dumps(made.manifest).encode(), MediaTypes.MANIFEST)]
        return made

    return make


def _index(change: Callable[[Image], object]) -> Callable[[], Image]:
    def make() -> Image:
        made = image(GOOD)
        change(made)
        return made

    return make


def _nested(made: Image, depth: int) -> None:
    for _ in range(depth):
        made.index["manifests"] = [made.add(json.dumps(made.index).encode(), MediaTypes.INDEX)]


def _two(made: Image) -> None:
    other = image(OTHER)
    made.blobs |= other.blobs
    made.index["manifests"] += other.index["manifests"]


def _layer_file(layout: Path) -> Path:
    return layout / "blobs" / "sha256" / _LAYER


def _as_link(layout: Path) -> None:
    file = _layer_file(layout)
    file.unlink()
    file.symlink_to("/dev/zero")


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _good() -> Image:
    return image(GOOD)


def _unlike() -> Image:
    """Return an image whose config names another layer than its blob holds."""
    made = image(GOOD)
    made.config["rootfs"]["diff_ids"] = [str(Digest.of(OTHER))]
    return made.seal()


def _swapped() -> Image:
    made = image(GOOD, OTHER)
    made.config["rootfs"]["diff_ids"].reverse()
    return made.seal()


BLOBS = (
    Case("a layer of another diffID", _unlike, "is not sha256|not its own"),
    Case("two layers in each other's place", _swapped, "is not sha256|not its own"),
    Case("a blob that is missing", _good, "has no blob", lambda layout: _layer_file(layout).unlink()),
    Case("a blob that is shorter", _good, "its descriptor says", lambda layout: os.truncate(_layer_file(layout), 600)),
    Case(
        "a blob that is longer", _good, "its descriptor says", lambda layout: os.truncate(_layer_file(layout), 90_000)
    ),
    Case(
        "a blob of other bytes",
        _good,
        "is damaged|is not sha256|not its own",
        lambda layout: _layer_file(layout).write_bytes(GOOD.replace(b"xxx", b"yyy")),
    ),
    Case("a blob that is a link to a device", _good, "has no blob", _as_link),
    Case("a blob that is a pipe", _good, "has no blob", lambda layout: _as_pipe(_layer_file(layout))),
    Case("an index that is a pipe", _good, "index.json", lambda layout: _as_pipe(layout / "index.json")),
    Case(
        "an index of 5 MiB",
        _good,
        "4 MiB",
        lambda layout: (layout / "index.json").write_bytes(b" " * (5 << 20)),
    ),
    Case(
        "a compressed blob of other bytes", lambda: _torn(image(packed(GOOD))), "damaged|broken|not its own|cut short"
    ),
)


def _torn(made: Image) -> Image:
    """Return the image with one bit of its compressed layer another."""
    name = made.manifest["layers"][0]["digest"].removeprefix("sha256:")
    data = bytearray(made.blobs[name])
    data[-10] ^= 1
    made.blobs[name] = bytes(data)
    return made


MANIFESTS = (
    Case("more layers in the config", _config(lambda c: c["rootfs"]["diff_ids"].append(f"sha256:{'0' * 64}")), "agree"),
    Case("fewer layers in the config", _config(lambda c: c["rootfs"].update(diff_ids=[])), "does not agree"),
    Case("a layer of an unknown type", _manifest(lambda m: m["layers"][0].update(mediaType="x/\x1b[2J")), "cannot be"),
    Case("a manifest of schema 1", _manifest(lambda m: m.update(schemaVersion=1)), "schemaVersion"),
    Case("a manifest without a config", _manifest(lambda m: m.pop("config")), "mediaType"),
    Case("a manifest whose layers are text", _manifest(lambda m: m.update(layers="abc")), "list of objects"),
    Case("a manifest whose layers are numbers", _manifest(lambda m: m.update(layers=[1])), "must be an object"),
    Case("a layer of a negative size", _manifest(lambda m: m["layers"][0].update(size=-1)), "whole number"),
    Case("a layer of half a byte", _manifest(lambda m: m["layers"][0].update(size=0.5)), "whole number"),
    Case("a layer whose size is text", _manifest(lambda m: m["layers"][0].update(size="1")), "whole number"),
    Case("a digest that is a path", _manifest(lambda m: m["layers"][0].update(digest="sha256:../../../x")), "sha256"),
    Case("a digest in upper case", _manifest(lambda m: m["layers"][0].update(digest=f"sha256:{'A' * 64}")), "sha256"),
    Case("a digest of a weak kind", _manifest(lambda m: m["layers"][0].update(digest=f"md5:{'0' * 32}")), "sha256"),
    Case("a config of 5 MiB", _setting("Labels", {"a": "x" * (5 << 20)}), "4 MiB"),
    Case(
        "an entry of another type", _index(lambda i: i.index["manifests"][0].update(mediaType="text/html")), "no image"
    ),
    Case("an entry of a wrong size", _index(lambda i: i.index["manifests"][0].update(size=1)), "descriptor says"),
    Case("an index of nothing", _index(lambda i: i.index.update(manifests=[])), "0 images"),
    Case("an index of two images", _index(_two), "2 images"),
    Case("indexes in indexes without end", _index(lambda i: _nested(i, 50)), "indexes in indexes"),
    Case("an index that is a list", _good, "must be an object", lambda at: (at / "index.json").write_text("[]")),
    Case("an index cut short", _good, "is not JSON", lambda at: (at / "index.json").write_text('{"manifests": [')),
)

_OBJECTS = '{"a":' * 300 + "1" + "}" * 300
_SURROGATE = '"\\ud800"'

CONFIGS = (
    Case("a config of text", lambda: image(GOOD).seal_with(b'"config"'), "must be an object"),
    Case("a config in UTF-16", lambda: image(GOOD).seal_with(json.dumps({"os": "linux"}).encode("utf-16")), "not JSON"),
    Case("a key that is there twice", _text('"os": "linux"', '"os": "linux", "os": "plan9"'), "'os' twice"),
    Case("layers that are there twice", _text('"rootfs": {', '"rootfs": {"diff_ids": [], '), "'diff_ids' twice"),
    Case("a number that is none", _text('"os"', '"x": NaN, "os"'), "NaN is no number"),
    Case("a number without end", _text('"os"', '"x": -Infinity, "os"'), "is no number"),
    Case("a number of 5000 digits", _text('"os"', f'"x": {"9" * 5000}, "os"'), "is not JSON"),
    Case("half a character", _text('"true"', _SURROGATE), "not JSON"),
    Case("half a character, raw", _text('"true"', '"\ud800"'), "not JSON"),
    Case("half a character in a label nobody reads", _text('"os"', f'"x": {_SURROGATE}, "os"'), "not JSON"),
    Case("2000 lists in each other", _text('"os"', f'"x": {"[" * 2000}{"]" * 2000}, "os"'), "not JSON"),
    Case("a million lists in each other", _text('"os"', f'"x": {"[" * 10**6}{"]" * 10**6}, "os"'), "not JSON"),
    Case("objects in each other", _text('"os"', f'"x": {_OBJECTS}, "os"'), "within each other"),
    Case("no architecture", _config(lambda config: config.pop("architecture")), "architecture"),
    Case("a system that is a number", _config(lambda config: config.update(os=1)), "must be a string"),
    Case("layers of another kind", _config(lambda config: config["rootfs"].update(type="disk")), "layers"),
    Case("layers that are text", _config(lambda config: config["rootfs"].update(diff_ids="sha256:0")), "list of"),
    Case("layers that are numbers", _config(lambda config: config["rootfs"].update(diff_ids=[1])), "list of strings"),
    Case("a layer that is a path", _config(lambda c: c["rootfs"].update(diff_ids=["sha256:../../x"])), "not a sha256"),
    Case("a history of text", _config(lambda config: config.update(history=["x"])), "must be an object"),
    Case("settings that are a list", _config(lambda config: config.update(config=[])), "must be an object|an object"),
    Case("an environment of numbers", _setting("Env", [1, 2]), "list of strings"),
    Case("an environment that is an object", _setting("Env", {"PATH": "/"}), "list of strings"),
    Case("a command that is text", _setting("Cmd", "rm -rf /"), "list of strings"),
    Case("a user that is a number", _setting("User", 0), "must be a string"),
    Case("labels that are lists", _setting("Labels", {"a": ["b"]}), "object of strings"),
    Case("volumes that are text", _setting("Volumes", "/"), "an object"),
    Case("a zero byte in the working folder", _setting("WorkingDir", "/a\0b"), "zero byte"),
    Case("a zero byte in the environment", _setting("Env", ["A=b\0C=d"]), "zero byte"),
    Case("a zero byte in the user", _setting("User", "a\0b"), "zero byte"),
    Case("a zero byte in the command", _setting("Cmd", ["true\0"]), "zero byte"),
)

CASES = (*BLOBS, *MANIFESTS, *CONFIGS)
BY_NAME = {one.name: one for one in CASES}
assert len(BY_NAME) == len(CASES)
