"""`repro image ls | inspect | history | diff | tag | rm | prune | save | load` as users type them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from repro.api.host import Host
from repro.api.image_list import list_images
from repro.cli.listings import since
from repro.cli.main import main
from repro.digest import Digest
from repro.environment.lock import lock_text
from repro.environment.model import EnvironmentLock, Lock
from repro.events import ignore
from repro.files import remove_tree
from repro.oci import known
from repro.oci.inode import set_owner
from repro.oci.model import History, ImageConfig
from repro.oci.outgoing import outgoing
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE

REPRO = [sys.executable, "-m", "repro.cli.main"]


@dataclass
class Done:
    """What a command did."""

    returncode: int
    raw: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """What it printed."""
        return self.raw.decode()


class Shelf:
    """A store, and `repro image` on it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.env = {**os.environ, "REPRO_STORE": str(folder / "store"), "PYTHONPATH": str(PROJECT), "TERM": "xterm"}
        self.env["REPRO_MODE"] = MODE.value
        self.store = Store(folder / "store", MODE.value)

    def layer(self, **files) -> Digest:
        """Commit a layer of these files; slashes are written as two underscores."""
        with self.store.workspace() as work:
            top = work / "layer"
            for name, text in files.items():
                path = top / name.replace("__", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return self.store.commit_layer(top, epoch=1_000_000_000).diff_id

    def image(self, name: str | None, *layers: Digest, created: str = "2020-01-01T00:00:00Z", **more) -> Digest:
        """Make an image of layers and name it."""
        image_id = self.store.put_image(ImageConfig("amd64", created=created, diff_ids=layers, **more))
        if name is not None:
            self.store.tag(name, image_id)
        return image_id

    def run(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Run `repro image` in this process: starting one for each would take most of the time."""
        out, error = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(error), contextlib.redirect_stdout(out):
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            status = main(["image", *arguments])
        out.flush()
        return Done(status, out.buffer.getvalue(), error.getvalue())

    def talk(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        """Run `repro image` with all of it on a terminal; return the status and what was sent there."""
        outer, inner = pty.openpty()
        process = subprocess.Popen(
            [*REPRO, "image", *arguments], cwd=self.folder, env=self.env, stdin=inner, stdout=inner, stderr=inner
        )
        os.close(inner)
        os.write(outer, typed.encode())
        sent = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while data := os.read(outer, 65536):
                sent += data
        os.close(outer)
        return process.wait(), sent.decode()

    def ok(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run `repro image`, which must work and warn of nothing; return what it prints."""
        done = self.run(*arguments, stdin=stdin)
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    def fails(self, status: int, *arguments: str) -> str:
        """Run `repro image`, which must end with this status; return what it says."""
        done = self.run(*arguments)
        assert status == done.returncode, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def shelf(tmp_path):
    """An empty shelf."""
    yield Shelf(tmp_path)
    remove_tree(tmp_path)
    tmp_path.mkdir()


@pytest.fixture
def full(shelf):
    """A shelf with three images: two share a layer, one has no name."""
    shelf.base = shelf.layer(usr__bin__tool="x" * 1000)
    shelf.a = shelf.image("lab/a:1", shelf.base, labels={"kind": "tool", "v": "1"}, env=("A=b",))
    top = shelf.layer(opt__more="y" * 234)
    shelf.b = shelf.image("b", shelf.base, top, created="2021-01-01T00:00:00Z", labels={"kind": "other"})
    shelf.none = shelf.image(None, shelf.layer(z="z"), created="2022-01-01T00:00:00Z")
    shelf.store.tag("example.org/x/a:2", shelf.a)
    return shelf


# ---- ls


def test_ls_shows_what_each_takes(full):
    """One row a name; sizes of all layers, of those of its own, of those in common; bytes and times in JSON."""
    rows = json.loads(full.ok("ls", "--json"))
    assert ["lab/a:1", "b:latest", "example.org/x/a:2", "<none>"] == [row["name"] for row in rows]
    assert (1234, 234, 1000) == tuple(rows[1][key] for key in ("size", "unique", "shared"))
    assert (1000, 0, 1000) == tuple(rows[0][key] for key in ("size", "unique", "shared"))
    assert (str(full.none), "2022-01-01T00:00:00Z") == (rows[3]["image_id"], rows[3]["created"])
    table = full.ok("ls").splitlines()
    assert ["NAME", "IMAGE", "ID", "CREATED", "SIZE", "UNIQUE", "SHARED"] == table[0].split()
    assert ["lab/a:1", full.a.short, "2020-01-01T00:00:00Z", "1.0", "kB", "0", "B", "1.0", "kB"] == table[1].split()
    assert full.a.hex in full.ok("ls", "--no-trunc")
    digest = known.note_manifest(full.store, full.a, "example.org/x/a", outgoing(full.store, full.a).manifest)
    shown = {line.split()[0]: line.split()[1] for line in full.ok("ls", "--digests").splitlines()}
    assert (str(digest), "<none>") == (shown["example.org/x/a:2"], shown["lab/a:1"])


FILTERS = {
    ("dangling=true",): "<none>",
    ("dangling=false",): "lab/a:1 b:latest example.org/x/a:2",
    ("label=kind",): "lab/a:1 b:latest example.org/x/a:2",
    ("label=kind=tool",): "lab/a:1 example.org/x/a:2",
    ("label=kind", "label=v"): "lab/a:1 example.org/x/a:2",
    ("label!=kind",): "<none>",
    ("before=b",): "lab/a:1 example.org/x/a:2",
    ("since=lab/a:1",): "b:latest <none>",
    ("since=lab/a:1", "dangling=false"): "b:latest",
    ("until=2020-06-01",): "lab/a:1 example.org/x/a:2",
    ("until=1s", "reference=b"): "b:latest",
    ("reference=lab/*",): "lab/a:1",
    ("reference=*",): "b:latest",
    ("reference=*:lat*",): "b:latest",
    ("reference=docker.io/lab/a",): "lab/a:1",
    ("reference=lab/?:1", "reference=b"): "lab/a:1 b:latest",
}


def test_ls_filters_as_docker_does(full):
    """Of one kind one must hold, of different kinds each; a name has wildcards that match no slash."""
    host = replace(Host.current(), environ=full.env, cwd=full.folder)
    for filters, expected in FILTERS.items():
        assert expected == " ".join(row.name for row in list_images(host, (), filters, sink=ignore)), filters
    assert ["lab/a:1"] == [row.name for row in list_images(host, ["lab/*"], sink=ignore)]
    assert [full.a.short, full.b.short] == full.ok("ls", "-q", "b", "lab/a").split()
    assert f"{full.none}\n" == full.ok("ls", "-q", "--no-trunc", "-f", "dangling=1")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-f", "dangling=maybe"), "true or false"),
        (("-f", "lable=x"), "did you mean label=?"),
        (("-f", "x"), "there are"),
        (("-f", "until=soon"), "24h"),
        (("[",), "pattern"),
        (("--format", "{{ .Tags }}"), "did you mean Tag?"),
        (("--format", "{{ range }}"), "--format:1:"),
    ],
)
def test_ls_tells_mistakes(full, arguments, word):
    """Filters and templates that make no sense are usage errors with a way out."""
    assert word in full.fails(2, "ls", *arguments)


def test_ls_formats_as_docker_does(full):
    """Templates with tabs, tables with heads, JSON lines; a mistake is one also where there is no image."""
    assert f"{full.b.short} b latest 1.2 kB\n" == full.ok(
        "ls", "--format", "{{.ID}} {{.Repository}} {{.Tag}} {{.Size}}", "b"
    )
    assert "example.org/x/a\t2\n" == full.ok("ls", "--format", r"{{.Repository}}\t{{.Tag}}", "example.org/*/*")
    table = full.ok("ls", "--format", r"table {{.Name}}\t{{.UniqueSize}}", "b")
    assert "NAME       UNIQUE SIZE\nb:latest   234 B\n" == table
    assert "b:latest" == json.loads(full.ok("ls", "--format", "json", "b"))["Name"]
    assert "no field" in full.fails(2, "ls", "--format", "{{ .X }}")


def test_ls_passes_over_what_is_damaged(full, caplog):
    """A broken name and a broken image are warnings; all else is listed."""
    full.store.blob_path(full.b).write_bytes(b"{}")
    (full.store.root / "refs" / "docker.io%2Flab%2Fa%3A1").write_text("nonsense")
    done = full.run("ls")
    assert 0 == done.returncode
    assert ["b:latest", full.b.short, "damaged"] == done.stdout.splitlines()[1].split()
    assert "example.org/x/a:2" in done.stdout
    assert "lab/a:1" in caplog.text
    assert full.b.short in done.stderr


def test_times_are_told_in_their_largest_unit():
    """As docker does; text that is no time stays."""
    now = datetime(2024, 1, 1, tzinfo=UTC)
    expected = {
        0: "Less than a second", 1: "1 second", 59: "59 seconds", 60: "About a minute", 300: "5 minutes",
        3600: "About an hour", 7200: "2 hours", 86400 * 3: "3 days", 86400 * 20: "2 weeks", 86400 * 90: "3 months",
        86400 * 800: "2 years",
    }  # fmt: skip
    for seconds, words in expected.items():
        assert f"{words} ago" == since((now - timedelta(seconds=seconds)).isoformat(), now)
    assert ("", "soon") == (since("", now), since("soon", now))


def test_a_person_reads_how_long_ago(full):
    """On a terminal the listing says it in words."""
    status, shown = full.talk("ls", "b")
    assert 0 == status
    assert "years ago" in shown


# ---- inspect, history


def test_inspect_prints_dockers_fields(full):
    """Names, digests in registries, settings; a template for each image; what is missing comes last."""
    digest = known.note_manifest(full.store, full.a, "example.org/x/a", outgoing(full.store, full.a).manifest)
    (shown,) = json.loads(full.ok("inspect", "lab/a:1"))
    assert (str(full.a), ["example.org/x/a:2", "lab/a:1"]) == (shown["Id"], shown["RepoTags"])
    assert ([f"example.org/x/a@{digest}"], 1000) == (shown["RepoDigests"], shown["Size"])
    assert ("amd64", "linux", ["A=b"]) == (shown["Architecture"], shown["Os"], shown["Config"]["Env"])
    template = "{{ .Id }} {{ range $k, $v := .Config.Labels }}{{ $k }}={{ $v }} {{ end }}{{ .Config.Labels.none }}"
    assert f"{full.a} kind=tool v=1 <no value>\n{full.b} kind=other <no value>\n" == full.ok(
        "inspect", "-f", template, "lab/a:1", "b"
    )
    done = full.run("inspect", "nothing", "b", "-f", "{{ .Os }}")
    assert (5, "linux\n") == (done.returncode, done.stdout)
    assert "no image 'nothing'" in done.stderr
    assert "did you mean" in full.fails(5, "inspect", "lab/b:1")
    assert "Architecture" in full.fails(2, "inspect", "-f", "{{ .Archtecture }}", "b")


def test_history_is_told_from_the_top(shelf):
    """Steps without layers are of 0 B; layers that the history does not know are steps of their own; JSON has all."""
    first, second, third = shelf.layer(a="a" * 10), shelf.layer(b="b" * 20), shelf.layer(c="c" * 30)
    steps = (
        History("2020-01-01T00:00:00Z", "ADD rootfs"),
        History("2020-01-02T00:00:00Z", "ENV " + "A" * 60, empty_layer=True),
        History("2020-01-03T00:00:00Z", "RUN make", comment="why not"),
    )
    image_id = shelf.image("h", first, second, third, history=steps)
    lines = shelf.ok("history", "h").splitlines()
    assert ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"] == lines[0].split()
    assert [image_id.short, "30", "B"] == lines[1].split()
    assert ["<missing>", "2020-01-03T00:00:00Z", "RUN", "make", "20", "B", "why", "not"] == lines[2].split()
    assert "A" * 40 + "…   0 B" in lines[3]
    assert "A" * 60 in shelf.ok("history", "--no-trunc", "h")
    rows = json.loads(shelf.ok("history", "--json", "h"))
    assert [30, 20, 0, 10] == [row["size"] for row in rows]
    assert [str(third), str(second), None, str(first)] == [row["layer"] for row in rows]
    assert "RUN make|20 B\n" in shelf.ok("history", "--format", "{{ .CreatedBy }}|{{ .Size }}", "h")
    assert f"{image_id.short}\n<missing>\n<missing>\n<missing>\n" == shelf.ok("history", "-q", "h")


def test_names_with_digests(full):
    """An image that was taken by its digest has no tag: not in a listing, not in RepoTags, not in an archive."""
    full.store.tag(f"debian@sha256:{'d' * 64}", full.none)
    full.store.tag("archive:debian/bookworm", full.b)
    shown = full.ok("ls", "--format", "{{.Repository}} {{.Tag}} {{.Name}}", "-f", "label!=kind")
    assert f"debian <none> debian@sha256:{'d' * 64}\n" == shown
    assert (
        "[] [archive:debian/bookworm b:latest]"
        == full.ok("inspect", "-f", "{{ .RepoTags }}", full.none.hex, "b").replace("\n", " ").strip()
    )
    full.ok("save", "-o", "x", f"debian@sha256:{'d' * 64}", "archive:debian/bookworm")
    printed = full.ok("load", "-q", "-i", "x")
    assert [f"Loaded image ID: {full.none}", f"Loaded image ID: {full.b}"] == printed.splitlines()


def test_an_image_is_meant_by_its_digest_in_a_registry(full):
    """NAME@DIGEST, as push and pull print it, means the image, also when it was taken by a tag."""
    digest = known.note_manifest(full.store, full.a, "example.org/x/a", outgoing(full.store, full.a).manifest)
    assert f"{full.a}\n" == full.ok("inspect", "-f", "{{ .Id }}", f"example.org/x/a@{digest}")
    full.ok("tag", f"example.org/x/a@{digest}", "cited")
    assert full.a == full.store.resolve("cited")
    assert "" == full.ok("diff", "cited", f"example.org/x/a@{digest}")
    full.fails(5, "inspect", f"example.org/x/b@{digest}")
    full.fails(5, "rm", f"example.org/x/a@{digest}")


# ---- diff

STATUS = "Package: {0}\nStatus: install ok installed\nVersion: {1}\n\n"


@pytest.fixture
def two(shelf):
    """Two images that differ in every way."""
    base = shelf.layer(same="same", gone="x", edit="abc", longer="x", kind="x", mode="x", link="x")
    site = "usr__lib__python3__site-packages__"

    def layer(second: bool) -> Digest:
        with shelf.store.workspace() as work:
            top = work / "layer"
            version = "2" if second else "1"
            files = {
                "var/lib/dpkg/status": STATUS.format("samtools", version) + STATUS.format("same", "1"),
                f"{site.replace('__', '/')}numpy-1.{version}.dist-info/METADATA": "",
                f"opt/conda/conda-meta/zlib-1.{version}-h0_0.json": "{}",
                "edit": "abd" if second else "abc",
                "owner": "x",
                "longer": "xy" if second else "x",
                "only2" if second else "only1": "",
            }
            if second:
                files[f"{site.replace('__', '/')}Foo.Bar-3.egg-info/PKG-INFO"] = ""
            for name, text in files.items():
                (top / name).parent.mkdir(parents=True, exist_ok=True)
                (top / name).write_text(text)
            (top / "new").symlink_to("b" if second else "a")
            (top / "mode").write_text("x")
            (top / "mode").chmod(0o755 if second else 0o644)
            if second:
                (top / "kind").mkdir()
                os.setxattr(top / "longer", "user.note", b"1")
                set_owner(top / "owner", 5, 6, shelf.store.form)
            return shelf.store.commit_layer(top, epoch=1_000_000_000).diff_id

    shelf.first = shelf.image("one", base, layer(second=False))
    shelf.second = shelf.image("two", base, layer(second=True))
    return shelf


def test_diff_names_files_and_packages(two):
    """Every kind of change by its name; packages of three managers with versions; what is the same is not named."""
    done = two.run("diff", "--json", "one", "two")
    assert (1, "") == (done.returncode, done.stderr)
    found = json.loads(done.stdout)
    files = {row["path"]: (row["kind"], *row["changes"]) for row in found["files"]}
    site = "/usr/lib/python3/site-packages"
    assert {
        "/edit": ("changed", "content"),
        "/longer": ("changed", "content", "size", "xattr"),
        "/kind": ("changed", "type"),
        "/mode": ("changed", "mode"),
        "/owner": ("changed", "owner"),
        "/new": ("changed", "link"),
        "/only1": ("removed",),
        "/only2": ("added",),
        "/var/lib/dpkg/status": ("changed", "content"),
    } == {path: change for path, change in files.items() if not path.startswith((site, "/opt"))}
    packages = [(row["manager"], row["name"], row["before"], row["after"]) for row in found["packages"]]
    assert [
        ("conda", "zlib", "1.1=h0_0", "1.2=h0_0"),
        ("dpkg", "samtools", "1", "2"),
        ("python", "foo-bar", "", "3"),
        ("python", "numpy", "1.1", "1.2"),
    ] == packages


def test_diff_ends_like_diff(two):
    """0 for the same, 1 for different, more for what is not there; --files and --packages leave the other out."""
    assert "" == two.ok("diff", "one", str(two.first))
    done = two.run("diff", "--packages", "one", "two")
    assert (1, ["dpkg", "samtools", "1", "2"]) == (done.returncode, done.stdout.splitlines()[2].split())
    assert "/" not in done.stdout
    done = two.run("diff", "--files", "two", "one")
    assert 1 == done.returncode
    assert {"A /only1", "D /only2", "C /longer  (content, size, xattr)"} <= set(done.stdout.splitlines())
    assert "samtools" not in done.stdout
    assert "no image" in two.fails(5, "diff", "one", "three")
    two.fails(2, "diff", "--files", "--packages", "one", "two")


# ---- tag, rm, prune


def test_a_name_moves(full):
    """A tag names an image by a name, an ID or its first digits; another image that had the name loses it."""
    assert "" == full.ok("tag", full.b.short, "localhost:5000/new:1")
    assert full.b == full.store.resolve("localhost:5000/new:1")
    full.ok("tag", "lab/a:1", "localhost:5000/new:1")
    assert full.a == full.store.resolve("localhost:5000/new:1")
    assert "lower case" in full.fails(2, "tag", "b", "lab/B")
    assert "digest" in full.fails(2, "tag", "b", f"b@{full.b}")
    assert "not supported" in full.fails(2, "tag", "b", f"b@sha512:{'0' * 128}")
    full.fails(5, "tag", "nothing", "x")


def test_an_image_goes_with_its_last_name(full):
    """A name of several is only taken away; the last takes the image along, and its layers but those of others."""
    assert "Untagged: lab/a:1\n" == full.ok("rm", "lab/a:1")
    assert full.a in full.store.images()
    assert f"Untagged: example.org/x/a:2\nDeleted: {full.a}\n" == full.ok("rm", "example.org/x/a:2")
    assert {full.b, full.none} == full.store.images()
    assert full.store.has_image(full.b)
    gone = full.store.config(full.none).diff_ids[0]
    assert f"Deleted: {full.none}\n" == full.ok("rm", full.none.short)
    assert not full.store.has_layer(gone)
    assert not full.store.has_blob(full.none)


def test_an_id_of_several_names_needs_force(full):
    """Without it the names are told and nothing goes; with it all go."""
    said = full.fails(5, "rm", str(full.a))
    assert "2 names: example.org/x/a:2, lab/a:1" in said or "2 names: lab/a:1, example.org/x/a:2" in said
    assert "-f" in said
    assert 2 == sum(image == full.a for image in full.store.refs().values())
    assert f"Deleted: {full.a}" in full.ok("rm", "-f", full.a.hex[:9])
    assert full.a not in full.store.images()


def test_rm_goes_on_after_a_mistake(full):
    """What can be removed is; the exit status is the mistake's, which names what is near."""
    done = full.run("rm", "lab/x:1", "b", "--json")
    assert 5 == done.returncode
    assert "did you mean lab/a:1" in done.stderr
    assert [str(full.b)] == json.loads(done.stdout)["deleted"]


def test_rm_frees_later_while_others_work(full):
    """A process that works in the store is not harmed: names and images go, bytes stay until `store gc`."""
    full.store.leases.share()
    try:
        done = full.run("rm", "b")
        assert (0, f"Untagged: b:latest\nDeleted: {full.b}\n") == (done.returncode, done.stdout)
        assert "repro store gc" in done.stderr
        assert full.store.has_blob(full.b)
    finally:
        full.store.leases.unshare()


def test_prune_removes_the_nameless(full):
    """Without a terminal only by -f; filters are heeded; -a removes all."""
    assert "-f" in full.fails(2, "prune")
    assert "Total reclaimed space: 0 B\n" == full.ok("prune", "-f", "--filter", "label=kind")
    assert "Total reclaimed space: 0 B\n" == full.ok("prune", "-f", "--filter", "until=2021-06-01")
    printed = full.ok("prune", "-f").splitlines()
    assert f"Deleted: {full.none}" == printed[0]
    assert printed[1].startswith("Total reclaimed space: ")
    assert {full.a, full.b} == full.store.images()
    shown = json.loads(full.ok("prune", "-a", "-f", "--json"))
    assert ["lab/a:1", "b:latest", "example.org/x/a:2"] == shown["untagged"]
    assert (set(), {}) == (full.store.images(), full.store.refs())


def test_prune_keeps_what_the_lock_names(full):
    """An image without a name stays while the lock of this folder counts on it; a broken lock removes nothing."""
    (full.folder / "workflow.lock").write_text("{")
    assert "workflow.lock:1:" in full.fails(3, "prune", "-f")
    entry = EnvironmentLock("tool", Digest("1" * 64), "debian/bookworm", (), {"real": full.none}, Digest("2" * 64))
    (full.folder / "workflow.lock").write_text(lock_text(Lock({}, {"tool": entry})))
    assert "Total reclaimed space: 0 B\n" == full.ok("prune", "-f")
    assert full.none in full.store.images()
    assert f"Deleted: {full.none}" in full.ok("prune", "-f", "-a")


@pytest.mark.parametrize("damage", [b"?", b""])
def test_prune_waits_while_a_damaged_name_may_be_an_images(full, damage):
    """Which image has no name is not known then: none goes until it is named again, or the damaged name removed."""
    full.store.tag("c", full.none)
    ref = next(path for path in full.store.ref_files() if "c%3Alatest" in path.name)
    ref.write_bytes(damage)
    said = full.fails(4, "prune", "-f")
    assert f"{ref}: " in said
    assert "docker.io/library/c:latest" in said
    assert "`repro image tag`" in said
    assert 0 == subprocess.run([*REPRO, "store", "gc"], env=full.env, capture_output=True, check=False).returncode
    assert full.store.has_image(full.none)
    full.ok("tag", full.none.hex, "c")
    assert "Total reclaimed space: 0 B\n" == full.ok("prune", "-f")
    ref.write_bytes(damage)
    ref.unlink()  # as `repro store check --repair` does
    assert f"Deleted: {full.none}" in full.ok("prune", "-f")


@pytest.mark.parametrize(("answer", "gone"), [("n", False), ("", False), ("y", True)])
def test_prune_asks(full, answer, gone):
    """On a terminal it says what would go, and takes only a yes for one."""
    status, shown = full.talk("prune", "-a", typed=f"{answer}\n")
    assert 0 == status
    assert "3 of them" in shown
    assert "lab/a:1" in shown
    assert gone is (full.store.images() == set())


# ---- save, load


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_save_remove_load_is_the_same(full, form):
    """Several images in one archive: the same IDs, names and manifest digests; the bytes verify."""
    manifests = {image: outgoing(full.store, image).descriptor.digest for image in (full.a, full.b)}
    full.ok("save", "--format", form, "-o", "x", "lab/a:1", "b", "example.org/x/a:2", str(full.none))
    full.ok("rm", "-f", str(full.a), str(full.b), str(full.none))
    printed = full.ok("load", "-q", "-i", "x")
    assert {
        "Loaded image: lab/a:1",
        "Loaded image: example.org/x/a:2",
        "Loaded image: b:latest",
        f"Loaded image ID: {full.none}",
    } == set(printed.splitlines())
    assert {full.a, full.b, full.none} == full.store.images()
    assert manifests == {image: outgoing(full.store, image).descriptor.digest for image in (full.a, full.b)}
    assert all(full.store.verify_layer(diff_id) for diff_id in full.store.config(full.b).diff_ids)


@pytest.mark.parametrize("pack", ["plain", "gzip", "zstd", "xz", "bzip2"])
def test_pipes_and_compressed_archives(full, pack):
    """save to a pipe, compress with the usual tools, load from a pipe and from a file."""
    if pack != "plain" and shutil.which(pack) is None:
        pytest.skip(f"{pack} is not installed")
    raw = full.run("save", "lab/a:1").raw
    packed = raw if pack == "plain" else subprocess.run([pack, "-c"], input=raw, capture_output=True, check=True).stdout
    (full.folder / "x").write_bytes(packed)
    full.ok("rm", "-f", str(full.a))
    assert "Loaded image: lab/a:1\n" == full.ok("load", "-q", "-i", "x")
    command = [*REPRO, "image", "load", "--json"]
    done = subprocess.run(command, input=packed, cwd=full.folder, env=full.env, capture_output=True, check=True)
    assert [{"image_id": str(full.a), "names": ["lab/a:1"]}] == json.loads(done.stdout)


def test_loading_takes_a_name_from_another_image(full):
    """As docker tells it: which image had the name."""
    full.ok("save", "-o", "x.tar", "lab/a:1")
    full.ok("tag", "b", "lab/a:1")
    done = full.run("load", "-i", "x.tar")
    assert f"lab/a:1 was image {full.b.short} before" in done.stderr
    assert "loading lab/a:1: 1 of 1 layers" in done.stderr
    assert full.a == full.store.resolve("lab/a:1")


def test_an_archive_cannot_name_an_environments_image(full):
    """What a run finds under the checksum of a recipe is taken as built: no archive says what that is."""
    name = f"repro/align:{'a' * 64}"
    full.store.tag(name, full.a)
    full.ok("save", "-o", "named.tar", name)
    full.store.untag(name)
    assert "is not taken over" in full.run("load", "-i", "named.tar").stderr
    assert f"docker.io/{name}" not in full.store.refs()


def test_saving_and_loading_tell_mistakes(full):
    """No such image, folder on stdout, no such file, an archive of something else, cut short: clear errors."""
    full.fails(5, "save", "-o", "x", "nothing")
    assert not (full.folder / "x").exists()
    assert "-o" in full.fails(2, "save", "--format", "oci-dir", "b")
    assert "no file" in full.fails(2, "load", "-i", "nothing.tar")
    with tarfile.open(full.folder / "other.tar", "w") as tar:
        tar.add(PROJECT / "README.md", "README.md")
    assert "other.tar" in full.fails(4, "load", "-i", "other.tar")
    full.ok("save", "-o", "x.tar", "b")
    data = (full.folder / "x.tar").read_bytes()
    (full.folder / "cut.tar.gz").write_bytes(gzip.compress(data)[:-50])
    assert "cut.tar.gz" in full.fails(4, "load", "-i", "cut.tar.gz")
    (full.folder / "empty.tar").write_bytes(b"")
    full.fails(4, "load", "-i", "empty.tar")
    full.fails(4, "load")
    (full.folder / "folder").mkdir()
    assert "no archive of images" in full.fails(4, "load", "-i", "folder")


def test_a_file_is_whole_or_as_it_was(full):
    """A layer that was damaged in the store ends the saving; the file of before is untouched."""
    (full.folder / "x").write_text("of before")
    (full.store.image_layers(full.b)[-1] / "opt" / "more").write_text("changed")
    for form in ("docker-archive", "oci-archive"):
        assert "damaged" in full.fails(4, "save", "--format", form, "-o", "x", "b")
    assert "of before" == (full.folder / "x").read_text()
    assert [] == [name for name in os.listdir(full.folder) if name.endswith(".tmp")]


def test_archives_do_not_go_to_terminals(full):
    """Neither is one written there, nor read from it."""
    for arguments in (["save", "b"], ["load"]):
        status, shown = full.talk(*arguments)
        assert 2 == status
        assert "terminal" in shown or "-i" in shown
