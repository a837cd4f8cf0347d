"""Results written by hand: what `expected.json` says, as the image that must come out."""

from __future__ import annotations

import hashlib
import os

from tests.conformance.cases import Case, CaseError
from tests.conformance.layout import content
from tests.conformance.trees import Entry, Image

_DEFAULTS = {"file": "0644", "folder": "0755", "link": "0777"}
# What the config of the base `base` says; `config` of expected.json stands over it.
_BASE_CONFIG = {
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "BASE=yes"],
    "Cmd": ["sh"],
    "Labels": {"from": "base"},
    "Author": "",
    "Platform": "linux/" + ("amd64" if os.uname().machine == "x86_64" else "arm64"),
}


def expected_image(case: Case, base: dict[str, Entry]) -> Image:
    """Return the base with the ``paths`` of expected.json in it and those of ``gone`` out of it.

    A path is a text, the content of a file of root's with mode 0644, or an object with ``kind``, ``mode``, ``uid``,
    ``gid``, ``content``, ``target``, ``links``; ``"context": NAME`` is the content of a context's file. A config field
    that is null is not there.
    """
    said = case.expected()
    tree = dict(base)
    for path in said.get("gone", ()):
        below = [known for known in tree if known == path or known.startswith(f"{path}/")]
        if not below:
            raise CaseError(f"{case.folder}: expected.json: {path} is not in the base")
        for known in below:
            del tree[known]
    for path, given in said.get("paths", {}).items():
        fields = {"content": given} if isinstance(given, str) else dict(given)
        tree[path] = _entry(fields, _data(case, fields))
    config = {key: value for key, value in {**_BASE_CONFIG, **said.get("config", {})}.items() if value is not None}
    return Image(dict(sorted(tree.items())), config)


def _data(case: Case, fields: dict) -> bytes:
    if "context" in fields:
        return content(case.context[fields["context"]])
    return fields.get("content", "").encode("utf-8", "surrogateescape")


def _entry(fields: dict, data: bytes) -> Entry:
    """Return a path as described; ``data`` is a file's content."""
    kind = fields.get("kind", "file")
    return Entry(
        kind=kind,
        mode=fields.get("mode", _DEFAULTS[kind]),
        uid=fields.get("uid", 0),
        gid=fields.get("gid", 0),
        size=len(data) if kind == "file" else 0,
        content=hashlib.sha256(data).hexdigest() if kind == "file" else "",
        target=fields.get("target", ""),
        links=tuple(fields.get("links", ())),
    )
