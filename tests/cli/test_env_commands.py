"""`repro env ls | render | export | diff` as users type them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass, replace

import pytest

from repro.api.host import Host
from repro.api.project import open_project
from repro.cli.main import main
from repro.digest import Digest
from repro.environment.lock import origin, read_lock, write_lock
from repro.environment.model import ArchiveLock, CondaPackage, EnvironmentLock, Installed, Lock, Package, Release, Wheel
from repro.events import ImageUsed, RunStarted
from repro.files import remove_tree
from repro.oci import known
from repro.oci.model import ImageConfig
from repro.oci.outgoing import outgoing
from repro.oci.store import Store
from repro.provenance.journal import JOURNAL, Journal
from tests.build.conftest import MODE, put_base

DIGEST = Digest.of(b"x")
BWA = Package("bwa", "0.7.17-7", "amd64", DIGEST, 1, "pool/main/b/bwa/bwa_0.7.17-7_amd64.deb", "debian/bookworm")
LIBC = replace(BWA, name="libc6", version="2.36-9", path="pool/main/g/glibc/libc6_2.36-9_amd64.deb")
NUMPY = Wheel("numpy", "2.1.0", "numpy-2.1.0-cp311-cp311-x.whl", DIGEST, 1)
SAMTOOLS = CondaPackage("samtools", "1.21", "h5_0", "bioconda", "linux-64", "samtools-1.21-h5_0.conda", DIGEST, 1)
ARCHIVE = ArchiveLock("archive:debian/bookworm", 0, (Release("debian/bookworm", "s", "c", "d", DIGEST),), (LIBC,))
WORKFLOW = """\
repro: 1
name: w
environments:
  align: {base: {archive: debian, suite: bookworm}, apt: [bwa], env: {LC_ALL: C.UTF-8}, run: [mkdir /opt/refs]}
  plot:
    base: own:1
    template: python
    files: {/opt/table: data/table}
    run: ["echo one >/one", "cd /opt\\necho two >two"]
  own: {dockerfile: Dockerfile}
  ready: {image: "own:1"}
steps:
  a: {environment: align, outputs: {o: o.txt}, run: "true > o.txt"}
"""


@dataclass
class Done:
    """What a command did."""

    status: int
    out: str
    error: str


class Desk:
    """A project and its store, and `repro env` there."""

    def __init__(self, folder) -> None:
        self.root = folder / "project"
        (self.root / "data").mkdir(parents=True)
        (self.root / "data/table").write_text("1\t2\n")
        (self.root / "workflow.yaml").write_text(WORKFLOW)
        (self.root / "Dockerfile").write_text("FROM own:1\nCOPY data /data\n")
        self.store = Store(folder / "store", MODE.value)
        self.base = put_base(self.store)
        self.store.tag("own:1", self.base)
        self.env = {"REPRO_STORE": str(folder / "store"), "REPRO_MODE": MODE.value}

    def lock(self, *entries: EnvironmentLock, file: str = "workflow.lock") -> None:
        """Write a lock of the archive base and these entries, for the declarations as they stand."""
        declared = open_project(replace(Host.current(), cwd=self.root), None).workflow.environments
        lock = Lock().with_archive(ARCHIVE)
        for entry in entries:
            lock = lock.with_environment(replace(entry, origin=origin(declared[entry.name])))
        write_lock(self.root / file, lock)

    def image(self, name: str, **files: str) -> Digest:
        """Make an image of these files, slashes written as two underscores."""
        with self.store.workspace() as work:
            for file, text in files.items():
                path = work / "layer" / file.replace("__", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            layer = self.store.commit_layer(work / "layer", epoch=0).diff_id
        image_id = self.store.put_image(ImageConfig("amd64", created="2020-01-01T00:00:00Z", diff_ids=(layer,)))
        self.store.tag(name, image_id)
        return image_id

    def run(self, *arguments: str) -> Done:
        """Run `repro env` in this process."""
        out, error = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(error), contextlib.redirect_stdout(out):
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.chdir(self.root)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
            status = main(["env", *arguments])
        return Done(status, out.getvalue(), error.getvalue())

    def ok(self, *arguments: str) -> str:
        """Run `repro env`, which must work; return what it prints."""
        done = self.run(*arguments)
        assert 0 == done.status, done.error
        return done.out

    def fails(self, status: int, *arguments: str) -> str:
        """Run `repro env`, which must end with this status; return what it says."""
        done = self.run(*arguments)
        assert status == done.status, done.error
        assert "Traceback" not in done.error
        return done.error


ALIGN = EnvironmentLock("align", DIGEST, ARCHIVE.name, (BWA,))


@pytest.fixture
def desk(tmp_path):
    """A project whose environment ``align`` is locked."""
    made = Desk(tmp_path)
    made.lock(ALIGN)
    yield made
    remove_tree(tmp_path / "store")


# ---- ls


def test_a_listing_says_how_environments_stand(desk):
    """Locked, stale or not locked, with what is in the lock; nothing is locked by it."""
    before = (desk.root / "workflow.lock").read_bytes()
    rows = {row["name"]: row for row in json.loads(desk.ok("ls", "--json"))}
    assert ["align", "plot", "own", "ready"] == list(rows)
    assert ("debian", "archive:debian/bookworm", {"deb": 1}, "locked", None, False) == tuple(rows["align"].values())[1:]
    kinds = [(row["kind"], row["base"], row["state"]) for row in rows.values()]
    assert [("python", "own:1", "not locked"), ("dockerfile", "Dockerfile", "not locked")] == kinds[1:3]
    text = WORKFLOW.replace("[bwa]", "[bwa, samtools]")
    (desk.root / "workflow.yaml").write_text(text)
    printed = desk.ok("ls").splitlines()
    assert ["ENVIRONMENT", "KIND", "BASE", "PACKAGES", "STATE", "IMAGE", "ID"] == printed[0].split()
    assert ["align", "debian", "archive:debian/bookworm", "1", "deb", "stale"] == printed[1].split()
    assert before == (desk.root / "workflow.lock").read_bytes()


# ---- render


def test_the_dockerfile_of_a_locked_environment(desk):
    """It is printed without anything made: no image, no download."""
    before = desk.store.images()
    text = desk.ok("render", "align")
    assert "FROM archive:debian/bookworm\n" in text
    assert "      bwa=0.7.17-7 \\\n" in text
    assert text.endswith('RUN mkdir /opt/refs\n\nCMD ["bash"]\n')
    assert before == desk.store.images()


def test_rendering_locks_what_is_missing(desk):
    """As `repro lock` would; a base that a registry has is named by its digest."""
    manifest = known.note_manifest(
        desk.store, desk.base, "docker.io/library/own", outgoing(desk.store, desk.base).manifest
    )
    text = desk.ok("render", "plot")
    assert f"FROM own:1@{manifest}\n" in text
    assert "COPY files/data/table /opt/table\n" in text
    assert f"own:1@{manifest}" == read_lock(desk.root / "workflow.lock").environments["plot"].base
    assert f"FROM own:1@{manifest}\nCOPY data /data\n" == desk.ok("render", "own")
    assert f"FROM own:1@{manifest}\n" == desk.ok("render", "ready")


def test_mistakes_of_render(desk):
    """An unknown name, a lock of another declaration, a template's mistake: each with its way out."""
    assert "declared are: align, plot, own, ready" in desk.fails(2, "render", "aling")
    (desk.root / "workflow.yaml").write_text(WORKFLOW.replace("[bwa]", "[bwa, samtools]"))
    assert "`repro lock`" in desk.fails(3, "render", "align")
    (desk.root / "mine.j2").write_text('{% extends "python" %}\n{% block env %}{{ nothing }}{% endblock %}\n')
    (desk.root / "workflow.yaml").write_text(WORKFLOW.replace("template: python", "template: ./mine.j2"))
    said = desk.fails(2, "render", "plot")
    assert "mine.j2:2:1" in said
    assert "packages, apt" in said


# ---- export


def test_an_export_is_a_folder_for_docker(desk):
    """Dockerfile, context and base, which is in no registry; commands of several lines are scripts."""
    printed = desk.ok("export", "plot", "out")
    folder = desk.root / "out"
    assert f"{folder}\n" == printed
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert ["Dockerfile", "README.txt", "base.tar", "files/data/table", "run/1.sh"] == names
    text = (folder / "Dockerfile").read_text()
    stage = 'FROM scratch AS repro-base\nADD base.tar /\nENV PATH="/usr/bin:/bin"\n'
    assert text.index(stage) < text.index("FROM repro-base\nARG SOURCE_DATE_EPOCH=1700000000\n")
    assert "RUN echo one >/one\n" in text
    assert "source=run/1.sh,target=/run/repro/run.sh sh /run/repro/run.sh\n" in text
    assert "docker build -t plot out" in (folder / "README.txt").read_text()
    assert [] == [name for name in os.listdir(desk.root) if name.startswith(".out")]


def test_our_own_engine_builds_an_export(desk, capsys):
    """As any other builder does: with the same files as the environment."""
    desk.ok("export", "plot", "out")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in desk.env.items():
            patch.setenv(name, value)
        patch.chdir(desk.root)
        assert 0 == main(["build", "-e", "plot", "--json"])
        (built,) = json.loads(capsys.readouterr().out)
        assert 0 == main(["image", "build", "-q", "-t", "exported", "out"])
        capsys.readouterr()
        status = main(["image", "diff", "--files", built["image_id"], "exported"])
    assert (0, "") == (status, capsys.readouterr().out)


def test_nothing_is_written_over(desk):
    """A folder with something in it, and what has no template, are refused."""
    (desk.root / "out").mkdir()
    desk.ok("export", "plot", "out")
    assert "there already" in desk.fails(2, "export", "plot", "out")
    assert "there already" in desk.fails(2, "export", "plot", "workflow.yaml")
    assert "Dockerfile of its own" in desk.fails(2, "export", "own", "other")
    assert "repro image save" in desk.fails(2, "export", "ready", "other")
    assert not (desk.root / "other").exists()


# ---- diff


def changes(done: Done) -> list[tuple[str, ...]]:
    """Return what `--json` says as (environment, change, kind, name, before, after)."""
    return [tuple(row.values()) for row in json.loads(done.out)["changes"]]


def test_two_locks(desk):
    """Packages of every kind that came, went and changed; the file stands for the environment that is asked for."""
    newer = replace(BWA, version="0.7.18-1")
    entry = replace(ALIGN, packages=(newer,), wheels=(NUMPY,), conda=(SAMTOOLS,), installed=(Installed("r", "x", "1"),))
    desk.lock(entry, file="new.lock")
    done = desk.run("diff", "--json", "align", "new.lock")
    assert [
        ("", "added", "conda", "samtools", "", "1.21=h5_0"),
        ("", "changed", "deb", "bwa", "0.7.17-7", "0.7.18-1"),
        ("", "added", "pip", "numpy", "", "2.1.0"),
        ("", "added", "r", "x", "", "1"),
    ] == changes(done)
    assert 1 == done.status
    printed = desk.run("diff", "new.lock#align", "workflow.lock")
    assert ["KIND", "NAME", "BEFORE", "AFTER"] == printed.out.splitlines()[0].split()
    assert ["deb", "bwa", "0.7.18-1", "0.7.17-7"] == printed.out.splitlines()[2].split()
    assert printed.out.endswith("3 removed, 1 changed from new.lock#align to workflow.lock\n")
    assert Done(0, "", "") == desk.run("diff", "align", "workflow.lock")


def test_locks_of_several_environments(desk):
    """Whole locks are compared environment by environment, bases and sources with them."""
    image = EnvironmentLock("plot", DIGEST, f"own:1@{DIGEST}", ())
    desk.lock(ALIGN, image, file="old.lock")
    other = Digest.of(b"other")
    desk.lock(replace(ALIGN, packages=()), replace(image, base=f"own:1@{other}"))
    done = desk.run("diff", "--json", "old.lock", "workflow.lock")
    assert [
        ("align", "removed", "deb", "bwa", "0.7.17-7", ""),
        ("plot", "changed", "base", "own:1", str(DIGEST), str(other)),
    ] == changes(done)
    assert "ENVIRONMENT" in desk.run("diff", "old.lock", "workflow.lock").out


def test_an_image_and_a_run(desk):
    """What is in an image by its own databases; of a run, the image that its environment was."""
    status = "Package: {0}\nStatus: install ok installed\nVersion: {1}\n\n"
    same = status.format("libc6", "2.36-9") + status.format("bwa", "0.7.17-7")
    site = "usr__lib__python3.11__site-packages__six-1.16.dist-info__METADATA"
    first = desk.image("lab/a", var__lib__dpkg__status=same)
    desk.image("lab/b", var__lib__dpkg__status=same.replace("2.36-9", "2.37"), **{site: ""})
    assert Done(0, "", "") == desk.run("diff", "align", "lab/a")
    done = desk.run("diff", "--json", first.short, "lab/b")
    expected = [("", "changed", "deb", "libc6", "2.36-9", "2.37"), ("", "added", "pip", "six", "", "1.16")]
    assert (1, expected) == (done.status, changes(done))
    with Journal(desk.root / ".repro/runs/20260101T000000Z-abcd" / JOURNAL, Host.current().now) as journal:
        journal(RunStarted("20260101T000000Z-abcd", "workflow.yaml", DIGEST, None, 1, "h", "u", "1"))
        journal(ImageUsed("align", first, None, ()))
    assert Done(0, "", "") == desk.run("diff", "last#align", "align")
    assert expected == changes(desk.run("diff", "--json", "2026#align", "lab/b"))


def test_what_means_nothing(desk):
    """Each mistake says what there is."""
    assert "environments are: align" in desk.fails(2, "diff", "aling", "align")
    assert "there is no lock file old.lock" in desk.fails(2, "diff", "old.lock", "align")
    assert "it has: align" in desk.fails(2, "diff", "workflow.lock#plot", "align")
    assert "workflow.lock has no environment 'plot'" in desk.fails(2, "diff", "plot", "align")
    assert "no run 'last'" in desk.fails(2, "diff", "last#align", "align")
    (desk.root / "broken.lock").write_text("{")
    assert "broken.lock:1" in desk.fails(3, "diff", "broken.lock", "align")
    desk.lock(ALIGN, replace(ALIGN, name="plot"), file="two.lock")
    assert "two.lock has 2 environments" in desk.fails(2, "diff", "two.lock", "own:1")
    with Journal(desk.root / ".repro/runs/20260101T000000Z-abcd" / JOURNAL, Host.current().now) as journal:
        journal(RunStarted("20260101T000000Z-abcd", "workflow.yaml", DIGEST, None, 1, "h", "u", "1"))
        journal(ImageUsed("align", DIGEST, None, ()))
    assert "not in the store" in desk.fails(5, "diff", "last#align", "align")
    assert "it used: align" in desk.fails(2, "diff", "last#plot", "align")
