"""The example project and small ones, run through the command line as each kind of user."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.accounts import PROJECT, Account, caller


@dataclass(frozen=True)
class Desk:
    """An account at work: a project folder, a store, and the downloads it shares with earlier sessions."""

    account: Account
    project: Path
    store: Path
    cache: Path

    def repro(self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 900):
        """Run `repro` in the project's folder and return what it printed."""
        return self.account.repro(*arguments, env=self.env | (env or {}), cwd=self.project, timeout=timeout)

    @property
    def env(self) -> dict[str, str]:
        """The variables that say where store and downloads are."""
        return {"REPRO_STORE": str(self.store), "REPRO_CACHE": str(self.cache)}

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project, as the account's own."""
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.account.give(self.project)
        return file


@pytest.fixture(scope="session", params=["caller", "ordinary"])
def account(request, tmp_path_factory) -> Account:
    """Who runs the tests, and an ordinary user without subuid ranges."""
    if request.param == "caller":
        return caller(tmp_path_factory.mktemp("home"))
    return request.getfixturevalue("ordinary")


@pytest.fixture(scope="session")
def cache(account, download_cache) -> Path:
    """The shared downloads: the folder itself for the caller, a copy for another user."""
    folder = account.home / "downloads"
    if not folder.exists():
        if account.path == str(PROJECT):
            return download_cache
        (download_cache / "sha256").mkdir(parents=True, exist_ok=True)
        shutil.copytree(download_cache / "sha256", folder / "sha256")
        account.give(folder)
    return folder


@pytest.fixture(scope="session")
def store(account) -> Path:
    """A store that all projects of the account share."""
    return account.home / "store"


@pytest.fixture
def desk(account, cache, store) -> Desk:
    """An empty project."""
    folder = account.home / "project"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    account.give(folder)
    return Desk(account, folder, store, cache)


@pytest.fixture(scope="session")
def example(account, cache, store) -> Desk:
    """A copy of examples/samtools as it is in version control, with no lock and no results."""
    folder = account.home / "samtools"
    ignored = shutil.ignore_patterns(".repro", "work", "results", "*.lock", "__pycache__")
    shutil.copytree(PROJECT / "examples" / "samtools", folder, ignore=ignored)
    account.give(folder)
    return Desk(account, folder, store, cache)
