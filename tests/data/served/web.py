"""A real web server on the loopback: nginx, plain and over TLS, with folders that list themselves."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from tests.data.served.folder import ServedFolder
from tests.servers import Killable, free_port, make_certificates

if TYPE_CHECKING:
    from pathlib import Path

USER, PASSWORD = "repro", "reprosecret"
_SECONDS = 20  # until it must answer
_TIED = ("setpriv", "--pdeathsig", "KILL")  # it dies with the tests, however they end
# One process, so that killing it leaves nobody who answers.
_CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log; default_type application/octet-stream; autoindex on;
  types {{ text/html html; }}
  client_body_temp_path {folder}/tmp/b; proxy_temp_path {folder}/tmp/p; fastcgi_temp_path {folder}/tmp/f;
  uwsgi_temp_path {folder}/tmp/u; scgi_temp_path {folder}/tmp/s;
  server {{
    listen 127.0.0.1:{port} {tls};
    ssl_certificate {folder}/tls/server.crt; ssl_certificate_key {folder}/tls/server.key;
    location /data/ {{ alias {folder}/data/; }}
    location /auth/ {{ alias {folder}/data/; auth_basic lab; auth_basic_user_file {folder}/htpasswd; }}
    location /norange/ {{ alias {folder}/data/; max_ranges 0; }}
    location /nohead/ {{ alias {folder}/data/; if ($request_method = HEAD) {{ return 405; }} }}
    location /silent/ {{ alias {folder}/data/; etag off; }}
    location /redir/ {{ rewrite ^/redir/(.*)$ {scheme}://localhost:{port}/data/$1 redirect; }}
    location /elsewhere/ {{ rewrite ^/elsewhere/(.*)$ {scheme}://localhost:{port}/auth/$1 redirect; }}
    location /bare/ {{ alias {folder}/data/; autoindex off; }}
    location /slow/ {{ alias {folder}/data/; limit_rate 512k; }}
    location /gone/ {{ return 410; }}
    location /busy/ {{ return 503; }}
  }}
}}
"""


def missing() -> str:
    """Return what the server needs and is not here; empty where all is."""
    return ", ".join(name for name in ("nginx", "openssl") if shutil.which(name, path=_path()) is None)


class WebServer(Killable, ServedFolder):
    """nginx as a process, a `tests.data.served.DataServer` that is only read from.

    The folder is also served below ``/auth/`` (to `USER`), ``/norange/`` (all or nothing), ``/nohead/``, ``/silent/``
    (no ETag), ``/redir/`` and ``/elsewhere/`` (led to another host), ``/bare/`` (no lists) and ``/slow/``: `at` gives
    the address. The certificates are those of an authority of its own, which ``settings`` name.
    """

    def __init__(self, folder: Path, kind: str = "http") -> None:
        ServedFolder.__init__(self, folder / "data")
        self.kind = kind
        self._folder = folder
        self._port = free_port()
        self.authority = make_certificates(folder / "tls")
        for name in ("home", "tmp"):
            (folder / name).mkdir()
        made = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, check=True, text=True)
        (folder / "htpasswd").write_text(f"{USER}:{made.stdout}")
        user = "user root;" if os.geteuid() == 0 else ""
        tls = "ssl" if kind == "https" else ""
        settings = {"folder": folder, "port": self._port, "user": user, "tls": tls, "scheme": kind}
        (folder / "nginx.conf").write_text(_CONFIG.format(**settings))
        self.root = self.at("data")
        self.settings = {"HOME": str(folder / "home"), "SSL_CERT_FILE": str(self.authority)}

    def at(self, place: str) -> str:
        """Return the folder's address below another place of the server."""
        return f"{self.kind}://127.0.0.1:{self._port}/{place}/"

    def log_in(self, host: str = "127.0.0.1") -> dict[str, str]:
        """Return settings with which `USER` is who reads from ``host``."""
        netrc = self._folder / "home" / f"netrc-{host}"
        netrc.write_text(f"machine {host} login {USER} password {PASSWORD}\n")
        netrc.chmod(0o600)
        return {**self.settings, "NETRC": str(netrc)}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [*_TIED, "nginx", "-p", self._folder, "-e", "error.log", "-c", self._folder / "nginx.conf"],
                env={"PATH": _path()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        wait_for(self._port, self.process, self._folder / "out")


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    """Return once somebody listens on a port; RuntimeError where the server ends or takes too long."""
    until = time.monotonic() + _SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the server does not answer:\n{log.read_text()}")
        time.sleep(0.02)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
