"""A base of Ubuntu's shape, from an archive that has its suites and components: Debian's packages under its names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.environment.resolvers.apt import lock_packages
from repro.environment.resolvers.archive import build_base, fetch_indexes, fetch_packages, lock_base
from repro.errors import Location
from repro.events import ignore
from repro.workflow.model import ArchiveBase
from tests.environment import apt_installer
from tests.environment.small_archive import Item, SmallArchive, control, deb

pytestmark = pytest.mark.archive
NOW = datetime(2026, 11, 24, tzinfo=UTC)
SUITES = ("noble", "noble-updates", "noble-security")
NOBLE = ArchiveBase("ubuntu", "noble", components=("main", "universe"))


def _tool(archive, version, suite, **more):
    """Put a version of a program into the component universe of a suite."""
    stanza = control("odd-tool", version, Maintainer="Nobody <nobody@example.invalid>", Section="universe/misc")
    script = f"#!/bin/sh\necho odd-tool {version}\n".encode()
    archive.add(
        stanza, deb(stanza, Item("./usr/bin/odd-tool", script, mode=0o755), **more), suite, component="universe"
    )


@pytest.fixture
def archive(tmp_path, downloads, bookworm_lock):
    """The packages of a minimal system as Ubuntu's `main`, and an updated tool in `universe`, compressed its way."""
    archive = SmallArchive(tmp_path / "mirror" / "ubuntu", "ubuntu")
    archive.add_all(bookworm_lock.packages, downloads, "noble")
    _tool(archive, "1", "noble")
    _tool(archive, "1.1", "noble-security", compression="zst")
    for suite in SUITES:
        archive.publish(suite)
    return archive


def test_base_and_packages_of_ubuntu(archive, tmp_path, store, launcher):
    """The essential closure makes a base named after the suite; apt in it takes the security update from universe."""
    cache = Downloads(tmp_path / "cache", Transports({}, pause=0.0))
    source = archive.source(*SUITES, components=NOBLE.components)
    indexes = fetch_indexes(source, cache, Transports({}, pause=0.0).get, now=NOW, sink=ignore)
    lock = lock_base(NOBLE, source, indexes, downloads=cache, sink=ignore)
    assert "archive:ubuntu/noble+main+universe" == lock.name
    assert {"ubuntu/noble"} == {package.archive for package in lock.packages}
    assert [f"ubuntu/{suite}" for suite in SUITES] == sorted(
        (release.label for release in lock.releases), key=lambda label: SUITES.index(label.partition("/")[2])
    )
    base = build_base(lock, source=None, downloads=cache, store=store, launcher=launcher, sink=ignore)
    assert base == store.resolve(lock.name)
    packages = lock_packages(
        ("odd-tool",),
        base,
        indexes,
        what="environments.align.apt",
        where=Location("workflow.yaml", 9, 5),
        downloads=cache,
        store=store,
        launcher=launcher,
    )
    assert [("odd-tool", "1.1", "ubuntu/noble-security")] == [
        (package.name, package.version, package.archive) for package in packages
    ]
    assert packages[0].path.startswith("pool/universe/")
    fetch_packages(packages, source=source, downloads=cache, sink=ignore, what="tests")
    layer = apt_installer.install(packages, cache, store, launcher, base, tmp_path)
    said = apt_installer.say("odd-tool; dpkg --audit", store, launcher, base, layer, tmp_path)
    assert "odd-tool 1.1\n" == said
