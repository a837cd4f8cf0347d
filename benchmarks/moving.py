"""Data to and from an S3 server, next to boto3's own transfer: many objects, and one large."""

from __future__ import annotations

import itertools
import os
import statistics
from typing import TYPE_CHECKING

from benchmarks.builders import REPRO
from benchmarks.timing import Outcome, quiet, seconds
from tests.data.served.s3 import S3Server

if TYPE_CHECKING:
    from pathlib import Path

_ROUNDS = 3
_SIZES = {"64 objects of 4 MiB": [4 << 20] * 64, "one object of 512 MiB": [512 << 20]}
_EXPLAINED = """\
  A server (SeaweedFS) on the loopback. Up: into an empty folder of a bucket; ours hashes, keeps the checksums at the
  server and puts all in place at once. Down: of what is locked, into an empty cache; ours verifies every byte. Wall
  seconds of whole processes; boto3: upload_file and download_file of one file after the other, as it parallelises."""
_BOTO = """\
import boto3, os, sys
client = boto3.client("s3")
way, folder, prefix = sys.argv[1:]
if way == "up":
    for name in sorted(os.listdir(folder)):
        client.upload_file(os.path.join(folder, name), "data", f"{prefix}/{name}")
else:
    os.makedirs(folder)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix=f"{prefix}/"):
        for item in page["Contents"]:
            if not item["Key"].endswith("SHA256SUMS"):
                client.download_file("data", item["Key"], os.path.join(folder, item["Key"].rpartition("/")[2]))
"""
_WORKFLOW = """\
repro: 1
environments: {{any: {{image: none}}}}
inputs: {{data/: s3://data/{prefix}/}}
steps: {{any: {{environment: any, inputs: {{data: data/}}, outputs: {{out: out}}, run: "true"}}}}
"""


def s3(folder: Path, python: Path) -> list[Outcome]:
    """Time both ways of both kinds, in ``folder``; ``python`` has boto3."""
    print(_EXPLAINED)
    server = S3Server(folder / "server")
    server.start()
    try:
        return [one for what, sizes in _SIZES.items() for one in _both(folder, server, python, what, sizes)]
    finally:
        server.close()


def _both(folder: Path, server: S3Server, python: Path, what: str, sizes: list[int]) -> list[Outcome]:
    """Return how long both ways take of files of these sizes."""
    data = folder / f"data-{len(sizes)}"
    data.mkdir()
    for number, size in enumerate(sizes):
        with open(data / f"{number:03}.bin", "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(size >> 20))
    env = {**os.environ, **server.settings, "REPRO_STORE": os.fspath(folder / "store")}
    numbers = itertools.count()
    boto = (os.fspath(python), "-c", _BOTO)
    times: dict[str, dict[str, list[float]]] = {way: {"repro": [], "boto3": []} for way in ("up", "down")}
    for _ in range(_ROUNDS):
        ours, theirs = f"{data.name}/ours-{next(numbers)}", f"{data.name}/theirs-{next(numbers)}"
        up = (REPRO, "data", "put", f"{data}/", f"s3://data/{ours}/")
        times["up"]["repro"].append(seconds(lambda up=up: quiet(*up, env=env)))
        times["up"]["boto3"].append(seconds(lambda p=theirs: quiet(*boto, "up", os.fspath(data), p, env=env)))
        project = folder / f"project-{next(numbers)}-{data.name}"
        project.mkdir()
        (project / "workflow.yaml").write_text(_WORKFLOW.format(prefix=theirs))
        got = (REPRO, "-C", os.fspath(project), "data", "get")
        quiet(*got, env=env | {"REPRO_CACHE": os.fspath(project / "first")})  # locks it
        empty = env | {"REPRO_CACHE": os.fspath(project / "second")}
        times["down"]["repro"].append(seconds(lambda got=got, env=empty: quiet(*got, env=env)))
        into = os.fspath(project / "boto")
        times["down"]["boto3"].append(seconds(lambda p=theirs, i=into: quiet(*boto, "down", i, p, env=env)))
    return [
        Outcome(f"{way}, {what}", {side: statistics.median(each) for side, each in sides.items()}, {"boto3": 1.2})
        for way, sides in times.items()
    ]
