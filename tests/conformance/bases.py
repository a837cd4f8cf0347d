"""The base images, as OCI layouts that both sides load: the same bytes for every builder."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.conformance.layout import tar

BUSYBOX = "/bin/busybox"  # of the Debian package busybox-static: one program, no libraries
_CAPABILITY = base64.b64decode("AQAAAgAEAAAAAAAAAAAAAAAAAAA=")  # cap_net_bind_service=ep, as setcap writes it


def lowest() -> dict[str, object]:
    """Return the lowest layer of ``base``: a system small enough to compare in full, after every build."""
    folders = {name: {} for name in ("dev/", "etc/", "home/", "opt/", "proc/", "srv/", "sys/", "usr/", "usr/bin/")}
    folders |= {name: {} for name in ("usr/lib/", "usr/local/", "usr/local/bin/", "usr/sbin/", "var/", "var/log/")}
    links = {name: {"link": f"usr/{name}"} for name in ("bin", "lib", "sbin")}
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    program = base64.b64encode(Path(BUSYBOX).read_bytes()).decode()
    commands = {f"usr/bin/{name}": {"link": "busybox"} for name in sorted(applets) if name != "busybox"}
    return {
        **folders,
        **links,
        "usr/bin/busybox": {"base64": program, "mode": "0755"},
        **commands,
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nada:x:1000:1001:Ada:/home/ada:/bin/sh\n",
        "etc/group": "root:x:0:\ndaemon:x:1:\nada:x:1001:\nlab:x:2000:ada\n",
        "etc/shadow": {"text": "root:*:19000:0:99999:7:::\nada:!:19000:0:99999:7:::\n", "mode": "0640", "gid": 42},
        "root/": {"mode": "0700"},
        "tmp/": {"mode": "1777"},
        "var/tmp/": {"mode": "1777"},
        "home/ada/": {"uid": 1000, "gid": 1001},
        "home/ada/notes": {"text": "mine\n", "uid": 1000, "gid": 1001, "mode": "0600"},
        "var/log/messages": "from the base\n",
        # What the cases delete, replace and change.
        "lower/": {},
        "lower/file": "lower file\n",
        "lower/other": "lower other\n",
        "lower/empty": "",
        "lower/link": {"link": "file"},
        "lower/broken": {"link": "/nowhere"},
        "lower/linked-folder": {"link": "folder"},
        "lower/folder/": {},
        "lower/folder/a": "a\n",
        "lower/folder/b": "b\n",
        "lower/folder/sub/": {"mode": "0750", "uid": 1000, "gid": 1001},
        "lower/folder/sub/c": {"text": "c\n", "uid": 1000, "gid": 1001},
        "lower/set-id": {"text": "#!/bin/sh\n", "mode": "6755"},
        "lower/sticky/": {"mode": "1777"},
        "lower/owned": {"text": "owned\n", "uid": 1000, "gid": 2000, "mode": "0640"},
        "lower/twin-1": "twins\n",
        "lower/twin-2": {"hard": "lower/twin-1"},
        "lower/fifo": {"fifo": True},
        "lower/noted": {"text": "noted\n", "xattrs": {"user.note": "from the base"}},
        "lower/capable": {
            "text": "#!/bin/sh\n",
            "mode": "0755",
            "xattrs": {"security.capability": _CAPABILITY.decode("ascii")},
        },
        "lower/gone": "deleted by the second layer\n",
    }


def second() -> dict[str, object]:
    """Return the second layer of ``base``: it adds, replaces and deletes."""
    return {
        "lower/": {},
        "lower/.wh.gone": "",
        "lower/folder/": {},
        "lower/folder/b": "b of the second layer\n",
        "lower/second": "second layer\n",
    }


def write_base(layout: Path) -> Path:
    """Write the image ``base`` as an OCI layout with two layers, tagged ``latest``; return its folder."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> tuple[str, int]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return f"sha256:{name}", len(data)

    layers = [put(tar(entries)) for entries in (lowest(), second())]
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "BASE=yes"],
            "Cmd": ["sh"],
            "Labels": {"from": "base"},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "by hand"}] * 2,
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("application/vnd.oci.image.config.v1+json", *put(_json(config))),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", *layer) for layer in layers],
    }
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", *put(_json(manifest)))
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
    return layout


def _descriptor(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest, "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def unpack(layout: Path, tag: str, root: Path) -> Path:
    """Unpack an image of a layout into ``root`` with umoci, a reader of neither side; return ``root``."""
    done = subprocess.run(
        ["umoci", "raw", "unpack", "--image", f"{layout}:{tag}", root], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(root, ignore_errors=True)
        raise RuntimeError(f"umoci cannot unpack {layout}:{tag}: {done.stderr[-2000:]}")
    return root
