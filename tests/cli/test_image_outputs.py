"""`repro image build --output`: read by our own reader, by tarfile, and by skopeo where it is installed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile

import pytest
from test_image_build import REPRO, Desk

from repro.api.outputs import Kind, Output, parse_output
from repro.errors import UsageError
from repro.files import remove_tree
from repro.oci.archive import read_layout
from repro.oci.store import Store
from tests.build.conftest import MODE

TREE = """\
FROM base:1 AS work
RUN mkdir /o /o/gone /o/sticky && echo one > /o/a && ln /o/a /o/b && ln -s a /o/l && echo x > /o/gone/old && \\
    chmod 1777 /o/sticky && cp /usr/bin/true /o/su && chmod 4755 /o/su && mkfifo /o/pipe && chown 5:6 /o/a
FROM scratch
COPY --from=work /o /
"""
LAYERS = """\
FROM base:1
RUN mkdir /o /o/gone && echo old > /o/file && echo x > /o/gone/old
RUN rm -rf /o/gone /o/file && mkdir /o/gone /o/file && echo new > /o/gone/new
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A desk with both images built."""
    folder = tmp_path_factory.mktemp("outputs")
    made = Desk(folder)
    made.write(TREE)
    made.write(LAYERS, "Layers")
    yield made
    remove_tree(folder)


def image_id(done) -> str:
    """Return the ID that a build printed, wherever."""
    assert 0 == done.returncode, done.stderr
    return next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("sha256:"))


@pytest.mark.parametrize("dest", ["oci.tar", "layout/"])
def test_an_oci_layout_is_the_same_image(desk, dest, tmp_path):
    """As a tar or as a folder: read into another store, it has the same image ID; its tag is in the index."""
    built = image_id(desk.build("-q", "-f", "Layers", "-t", "a/b:v1", "-o", f"type=oci,dest={tmp_path}/{dest}", "."))
    if dest == "oci.tar":
        with tarfile.open(tmp_path / dest) as archive:
            archive.extractall(tmp_path / "layout")
    other = Store(tmp_path / "other", MODE.value)
    assert built == str(read_layout(tmp_path / "layout", other, "v1"))
    remove_tree(tmp_path / "other")


def test_a_docker_archive_holds_what_its_manifest_says(desk, tmp_path):
    """manifest.json names config, tags and layers; their digests are the image ID and the diffIDs."""
    arguments = ("-q", "-f", "Layers", "-t", "a:1", "-t", "b/c", "-o", f"type=docker,dest={tmp_path}/d.tar", ".")
    built = image_id(desk.build(*arguments))
    with tarfile.open(tmp_path / "d.tar") as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))
        config = archive.extractfile(entry["Config"]).read()
        layers = [archive.extractfile(name).read() for name in entry["Layers"]]
    assert ["docker.io/library/a:1", "docker.io/b/c:latest"] == entry["RepoTags"]
    assert built == f"sha256:{hashlib.sha256(config).hexdigest()}"
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    assert diff_ids == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize(("kind", "transport"), [("oci", "oci-archive"), ("docker", "docker-archive")])
def test_skopeo_copies_what_was_written(desk, kind, transport, tmp_path):
    """An independent reader takes the file, checks each blob, and finds the same config in it."""
    built = image_id(desk.build("-q", "-f", "Layers", "-t", "a:1", "-o", f"type={kind},dest={tmp_path}/x.tar", "."))
    command = ["skopeo", "copy", "-q", f"{transport}:{tmp_path}/x.tar", f"oci:{tmp_path}/copy:v"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    raw = subprocess.check_output(["skopeo", "inspect", "--raw", f"{transport}:{tmp_path}/x.tar"])
    assert built == json.loads(raw)["config"]["digest"]


def test_equal_images_give_equal_files(desk, tmp_path):
    """Written twice, at different times, every kind of file has the same bytes."""
    for number in (1, 2):
        outputs = [f"--output=type={kind},dest={tmp_path}/{kind}.{number}" for kind in ("oci", "docker", "tar")]
        image_id(desk.build("-q", "-f", "Layers", "-t", "a:1", *outputs, "."))
    for kind in ("oci", "docker", "tar"):
        assert (tmp_path / f"{kind}.1").read_bytes() == (tmp_path / f"{kind}.2").read_bytes()


def test_the_root_as_a_tar_on_stdout(desk):
    """`-o -`: owners, modes, links and hard links of the merged root; the image ID goes to stderr."""
    command = [*REPRO, "image", "build", "-q", "-o", "-", "."]
    done = subprocess.run(command, cwd=desk.folder, env=desk.env, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr
    assert done.stderr.startswith(b"sha256:")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        found = {member.name: member for member in archive}
        assert b"one\n" == archive.extractfile("b").read()
    assert ["a", "b", "gone", "gone/old", "l", "pipe", "sticky", "su"] == list(found)
    assert (5, 6, tarfile.REGTYPE) == (found["a"].uid, found["a"].gid, found["a"].type)
    assert ("a", tarfile.LNKTYPE) == (found["b"].linkname, found["b"].type)
    assert ("a", tarfile.SYMTYPE) == (found["l"].linkname, found["l"].type)
    assert (0o1777, tarfile.FIFOTYPE) == (found["sticky"].mode, found["pipe"].type)


def test_upper_layers_hide_lower_ones(desk, tmp_path):
    """Deleted files are not in the root; a folder made anew shows nothing old; a file that became a folder is one."""
    image_id(
        desk.build("-q", "-f", "Layers", "-o", f"type=tar,dest={tmp_path}/root.tar", "-o", str(tmp_path / "r"), ".")
    )
    with tarfile.open(tmp_path / "root.tar") as archive:
        names = [name for name in archive.getnames() if name == "o" or name.startswith("o/")]
    assert ["o", "o/file", "o/gone", "o/gone/new"] == names
    below = sorted(str(path.relative_to(tmp_path / "r")) for path in (tmp_path / "r" / "o").rglob("*"))
    assert names[1:] == below


def test_the_root_as_a_folder_is_the_callers(desk, tmp_path):
    """Modes, times, links and hard links are the image's, owners the caller's; a pipe is left out with a warning."""
    dest = tmp_path / "root"
    done = desk.build("-q", "-o", str(dest), ".")
    image_id(done)
    assert "1 devices, pipes and sockets: /pipe" in done.stderr
    assert ["a", "b", "gone", "l", "sticky", "su"] == sorted(os.listdir(dest))
    status = os.stat(dest / "a")
    assert (os.getuid(), 2) == (status.st_uid, status.st_nlink)
    assert ("a", 0o1777) == (os.readlink(dest / "l"), stat.S_IMODE(os.stat(dest / "sticky").st_mode))


def test_a_folder_keeps_what_the_image_does_not_have(desk, tmp_path):
    """Files of the image replace files of the same name; others stay; a folder in the way of a file is told."""
    dest = tmp_path / "root"
    (dest / "gone").mkdir(parents=True)
    (dest / "gone" / "mine").write_text("mine")
    (dest / "a").write_text("old")
    image_id(desk.build("-q", "-o", str(dest), "."))
    assert ("one\n", "mine") == ((dest / "a").read_text(), (dest / "gone" / "mine").read_text())
    (dest / "su").unlink()
    (dest / "su").mkdir()
    done = desk.build("-q", "-o", str(dest), ".")
    assert 4 == done.returncode
    assert f"{dest}/su is a folder here, and a file in the image" in done.stderr
    assert [] == [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    """A layer that was damaged in the store ends the output with an error; the file of before is untouched."""
    desk = Desk(tmp_path)
    desk.write(LAYERS)
    image_id(desk.build("-q", "-t", "x", "."))
    (tmp_path / "out.tar").write_text("of before")
    (tmp_path / "sub").mkdir()
    top = desk.store.image_layers(desk.store.resolve("x"))[-1]
    (top / "o" / "gone" / "new").write_text("changed")
    for kind in ("oci", "docker"):
        done = desk.build("-q", "-o", f"type={kind},dest={tmp_path}/out.tar", ".")
        assert 4 == done.returncode
        assert "is damaged" in done.stderr
    assert "of before" == (tmp_path / "out.tar").read_text()
    assert [] == [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    remove_tree(tmp_path / "store")


PARSED = {
    "-": Output(Kind.TAR, None),
    "type=tar,dest=-": Output(Kind.TAR, None),
    "dir": Output(Kind.LOCAL, "dir"),
    "type=local,dest=dir": Output(Kind.LOCAL, "dir"),
    "type=oci,dest=x.tar": Output(Kind.OCI, "x.tar"),
    "type=oci,dest=x/": Output(Kind.OCI, "x", folder=True),
    "type=oci,dest=x,tar=false": Output(Kind.OCI, "x", folder=True),
    'type=docker,dest=x.tar,"name=a:1,b:2"': Output(Kind.DOCKER, "x.tar", names=("a:1", "b:2")),
    "type=image,name=a,push=false": Output(Kind.IMAGE, None, names=("a",)),
}


@pytest.mark.parametrize(("text", "expected"), PARSED.items())
def test_outputs_are_read_as_docker_reads_them(text, expected, tmp_path):
    """Long and short spellings; dest is below the current folder."""
    found = parse_output(text, tmp_path)
    dest = None if expected.dest is None else tmp_path / expected.dest
    assert Output(expected.kind, dest, expected.folder, expected.names) == found


WRONG = [
    "", "type=oci", "type=zip,dest=x", "dest=x", "type=local,dest=-", "type=oci,dest=-,tar=false", "type=docker,tar=false,dest=x",
    "type=tar,dest=x,name=a", "type=oci,dest=x,compression=gzip", "type=image,push=true", "type=registry,name=a",
    "type=cacheonly", "type=oci,dest=x,dest=y", "type=oci,dest=x,oci-mediatypes=false", "type=oci,dest=x,tar=maybe",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_outputs_that_make_no_sense_are_refused(text, tmp_path):
    """Each is an error of usage that names the option."""
    with pytest.raises(UsageError, match="--output"):
        parse_output(text, tmp_path)


def test_outputs_that_could_only_fail_later_are_told_before_the_build(desk, tmp_path):
    """Two outputs on stdout, a folder where a file should be and the other way round: exit status 2, nothing built."""
    (tmp_path / "file").write_text("")
    for outputs in (["-", "type=oci,dest=-"], [str(tmp_path / "file")], [f"type=tar,dest={tmp_path}"]):
        done = desk.build(*(f"--output={output}" for output in outputs), ".")
        assert (2, "") == (done.returncode, done.stdout)
        assert "FROM" not in done.stderr
