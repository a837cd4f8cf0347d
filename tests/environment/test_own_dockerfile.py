"""Environments of a Dockerfile of one's own: only what it reads decides its image, and never our own state."""

from __future__ import annotations

import dataclasses

import pytest

from repro import api
from repro.api.contexts import context_digest, folder_context
from repro.events import ignore

WORKFLOW = """\
repro: 1
name: own
environments:
  own: {dockerfile: Dockerfile}
steps:
  a: {environment: own, outputs: {o: o.txt}, run: "true > o.txt"}
"""


@pytest.fixture
def project(tmp_path):
    """A project whose environment copies one file into an empty image."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "workflow.yaml").write_text(WORKFLOW)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY tool /bin/\n")
    (folder / "tool").write_text("tool")
    return folder


def _host(folder):
    return dataclasses.replace(api.Host.current(), cwd=folder, environ={"REPRO_STORE": str(folder.parent / "store")})


def _build(folder):
    """Return the image ID and the tag of the environment."""
    (built,) = api.build(_host(folder), None, environments=(), sink=ignore)
    return built.image_id, built.tag


def test_a_second_build_changes_nothing(project):
    """Neither the lock that a build writes nor .repro nor results are part of what decides the image."""
    first, before = _build(project), (project / "workflow.lock").read_bytes()
    (project / "o.txt").write_text("a result")
    assert (first, before) == (_build(project), (project / "workflow.lock").read_bytes())


def test_a_copied_file_decides(project):
    """An edit of what is copied makes another image, under another tag."""
    first = _build(project)
    (project / "tool").write_text("other")
    second = _build(project)
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_our_own_state_is_in_no_image(project):
    """COPY of the whole project leaves out workflow.lock and .repro: the image stays the same, run after run."""
    (project / "Dockerfile").write_text("FROM scratch\nCOPY . /all/\n")
    first = _build(project)
    assert first == _build(project)
    layers = project.parent / "store" / "layers"
    found = {path.name for path in layers.glob("*/*/all/*")}
    assert {"Dockerfile", "tool", "workflow.yaml"} == found


READ = {
    "COPY a /": ["a"],
    "COPY a b /": ["a", "b"],
    "COPY sub /": ["sub/c"],
    "COPY s*/c /": ["a", "b", "link", "sub/c"],
    "COPY sub/* /": ["sub/c"],
    "COPY $X /": ["a", "b", "link", "sub/c"],
    "COPY link /": ["b", "link"],
    "COPY . /": ["a", "b", "link", "sub/c"],
    "COPY --from=x a /": [],
    "RUN --mount=type=bind,source=sub,target=/s true": ["sub/c"],
    "RUN --mount=type=bind,target=/s true": ["a", "b", "link", "sub/c"],
    "RUN --mount=type=cache,target=/s true": [],
    "RUN true": [],
}


@pytest.mark.parametrize(("instruction", "read"), READ.items())
def test_what_a_dockerfile_reads(tmp_path, instruction, read):
    """A change of a file changes the digest exactly where the instruction can read that file."""
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("b")
    text = f"FROM scratch AS x\n{instruction}\n"

    def digest():
        return context_digest(folder_context(tmp_path, "Dockerfile"), text, "Dockerfile")

    before, changed = digest(), []
    for name in ("a", "b", "link", "sub/c"):
        path = tmp_path / name
        if name == "link":
            path.unlink()
            path.symlink_to("a")
        else:
            path.write_text("other")
        after = digest()
        if after != before:
            changed.append(name)
        before = after
    assert read == changed


def test_hidden_files_with_signs_in_their_names(tmp_path):
    """A workflow called ``a*b[1].yaml`` hides its own lock, and no other file."""
    for name in ("a*b[1].lock", "axb1.lock"):
        (tmp_path / name).write_text("x")
    context = folder_context(tmp_path, "Dockerfile", (tmp_path / "a*b[1].lock",))
    assert ["axb1.lock"] == [node.name for node in context.children(context.node(""))]
