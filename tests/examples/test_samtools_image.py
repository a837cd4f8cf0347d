"""examples/samtools as images: what the Dockerfiles hold, and, with the archive at hand, that the images run."""

from __future__ import annotations

import pytest

from repro.api.contexts import folder_context
from repro.build.stages import architecture, plan_build
from repro.dockerfile.grammar import read
from tests.examples.conftest import EXAMPLE


def plan(name: str):
    """Return the stages of one of the example's Dockerfiles."""
    text = (EXAMPLE / name).read_text()
    return plan_build(read(text, name), target=None, arguments={}, arch=architecture())


@pytest.mark.parametrize(("name", "stages"), [("Dockerfile", [None]), ("Dockerfile.multi", ["builder", None])])
def test_stages(name, stages):
    """The first file has one stage, the second builds in one and copies from it into another; both on one base."""
    found = plan(name)
    assert stages == [stage.name for stage in found.stages]
    assert {"archive:debian/bookworm"} == {stage.base for stage in found.stages}
    assert list(range(len(stages))) == list(found.needed)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.multi"])
def test_only_the_script_is_in_the_context(name):
    """.dockerignore leaves nothing but analyze.sh, whatever the workflow beside it made."""
    context = folder_context(EXAMPLE, name)
    root = context.node("")
    assert root is not None
    assert ["analyze.sh"] == [node.name for node in context.children(root)]


@pytest.mark.judge
@pytest.mark.archive
@pytest.mark.timeout(1800)
def test_both_images_run_samtools(samtools):
    """Both files build from the served tarball; what they made runs; two stages make less than half the bytes."""
    for image in samtools.images.values():
        assert f"samtools {samtools.release}" == image.version.splitlines()[0]
        assert f"Version: {samtools.release}" in image.usage
    sizes = {file: image.size for file, image in samtools.images.items()}
    assert 2 * sizes["Dockerfile.multi"] < sizes["Dockerfile"]
