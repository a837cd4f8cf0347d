"""A laboratory of registries that fail: what was pushed, and what must hold after each failure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.bench import Bench
    from tests.servers import Server

BIG, SMALL = 12 << 20, 60_000  # bytes of layers; the big one is sent in pieces


@dataclass(frozen=True)
class Lab:
    """A registry, the author's bench, and what was pushed: the IDs of the images and their manifests."""

    server: Server
    data: Path
    author: Bench
    ids: dict[str, Digest]
    manifests: dict[str, bytes]

    def layer(self, name: str = "small") -> dict:
        """Return the descriptor of an image's first layer."""
        return json.loads(self.manifests[name])["layers"][0]


def pull_name(middle, image="small"):
    """Return the name of an image of the lab, by way of the man in the middle."""
    return f"{middle.host}/faults/{image}:1"


def pull_refused(bench, name, said, *arguments, status=4):
    """Pull what must be refused: the error says so, nothing wrong is kept, and there is no image."""
    done = bench.run("image", "pull", name, *arguments)
    assert done.status == status, done
    assert re.search(said, done.error), done.error
    assert bench.image(name) is None
    bench.sound()


def pulls(bench, lab, middle, image="small"):
    """Pull from the honest registry."""
    middle.honest()
    bench.works("image", "pull", pull_name(middle, image))
    assert bench.image(pull_name(middle, image)) == lab.ids[image]
    assert bench.parts() == 0


def push_name(middle):
    """Return a name under which nobody has pushed."""
    return f"{middle.host}/faults/pushed-{middle.host.partition(':')[2]}:1"


def pushes(lab, bench, middle):
    """Push to the honest registry; all of it came, as it is here."""
    middle.honest()
    done = bench.works("image", "push", push_name(middle))
    digest = Digest.parse(done.out.strip().partition("@")[2])
    manifest = json.loads(_kept(lab, digest))
    assert manifest["config"]["digest"] == str(bench.image(push_name(middle)))
    for blob in (manifest["config"], *manifest["layers"]):
        assert len(_kept(lab, Digest.parse(blob["digest"]))) == blob["size"]


def _kept(lab, digest):
    """Return the bytes of a blob that the registry has on its disk, which must be right."""
    path = lab.data / "docker/registry/v2/blobs/sha256" / digest.hex[:2] / digest.hex / "data"
    data = path.read_bytes()
    assert Digest.of(data) == digest
    return data


def push_refused(bench, name, said):
    """Push what must be refused: the error says so, and the store is as it was."""
    done = bench.run("image", "push", name)
    assert done.status == 4, done
    assert re.search(said, done.error), done.error
    bench.sound()
