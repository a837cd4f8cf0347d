"""An archive that moves on after the lock: what still builds, and what is said where bytes are gone or altered."""

from __future__ import annotations

import json

import pytest

from repro.environment.resolvers.source import debian_architecture
from tests.environment.desk import locked_images, repro_in, served
from tests.environment.small_archive import Item, SmallArchive, certificate, control, deb

pytestmark = [pytest.mark.archive, pytest.mark.timeout(600)]
TOOL = f"odd-tool_1_{debian_architecture()}.deb"
WORKFLOW = """\
repro: 1
name: gone
environments:
  tool: {base: {archive: debian, suite: bookworm, mirror: "%s/debian"}, apt: [odd-tool]}
steps:
  a: {environment: tool, outputs: {o: o.txt}, run: "odd-tool > o.txt"}
"""


def _add_tool(archive, version, name="odd-tool"):
    """Put a program that says its version into the archive."""
    stanza = control(name, version, Maintainer="Nobody <nobody@example.invalid>", Section="misc")
    script = f"#!/bin/sh\necho {name} {version}\n".encode()
    archive.add(stanza, deb(stanza, Item(f"./usr/bin/{name}", script, mode=0o755)))


@pytest.fixture(scope="module")
def world(tmp_path_factory, downloads, bookworm_lock):
    """An archive on the loopback that had version 1 when the project was locked, built and vendored, and has 2 now."""
    place = tmp_path_factory.mktemp("gone")
    archive = SmallArchive(place / "mirror" / "debian")
    archive.add_all(bookworm_lock.packages, downloads)
    _add_tool(archive, "1")
    _add_tool(archive, "1", "other-tool")
    archive.publish()
    (place / "keyring.gpg").write_bytes(certificate())
    project = place / "project"
    project.mkdir()
    with served(place / "mirror") as address:
        (project / "workflow.yaml").write_text(WORKFLOW % address)

        def repro(*arguments, store="first", status=0, **env):
            keyring = {"REPRO_APT_KEYRING": str(place / "keyring.gpg")}
            return repro_in(project, place / store, *arguments, status=status, **keyring, **env)

        repro("lock")
        repro("run")
        repro("lock", "--vendor", "vendor")
        archive.withdraw("odd-tool")
        _add_tool(archive, "2")
        archive.publish()
        repro.project, repro.place = project, place
        yield repro


def test_the_build_goes_on_from_the_vendor_folder(world):
    """A new store, and version 1 is in no archive any more: the same image."""
    before = locked_images(world.project)
    assert (world.project / "o.txt").read_text() == "odd-tool 1\n"
    world("build", "--vendor", "vendor", store="second")
    assert before == locked_images(world.project)


def test_check_names_what_is_lost(world):
    """Of all packages one is in no mirror: it alone is named; with the vendor folder nothing is gone."""
    said = world("lock", "--check", store="empty", status=1)
    assert [f"gone: tool: {TOOL}"] == [line for line in said.splitlines() if line.startswith("gone")]
    listed = json.loads(world("lock", "--check", "--json", store="empty", REPRO_VENDOR="vendor"))
    assert [["vendor"]] == [one["places"] for one in listed if one["entry"] == "tool"]
    assert {("vendor", "origin")} == {tuple(one["places"]) for one in listed if one["entry"] != "tool"}


def test_without_the_bytes_the_error_says_how_to_go_on(world):
    """The file is named, and so are the ways out."""
    said = world("build", store="third", status=4)
    assert f"{TOOL}: the server does not have it (404" in said
    for way in ("REPRO_VENDOR", "REPRO_APT_SNAPSHOT", "`repro lock --upgrade`"):
        assert way in said


def test_an_altered_package_is_refused(world):
    """One byte of a .deb in the vendor folder."""
    files = json.loads((world.project / "vendor/packages.json").read_text())
    (digest,) = [one["sha256"] for one in files if one["file"] == TOOL]
    blob = world.project / "vendor/blobs/sha256" / digest
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    said = world("build", "--vendor", "vendor", store="fourth", status=4)
    assert f"{TOOL}: other bytes than asked for came" in said
    blob.write_bytes(whole)


def test_a_minimal_update_keeps_what_is_lost(world):
    """Another name beside it: the old version stays, for its bytes are here; --upgrade takes the new one."""
    workflow = world.project / "workflow.yaml"
    text = workflow.read_text()
    workflow.write_text(text.replace("[odd-tool]", "[odd-tool, other-tool]"))
    try:
        kept = world("lock", "--diff", store="fifth", REPRO_VENDOR="vendor")
        assert "tool: other-tool (none) -> 1\n" == kept
        moved = world("lock", "--diff", "--upgrade", "tool", store="fifth", REPRO_VENDOR="vendor")
        assert "tool: odd-tool 1 -> 2\ntool: other-tool (none) -> 1\n" == moved
    finally:
        workflow.write_text(text)
