"""Times inside files: what is set back, what is left alone, and that the programs concerned still read them."""

from __future__ import annotations

import gzip
import importlib.util
import os
import py_compile
import struct
import subprocess
import sys

import pytest

from repro.build.times import INNER_TIMES, clamp_inner_times

EPOCH = 1_700_000_000  # 2023-11-14 22:13:20
LATER = EPOCH + 86_400
DESCRIPTION = "Package: demo\nVersion: 1.0\nDate/Publication: 2024-05-01 10:00:00 UTC\nBuilt: R 4.2.2; ; {} UTC; unix\n"
HISTORY = "==> {} <==\n# cmd: conda install samtools\n+bioconda::samtools-1.21\n==> 2020-01-01 00:00:00 <==\n"


def test_each_format_says_why():
    """Every entry has a reason."""
    assert [] == [form for form in INNER_TIMES if not form.reason]


def compiled(folder, name="module", *, time):
    """Compile a module whose time is ``time``, checked against that time, and return its bytecode's path."""
    source = folder / f"{name}.py"
    source.write_text("WORDS = ('a', 'b')\n")
    os.utime(source, (time, time))
    cached = importlib.util.cache_from_source(str(source))
    py_compile.compile(str(source), cfile=cached, invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    return cached


def test_bytecode_stays_valid_when_its_source_is_set_back(tmp_path):
    """Python takes it instead of compiling again: without the rule it would be stale in every image."""
    cached = compiled(tmp_path, time=LATER)
    name = os.path.relpath(cached, tmp_path)
    assert (name,) == clamp_inner_times(tmp_path, EPOCH)
    os.utime(tmp_path / "module.py", (EPOCH, EPOCH))
    told = subprocess.run(
        [sys.executable, "-v", "-B", "-c", "import module"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stderr
    assert f"code object from '{tmp_path}/module.py'" not in told
    assert f"{cached} matches" in told


def test_two_compilations_at_other_times_come_out_the_same(tmp_path):
    """They differ before, and are equal after."""
    found = []
    for time in (LATER, LATER + 5):
        folder = tmp_path / str(time) / "lib"
        folder.mkdir(parents=True)
        path = compiled(folder, time=time)
        with open(path, "rb") as file:
            before = file.read()
        clamp_inner_times(folder, EPOCH)
        with open(path, "rb") as file:
            found.append((before[8:12], file.read()[:16]))
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]


def test_bytecode_of_old_or_hashed_sources_is_left_alone(tmp_path):
    """A time up to the epoch is the source's own, and a hash is none."""
    compiled(tmp_path, "old", time=EPOCH)
    hashed = tmp_path / "__pycache__/hashed.pyc"
    hashed.write_bytes(b"\xa7\r\r\n" + struct.pack("<IQ", 1, LATER))
    (tmp_path / "__pycache__/short.pyc").write_bytes(b"\xa7\r\r\n")
    assert () == clamp_inner_times(tmp_path, EPOCH)


def saved(date):
    """Return an R object of strings as `saveRDS` writes it, with the date on its own and in the field Built."""
    strings = [f"{date} UTC", f"R 4.2.2; ; {date} UTC; unix", "2024-05-01 10:00:00 UTC"]
    body = b"".join(struct.pack(">II", 0x00040009, len(text)) + text.encode() for text in strings)
    return gzip.compress(b"X\n" + struct.pack(">III", 3, 0x00040202, 0x00030500) + body, mtime=0)


def test_an_r_package_says_that_it_was_built_at_the_epoch(tmp_path):
    """DESCRIPTION and package.rds agree, also when the package was published after the epoch: that is no build's time."""
    package = tmp_path / "usr/lib/R/library/demo"
    (package / "Meta").mkdir(parents=True)
    (package / "DESCRIPTION").write_text(DESCRIPTION.format("2026-11-24 09:15:03"))
    (package / "Meta/package.rds").write_bytes(saved("2026-11-24 09:15:03"))
    (package / "Meta/links.rds").write_bytes(saved("2026-11-24 09:15:03"))
    place = "usr/lib/R/library/demo"
    assert (f"{place}/DESCRIPTION", f"{place}/Meta/package.rds") == clamp_inner_times(tmp_path, EPOCH)
    assert DESCRIPTION.format("2023-11-14 22:13:20") == (package / "DESCRIPTION").read_text()
    expected = gzip.decompress(saved("2023-11-14 22:13:20"))
    assert expected == gzip.decompress((package / "Meta/package.rds").read_bytes())
    assert () == clamp_inner_times(tmp_path, EPOCH)


TORN = gzip.compress(b"x" * 99, mtime=0)[:30]


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08 not gzip", b"RDX3 plain", TORN])
def test_a_file_that_only_has_the_name_is_left_alone(tmp_path, content):
    """Whatever it holds."""
    (tmp_path / "Meta").mkdir()
    for name in ("Meta/package.rds", "DESCRIPTION"):
        (tmp_path / name).write_bytes(content)
    assert () == clamp_inner_times(tmp_path, EPOCH)
    assert content == (tmp_path / "Meta/package.rds").read_bytes()


def test_a_large_package_is_written_in_several_blocks(tmp_path):
    """More than the 64 KiB of one stored block."""
    (tmp_path / "Meta").mkdir()
    body = os.urandom(150_000) + b"R 4.2.2; ; 2026-11-24 09:15:03 UTC; unix"
    (tmp_path / "Meta/package.rds").write_bytes(gzip.compress(body))
    assert ("Meta/package.rds",) == clamp_inner_times(tmp_path, EPOCH)
    written = gzip.decompress((tmp_path / "Meta/package.rds").read_bytes())
    assert body.replace(b"2026-11-24 09:15:03", b"2023-11-14 22:13:20") == written


def test_condas_history_keeps_all_but_the_time(tmp_path):
    """The packages in it are what a later `conda install` goes by; headlines before the epoch stay."""
    (tmp_path / "opt/conda/conda-meta").mkdir(parents=True)
    file = tmp_path / "opt/conda/conda-meta/history"
    file.write_text(HISTORY.format("2026-11-24 09:15:03"))
    assert ("opt/conda/conda-meta/history",) == clamp_inner_times(tmp_path, EPOCH)
    assert HISTORY.format("2023-11-14 22:13:20") == file.read_text()


def test_a_file_keeps_mode_time_and_links(tmp_path):
    """It is written in place, whatever its mode, and a link to elsewhere is not followed."""
    outside = tmp_path / "outside"
    outside.write_text(DESCRIPTION.format("2026-11-24 09:15:03"))
    upper = tmp_path / "upper"
    (upper / "a").mkdir(parents=True)
    (upper / "b").mkdir()
    file = upper / "a/DESCRIPTION"
    file.write_text(DESCRIPTION.format("2026-11-24 09:15:03"))
    os.link(file, upper / "a/other")
    os.symlink(outside, upper / "b/DESCRIPTION")
    os.symlink(tmp_path, upper / "out")
    file.chmod(0o444)
    os.utime(file, ns=(1, 2_000_000_000))
    (upper / "a").chmod(0o500)
    before = file.stat()
    assert ("a/DESCRIPTION",) == clamp_inner_times(upper, EPOCH)
    after = file.stat()
    (upper / "a").chmod(0o700)
    assert (before.st_mode, before.st_mtime_ns, before.st_ino) == (after.st_mode, after.st_mtime_ns, after.st_ino)
    assert "2026" in outside.read_text()
