"""Real registries on the loopback: docker-registry without a login, with one over TLS, and with bearer tokens."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD, IDENTITY = "repro", "reprosecret", "an-identity-token"
_SECONDS = 20  # until a server must answer
_PORTS = range(20000, 32000)
_ports = itertools.islice(itertools.cycle(_PORTS), random.randrange(len(_PORTS)), None)


@dataclass(frozen=True)
class Served:
    """A registry that runs: ``host`` with its port, the PEM file that signed its certificate (None: plain HTTP)."""

    host: str
    data: Path
    authority: Path | None = None
    tokens: TokenServer | None = None
    server: Server | None = None


def free_port() -> int:
    """Return a port of the loopback that nobody listens on.

    Other ones than the kernel gives to connections and to servers that ask for any, and each only once in a long while:
    so what listens on it later finds it free, though several processes run tests.
    """
    return next(filter(_is_free, _ports))


def _is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    with socket.socket() as free, contextlib.suppress(OSError):
        free.bind(("127.0.0.1", port))
        return True
    return False


@contextlib.contextmanager
def plain_registry(folder: Path) -> Iterator[Served]:
    """A registry in plain HTTP that asks nobody for a login."""
    with _registry(folder, {}, "http") as server:
        yield Served(server.host, folder / "data", server=server)


@contextlib.contextmanager
def tls_registry(folder: Path) -> Iterator[Served]:
    """A registry over TLS, signed by an authority of its own, with Basic authentication."""
    authority = make_certificates(folder / "tls")
    htpasswd = folder / "htpasswd"
    made = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, check=True)  # bcrypt only
    htpasswd.write_bytes(made.stdout)
    settings = {
        "auth": {"htpasswd": {"realm": "lab", "path": str(htpasswd)}},
        "http": {"tls": {"certificate": f"{folder}/tls/server.crt", "key": f"{folder}/tls/server.key"}},
    }
    with _registry(folder, settings, "https") as server:
        yield Served(server.host, folder / "data", authority, server=server)


@contextlib.contextmanager
def token_registry(folder: Path) -> Iterator[Served]:
    """A registry in plain HTTP that takes bearer tokens: anybody may pull, `USER` may push."""
    make_certificates(folder / "tls")
    tokens = TokenServer(folder / "tls")
    realm = {"realm": tokens.url, "service": "lab", "issuer": "lab", "rootcertbundle": f"{folder}/tls/server.crt"}
    try:
        with _registry(folder, {"auth": {"token": realm}}, "http") as server:
            yield Served(server.host, folder / "data", tokens=tokens, server=server)
    finally:
        tokens.close()


def make_certificates(folder: Path) -> Path:
    """Make ``server.crt`` and ``server.key`` for the loopback in ``folder``; return the authority that signed them."""
    folder.mkdir(parents=True)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    usage = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-days", "9", "-subj", "/CN=lab-ca", *usage)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "csr", "-subj", "/CN=localhost")
    (folder / "ext").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n"
    )
    signed_by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    openssl("x509", "-req", "-in", "csr", *signed_by, "-out", "server.crt", "-days", "9", "-extfile", "ext")
    return folder / "ca.crt"


class Killable:
    """A server that was started as ``process``."""

    process: subprocess.Popen | None = None

    def kill(self) -> None:
        """Have it die as in a power cut."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Let it end."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


class Server(Killable):
    """docker-registry as a process, which may be killed and started again; ``host`` stays, and what it has."""

    def __init__(self, folder: Path, settings: dict, scheme: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._url = f"{scheme}://{self.host}/v2/"
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            **settings,
            "http": {"addr": self.host, "secret": "lab", **settings.get("http", {})},
        }
        (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", self._folder / "config.yml"],
                env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        _wait(self.process, self._url, self._folder)


@contextlib.contextmanager
def _registry(folder: Path, settings: dict, scheme: str) -> Iterator[Server]:
    """Run docker-registry until the block ends."""
    server = Server(folder, settings, scheme)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _wait(server: subprocess.Popen, url: str, folder: Path) -> None:
    import ssl

    unverified = ssl._create_unverified_context()
    until = time.monotonic() + _SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=2, context=unverified).close()
        except urllib.error.HTTPError as error:
            error.close()
            return  # 401 is an answer
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the registry does not answer:\n{(folder / 'log').read_text()}") from None
            time.sleep(0.05)
        else:
            return


class TokenServer:
    """Gives tokens that docker-registry trusts (Docker's "Token Authentication Specification" and "OAuth2").

    ``requests`` are the queries and forms that came, ``lifetime`` is announced with each token, in seconds.
    """

    def __init__(self, tls: Path) -> None:
        self.lifetime = 300
        self.delay = 0.0
        self.requests: list[dict[str, list[str]]] = []
        self._key = tls / "server.key"
        der = subprocess.run(
            ["openssl", "x509", "-in", tls / "server.crt", "-outform", "der"], capture_output=True, check=True
        ).stdout
        self._chain = [base64.b64encode(der).decode()]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                header = self.headers.get("Authorization", "")
                if not header:
                    self._give(query, user="")
                elif header == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
                    self._give(query, user=USER)
                else:
                    self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                if form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == [IDENTITY]:
                    self._give(form, user=USER)
                else:
                    self._answer(400, {"error": "invalid_grant"})

            def _give(self, query: dict[str, list[str]], user: str) -> None:
                outer.requests.append(query)
                time.sleep(outer.delay)
                token = outer.token(query["service"][0], " ".join(query.get("scope", [])).split(), user)
                self._answer(200, {"token": token, "access_token": token, "expires_in": outer.lifetime})

            def _answer(self, status: int, document: dict) -> None:
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def token(self, service: str, scopes: list[str], user: str) -> str:
        """Return a signed token: anybody may pull, a user may do all."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = [action for action in actions.split(",") if user or action == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        times = {"exp": now + 300, "nbf": now - 5, "iat": now, "jti": os.urandom(8).hex()}
        claims = {"iss": "lab", "sub": user, "aud": service, "access": access, **times}
        signed = ".".join(map(_encoded, ({"typ": "JWT", "alg": "RS256", "x5c": self._chain}, claims)))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self._key], input=signed.encode(), capture_output=True, check=True
        ).stdout
        return f"{signed}.{_base64(signature)}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _encoded(document: dict) -> str:
    return _base64(json.dumps(document).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def missing() -> str:
    """Return which of the programs that these servers need is not installed; empty where all are."""
    return next((name for name in ("docker-registry", "htpasswd", "openssl") if shutil.which(name) is None), "")
