"""Write one line per sample: reads, mapped reads, variants called."""

import json
import os
from pathlib import Path

with open(os.environ["REPRO_JOB"], encoding="utf-8") as file:
    job = json.load(file)


def count(table: str, wanted: str) -> int:
    """Return the passed-QC count that flagstat gives for the category ``wanted``."""
    for line in Path(table).read_text(encoding="ascii").splitlines():
        passed, _failed, category = line.split("\t")
        if category == wanted:
            return int(passed)
    raise SystemExit(f"{table} has no line for {wanted!r}")


with open(job["outputs"]["table"], "w", encoding="ascii") as summary:
    summary.write("sample\treads\tmapped\tvariants\n")
    for flagstat, calls in zip(job["inputs"]["flagstat"], job["inputs"]["calls"], strict=True):
        lines = Path(calls).read_text(encoding="ascii").splitlines()
        variants = sum(not line.startswith("#") for line in lines)
        reads, mapped = count(flagstat, "primary"), count(flagstat, "primary mapped")
        summary.write(f"{Path(flagstat).stem}\t{reads}\t{mapped}\t{variants}\n")
