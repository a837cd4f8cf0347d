"""Real Dockerfiles built twice from an empty store, the second time a year ahead and elsewhere: equal image IDs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from repro.build.elsewhere import find_clock
from tests.accounts import PROJECT
from tests.same_bits.twice import HEAD, NAMES, build_twice, row

pytestmark = [
    pytest.mark.archive,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(find_clock() is None, reason="libfaketime is not installed"),
]
QUICK = (pytest.param("ldconfig", marks=pytest.mark.judge), "users")
AS_USER = ("apt", "bytecode", "compile", "users")


@pytest.fixture(autouse=True)
def _shared_downloads(monkeypatch, download_cache):
    """Take packages from the cache that all tests share."""
    monkeypatch.setenv("REPRO_CACHE", str(download_cache))


def check(result):
    """Expect equal IDs, and that every RUN of the second build had the other clock."""
    assert "error" not in result, result["error"]
    assert result["first"] == result["second"], "\n".join(result["lines"])
    assert [] == [text for text in result["conditions"] if "just later" in text]
    assert any("ahead in RUN" in text for text in result["conditions"])


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_one_comes_out_the_same(name):
    """Users and groups; the linker's cache."""
    check(build_twice(name))


def test_the_command_says_so_and_fails_where_it_is_not(tmp_path):
    """`repro image build --verify`: the ID on stdout, the verdict on stderr, exit status 1 for another image."""
    (tmp_path / "Dockerfile").write_text("FROM archive:debian/bookworm\nRUN date > /when\n")
    command = [sys.executable, "-m", "repro.cli.main", "image", "build", "--verify", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert 1 == done.returncode, done.stderr
    assert done.stdout.startswith("sha256:")
    assert 1 == len(done.stdout.splitlines())
    assert "/when: content" in done.stderr
    assert "[date] holds a date or a time of day" in done.stderr


@pytest.mark.judge
def test_all_come_out_the_same(capsys):
    """The whole table; printed also when it passes."""
    results = []
    with capsys.disabled():
        print(f"\n{HEAD}")
        for name in NAMES:
            results.append(build_twice(name))
            print(row(results[-1]), flush=True)
    assert len(results) >= 12
    for result in results:
        check(result)


@pytest.mark.judge
def test_an_ordinary_user_gets_the_same_twice(ordinary, download_cache, capsys):
    """With a single ID too a second build elsewhere is the same image."""
    cache = ordinary.home / "cache"
    cache.mkdir(exist_ok=True)
    ordinary.give(cache)
    done = ordinary.run(
        ordinary.python,
        "-m",
        "tests.same_bits.twice",
        "--json",
        *AS_USER,
        env={"REPRO_CACHE": str(cache)},
        timeout=1700,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    with capsys.disabled():
        print("\nas an ordinary user", *map(row, results), sep="\n")
    assert len(AS_USER) == len(results), done.stderr
    for result in results:
        check(result)
