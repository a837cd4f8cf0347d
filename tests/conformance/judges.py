"""The judges: Docker's own builder and buildah, installed from the distribution, each with a store of its own.

`dockerd` is started for the run with sockets and folders below one temporary folder, and stopped by its process ID;
a daemon that the machine has already is not touched. Needs root on Debian.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.bases import unpack
from tests.conformance.trees import Image, walk

PACKAGES = ("docker.io", "buildah", "podman", "skopeo", "umoci", "busybox-static", "runc", "crun")
# The config fields that both sides must agree on, under Docker's names.
FIELDS = (
    "Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes", "StopSignal",
    "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
# Ready for hosts without CAP_SYS_RESOURCE and with hybrid cgroups: no raised limits, no systemd, runc.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = [ "nofile=1024:1024", "nproc=4096:4096" ]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
"""


class JudgeError(Exception):
    """A judge that cannot be installed, started or asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of a Dockerfile: the image, or, refused, its error output."""

    image: Image | None
    output: str


def install(*packages: str) -> None:
    """Install what is missing of the judges' packages, or of ``packages``; JudgeError where that cannot be done."""
    missing = [name for name in packages or PACKAGES if not _installed(name)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise JudgeError(f"the judges need root on Debian to install {' '.join(missing)}")
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600", "-qq"]
    call([*apt, "update"])
    call([*apt, "install", "-y", "--no-install-recommends", *missing], env={"DEBIAN_FRONTEND": "noninteractive"})


def _installed(package: str) -> bool:
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False
    )
    return found.stdout.startswith("install ok installed")


def call(
    argv: list[str], *, env: dict[str, str] | None = None, cwd: Path | None = None, fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a tool and return what it printed; JudgeError when it fails, unless ``fails`` says that it may."""
    done = subprocess.run(
        argv, env={**_environment(), **(env or {})}, cwd=cwd, capture_output=True, text=True, errors="replace",
        stdin=subprocess.DEVNULL, timeout=900, check=False,
    )  # fmt: skip
    if done.returncode != 0 and not fails:
        raise JudgeError(
            f"{' '.join(map(str, argv))}: status {done.returncode}\n{(done.stderr or done.stdout)[-3000:]}"
        )
    return done


def _environment() -> dict[str, str]:
    """Return the tools' environment: the distribution's programs first, nothing of the caller's."""
    kept = ("http_proxy", "https_proxy", "no_proxy")
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        **{name: os.environ[name] for name in kept if name in os.environ},
    }


def config_of(config: dict, whole: dict) -> dict[str, object]:
    """Return the fields that are compared: those of ``config`` that say something, and author and platform."""
    out = {key: config[key] for key in FIELDS if config.get(key)}
    out["Author"] = whole.get("author") or whole.get("Author") or ""
    out["Platform"] = f"{whole.get('os') or whole.get('Os')}/{whole.get('architecture') or whole.get('Architecture')}"
    return out


@dataclass
class Docker:
    """`docker build` with BuildKit, in a daemon of our own; ``socket`` names one that runs already."""

    folder: Path
    socket: str = ""
    _daemon: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the daemon and wait until it answers; JudgeError with its log when it does not."""
        if self.socket:
            return
        self.folder.mkdir(parents=True)
        self.socket = f"unix://{self.folder}/docker.sock"
        log = self.folder / "dockerd.log"
        with open(log, "wb") as out:
            self._daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                 "--host", self.socket, "--pidfile", self.folder / "pid", "--bridge=none", "--iptables=false"],
                env=_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        for _ in range(240):
            if self._daemon.poll() is not None:
                break
            if self._docker("version", fails=True).returncode == 0:
                return
            time.sleep(0.25)
        raise JudgeError(f"dockerd does not answer: {log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """Stop the daemon, if it is ours, and remove its folder."""
        if self._daemon is None:
            return
        self._daemon.terminate()
        try:
            self._daemon.wait(60)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, layout: Path, name: str) -> None:
        """Load the layout's image under ``name``."""
        self.remove(name)
        call(
            [
                "skopeo",
                "copy",
                "-q",
                "--dest-daemon-host",
                self.socket,
                f"oci:{layout}:latest",
                f"docker-daemon:{name}:latest",
            ]
        )

    def build(self, folder: Path, tag: str, options: tuple[str, ...], file: str = "Dockerfile") -> str:
        """Build ``folder`` and name the image; return what was printed; JudgeError, with that, when it is refused."""
        command = ("build", "--network=host", "--progress=plain", "-t", tag, "-f", file, *options, "context")
        done = self._docker(*command, cwd=folder, fails=True)
        if done.returncode != 0:
            raise JudgeError(f"{tag} is refused: {(done.stdout + done.stderr)[-1500:]}")
        return done.stdout + done.stderr

    def read(self, tag: str, room: Path) -> Image:
        """Return the image: its config as `docker inspect` shows it, its tree through skopeo and umoci."""
        (shown,) = json.loads(self._docker("image", "inspect", tag).stdout)
        layout = room / "docker"
        call(
            [
                "skopeo",
                "copy",
                "-q",
                "--src-daemon-host",
                self.socket,
                f"docker-daemon:{tag}:latest",
                f"oci:{layout}:latest",
            ]
        )
        tree = walk(unpack(layout, "latest", room / "docker-root"))
        return Image(tree, config_of(shown["Config"], shown))

    def remove(self, tag: str) -> None:
        """Forget an image."""
        self._docker("image", "rm", "-f", tag, fails=True)

    def _docker(self, *arguments: str, cwd: Path | None = None, fails: bool = False):
        env = {"DOCKER_HOST": self.socket, "DOCKER_BUILDKIT": "1"}
        return call(["docker", *arguments], env=env, cwd=cwd, fails=fails)


@dataclass
class Buildah:
    """`buildah build`, without a daemon, in a store of our own; podman unpacks images in the same store."""

    folder: Path

    def start(self) -> None:
        """Make the store and its configuration."""
        self.folder.mkdir(parents=True)
        (self.folder / "containers.conf").write_text(_CONTAINERS_CONF)

    def stop(self) -> None:
        """Unmount and remove the store."""
        self.podman("image", "unmount", "--all", fails=True)
        call(["umount", self.folder / "root" / "overlay"], fails=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, layout: Path, name: str) -> None:
        """Load the layout's image under ``name``."""
        call(["skopeo", "copy", "-q", f"oci:{layout}:latest", self._storage(name)], env=self._env())

    def build(self, folder: Path, tag: str, options: tuple[str, ...], file: str = "Dockerfile") -> str:
        """Build as `Docker.build`."""
        done = call(
            ["buildah", *self._place(), "build", "--network=host", "--isolation=chroot", "--format=docker",
             "--pull-never", "--identity-label=false", "-t", tag, "-f", file, *options, "context"],
            env=self._env(), cwd=folder, fails=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise JudgeError(f"{tag} is refused: {(done.stdout + done.stderr)[-1500:]}")
        return done.stdout + done.stderr

    def read(self, tag: str, room: Path) -> Image:
        """Return the image as `Docker.read`."""
        inspected = call(["buildah", *self._place(), "inspect", "--type=image", tag], env=self._env())
        shown = json.loads(inspected.stdout)["Docker"]
        layout = room / "buildah"
        call(["skopeo", "copy", "-q", self._storage(f"localhost/{tag}"), f"oci:{layout}:latest"], env=self._env())
        tree = walk(unpack(layout, "latest", room / "buildah-root"))
        return Image(tree, config_of(shown["config"], shown))

    def unpack(self, layout: Path, tag: str) -> dict:
        """Return the tree of a layout's image as podman unpacks and mounts it."""
        self.load(layout, tag)
        mounted = self.podman("image", "mount", tag).stdout.strip()
        try:
            return walk(Path(mounted))
        finally:
            self.podman("image", "unmount", tag)
            self.remove(tag)

    def remove(self, tag: str) -> None:
        """Forget an image."""
        self.podman("image", "rm", "-f", tag, fails=True)

    def podman(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Run podman in the store, as `call`."""
        return call(["podman", *self._place(), *arguments], env=self._env(), fails=fails)

    def _place(self) -> list[str]:
        return ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--storage-driver", "overlay"]

    def _storage(self, name: str) -> str:
        return f"containers-storage:[overlay@{self.folder}/root+{self.folder}/run]{name}"

    def _env(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": f"{self.folder}/containers.conf", "BUILDAH_RUNTIME": "runc"}
