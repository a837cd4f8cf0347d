"""A whole pipeline between servers: a pinned S3 object in, results out to S3 and NFS, on one machine and the next."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.oci.store import Store
from tests.build.conftest import MODE, put_base
from tests.data.served import nfs as nfs_served
from tests.data.served import s3 as s3_served

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOW = """\
repro: 1
name: shelves
environments: {{tool: {{image: base}}}}
inputs:
  raw/reads.txt: s3://{bucket}/{area}/reads.txt
  raw/shelf/: {nfs}{area}/shelf/
steps:
  count:
    environment: tool
    inputs: {{reads: raw/reads.txt, shelf: raw/shelf/}}
    outputs: {{table: results/counts.txt, notes: results/notes/}}
    run: |
      wc -l < {{{{ inputs.reads }}}} > {{{{ outputs.table }}}}
      mkdir {{{{ outputs.notes }}}}
      cat {{{{ inputs.shelf }}}}*/*.txt > {{{{ outputs.notes }}}}all.txt
publish:
  results/counts.txt: s3://data/{area}/out/counts.txt
  results/notes/: {nfs}{area}/notes/{{{{ date }}}}/
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """S3 and NFS, as ``(s3, nfs)``."""
    lacking = s3_served.missing() or nfs_served.missing()
    if lacking:
        pytest.skip(f"{lacking} is not here: see tests/run")
    s3 = s3_served.S3Server(tmp_path_factory.mktemp("s3"))
    nfs = nfs_served.NfsData(tmp_path_factory.mktemp("nfs"))
    with contextlib.ExitStack() as stack:
        for server in (s3, nfs):
            stack.callback(server.stop)
            server.start()
        yield s3, nfs


class Desk:
    """A machine: a store of its own with the base image in it, an empty cache, a home; and a copy of the project."""

    def __init__(self, folder: Path, s3: s3_served.S3Server) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir(parents=True)
        store = Store(folder / "store", MODE.value)
        store.tag("base", put_base(store))
        self.env = {**os.environ, **s3.settings, "PYTHONPATH": str(PROJECT), "REPRO_STORE": str(store.root)}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `repro` in the project."""
        command = [sys.executable, "-m", "repro", *arguments]
        return subprocess.run(command, cwd=self.project, env=self.env, text=True, capture_output=True, check=False)

    def take(self, other: Desk) -> None:
        """Have the workflow and its lock, as from version control."""
        for name in ("workflow.yaml", "workflow.lock"):
            (self.project / name).write_bytes((other.project / name).read_bytes())

    def locked(self, path: str) -> dict:
        """Return the lock's entry of an input."""
        return json.loads((self.project / "workflow.lock").read_text())["inputs"][path]


@pytest.fixture
def desk(servers, tmp_path):
    """A function that makes machines."""
    return lambda name: Desk(tmp_path / name, servers[0])


def _fill(servers, area: str, bucket: str) -> dict[str, str]:
    s3, nfs = servers
    s3.client().put_object(Bucket=bucket, Key=f"{area}/reads.txt", Body=b"one\ntwo\n")
    nfs.put(f"{area}/shelf/a/first.txt", b"first\n")
    nfs.put(f"{area}/shelf/b/second.txt", b"second\n")
    return {"area": area, "bucket": bucket, "nfs": nfs.root}


def _outputs(desk: Desk) -> dict[str, bytes]:
    return {name: (desk.project / name).read_bytes() for name in ("results/counts.txt", "results/notes/all.txt")}


def test_a_pinned_version_outlives_its_object(servers, desk):
    """In from S3 and NFS, out to both; overwritten, then deleted, the object is still read as it was locked."""
    s3, nfs = servers
    first = desk("first")
    (first.project / "workflow.yaml").write_text(WORKFLOW.format(**_fill(servers, "pinned", "versioned")))
    ran = first("run", "--publish")
    assert ran.returncode == 0, ran.stderr
    made = _outputs(first)
    assert made == {"results/counts.txt": b"2\n", "results/notes/all.txt": b"first\nsecond\n"}
    assert s3.get("pinned/out/counts.txt") == b"2\n"
    assert [name for name in nfs.names() if name.startswith("pinned/notes/") and name.endswith("all.txt")] != []
    (file,) = first.locked("raw/reads.txt")["files"]
    assert file["version"]

    s3.client().put_object(Bucket="versioned", Key="pinned/reads.txt", Body=b"one\ntwo\nthree\n")
    looked = first("data", "check", "raw/reads.txt")
    assert looked.returncode == 0, looked.stderr
    assert "moved on" in looked.stdout
    assert file["version"] in looked.stdout
    assert "1 cached" in first("run").stderr
    second = desk("second")
    second.take(first)
    ran = second("run", "--locked")
    assert ran.returncode == 0, ran.stderr
    assert _outputs(second) == made

    s3.client().delete_object(Bucket="versioned", Key="pinned/reads.txt")
    assert "moved on" in first("data", "check", "raw/reads.txt").stdout
    third = desk("third")
    third.take(first)
    ran = third("run", "--locked")
    assert ran.returncode == 0, ran.stderr
    assert _outputs(third) == made
    records = [next((one.project / ".repro/records").rglob("*.json")) for one in (first, third)]
    digests = [json.loads(record.read_text())["key_parts"]["inputs"] for record in records]
    assert digests[0] == digests[1]
    why = third("why", "results/counts.txt")
    assert "s3://versioned/pinned/reads.txt" in why.stdout
    assert file["version"] in why.stdout


def test_other_bytes_are_refused_until_they_are_accepted(servers, desk):
    """Without versions, an overwritten object is drift: told with old, new and the way on; accepted, it reruns."""
    s3, _ = servers
    first = desk("first")
    (first.project / "workflow.yaml").write_text(WORKFLOW.format(**_fill(servers, "drift", "data")))
    assert first("run").returncode == 0
    old = first.locked("raw/reads.txt")["digest"]
    s3.put("drift/reads.txt", b"ONE\nTWO\n")  # as many bytes as before
    assert first("data", "check").returncode == 1
    second = desk("second")
    second.take(first)
    refused = second("run")
    assert refused.returncode in (1, 4), refused.stderr
    assert "raw/reads.txt is not what was locked" in refused.stderr
    assert old in refused.stderr
    assert "repro lock --upgrade raw/reads.txt" in refused.stderr
    assert not (second.project / "results").exists()

    accepted = second("lock", "--upgrade", "raw/reads.txt")
    assert accepted.returncode == 0, accepted.stderr
    new = second.locked("raw/reads.txt")["digest"]
    assert f"raw/reads.txt: {old} -> {new}" in accepted.stdout
    ran = second("run")
    assert ran.returncode == 0, ran.stderr
    assert "1 ran" in ran.stderr


def test_no_login_is_written_anywhere(servers, desk):
    """Neither lock, records, journal, logs nor what is printed has the secret of the one who reads and publishes."""
    first = desk("first")
    (first.project / "workflow.yaml").write_text(WORKFLOW.format(**_fill(servers, "quiet", "data")))
    ran = first("--debug", "run", "--publish")
    assert ran.returncode == 0, ran.stderr
    secret = s3_served.ADMIN[1]
    assert secret not in ran.stdout + ran.stderr
    written = [path for path in first.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(written) > 10
    assert [path for path in written if secret.encode() in path.read_bytes()] == []


def test_a_vendor_folder_has_the_data_but_what_is_private(servers, desk):
    """From `lock --vendor` another machine runs without the servers' word; what is private is left out, and told."""
    first = desk("first")
    text = WORKFLOW.format(**_fill(servers, "vendor", "data"))
    text = text.partition("publish:")[0]
    (first.project / "workflow.yaml").write_text(text)
    locked = first("lock", "--vendor", "../shelf", "workflow.yaml")
    assert locked.returncode == 0, locked.stderr
    servers[0].remove("vendor/reads.txt")
    second = desk("second")
    second.take(first)
    second.env["REPRO_VENDOR"] = str(first.folder / "shelf")
    ran = second("run", "--locked")
    assert ran.returncode == 0, ran.stderr
    private = text.replace("s3://data/vendor/reads.txt", "{uri: s3://data/vendor/reads.txt, private: true}")
    (first.project / "workflow.yaml").write_text(private)
    told = first("lock", "--vendor", "../other", "workflow.yaml")
    assert told.returncode == 0, told.stderr
    assert "raw/reads.txt is not in other: it is private" in told.stderr
    digest = first.locked("raw/reads.txt")["digest"].partition(":")[2]
    assert not (first.folder / "other/blobs/sha256" / digest).exists()
