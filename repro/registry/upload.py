"""Blobs on their way to a registry: mounted from another repository, or uploaded."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from repro.registry.connections import dismiss
from repro.registry.exchange import Ask
from repro.registry.sending import Content, Place, Sending

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from repro.digest import Digest
    from repro.registry.auth import Access
    from repro.registry.exchange import Exchange


class Upload:
    """Uploads to one registry; safe to use from many threads."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, Digest], Place] = {}  # by mounts that did not work

    def mount(self, url: str, path: str, digest: Digest, source: str, access: Access, what: str) -> bool:
        """Ask for a blob of another repository; return whether it is in ``path`` now."""
        query = urlencode({"mount": str(digest), "from": source})
        accepted = (HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
        ask = Ask("POST", f"{url}?{query}", what, access, accepted, {"Content-Length": "0"})
        response = self._exchange.ask(ask)
        dismiss(response)
        if response.status == HTTPStatus.CREATED:
            return True
        with self._lock:
            self._begun[path, digest] = Place.of(response, ask, what)
        return False

    def upload(
        self,
        url: str,
        path: str,
        digest: Digest,
        size: int,
        source: BinaryIO | Callable[[int], BinaryIO],
        progress: Callable[[int], object] | None,
        what: str,
        *,
        is_there: Callable[[], bool],
    ) -> None:
        """Upload a blob; ``is_there`` asks whether the registry has it, after an answer was lost."""
        with self._lock:
            place = self._begun.pop((path, digest), None)
        content = Content(source, size, progress, what)
        sending = Sending(self._exchange, url, path, digest, content, what, place)

        def attempt() -> None:
            if sending.finishing and is_there():
                return
            sending.go_on()

        self._exchange.patiently(what, attempt, lambda: sending.offset)
        sending.bytes.reached(size)
