"""workflow.lock in commands: what stays, what is asked for, what is told."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from repro import api
from repro.api.lockfile import differences
from repro.api.project import open_project
from repro.digest import Digest
from repro.environment.lock import origin, write_lock
from repro.environment.model import ArchiveLock, EnvironmentLock, Lock, Package, Release
from repro.errors import LockError, UsageError
from repro.events import ignore

STEPS = 'steps:\n  a: {environment: e, outputs: {o: o.txt}, run: "true > o.txt"}\n'
DIGEST = Digest.of(b"x")
BWA = Package("bwa", "1", "amd64", DIGEST, 1, "pool/main/b/bwa/bwa_1_amd64.deb", "debian/bookworm")
ARCHIVE = ArchiveLock("archive:debian/bookworm", 0, (Release("debian/bookworm", "s", "c", "d", DIGEST),), (BWA,))
LOCKED = EnvironmentLock("e", DIGEST, ARCHIVE.name, (BWA,))


@pytest.fixture
def project(tmp_path):
    """A folder for a project beside its store."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _host(folder, store="store"):
    environ = {"REPRO_STORE": str(folder.parent / store)}
    return dataclasses.replace(api.Host.current(), cwd=folder, environ=environ)


def _declare(folder, environment):
    (folder / "workflow.yaml").write_text(f"repro: 1\nname: w\nenvironments:\n  e: {environment}\n{STEPS}")


def _build(folder):
    return api.build(_host(folder), None, environments=(), sink=ignore)


def _on_an_image(folder):
    """Declare an environment on an image of the store, and build both."""
    (folder.parent / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    api.build_image(_host(folder), api.BuildRequest("..", tags=("own:1",)), sink=ignore)
    _declare(folder, '{base: "own:1", env: {A: "1"}}')
    return _build(folder)


def test_upgrade_keeps_what_stays_true(project):
    """Nothing newer: the same bytes, image IDs included, from `lock` and from `lock --upgrade`."""
    _on_an_image(project)
    before = (project / "workflow.lock").read_bytes()
    assert b'"sha256:' in before.split(b'"images": ')[1].split(b"\n")[0]
    for upgrade in (None, (), ("e",), ()):
        assert () == api.lock(_host(project), None, upgrade=upgrade, sink=ignore)
        assert before == (project / "workflow.lock").read_bytes()


def test_plan_with_an_empty_store(project):
    """A base that the store lacks leaves the jobs to run; it is no error before something has to be built."""
    _on_an_image(project)
    planned = api.plan(_host(project, "another"), None)
    assert [("a", "run")] == [(job.job, job.status) for job in planned.jobs]


def test_a_base_that_is_not_locked(project):
    """Packages without the base that they were chosen for: plan changes nothing, run asks for `repro lock`."""
    _declare(project, "{base: {archive: debian, suite: bookworm}, apt: [bwa]}")
    env = open_project(_host(project), None).workflow.environments["e"]
    write_lock(project / "workflow.lock", Lock().with_environment(replace(LOCKED, origin=origin(env))))
    before = (project / "workflow.lock").read_bytes()
    assert ["run"] == [job.status for job in api.plan(_host(project), None).jobs]
    with pytest.raises(LockError, match=r"(?s)4:.*but its base is not.*`repro lock`"):
        _build(project)
    assert before == (project / "workflow.lock").read_bytes()


def test_an_unknown_template_is_located(project):
    """The message has the place in workflow.yaml and the templates that there are."""
    _on_an_image(project)
    _declare(project, '{base: "own:1", template: debain}')
    with pytest.raises(UsageError, match=r"(?s)workflow\.yaml:4:.*'debain'.*shipped are: conda, debian"):
        _build(project)


def test_every_change_is_told():
    """What was resolved anew is said also where the packages came out the same."""
    old = Lock().with_archive(ARCHIVE).with_environment(LOCKED)
    later = replace(ARCHIVE, releases=(replace(ARCHIVE.releases[0], date="e"),))
    new = Lock().with_archive(later).with_environment(replace(LOCKED, origin=Digest.of(b"y")))
    assert () == differences(old, old)
    assert (
        "archive:debian/bookworm: the same packages, from later indexes",
        "e: locked for the changed declaration, with the same packages",
    ) == differences(old, new)
    newer = new.with_environment(replace(LOCKED, origin=Digest.of(b"y"), packages=(replace(BWA, version="2"),)))
    assert ("e: bwa 1 -> 2",) == differences(new, newer)
