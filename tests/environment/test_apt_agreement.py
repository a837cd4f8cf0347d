"""What is locked for well-known programs is what apt-get in a minimal system made by mmdebstrap would fetch."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote

import pytest

from repro.environment.resolvers.apt import lock_packages
from repro.environment.resolvers.archive import build_base
from repro.errors import Location
from repro.events import ignore
from repro.workflow.model import ArchiveBase
from tests.conformance import judges

pytestmark = [pytest.mark.judge, pytest.mark.archive, pytest.mark.timeout(1800)]
BOOKWORM = ArchiveBase("debian", "bookworm")
PROGRAMS = (
    "samtools", "bwa", "bcftools", "bedtools", "minimap2", "hisat2", "salmon", "seqtk", "fastqc", "mafft", "hmmer",
    "ncbi-blast+", "r-base-core", "r-cran-ggplot2", "python3-numpy", "python3-pandas", "python3-matplotlib",
    "gdal-bin", "octave", "gromacs", "imagemagick", "gcc", "openjdk-17-jre-headless",
)  # fmt: skip
TOGETHER = ("samtools", "bcftools", "r-cran-ggplot2", "python3-pandas")
_LINE = re.compile(r"'[^']*/(?P<path>pool/[^']+)' \S+ (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")


@pytest.fixture(scope="module")
def minbase(apt_source):
    """A minimal system by mmdebstrap, with apt's lists of the same mirrors."""
    if os.geteuid() != 0:
        pytest.skip("mmdebstrap's system is entered with chroot")
    judges.install("mmdebstrap")
    place = Path(tempfile.mkdtemp(prefix="repro-minbase-", dir="/var/tmp"))
    sources = place / "sources.list"
    lines = [f"deb {apt_source.bases(suite)[0]} {suite} main\n" for suite in apt_source.suites()]
    sources.write_text("".join(lines))
    try:
        judges.call(
            ["mmdebstrap", "--variant=minbase", "--mode=root", "--skip=cleanup/apt/lists", "--quiet",
             "--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
             "bookworm", str(place / "root"), str(sources)]
        )  # fmt: skip
        yield place / "root"
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def locked(bookworm_lock, downloads, apt_source, bookworm_indexes, store, launcher):
    """Locks names on our base: the path, size and digest of each package."""
    base = build_base(bookworm_lock, source=None, downloads=downloads, store=store, launcher=launcher, sink=ignore)

    def ask(*names: str) -> set[tuple[str, int, str]]:
        packages = lock_packages(
            names,
            base,
            bookworm_indexes,
            what="apt",
            where=Location("workflow.yaml", 1),
            downloads=downloads,
            store=store,
            launcher=launcher,
        )
        return {(package.path, package.size, package.digest.hex) for package in packages}

    return ask


def fetched(root: Path, names: tuple[str, ...]) -> set[tuple[str, int, str]]:
    """Return what apt-get in ``root`` would fetch to install ``names``: path, size and digest of each package."""
    command = ["chroot", str(root), "apt-get", "install", "--print-uris", "-qq", "--no-install-recommends"]
    printed = judges.call([*command, "-o", "Acquire::ForceHash=SHA256", *names], env={"LC_ALL": "C.UTF-8"}).stdout
    found = [_LINE.match(line) for line in printed.splitlines() if line.startswith("'")]
    assert None not in found, printed
    return {(unquote(match["path"]), int(match["size"]), match["sha256"]) for match in found if match is not None}


def test_the_base_has_the_same_packages(minbase, bookworm_lock):
    """The essential closure is that of mmdebstrap."""
    query = ["chroot", str(minbase), "dpkg-query", "-W", "-f", "${Package} ${Version}\\n"]
    theirs = set(judges.call(query).stdout.splitlines())
    assert {f"{package.name} {package.version}" for package in bookworm_lock.packages} == theirs


def test_closures_are_those_of_apt(minbase, locked, capsys):
    """Each program alone, and some together; the table is printed also when all agree."""
    rows, differ = [], {}
    for names in (*((name,) for name in PROGRAMS), TOGETHER):
        ours, theirs = locked(*names), fetched(minbase, names)
        rows.append((" ".join(names), len(ours), len(theirs), sum(size for _, size, _ in ours) / 1e6, ours == theirs))
        if ours != theirs:
            differ[names] = sorted(path for path, _, _ in ours ^ theirs)
    with capsys.disabled():
        print(f"\n{'apt names':48} {'locked':>7} {'apt-get':>8} {'MB':>8}  same")
        for name, ours, theirs, size, same in rows:
            print(f"{name:48} {ours:7} {theirs:8} {size:8.1f}  {'yes' if same else 'NO'}")
    assert {} == differ
    assert len(PROGRAMS) >= 20
