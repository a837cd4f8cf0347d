"""A container's root: layers, mount points that leave no trace, odd names."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from repro.errors import ContainerError
from repro.runtime.spec import Bind, Network, Privileges, Tmpfs


def test_changes_are_in_upper_alone(sandbox):
    """What the command writes is in `upper`, and the layers below stay as they were."""
    before = sorted(os.listdir(sandbox.image))
    done = sandbox.sh("echo new > /etc/issue; echo own > /file")
    assert ["etc", "etc/issue", "file"] == done.left()
    assert ("new\n", "an image\n", before) == (
        (done.upper / "etc/issue").read_text(),
        (sandbox.image / "etc/issue").read_text(),
        sorted(os.listdir(sandbox.image)),
    )


def test_deletion_is_a_whiteout(sandbox):
    """A deleted lower file is a 0:0 character device in `upper`, in both modes."""
    done = sandbox.sh("rm /etc/issue")
    left = (done.upper / "etc/issue").lstat()
    assert (True, 0) == (stat.S_ISCHR(left.st_mode), left.st_rdev)


def test_replaced_folder_is_opaque(sandbox):
    """A folder that was deleted and made again carries the user overlay xattr."""
    done = sandbox.sh(
        "rm -r /etc/issue /etc/hosts 2>/dev/null; rm -r /opt; mkdir /opt", lowers=(folder(sandbox), sandbox.image)
    )
    assert b"y" == os.getxattr(done.upper / "opt", "user.overlay.opaque")


def folder(sandbox) -> Path:
    """Return a layer with a folder and a file in it."""
    layer = sandbox.place / "layer"
    (layer / "opt").mkdir(parents=True)
    (layer / "opt/tool").write_text("tool\n")
    return layer


def test_mount_points_leave_no_trace(sandbox, tmp_path):
    """Mounts of every kind, at places that the image lacks, leave `upper` empty."""
    (tmp_path / "file").write_text("file\n")
    binds = (Bind(tmp_path, "/mnt/deep/folder"), Bind(tmp_path / "file", "/mnt/deep/file"))
    done = sandbox.sh(
        "cat /mnt/deep/file /mnt/deep/folder/file; ls -d /scratch/x", binds=binds, tmpfs=(Tmpfs("/scratch/x"),)
    )
    assert ("file\nfile\n/scratch/x\n", [], ()) == (done.out, done.left(), done.result.made)


@pytest.mark.parametrize("network", list(Network))
def test_plain_container_leaves_no_trace(sandbox, network):
    """Our /dev, /proc, /sys, hosts and resolv.conf are nowhere in `upper`."""
    assert [] == sandbox.run("true", network=network, privileges=Privileges.BUILD).left()


def test_mount_points_behind_links_are_reported(sandbox, tmp_path):
    """A target behind the image's own dangling link stays inside the root; what was made for it is reported."""
    layer = sandbox.place / "links"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc/resolv.conf").symlink_to("../run/systemd/resolv.conf")
    (layer / "data").symlink_to("/../../var/data")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").write_text("x\n")
    done = sandbox.sh(
        "cat /var/data/x; cat /etc/resolv.conf", lowers=(sandbox.image, layer), binds=(Bind(tmp_path / "in", "/data"),)
    )
    assert ("x\n", 0) == (done.out, done.status)
    assert ("/run/systemd", "/run/systemd/resolv.conf", "/var/data") == done.result.made
    assert sorted(path.lstrip("/") for path in done.result.made) == [p for p in done.left() if p.count("/") or p == "x"]


def test_links_in_an_image_do_not_lead_out(sandbox, tmp_path):
    """An image whose /proc, /dev or bind target is a link to a host path mounts nothing on the host."""
    layer = sandbox.place / "hostile"
    layer.mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    for name in ("dev", "proc", "sys", "target"):
        (layer / name).symlink_to(tmp_path / "victim" / name)
    done = sandbox.run("true", lowers=(sandbox.image, layer), binds=(Bind(Path("/etc"), "/target"),))
    assert (0, []) == (done.status, os.listdir(tmp_path / "victim"))
    assert str(tmp_path / "victim/target") in done.result.made


def test_mount_points_have_ordinary_modes(sandbox, tmp_path):
    """Folders made for a mount point are 755, whatever the umask of the command; devices are for everybody."""
    binds = (Bind(tmp_path, "/mnt/deep/folder"),)
    done = sandbox.sh("stat -c %a /mnt /mnt/deep /dev /dev/null /dev/tty /dev/shm /etc/hosts", binds=binds, umask=0)
    assert ["755", "755", "755", "666", "666", "1777", "644"] == done.out.split()


def test_dots_in_targets_do_not_lead_out(sandbox, tmp_path):
    """A target with too many `..` ends at the container's root, and leaves no trace."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").write_text("x\n")
    binds = (Bind(tmp_path / "in", "/../../../../dots/a"), Bind(tmp_path / "in/x", "/dots/../dots/./file"))
    done = sandbox.sh("cat /dots/a/x /dots/file", binds=binds)
    assert ("x\nx\n", [], ()) == (done.out, done.left(), done.result.made)
    assert ["upper", "work"] == sorted(os.listdir(done.upper.parent))
    assert ["1", "in"] == sorted([*os.listdir(tmp_path / "containers"), "in"])


def test_hostile_upper_links_do_not_lead_out(sandbox, tmp_path):
    """The working folder is resolved inside the root as well."""
    spec = sandbox.spec("readlink", "/proc/self/cwd", cwd="/link/below")
    (spec.upper / "link").symlink_to(tmp_path)
    done = sandbox.run_spec(spec)
    assert (f"{tmp_path}/below\n", False) == (done.out, (tmp_path / "below").exists())


@pytest.mark.parametrize("name", ["a:b", "a b", "a,b", "a\\b", "ü\n", "x" * 200, "a'b\"c", os.fsdecode(b"\xff")])
def test_odd_names_in_paths(sandbox, tmp_path, name):
    """Colons, commas, blanks and bytes that are no UTF-8 may stand in any path that a spec has."""
    place = tmp_path / name
    for part in ("layer", "upper", "work", "in"):
        (place / part).mkdir(parents=True)
    (place / "layer/from-layer").write_text("layer\n")
    (place / "in/from-bind").write_text("bind\n")
    spec = sandbox.spec("sh", "-c", 'cat /from-layer "$1/from-bind"; echo > /made', "sh", f"/{name}")
    done = sandbox.run_spec(
        type(spec)(
            lowers=(sandbox.image, place / "layer"),
            upper=place / "upper",
            work=place / "work",
            argv=spec.argv,
            env=spec.env,
            binds=(Bind(place / "in", f"/{name}"),),
        )
    )
    assert ("layer\nbind\n", ["made"]) == (done.out, done.left())


def test_127_layers(sandbox):
    """As many layers as Docker allows, with long paths; the topmost wins."""
    layers = []
    for number in range(127):
        layer = sandbox.place / ("sha256:" + "0" * 100) / str(number)
        layer.mkdir(parents=True)
        (layer / f"only-{number}").touch()
        (layer / "number").write_text(f"{number}\n")
        layers.append(layer)
    done = sandbox.sh("cat /number; cd /; set -- only-*; echo $#", lowers=(sandbox.image, *layers))
    assert "126\n127\n" == done.out


def test_no_layers(sandbox):
    """Without any layer the upper folder is the root."""
    spec = sandbox.spec("/tool", lowers=())
    (spec.upper / "tool").write_text("#!/missing")
    (spec.upper / "tool").chmod(0o755)
    assert 127 == sandbox.run_spec(spec).status


def test_tmpfs_has_its_size_and_mode(sandbox):
    """A tmpfs is as large and as open as asked for."""
    tmpfs = (Tmpfs("/small", size=1 << 20, mode=0o700),)
    done = sandbox.sh("df /small | grep -c ' 1024 ' ; stat -c %a /small; ls /small", tmpfs=tmpfs)
    assert ["1", "700"] == done.out.split()


def test_binds_go_over_tmpfs_in_order(sandbox, tmp_path):
    """All tmpfs come first, then binds as given: a bind may lie in a tmpfs or in an earlier bind."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(f"{name}\n")
    (tmp_path / "a/inner").mkdir()
    binds = (Bind(tmp_path / "a", "/t/a"), Bind(tmp_path / "b", "/t/a/inner"))
    assert "a\nb\n" == sandbox.sh("cat /t/a/name /t/a/inner/name", tmpfs=(Tmpfs("/t"),), binds=binds).out


def test_bound_file(sandbox, tmp_path):
    """A single file can be bound over one of the image's."""
    (tmp_path / "mine").write_text("mine\n")
    done = sandbox.sh("cat /etc/issue", binds=(Bind(tmp_path / "mine", "/etc/issue"),))
    assert ("mine\n", []) == (done.out, done.left())


def test_nothing_stays_mounted(sandbox, tmp_path_factory):
    """The host's mounts are the same after containers as before; what tests of other processes mount is theirs."""
    own = tmp_path_factory.getbasetemp()

    def mounts() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [Path(line.split()[4]) for line in lines]
        return [
            line
            for line, point in zip(lines, points, strict=True)
            if own in point.parents or own.parent not in point.parents
        ]

    before = mounts()
    for network in Network:
        sandbox.run("true", network=network)
    assert before == mounts()


def test_upper_can_be_a_layer_at_once(sandbox):
    """What one container wrote is the next one's layer, moved right after the end."""
    first = sandbox.sh("echo 1 > /one; rm /etc/issue; mkdir /d; chmod 0 /d")
    moved = first.upper.rename(first.upper.parent / "layer")
    second = sandbox.sh("cat /one; ls /etc; stat -c %a /d", lowers=(sandbox.image, moved))
    assert ["1", "hosts", "resolv.conf", "0"] == second.out.split()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"argv": ()}, "no command"),
        ({"cwd": "relative"}, "not absolute"),
        ({"binds": (Bind(Path("/no/such"), "/x"),)}, "/no/such"),
        ({"binds": (Bind(Path("/etc"), "x"),)}, "not absolute"),
        ({"binds": (Bind(Path("/etc"), "/"),)}, "hide"),
        ({"tmpfs": (Tmpfs("/x/.."),)}, "hide"),
        ({"lowers": (Path("/no/such"),)}, "not a folder"),
        ({"upper": Path("/no/such")}, "not a folder"),
        ({"env": {"A=B": "c"}}, "A=B"),
        ({"argv": ("a\0b",)}, "NUL"),
        ({"hostname": "x" * 65}, "64"),
        ({"cwd": "/etc/issue/below"}, "working folder"),
        ({"binds": (Bind(Path("/etc"), "/etc/issue"),)}, "/etc/issue"),
        ({"upper": Path("/proc"), "work": Path("/proc")}, "overlay"),
    ],
)
def test_what_cannot_be_is_refused(sandbox, changes, said):
    """A spec that cannot be made is a ContainerError that names the matter."""
    spec = sandbox.spec("true", **changes)
    with pytest.raises(ContainerError, match=said):
        sandbox.run_spec(spec)
