"""A small package index on the loopback: wheels made by hand, told by the simple API in HTML or in JSON."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from repro.environment.resolvers.requirement_files import normalized


def wheel(name: str, version: str, *, requires=(), tag="py3-none-any", files=None) -> bytes:
    """Return a wheel with one module, which knows its version; the same arguments give the same bytes."""
    info = f"{name}-{version}.dist-info"
    content = {f"{name}/__init__.py": f"__version__ = {version!r}\n", **(files or {})}
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {requirement}\n" for requirement in requires
    )
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    record = "".join(f"{path},sha256={_sum(text)},{len(text.encode())}\n" for path, text in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return out.getvalue()


def _sum(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class SmallIndex:
    """Serves ``files`` (name to bytes) as an index at `url`; ``asked`` are the paths of requests.

    ``form`` is ``html`` or ``json``; with ``sums`` off, pages tell neither sha256 nor size.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.form = "html"
        self.sums = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                kind, data = outer.answer(unquote(self.path))
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data or b"")

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *arguments: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The index's address."""
        return f"http://127.0.0.1:{self._server.server_port}/simple/"

    def add(self, name: str, version: str, *, requires=(), tag="py3-none-any", files=None) -> bytes:
        """Offer a wheel and return its bytes."""
        data = wheel(name, version, requires=requires, tag=tag, files=files)
        self.files[f"{name}-{version}-{tag}.whl"] = data
        return data

    def answer(self, path: str) -> tuple[str, bytes | None]:
        """Return content type and body of what is at ``path``."""
        if path.startswith("/files/"):
            return "application/octet-stream", self.files.get(path.removeprefix("/files/"))
        project = path.removeprefix("/simple/").strip("/")
        offered = {name: data for name, data in self.files.items() if normalized(name.split("-")[0]) == project}
        if not offered:
            return "text/html", None
        if self.form == "json":
            return "application/vnd.pypi.simple.v1+json", json.dumps(self._json(project, offered)).encode()
        lines = [f'<a href="../../files/{name}{self._fragment(data)}">{name}</a>' for name, data in offered.items()]
        return "text/html", ("<!DOCTYPE html><html><body>\n" + "\n".join(lines) + "\n</body></html>").encode()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _fragment(self, data: bytes) -> str:
        return f"#sha256={hashlib.sha256(data).hexdigest()}" if self.sums else ""

    def _json(self, project: str, offered: dict[str, bytes]) -> dict:
        files = []
        for name, data in offered.items():
            hashes = {"sha256": hashlib.sha256(data).hexdigest()} if self.sums else {}
            files.append({"filename": name, "url": f"../../files/{name}", "hashes": hashes, "size": len(data)})
        return {"meta": {"api-version": "1.1"}, "name": project, "versions": [], "files": files}
