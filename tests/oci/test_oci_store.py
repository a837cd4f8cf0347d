"""The store: whole or not there, the same for two processes, and after one of them was killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import PROJECT, commit

from repro.digest import Digest
from repro.errors import CorruptError, DataError, ReproError, StoreError, UsageError
from repro.files import remove_tree
from repro.oci.model import ImageConfig
from repro.oci.refs import file_name, name_of_file
from repro.oci.store import Store
from repro.oci.workspace import Workspaces


def image(store: Store, files: dict[str, bytes], **more) -> Digest:
    """Put an image of one layer."""
    return store.put_image(ImageConfig("amd64", diff_ids=(commit(store, files).diff_id,), **more))


def process(store: Store, code: str) -> subprocess.Popen[str]:
    """Start a process that has ``store`` open and runs ``code``; ``ready()`` in it tells us and waits for a line."""
    start = f"""
        import os, sys
        from pathlib import Path
        from repro.digest import Digest
        from repro.oci.model import ImageConfig
        from repro.oci.store import Store
        store = Store(Path({str(store.root)!r}), {store.form!r})
        def ready():
            print("ready", flush=True)
            sys.stdin.readline()
    """
    program = textwrap.dedent(start) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def left_over(store: Store) -> list[str]:
    """Return what lies in the store's tmp, the gate's lock aside."""
    return sorted(name for name in os.listdir(store.root / "tmp") if name != ".lock")


def test_the_store_is_its_owners_alone(tmp_path: Path, form: str) -> None:
    """Set-id files of any layer lie within: nobody else may enter, whatever the umask or an earlier chmod."""
    Store(tmp_path / "s", form)
    assert 0o40700 == os.stat(tmp_path / "s").st_mode

    os.chmod(tmp_path / "s", 0o755)
    Store(tmp_path / "s", form)
    assert 0o40700 == os.stat(tmp_path / "s").st_mode


def test_a_store_of_another_layout_is_left_alone(tmp_path: Path, form: str) -> None:
    """A store that a later release made is refused with both numbers, not half understood."""
    Store(tmp_path / "s", form)
    (tmp_path / "s" / "version").write_text("99\n")

    with pytest.raises(StoreError, match="99"):
        Store(tmp_path / "s", form)


def test_blobs_come_back_by_digest(store: Store) -> None:
    """Bytes and streams are kept once, under their digest."""
    digest = store.put_blob(b"hello")

    assert digest == store.add_blob(io.BytesIO(b"hello"), digest=digest)
    assert (True, b"hello") == (store.has_blob(digest), store.read_blob(digest))
    assert [digest.hex] == os.listdir(store.root / "blobs" / "sha256")
    assert [] == left_over(store)


def test_a_stream_that_is_not_its_digest_leaves_nothing(store: Store) -> None:
    """A blob whose bytes are others is refused and not kept."""
    with pytest.raises(DataError, match="not its own"):
        store.add_blob(io.BytesIO(b"evil"), digest=Digest.of(b"good"))

    assert not store.has_blob(Digest.of(b"evil"))
    assert [] == left_over(store)


def test_a_damaged_blob_is_found_out_when_read(store: Store) -> None:
    """One flipped bit of a config is a CorruptError that names the file, never an image."""
    image_id = image(store, {"a": b"1"})
    path = store.blob_path(image_id)
    path.write_bytes(path.read_bytes().replace(b"amd64", b"arm64"))

    with pytest.raises(CorruptError, match=image_id.hex):
        store.config(image_id)


def test_a_damaged_blob_is_mended_when_it_is_put_again(store: Store) -> None:
    """An image built again after its config was cut short can be read again: the build does not just say so."""
    image_id = image(store, {"a": b"1"})
    os.truncate(store.blob_path(image_id), 10)

    assert image_id == image(store, {"a": b"1"})
    assert "amd64" == store.config(image_id).architecture


def test_a_layer_without_its_folder_is_not_there(store: Store) -> None:
    """A folder that was deleted by hand is missed, and the same layer can be put again."""
    info = commit(store, {"a": b"1"})
    remove_tree(store.layer_path(info.diff_id))

    assert not store.has_layer(info.diff_id)
    assert info == commit(store, {"a": b"1"})
    assert store.verify_layer(info.diff_id)


@pytest.mark.parametrize("content", [b"", b"sha256:12\n", b"\xff\xfe"])
def test_a_damaged_name_is_told_with_its_file(store: Store, content: bytes) -> None:
    """A name that holds no image ID is a CorruptError with the file to delete."""
    image_id = image(store, {"a": b"1"})
    path = store.root / "refs" / file_name(store.tag("tool", image_id))
    path.write_bytes(content)

    with pytest.raises(CorruptError, match=r"tool:latest") as caught:
        store.resolve("tool")
    assert str(path) == str(caught.value.where)


def test_a_missing_blob_is_said_to_be_missing(store: Store) -> None:
    """Asking for what is not there is an error with a way out."""
    with pytest.raises(StoreError, match="not in the store"):
        store.read_blob(Digest.of(b"?"))


def test_a_layer_is_committed_by_renaming(store: Store) -> None:
    """The inode that the container wrote is the one in the store: nothing is copied; the upper is gone."""
    with store.workspace() as work:
        upper = work / "upper"
        upper.mkdir()
        upper.chmod(0o755)
        (upper / "f").write_bytes(b"123")
        inode = os.stat(upper / "f").st_ino
        info = store.commit_layer(upper, epoch=9)
        assert not upper.exists()

    placed = store.layer_path(info.diff_id) / "f"
    assert (inode, 9) == (os.stat(placed).st_ino, int(os.stat(placed).st_mtime))
    assert info == store.layer_info(info.diff_id)
    assert 3 == info.content
    assert store.verify_layer(info.diff_id)


def test_the_same_layer_again_is_the_same_layer(store: Store) -> None:
    """Built at another time, a layer of the same content has the same diffID, and the first one stays."""
    first = commit(store, {"a/b": b"1"}, epoch=100)
    inode = os.stat(store.layer_path(first.diff_id)).st_ino

    assert first == commit(store, {"a/b": b"1"}, epoch=100)
    assert inode == os.stat(store.layer_path(first.diff_id)).st_ino


def test_a_layer_without_changes_is_a_layer(store: Store) -> None:
    """RUN true makes an empty layer; it can be committed twice like any other."""
    assert commit(store, {}) == commit(store, {})


def test_a_layer_whose_root_is_read_only_is_kept_as_it_is(store: Store) -> None:
    """Fedora's / has mode 0555: the folder keeps it, although renaming wants to write it."""
    with store.workspace() as work:
        upper = work / "upper"
        upper.mkdir()
        (upper / "f").write_bytes(b"")
        upper.chmod(0o555)
        info = store.commit_layer(upper, epoch=0)

    assert 0o40555 == os.stat(store.layer_path(info.diff_id)).st_mode
    assert store.verify_layer(info.diff_id)


def test_a_changed_layer_does_not_verify(store: Store) -> None:
    """One byte changed in a layer's folder is noticed, and its tar cannot be written."""
    info = commit(store, {"a": b"1"})
    path = store.layer_path(info.diff_id) / "a"
    path.write_bytes(b"2")
    os.utime(path, (0, 0))

    assert not store.verify_layer(info.diff_id)
    with pytest.raises(CorruptError, match="damaged"):
        store.write_layer(info.diff_id, io.BytesIO())


def test_a_layer_of_another_writer_keeps_its_own_tar(store: Store, tmp_path: Path) -> None:
    """A tar that ours would not reproduce stays as a blob, so that its diffID can be served and verified."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("z", "a"):
            archive.addfile(tarfile.TarInfo(name))
    blob = tmp_path / "layer.tar.gz"
    blob.write_bytes(out.getvalue())

    info = store.add_layer(blob)

    again = io.BytesIO()
    store.write_layer(info.diff_id, again)
    assert info.diff_id == Digest.of(again.getvalue())
    assert store.verify_layer(info.diff_id)
    assert ["a", "z"] == sorted(os.listdir(store.layer_path(info.diff_id)))


def test_an_image_without_its_layers_is_refused(store: Store) -> None:
    """A config that names a layer which is not there does not become an image."""
    with pytest.raises(StoreError, match="layer"):
        store.put_image(ImageConfig("amd64", diff_ids=(Digest.of(b"?"),)))

    assert set() == store.images()


def test_images_are_found_by_name_id_and_prefix(store: Store) -> None:
    """Docker's rules: no tag is latest, a name goes before digits, digits may be cut while they mean one image."""
    one, two = image(store, {"a": b"1"}), image(store, {"a": b"2"})
    store.tag("tool", one)
    store.tag("archive:debian/bookworm", two)
    store.tag("localhost:5000/x:v1", two)

    assert one == store.resolve("tool") == store.resolve("docker.io/library/tool:latest")
    assert two == store.resolve("archive:debian/bookworm") == store.resolve("localhost:5000/x:v1")
    assert one == store.resolve(str(one)) == store.resolve(one.hex) == store.resolve(one.hex[:9])
    assert {one, two} == store.images()
    assert ["archive:debian/bookworm", "docker.io/library/tool:latest", "localhost:5000/x:v1"] == list(store.refs())


def test_a_name_moves_and_goes(store: Store) -> None:
    """A tag given again stands for the new image alone; the old image stays; untag forgets the name."""
    one, two = image(store, {"a": b"1"}), image(store, {"a": b"2"})
    store.tag("t", one)
    store.tag("t:latest", two)

    assert two == store.resolve("t")
    store.untag("t")
    with pytest.raises(StoreError, match="'t'"):
        store.untag("t")
    assert store.has_image(one)


def test_errors_of_look_ups_say_what_is_near(store: Store) -> None:
    """A typing error is answered with the name that was meant; ambiguous digits with what they could be."""
    store.tag("samtools", image(store, {"a": b"1"}))

    with pytest.raises(StoreError, match="did you mean samtools:latest"):
        store.resolve("samtool")
    with pytest.raises(StoreError, match="SAMTOOLS"):
        store.resolve("SAMTOOLS")
    with pytest.raises(StoreError, match="not in the store"):
        store.tag("x", Digest.of(b"?"))
    with pytest.raises(UsageError):
        store.tag("no such:name", store.resolve("samtools"))


def test_ambiguous_digits_are_an_error(store: Store) -> None:
    """Digits that begin two IDs mean neither."""
    for number in range(17):  # more images than first digits
        image(store, {"a": b"%d" % number})
    first = [image_id.hex[0] for image_id in store.images()]
    twice = next(digit for digit in first if first.count(digit) > 1)

    with pytest.raises(StoreError, match="could be"):
        store.resolve(twice)


@given(name=st.text(min_size=1, max_size=40))
def test_any_name_is_one_file_name_and_back(name: str) -> None:
    """The file that keeps a name has no slash, no leading dot, and gives the name back."""
    try:
        encoded = file_name(name)
    except (UsageError, UnicodeEncodeError):
        return
    assert "/" not in encoded
    assert not encoded.startswith(".")
    assert name == name_of_file(encoded)


def test_what_is_remembered_is_recalled_per_kind(store: Store) -> None:
    """Facts come back by kind and key, the last one wins, a torn file is as good as forgotten."""
    key = Digest.of(b"k")
    store.remember("build/1", key, {"layer": "x"})
    store.remember("build/1", key, {"layer": "y"})

    assert {"layer": "y"} == Store(store.root, store.form).recall("build/1", key)
    assert store.recall("other", key) is None
    (path,) = (store.root / "memory").rglob("*.json")
    path.write_bytes(b'{"lay')
    assert store.recall("build/1", key) is None


def test_a_workspace_is_gone_after_an_error(store: Store) -> None:
    """Whatever happens in the block, also with folders that nobody may enter, nothing stays."""
    with pytest.raises(RuntimeError), store.workspace() as work:
        (work / "closed").mkdir()
        (work / "closed" / "f").write_bytes(b"")
        (work / "closed").chmod(0)
        raise RuntimeError

    assert [] == left_over(store)


def test_what_a_killed_process_left_is_swept_and_what_lives_stays(store: Store) -> None:
    """After kill -9 in a build, the next start removes its folder and half-written blob, and only those."""
    dead = process(store, "with store.workspace() as w, store._work.file():\n    (w / 'x').mkdir(0)\n    ready()")
    alive = process(store, "with store.workspace() as w:\n    print(w.name, flush=True)\n    ready()")
    assert dead.stdout is not None
    assert alive.stdout is not None
    dead.stdout.readline()
    name = alive.stdout.readline().strip()
    dead.send_signal(signal.SIGKILL)
    dead.communicate()

    with store.workspace() as mine:
        store.sweep()
        assert sorted([name, mine.name]) == left_over(store)
    alive.communicate("\n")
    store.sweep()
    assert [] == left_over(store)


COMMITS = """
    from repro.oci import clean
    ready()
    for number in range(12):
        with store.workspace() as work:
            upper = work / "upper"
            upper.mkdir()
            upper.chmod(0o755)
            for name in range(10):
                (upper / f"f{name}").write_bytes(b"%d" % number)
            info = store.commit_layer(upper, epoch=0)
        image_id = store.put_image(ImageConfig("amd64", diff_ids=(info.diff_id,)))
        store.tag("shared", image_id)
        store.remember("k", Digest.of(b"k"), number)
        assert store.resolve("shared") in store.images()
        print(image_id, flush=True)
"""


def test_two_processes_commit_and_tag_the_same_things_at_once(store: Store) -> None:
    """Two processes that make the same layers and move the same name end with the same images and a good store."""
    both = [process(store, COMMITS), process(store, COMMITS)]
    for one in both:
        assert one.stdout is not None
        one.stdout.readline()
    for one in both:  # both are let go before either is waited for
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate()[0].splitlines() for one in both]

    assert [0, 0] == [one.returncode for one in both]
    assert said[0] == said[1]
    assert 12 == len(store.images())
    assert all(store.verify_layer(store.config(found).diff_ids[0]) for found in store.images())
    assert Digest.parse(said[0][-1]) == store.resolve("shared")
    assert [] == left_over(store)


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_process_killed_while_it_commits_leaves_a_good_store(store: Store, after: int) -> None:
    """Killed (-9) at any moment: every layer that is there verifies, and the same work then goes through."""
    victim = process(store, COMMITS)
    assert victim.stdin is not None
    assert victim.stdout is not None
    victim.stdout.readline()
    victim.stdin.write("\n")
    victim.stdin.flush()
    for _ in range(after):
        victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    victim.communicate()

    store = Store(store.root, store.form)
    store.sweep()
    assert [] == left_over(store)
    for image_id in store.images():
        assert all(store.verify_layer(diff_id) for diff_id in store.config(image_id).diff_ids)
    assert after <= len(store.images())
    again = process(store, COMMITS)
    again.communicate("\n")
    assert (0, 12) == (again.returncode, len(store.images()))


def test_on_a_network_names_tell_whose_work_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock is taken. A dead process's work is swept at once, another machine's once it is a day old."""
    monkeypatch.setattr("repro.oci.workspace.fcntl", None)
    monkeypatch.setattr("repro.oci.workspace.locked", None)
    mine, another = Workspaces(tmp_path, "aaaa"), Workspaces(tmp_path, "bbbb")
    with another.file() as (_, theirs), mine.file() as (_, own), mine.folder() as folder:
        dead = tmp_path / own.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-")
        reused = tmp_path / f"work-aaaa-{os.getpid()}-1-x"
        old = tmp_path / "blob-bbbb-1-1-x"
        for left in (dead, reused, old):
            left.write_bytes(b"")
        os.utime(old, (0, 0))
        mine.sweep()
        assert sorted([theirs, own, folder]) == sorted(tmp_path.iterdir())
    assert [] == list(tmp_path.iterdir())


def test_a_layer_folder_without_its_facts_is_replaced(store: Store) -> None:
    """A process killed between the two steps of a commit leaves a folder that does not count and is not in the way."""
    info = commit(store, {"a": b"1"})
    facts = store.layer_path(info.diff_id).with_name(f"{info.diff_id.hex}.json")
    (store.layer_path(info.diff_id) / "a").write_bytes(b"damaged since")
    facts.unlink()

    assert not store.has_layer(info.diff_id)
    assert info == commit(store, {"a": b"1"})
    assert store.verify_layer(info.diff_id)


def test_forms_share_blobs_and_names_but_not_layers(tmp_path: Path) -> None:
    """What was unpacked for one way of being root is not taken for another."""
    one = Store(tmp_path / "s", "one")
    image_id = image(one, {"a": b"1"})
    one.tag("x", image_id)

    other = Store(tmp_path / "s", "sub-100000-65536")

    assert image_id == other.resolve("x")
    assert (True, False) == (one.has_image(image_id), other.has_image(image_id))
    with pytest.raises(StoreError, match="mode 'sub-100000-65536'"):
        other.image_layers(image_id)
    remove_tree(tmp_path / "s")


def test_errors_are_all_of_our_tree(store: Store) -> None:
    """A spoilt facts file is an error of ours with a way out, not a traceback."""
    info = commit(store, {"a": b"1"})
    store.layer_path(info.diff_id).with_name(f"{info.diff_id.hex}.json").write_bytes(b"{}")

    with pytest.raises(ReproError, match="damaged"):
        store.layer_info(info.diff_id)
