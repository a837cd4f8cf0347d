"""Images that may come in but are full of traps: links that lead out are followed inside, rubbish is no surprise."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.build.archive import unpack
from repro.build.inodes import Attributes
from repro.build.tree import LayerFolder
from repro.build.users import Identity, identify, owner
from repro.environment.installed import installed
from repro.environment.model import Installed
from repro.errors import BuildError, ContainerError, DataError, Location
from repro.files import remove_tree
from repro.oci.flatten import lay_out_root, write_root_tar
from repro.oci.untar import TarReader
from repro.oci.view import View
from repro.runtime.container import Launcher
from repro.runtime.spec import Bind, Mode
from tests.runtime.conftest import Sandbox, make_image
from tests.security.hostile_layers import BY_NAME, ESCAPES, NAMES, STREAMS, VALUES
from tests.security.places import FORMS, Place
from tests.security.tars import FIFO, attribute, file, folder, header, symlink, tar

HERE = Location("Dockerfile", 1)
FORM = FORMS[0]


def add(here: Place, *layers: bytes) -> list[Path]:
    """Put layers into the store; return their folders, lowest first."""
    folders = []
    for number, layer in enumerate(layers):
        blob = here.root / f"{number}.tar"
        blob.write_bytes(layer)
        folders.append(here.store.layer_path(here.store.add_layer(blob).diff_id))
    here.look()
    return folders


def traps(outside: Path) -> bytes:
    """Return a layer whose links lead to ``outside`` in every way."""
    out = os.fsencode(outside)
    up = b"../" * 30 + out[1:]
    return tar(
        folder(b"etc/"),
        symlink(b"etc/passwd", out + b"/passwd"),
        symlink(b"etc/group", up + b"/passwd"),
        symlink(b"absolute", out),
        symlink(b"upwards", up),
        symlink(b"again", b"upwards/../" + out.rpartition(b"/")[2]),
        symlink(b"round", b"round/and/round"),
        symlink(b"self", b"/proc/self/root"),
        symlink(b"long", b"n" * 300 + b"/x"),
        symlink(b"deep", b"a/" * 2000),
        symlink(b"w", out),
        symlink(b"proc", out + b"/proc"),
        symlink(b"sys", up + b"/sys"),
        symlink(b"dev", b"/.." + out + b"/dev"),
        symlink(b"etc/hosts", out + b"/canary"),
        symlink(b"etc/resolv.conf", up + b"/resolv.conf"),
    )


@pytest.mark.parametrize("name", ["absolute", "upwards", "again", "self"])
def test_a_look_into_an_image_never_leaves_it(name, place):
    """A link to a folder of the host leads to a path of the image, where nothing is."""
    here = place()
    view = View(add(here, traps(here.outside)), here.store.form)

    assert view.entry(f"/{name}/canary") is None
    assert view.entry(f"/{name}/../../../../canary") is None
    with pytest.raises(DataError, match="not there"):
        view.read(f"/{name}/canary")
    with pytest.raises(DataError, match="no folder"):
        view.listdir(f"/{name}")
    here.check(layers=1)


def test_links_in_circles_and_endless_names_are_no_surprise(place):
    """A loop is an error of ours; a link to a name that cannot be leads to nothing."""
    here = place()
    view = View(add(here, traps(here.outside)), here.store.form)

    with pytest.raises(DataError, match="circles"):
        view.read("/round")
    assert view.entry("/long/x") is None
    assert view.entry("/deep") is not None
    assert view.entry(view.resolve("/deep")) is None
    assert "/a/b" == view.resolve(f"/{'a/' * 3000}{'../' * 2999}b")


def test_users_are_those_of_the_image(place):
    """An /etc/passwd that is a link to the host's is not read: its users are unknown, numbers are numbers."""
    here = place()
    view = View(add(here, traps(here.outside)), here.store.form)

    with pytest.raises(BuildError, match="no user 'host'"):
        identify("host", view, HERE)
    with pytest.raises(BuildError, match="no group 'host'"):
        owner("0:host", view, HERE)
    assert Identity(4242, 0) == identify("4242", view, HERE)


@pytest.mark.parametrize(
    "line",
    [
        "evil:x:\u00b2:0::/:/bin/sh",
        "evil:x:4294967295:0::/:/bin/sh",
        "evil:x:0:4294967296::/:/bin/sh",
        f"evil:x:{'9' * 5000}:0::/:/bin/sh",
        "evil:x:-1:0::/:/bin/sh",
        "evil:x:+1:0::/:/bin/sh",
        "evil",
        ":::::::",
    ],
)
def test_a_user_without_a_possible_number_is_none(line, place):
    """What no user or group can have as a number is passed over, and the rest of the file is read."""
    here = place()
    text = f"{line}\ngood:x:7:8::/home:/bin/sh\n".encode()
    view = View(add(here, tar(file(b"etc/passwd", text), file(b"etc/group", text))), here.store.form)

    with pytest.raises(BuildError, match="no user 'evil'"):
        identify("evil", view, HERE)
    assert (7, 8) == owner("good", view, HERE)


@pytest.mark.parametrize("passwd", [folder(b"etc/passwd/"), header(b"etc/passwd", FIFO), symlink(b"etc/passwd", b".")])
def test_a_passwd_that_is_no_file_is_an_error(passwd, place):
    """Nobody waits for a pipe, and nothing breaks on a folder."""
    here = place()
    view = View(add(here, tar(passwd)), here.store.form)

    with pytest.raises(DataError, match="cannot be read"):
        identify("evil", view, HERE)


def test_a_passwd_without_end_is_an_error(tmp_path):
    """A file of a terabyte of holes is not read into memory."""
    (tmp_path / "etc").mkdir()
    with open(tmp_path / "etc" / "passwd", "wb") as passwd:
        passwd.truncate(1 << 40)

    with pytest.raises(DataError, match="bytes in the image"):
        identify("evil", View([tmp_path], FORM), HERE)


def test_packages_of_rubbish_are_none(place):
    """A dpkg status that lacks what it must have names nothing that cannot be."""
    here = place()
    text = (
        b"Status: install ok installed\n\nPackage: a\nStatus: x installed\n\n\xff\xfe: \0\n\nPackage: b\nVersion: 1\n"
    )
    text += b"Status: install ok installed\n"

    layers = add(here, tar(file(b"var/lib/dpkg/status", text)))
    assert (Installed("deb", "b", "1"),) == installed(layers, here.store.form)


def test_a_root_is_laid_out_without_leaving_its_folder(place):
    """A link below, a folder above, and the other way round: what is in them stays inside, links stay links."""
    here = place()
    out = os.fsencode(here.outside)
    lower = tar(symlink(b"a", out), folder(b"b/"), file(b"b/evil", b"evil"), symlink(b"c", out + b"/canary"))
    upper = tar(folder(b"a/"), file(b"a/evil", b"evil"), symlink(b"b", out), file(b"c", b"evil"))
    layers = add(here, lower, upper)
    made = here.root / "made"
    made.mkdir()

    lay_out_root(layers, made, lambda _: None)

    assert [b"a", b"a/evil", b"b", b"c"] == sorted(_listed(os.fsencode(made)))
    assert str(here.outside) == os.readlink(made / "b")
    assert b"evil" == (made / "c").read_bytes()
    remove_tree(made)
    here.look()
    write_root_tar(layers, here.store.form, io.BytesIO())
    here.check(layers=2)


def _listed(root: bytes) -> Iterator[bytes]:
    for parent, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(parent, name), root)


def test_nothing_that_is_laid_out_runs_as_the_caller(place):
    """Files that were another's in the image are the caller's now: their set-id bits are gone; a folder's is kept."""
    here = place()
    layers = add(
        here, tar(header(b"su", mode=b"0006755\0", uid=7), header(b"d/", b"5", mode=b"0002755\0", gid=9), file(b"f"))
    )
    made = here.root / "made"
    made.mkdir()

    lay_out_root(layers, made, lambda _: None)

    assert 0o755 == stat.S_IMODE(os.lstat(made / "su").st_mode)
    assert os.lstat(made / "d").st_mode & stat.S_ISGID
    remove_tree(made)


def test_what_is_copied_into_an_image_stays_inside(place):
    """COPY to a path through an image's links makes folders in the new layer, never where the links lead outside."""
    here = place()
    layers = add(here, traps(here.outside))
    upper = here.root / "upper"
    upper.mkdir()
    layer = LayerFolder(upper, layers, here.store.form)
    new = Attributes(0, 0, 0o755, 0)

    for name in ("absolute", "upwards", "again", "absolute/../../../../../.."):
        where = layer.resolve(f"{name}/new")
        layer.folder(where.rpartition("/")[0], new)
        layer.write(where, new, lambda descriptor: os.write(descriptor, b"evil"))
        assert not where.startswith(("/", "..")) and "/../" not in where
    layer.finish()

    assert b"evil" == Path(f"{upper}{here.outside}/new").read_bytes()
    remove_tree(upper)
    here.look()
    here.check(layers=1)


@pytest.mark.parametrize("name", [one.name for one in (*ESCAPES, *NAMES, *VALUES, *STREAMS)])
def test_an_archive_that_is_added_stays_in_the_layer(name, tmp_path, shared):
    """ADD of a hostile archive is refused, or what it says happens inside of the layer, as if that were the root."""
    case = BY_NAME[name]
    here = shared(FORM)
    upper = tmp_path / "upper"
    upper.mkdir()
    layer = LayerFolder(upper, [], here.store.form)
    layer.folder("to", Attributes(0, 0, 0o755, 0))
    data = case.make(os.fsencode(here.outside))
    here.look()

    with contextlib.suppress(BuildError):
        reader = TarReader(io.BytesIO(data), padded=False)
        unpack(reader, layer, "to", "a.tar", owner=None, mtime=0)
        layer.finish()

    assert {b"to"} >= {path.partition(b"/")[0] for path in _listed(os.fsencode(upper))}
    here.check()
    remove_tree(upper)


def test_the_marks_of_overlay_and_of_ours_do_not_come_in(place):
    """Redirects, opaque marks, kept owners and capabilities of a tar's own would show or be what is not there."""
    here = place()
    names = ("user.overlay.redirect", "user.overlay.opaque", "trusted.overlay.redirect", "user.repro.owner",
             "user.repro.capability", "security.selinux", "system.posix_acl_access", "user.overlay.metacopy")  # fmt: skip
    entries = [attribute(name.encode(), b"/etc") + folder(b"%d" % number) for number, name in enumerate(names)]
    (layer,) = add(here, tar(*entries, attribute(b"user.fine", b"1") + file(b"f")))

    kept = [name for path in layer.iterdir() for name in os.listxattr(path) if name != "security.selinux"]

    assert ["user.fine"] == kept
    here.check(layers=1)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A launcher, and an image of the host's own programs."""
    root = tmp_path_factory.mktemp("containers")
    make_image(root / "image")
    launcher = Launcher(Mode.REAL if os.geteuid() == 0 else Mode.ONE)
    yield Sandbox(root / "image", launcher, root)
    launcher.close()
    remove_tree(root)


@pytest.mark.parametrize("cwd", ["/w/new", "/absolute/../../../new", "/upwards/new", "/../../../../new"])
def test_a_container_of_traps_starts_inside(cwd, place, sandbox):
    """Links in place of /proc, /dev, /sys, /etc/hosts and of the working folder are followed in the container alone."""
    here = place()
    traps_folder, *_ = add(here, traps(here.outside))
    script = "pwd -P >/tmp/where; echo evil >new; cat /etc/hosts >/tmp/hosts; echo evil >/etc/hosts; exit 7"

    done = sandbox.sh(
        script,
        lowers=(sandbox.image, traps_folder),
        cwd=cwd,
        binds=(Bind(here.outside / "folder", "/w/bound"),),
    )

    assert 7 == done.status, done.err
    assert "localhost" in (done.upper / "tmp" / "hosts").read_text()
    where = (done.upper / "tmp" / "where").read_text().strip()
    assert "new" == os.path.basename(where)
    assert "evil\n" == Path(f"{done.upper}{where}/new").read_text()
    here.check(layers=1)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a_container_whose_own_mounts_cover_each_other_does_not_start_half(name, place, sandbox):
    """An image that puts one of our mounts on another gets an error, or a container without what it hid: no more."""
    here = place()
    links = [symlink(one, os.fsencode(here.outside)) for one in (b"proc", b"sys", b"dev") if one != name.encode()]
    layer, *_ = add(here, tar(*links, symlink(name.encode(), b"proc" if name == "dev" else b"dev")))

    with pytest.raises(ContainerError, match="cannot mount /"):
        sandbox.sh("exit 7", lowers=(sandbox.image, layer))

    here.check(layers=1)


def test_a_working_folder_through_proc_is_refused(place, sandbox):
    """A link to /proc/self/root is no way to the host's root while a container is set up."""
    here = place()
    layers = add(here, traps(here.outside))

    with pytest.raises(ContainerError, match="working folder"):
        sandbox.sh("exit 7", lowers=(sandbox.image, *layers), cwd=f"/self{here.outside}/new")

    here.check(layers=1)
