"""All the bytes of a lock in one folder: what is built from it, what is said when bytes are lost or altered."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile

import pytest

from repro.oci.store import Store
from tests.build.conftest import MODE, put_base
from tests.environment.conda_channel import File, Made, make_channel
from tests.environment.desk import locked_images, repro_in, served

WORKFLOW = """\
repro: 1
name: vendored
environments:
  tool:
    base: "base:1"
    conda: {channels: [./channel], packages: [greeter]}
    source:
      url: "%(url)s"
      sha256: %(sha256)s
      run: [mkdir -p /opt/tool, cp words.txt /opt/tool/]
      prefix: /opt/tool
    files: {/opt/notes.txt: notes.txt}
  own: {dockerfile: Dockerfile}
steps:
  a: {environment: tool, outputs: {o: o.txt}, run: "cat /opt/conda/share/hello /opt/tool/words.txt /opt/notes.txt > o.txt"}
  b: {environment: own, outputs: {o: p.txt}, run: "cat /said > p.txt"}
"""


class Desk:
    """A project whose packages lie in a channel of its own, and `repro` on it."""

    def __init__(self, folder):
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir()
        make_channel(
            self.project / "channel",
            Made("greeter", depends=("words",), files=(File("share/hello", b"hello "),)),
            Made("words", files=(File("share/words", b"w"),)),
        )
        tarball = self.project.parent / "tool-1.tar.gz"
        tarball.write_bytes(_tarball())
        values = {"url": tarball.as_uri(), "sha256": hashlib.sha256(tarball.read_bytes()).hexdigest()}
        self.tarball = tarball
        (self.project / "workflow.yaml").write_text(WORKFLOW % values)
        (self.project / "notes.txt").write_text("notes\n")
        (self.project / "Dockerfile").write_text("FROM base:1\nRUN date +%N > /said\n")
        self.new_store("first")

    def new_store(self, name):
        """Go on with a store that has nothing but the base, and no downloads."""
        self.store = Store(self.folder / name, MODE.value)
        self.store.tag("base:1", put_base(self.store))

    def repro(self, *arguments, status=0, **env):
        """Run the command in the project; return its standard output, or all it said where it is to fail."""
        return repro_in(self.project, self.store.root, *arguments, status=status, **env)

    def lose_origins(self):
        """Take away channel and tarball, as archives do in ten years."""
        shutil.rmtree(self.project / "channel")
        (self.project / "channel").mkdir()
        self.tarball.unlink()


def _tarball():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("tool-1/words.txt")
        member.size = 6
        tar.addfile(member, io.BytesIO(b"world\n"))
    return out.getvalue()


@pytest.fixture
def desk(tmp_path):
    """A project that is locked, built and vendored."""
    made = Desk(tmp_path)
    made.repro("lock")
    made.repro("build")
    made.repro("lock", "--vendor", "vendor")
    return made


def test_the_same_images_from_a_vendor_folder(desk):
    """The origins are gone, store and downloads empty: the same IDs, and what a Dockerfile gave is the very same."""
    before = locked_images(desk.project)
    desk.repro("run")
    said = (desk.project / "p.txt").read_text()
    assert (desk.project / "o.txt").read_text() == "hello world\nnotes\n"
    desk.lose_origins()
    desk.new_store("second")
    desk.repro("build", "--vendor", "vendor")
    assert before == locked_images(desk.project)
    shutil.rmtree(desk.project / ".repro")
    (desk.project / "p.txt").unlink()
    desk.repro("run", "--locked", REPRO_VENDOR="vendor")
    assert said == (desk.project / "p.txt").read_text()  # RUN date was not run again


def test_the_same_image_from_a_vendor_server(desk, tmp_path):
    """By address as by path."""
    before = locked_images(desk.project)
    desk.lose_origins()
    desk.new_store("second")
    with served(desk.project / "vendor") as address:
        desk.repro("build", "-e", "tool", "--vendor", address)
    assert before == locked_images(desk.project)


def test_what_is_gone_is_named(desk):
    """--check says where each file is; a build without it says what is gone and how to go on."""
    listed = json.loads(desk.repro("lock", "--check", "--json", REPRO_VENDOR="vendor"))
    assert {"tool"} == {one["entry"] for one in listed}
    assert {("cache", "vendor", "origin")} == {tuple(one["places"]) for one in listed}
    desk.lose_origins()
    desk.new_store("second")
    listed = json.loads(desk.repro("lock", "--check", "--json", REPRO_VENDOR="vendor"))
    assert {("vendor",)} == {tuple(one["places"]) for one in listed}
    lost = desk.repro("lock", "--check", status=1)
    assert {"gone: tool: greeter-1.0-h0_0.conda", "gone: tool: tool-1.tar.gz", "gone: tool: words-1.0-h0_0.conda"} == {
        line.partition(" (")[0] for line in lost.splitlines() if line.startswith("gone:")
    }
    refused = desk.repro("build", "-e", "tool", status=4)
    assert "tool-1.tar.gz" in refused
    assert "REPRO_VENDOR" in refused
    assert "`repro lock --upgrade`" in refused


@pytest.mark.parametrize("which", ["greeter-1.0-h0_0.conda", "tool-1.tar.gz"])
def test_an_altered_file_is_refused_and_named(desk, which):
    """One byte of a package in the vendor folder: nothing is built of it, and the message says which file it is."""
    files = json.loads((desk.project / "vendor/packages.json").read_text())
    (digest,) = [one["sha256"] for one in files if one["file"] == which]
    blob = desk.project / "vendor/blobs/sha256" / digest
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    desk.lose_origins()
    desk.new_store("second")
    refused = desk.repro("build", "-e", "tool", "--vendor", "vendor", status=4)
    assert f"{which}: other bytes than asked for came" in refused
    assert digest in refused


def test_a_damaged_vendor_folder_is_mended(desk):
    """To vendor again replaces what is damaged, and leaves alone what is whole."""
    blobs = sorted((desk.project / "vendor/blobs/sha256").iterdir())
    packages = {one["sha256"] for one in json.loads((desk.project / "vendor/packages.json").read_text())}
    damaged = next(blob for blob in blobs if blob.name in packages)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    assert "; 1 are new" in desk.repro("lock", "--vendor", "vendor")
    assert damaged.name == hashlib.sha256(damaged.read_bytes()).hexdigest()
    assert "; 0 are new" in desk.repro("lock", "--vendor", "vendor")


def test_a_stale_lock_says_what_has_changed(desk):
    """In CI, or with --locked, nothing is resolved: the fields that differ are named."""
    workflow = desk.project / "workflow.yaml"
    text = workflow.read_text()
    workflow.write_text(text.replace("packages: [greeter]", "packages: [words]"))
    refused = desk.repro("run", status=3, CI="true")
    assert "environments.tool has changed since it was locked" in refused
    assert "conda: -greeter +words" in refused
    text = text.replace("environments:", 'environments:\n  more: {base: "base:1"}').replace("cat /said", "true")
    workflow.write_text(text.replace("environment: own", "environment: more"))
    refused = desk.repro("run", status=3, CI="true")
    assert "environments.more is not in workflow.lock" in refused
    desk.repro("run", "--no-locked", CI="true")


def test_diff_writes_nothing(desk):
    """What `lock` would change is printed; the file stays."""
    before = (desk.project / "workflow.lock").read_bytes()
    workflow = desk.project / "workflow.yaml"
    workflow.write_text(workflow.read_text().replace("packages: [greeter]", "packages: [words]"))
    assert "tool: conda greeter 1.0=h0_0 -> (none)\n" == desk.repro("lock", "--diff")
    assert before == (desk.project / "workflow.lock").read_bytes()


def test_upgrade_moves_what_is_named(desk):
    """`lock` keeps versions that still fit; `lock --upgrade NAME` moves that environment on, and no other."""
    make_channel(
        desk.project / "channel",
        Made("greeter", depends=("words",), files=(File("share/hello", b"hello "),)),
        Made("greeter", "2.0", depends=("words",), files=(File("share/hello", b"hi "),)),
        Made("words", files=(File("share/words", b"w"),)),
    )
    assert "workflow.lock is up to date\n" == desk.repro("lock")
    assert "workflow.lock is up to date\n" == desk.repro("lock", "--upgrade", "own")
    assert "tool: conda greeter 1.0=h0_0 -> 2.0=h0_0\n" == desk.repro("lock", "--upgrade", "tool", "--diff")
    assert "tool: conda greeter 1.0=h0_0 -> 2.0=h0_0\n" == desk.repro("lock", "--upgrade", "tool")
    assert "there is no environment, base, input or fetched output 'tol'" in desk.repro(
        "lock", "--upgrade", "tol", status=2
    )
