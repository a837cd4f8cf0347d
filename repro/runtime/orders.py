"""From a `ContainerSpec` to the helper's order: the wish is checked, the host's part is filled in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ContainerError
from repro.runtime.spec import Mode, Network, Privileges

if TYPE_CHECKING:
    from repro.runtime.spec import ContainerSpec
    from repro.runtime.wire import Order

CA_BUNDLE = "/run/repro/ca-certificates.crt"
_CA_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")
_CA_SOURCES = (  # Debian and Arch, Fedora and RHEL, openSUSE, old RHEL, Alpine
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
)
_OWN_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def order(spec: ContainerSpec, mode: Mode) -> Order:
    """Return the order for ``spec``; ContainerError names what in it cannot be.

    With the host's network come its resolv.conf, hosts and CA bundle, and the variables that point to the
    bundle, each where ``spec.env`` does not have it.
    """
    _check(spec)
    host = spec.network is Network.HOST
    bundle = next((path for path in _CA_SOURCES if os.access(path, os.R_OK)), None) if host else None
    trust = dict.fromkeys(_CA_VARIABLES, CA_BUNDLE) if bundle else {}
    certificates = [(bundle, CA_BUNDLE, True)] if bundle else []
    names = f"127.0.1.1\t{spec.hostname}\n"
    binds = [(os.fspath(bind.source.absolute()), bind.target, bind.read_only) for bind in spec.binds]
    asked = {os.path.normpath(bind.target) for bind in spec.binds}
    files = {
        "/etc/hosts": (_text("/etc/hosts") or _OWN_HOSTS if host else _OWN_HOSTS) + names,
        "/etc/resolv.conf": _text("/etc/resolv.conf") if host else "",
    }
    return {
        "single": mode is Mode.ONE,
        "ids": (os.geteuid(), os.getegid()),
        "lowers": [os.fspath(path.absolute()) for path in spec.lowers],
        "upper": os.fspath(spec.upper.absolute()),
        "work": os.fspath(spec.work.absolute()),
        "argv": list(spec.argv),
        "env": {**trust, **spec.env},
        "cwd": spec.cwd,
        "user": spec.user,
        "groups": _groups(spec, mode),
        "tmpfs": [(tmpfs.target, tmpfs.size, tmpfs.mode) for tmpfs in spec.tmpfs],
        "files": {target: text for target, text in files.items() if target not in asked},
        "binds": certificates + binds,
        "own_network": not host,
        "build": spec.privileges is Privileges.BUILD,
        "hostname": spec.hostname,
        "fake_owners": mode is Mode.ONE or spec.fake_owners or spec.privileges is Privileges.STEP,
        "umask": spec.umask,
    }


def _groups(spec: ContainerSpec, mode: Mode) -> list[int] | None:
    """Return the supplementary groups that the command gets, None for the caller's.

    Without real root, a step keeps the caller's: inputs that only a group may read could not be read otherwise. A
    build never does, lest their numbers get into an image.
    """
    kept = mode is Mode.SUB and spec.privileges is Privileges.STEP and not spec.groups
    return None if kept else list(spec.groups)


def _text(path: str) -> str:
    try:
        text = os.fsdecode(Path(path).read_bytes())
    except OSError:
        return ""  # a host without it; the container gets an empty one
    return text if not text or text.endswith("\n") else text + "\n"


def _check(spec: ContainerSpec) -> None:
    """Refuse what no kernel error would explain well."""
    if not spec.argv or not spec.argv[0]:
        raise ContainerError("no command is given", hint="give the container at least one word to run")
    targets = [("cwd", spec.cwd)]
    targets += [("bind", bind.target) for bind in spec.binds]
    targets += [("tmpfs", tmpfs.target) for tmpfs in spec.tmpfs]
    for what, path in targets:
        if not path.startswith("/"):
            raise ContainerError(f"{what} {path!r} is not absolute", hint="paths in a container start with /")
        if what != "cwd" and os.path.normpath(path) in {"/", "//"}:
            raise ContainerError(f"{what} {path!r} would hide the container's root")
    for bind in spec.binds:
        try:
            bind.source.stat()
        except (OSError, ValueError) as error:
            what = f"cannot bind {bind.source} at {bind.target}"
            raise ContainerError(what, why=getattr(error, "strerror", None) or str(error)) from error
    for folder in (*spec.lowers, spec.upper, spec.work):
        if not os.path.isdir(folder):
            raise ContainerError(f"{folder} is not a folder", why="layers are folders on the host")
    words = (*spec.argv, spec.hostname, *spec.env, *spec.env.values(), *(path for _, path in targets))
    if any("\0" in word for word in words):
        raise ContainerError("a NUL byte stands in the command, its environment or a path")
    for name in spec.env:
        if not name or "=" in name:
            raise ContainerError(f"{name!r} cannot name an environment variable")
    if len(os.fsencode(spec.hostname)) > 64:
        raise ContainerError(f"the host name {spec.hostname!r} is longer than 64 bytes")
