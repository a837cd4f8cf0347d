"""Sizes as people write them."""

from __future__ import annotations

import re

from repro.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that ``8GB``, ``512MiB`` or a plain number mean; UsageError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a size: {text!r}", hint="write it as 8GB or 512MiB")
    power = " kMGT".lower().index(found[2].lower() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)
