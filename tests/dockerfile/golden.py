"""The typed instructions of a Dockerfile as plain JSON; run as a program, it writes every case's result.json anew."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from repro.dockerfile.grammar import read
from repro.dockerfile.instructions import Word
from repro.errors import Location

CASES = Path(__file__).with_name("cases")


def plain(value: object) -> object:
    """Return words as ``text @line:column``, places as ``line:column``, dataclasses as mappings without defaults."""
    if isinstance(value, Word):
        return f"{value.text} @{plain(value.where)}"
    if isinstance(value, Location):
        return f"{value.line}:{value.column}"
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        names = [item.name for item in dataclasses.fields(value) if item.name != "places"]
        fields = {name: plain(getattr(value, name)) for name in names}
        return {name: field for name, field in fields.items() if field not in (None, [], False, 0)}
    return value


def dump(text: str) -> object:
    """Return the instructions of ``text``, each with its class's name."""
    return [{"is": type(one).__name__, **plain(one)} for one in read(text, "Dockerfile").instructions]


if __name__ == "__main__":
    for case in sorted(CASES.iterdir()):
        result = json.dumps(dump((case / "Dockerfile").read_bytes().decode()), indent=1, ensure_ascii=False)
        (case / "result.json").write_text(result + "\n")
