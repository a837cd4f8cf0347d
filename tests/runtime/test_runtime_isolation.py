"""What a container cannot see or do."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from repro.runtime.spec import Bind, Mode, Network, Privileges, Tmpfs

DOCKER_CAPABILITIES = 0xA80425FB
CONNECT = "exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected"


def status(sandbox, **changes) -> dict[str, str]:
    """Return /proc/self/status of a command."""
    out = sandbox.run("cat", "/proc/self/status", **changes).out
    return {key: value.strip() for key, _, value in (line.partition(":") for line in out.splitlines())}


@pytest.fixture
def server():
    """A listener on the host's loopback; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_no_network_reaches_no_host(sandbox, server):
    """Without network the host's loopback is another's."""
    done = sandbox.run("bash", "-c", CONNECT.format(port=server))
    assert (1, "") == (done.status, done.out)


def test_host_network_reaches_the_host(sandbox, server):
    """With the host's network its loopback is ours."""
    assert "connected\n" == sandbox.run("bash", "-c", CONNECT.format(port=server), network=Network.HOST).out


def test_loopback_is_up_without_network(sandbox):
    """Programs that talk to themselves over 127.0.0.1 work: a refused port is refused, not unreachable."""
    done = sandbox.run("bash", "-c", CONNECT.format(port=9))
    assert (True, "lo:") == ("refused" in done.err, sandbox.sh("grep -o lo: /proc/net/dev").out.strip())


def test_hosts_and_resolver(sandbox):
    """Without network: localhost alone and no name server; with it, the host's own."""
    none = sandbox.sh("cat /etc/hosts; echo --; cat /etc/resolv.conf", hostname="box")
    assert (True, True) == ("127.0.0.1\tlocalhost\n" in none.out, none.out.endswith("127.0.1.1\tbox\n--\n"))
    host = sandbox.run("cat", "/etc/resolv.conf", network=Network.HOST)
    assert Path("/etc/resolv.conf").read_text().split() == host.out.split()


def test_ca_bundle_comes_with_the_host_network(sandbox):
    """The host's CA bundle is at a fixed path, and variables point there unless the spec has them."""
    sources = [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt")]
    if not any(source.exists() for source in sources):
        done = sandbox.run("env", network=Network.HOST)
        assert "SSL_CERT_FILE" not in done.out
        return
    script = 'echo "$SSL_CERT_FILE $PIP_CERT"; cat "$SSL_CERT_FILE"'
    done = sandbox.sh(script, network=Network.HOST, env={"PATH": "/bin", "PIP_CERT": "/mine"})
    line, _, bundle = done.out.partition("\n")
    assert "/run/repro/ca-certificates.crt /mine" == line
    assert "BEGIN CERTIFICATE" in bundle
    assert [] == done.left()


def test_step_has_no_capability(sandbox):
    """A step holds no capability in any set, cannot gain one, and has the filter on."""
    found = status(sandbox)
    assert {"0" * 16} == {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert ("1", "2") == (found["NoNewPrivs"], found["Seccomp"])


@pytest.mark.parametrize("fake", [False, True])
def test_build_has_dockers_capabilities(sandbox, fake):
    """A build's root holds Docker's fourteen capabilities, and set-id programs work in it."""
    found = status(sandbox, privileges=Privileges.BUILD, fake_owners=fake)
    docker = f"{DOCKER_CAPABILITIES:016x}"
    assert (docker, docker, docker) == (found["CapPrm"], found["CapEff"], found["CapBnd"])
    assert ("0" * 16, "0" * 16, "0") == (found["CapInh"], found["CapAmb"], found["NoNewPrivs"])


def test_build_user_has_none(sandbox):
    """A build's ordinary user holds no capability, but root's set bounds what set-id programs get."""
    found = status(sandbox, privileges=Privileges.BUILD, user=(1000, 1000), fake_owners=True)
    assert ("0" * 16, f"{DOCKER_CAPABILITIES:016x}") == (found["CapEff"], found["CapBnd"])


def test_steps_cannot_mount(sandbox):
    """A step cannot change the mounts; neither can it write to read-only parts of /proc and /sys."""
    done = sandbox.sh("echo 1 > /proc/sys/vm/drop_caches; echo x > /sys/kernel/uevent_helper; mkdir /sys/fs/cgroup/x")
    assert (True, 3) == (done.status != 0, len(done.err.splitlines()))


@pytest.mark.parametrize("network", list(Network))
def test_sys_is_read_only(sandbox, network):
    """Nothing below /sys can be written in either network, cgroups included, also by a build's root."""
    done = sandbox.sh("grep ' /sys' /proc/mounts", network=network, privileges=Privileges.BUILD)
    assert {"ro"} == {line.split()[3].split(",")[0] for line in done.out.splitlines() if "/null" not in line}


def test_only_own_processes_are_seen(sandbox):
    """The container's /proc shows pid 1, and no process of the host."""
    assert ["1"] == [pid for pid in sandbox.sh("cd /proc; echo [0-9]*").out.split() if int(pid) == 1]
    assert len(sandbox.sh("cd /proc; echo [0-9]*").out.split()) <= 3


def test_host_files_are_not_seen(sandbox):
    """The old root is gone: neither the host's files nor its mounts are there."""
    mounts = [line.split()[1] for line in sandbox.run("cat", "/proc/mounts").out.splitlines()]
    own = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/resolv.conf")
    assert [] == [point for point in mounts if point != "/" and not point.startswith(own)]


@pytest.mark.parametrize("privileges", list(Privileges))
def test_pid_1_is_closed_to_the_container(sandbox, privileges):
    """Nobody in the container can look into its pid 1, which talks to the helper, or trace it."""
    done = sandbox.sh("ls /proc/1/root/ || ls /proc/1/cwd/ || cat /proc/1/environ", privileges=privileges)
    assert (True, "", 3) == (done.status != 0, done.out, done.err.count("Permission denied"))


def test_host_name(sandbox):
    """The host name is the spec's, and the host's stays."""
    before = socket.gethostname()
    assert ("lab-1\n", before) == (sandbox.run("uname", "-n", hostname="lab-1").out, socket.gethostname())


def test_devices(sandbox):
    """/dev has the harmless devices, terminals of its own, shared memory, and nothing of the host's."""
    out = sandbox.sh("ls /dev; echo x > /dev/null; echo s > /dev/shm/x; ls /dev/pts; df /dev/shm | grep -c shm").out
    expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ptmx 1"
    assert sorted(expected.split()) == sorted(out.split())


@pytest.mark.parametrize("privileges", Privileges)
def test_device_nodes_open_nothing(sandbox, tmp_path, privileges):
    """Where a build can make device nodes (for the host's disks, say), none can be opened, in no mount at all."""
    (tmp_path / "out").mkdir()
    script = "for d in '' /tmp /dev /out /t; do mknod $d/n c 1 3; cat $d/n && echo opened $d/n; done; cat /dev/null && echo fine"
    done = sandbox.sh(
        script,
        privileges=privileges,
        binds=(Bind(tmp_path / "out", "/out", read_only=False),),
        tmpfs=(Tmpfs("/t"),),
    )
    assert "fine\n" == done.out
    assert (sandbox.mode is Mode.REAL and privileges is Privileges.BUILD) == (tmp_path / "out/n").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a device node")
def test_device_nodes_of_an_image_open_nothing(sandbox):
    """A device node that came with a layer cannot be opened by a step, which root's own modes would let it."""
    spec = sandbox.spec("sh", "-c", "cat /n && echo opened")
    os.mknod(spec.upper / "n", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert "" == sandbox.run_spec(spec).out


@pytest.mark.parametrize("privileges", Privileges)
def test_host_devices_keep_their_attributes(sandbox, privileges):
    """chmod of /dev/null, or of what is hidden behind it, never reaches the host's own node."""
    before = os.stat("/dev/null").st_ctime_ns
    sandbox.sh("chmod 666 /dev/null /proc/interrupts /proc/keys", privileges=privileges)
    assert before == os.stat("/dev/null").st_ctime_ns


@pytest.mark.skipif(os.getuid() != 0, reason="the kernel gives an ordinary user no fresh /sys for the host's network")
def test_host_mounts_below_sys_are_not_seen(sandbox):
    """With the host's network /sys is still without what the host mounts in it: control groups, debugging, tracing."""
    done = sandbox.sh("grep -c ' /sys ' /proc/self/mounts; ls /sys/fs/cgroup", network=Network.HOST)
    assert "1\n" == done.out


def test_read_only_bind(sandbox, tmp_path):
    """A read-only bind can be read and not changed, by no means that a build's root has."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("data\n")
    script = "cat /in/file; touch /in/new; rm /in/file; chmod 777 /in/file; : > /in/file"
    binds = (Bind(tmp_path / "data", "/in"),)
    done = sandbox.sh(script, binds=binds, privileges=Privileges.BUILD)
    assert ("data\n", 4) == (done.out, done.err.count("Read-only file system"))
    assert "data\n" == (tmp_path / "data/file").read_text()


def test_writable_bind(sandbox, tmp_path):
    """A writable bind changes the host's folder, and the files are the caller's."""
    (tmp_path / "out").mkdir()
    sandbox.sh("echo made > /out/file", binds=(Bind(tmp_path / "out", "/out", read_only=False),))
    made = tmp_path / "out/file"
    assert ("made\n", os.getuid(), os.getgid()) == (made.read_text(), made.stat().st_uid, made.stat().st_gid)


def test_mounts_below_a_read_only_bind_are_read_only(sandbox, tmp_path):
    """The mounts below a bound folder come along and cannot be written either."""
    done = sandbox.sh("touch /in/shm/x; ls -d /in/shm", binds=(Bind(Path("/dev"), "/in"),))
    assert ("/in/shm\n", True) == (done.out, "Read-only file system" in done.err)


def test_ownership_changes_succeed_in_steps(sandbox):
    """chown, mknod of devices and setgroups report success without being done; whiteouts and FIFOs are made."""
    script = "touch f; chown 12:34 f; stat -c %u:%g f; mknod d c 1 3; ls d; mkfifo p; stat -c %F p; mknod /dev/shm/w c 0 0; ls /dev/shm"
    done = sandbox.sh(script)
    assert (["0:0", "fifo", "w"], 1) == (done.out.splitlines(), len(done.err.splitlines()))


def test_ownership_in_builds(sandbox):
    """A build's chown is real as root, and reported as done with a single ID."""
    done = sandbox.sh("touch f; chown 12:34 f && stat -c %u:%g f", privileges=Privileges.BUILD)
    assert ("12:34\n" if sandbox.mode is Mode.REAL else "0:0\n") == done.out


FOREIGN = """
import ctypes, mmap, os, signal, sys
sys.path.insert(0, sys.argv[1])
from repro.runtime import seccomp, syscalls
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 20 (getpid of i386); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
syscalls.load_seccomp(seccomp.fake_owners("x86_64"))
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(ctypes.c_long(0x40000000 | 92), b"/", 1, 1), ctypes.get_errno(), flush=True)
print(libc.syscall(ctypes.c_long(92), b"/nowhere", 1, 1), flush=True)
print(libc.syscall(ctypes.c_long(250), 0, -3, 0), ctypes.get_errno(), flush=True)
ctypes.CFUNCTYPE(ctypes.c_int)(address)()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="about the other architectures of x86_64")
def test_other_architectures_do_not_pass_the_filter():
    """x32 calls and keyrings do not exist, i386 calls kill: no way around the numbers that the filter knows."""
    tree = Path(__file__).parents[2]
    done = subprocess.run(
        [shutil.which("python3", path="/usr/bin") or "python3", "-c", FOREIGN, str(tree)],
        capture_output=True,
        check=False,
    )
    assert (-31, b"-1 38\n0\n-1 38\n") == (done.returncode, done.stdout)
