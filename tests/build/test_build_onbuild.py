"""ONBUILD: kept in the config as Docker keeps it, run right after FROM by what is based on the image, and once."""

from __future__ import annotations

import dataclasses

import pytest

from repro.errors import DockerfileError
from repro.events import BuildStep


def triggers(shop, result) -> tuple[str, ...]:
    """Return what the image's config has under OnBuild."""
    return shop.store.config(result.image_id).on_build


def based_on(shop, result) -> None:
    """Let ``FROM base`` mean the image of ``result`` from now on."""
    shop.base = result.image_id


def test_the_config_holds_the_triggers_as_written(shop):
    """In order, with their own spelling and blanks; nothing runs in this build."""
    result = shop.build('FROM base\nONBUILD RUN exit 1\nONBUILD copy a   b\nONBUILD CMD ["x"]\n')
    assert ("RUN exit 1", "copy a   b", 'CMD ["x"]') == triggers(shop, result)
    assert 0 == result.instructions


def test_triggers_run_right_after_from_and_only_once(shop):
    """Before the child's own instructions, in the base's environment and folder; the grandchild runs none."""
    (shop.context / "f").write_text("from the child's context\n")
    parent = shop.build(
        "FROM base\nENV V=parent\nWORKDIR /p\nONBUILD RUN echo $V $PWD > /ran\nONBUILD COPY f /copied\n"
        "ONBUILD ENV V=trigger\n"
    )
    based_on(shop, parent)
    child = shop.build("FROM base\nRUN echo $V >> /ran\n")
    assert ["parent /p\ntrigger\n", "from the child's context\n"] == [
        shop.read(child, "/ran"),
        shop.read(child, "/copied"),
    ]
    assert () == triggers(shop, child)
    assert ["FROM base", "RUN echo $V $PWD > /ran", "COPY f /copied", "ENV V=trigger", "RUN echo $V >> /ran"] == [
        event.text for event in shop.events if isinstance(event, BuildStep) and event.state == "done"
    ]
    based_on(shop, child)
    grandchild = shop.build("FROM base\nRUN echo grandchild > /g\n")
    assert 1 == grandchild.instructions


def test_a_trigger_may_declare_and_use_arguments(shop):
    """ARG in a trigger takes the child's --build-arg."""
    based_on(shop, shop.build("FROM base\nONBUILD ARG VERSION=1\nONBUILD RUN echo $VERSION > /v\n"))
    assert ["1\n", "2\n"] == [
        shop.read(shop.build("FROM base\n"), "/v"),
        shop.read(shop.build("FROM base\n", args={"VERSION": "2"}), "/v"),
    ]


def test_a_trigger_copies_from_a_stage_of_the_child(shop):
    """The stage is built though nothing in the file itself needs it."""
    based_on(shop, shop.build("FROM base\nONBUILD COPY --from=made /r /got\n"))
    child = shop.build("FROM plain AS made\nRUN echo made > /r\nFROM base\n")
    assert "made\n" == shop.read(child, "/got")


def test_a_stage_leaves_its_triggers_to_the_stage_based_on_it(shop):
    """As with an image; a third stage, based on the second, runs those of the second alone."""
    result = shop.build(
        "FROM base AS a\nONBUILD RUN echo one >> /log\nFROM a AS b\nONBUILD RUN echo two >> /log\nFROM b\n"
        "RUN echo own >> /log\n"
    )
    assert "one\ntwo\nown\n" == shop.read(result, "/log")
    assert () == triggers(shop, result)


def test_a_heredoc_survives_as_a_trigger(shop):
    """Its lines are part of the trigger."""
    parent = shop.build("FROM base\nONBUILD RUN <<E\necho several > /l\necho lines >> /l\nE\n")
    assert ("RUN <<E\necho several > /l\necho lines >> /l\nE",) == triggers(shop, parent)
    based_on(shop, parent)
    assert "several\nlines\n" == shop.read(shop.build("FROM base\n"), "/l")


@pytest.mark.parametrize("trigger", ["FROM x", "ONBUILD RUN x", "MAINTAINER x", "NOPE", "RUN a\nRUN b", ""])
def test_a_trigger_that_cannot_be_is_a_located_error(shop, trigger):
    """Other tools wrote it: the error is at FROM and shows it."""
    base = shop.store.config(shop.base)
    shop.base = shop.store.put_image(dataclasses.replace(base, on_build=(trigger,)))
    with pytest.raises(DockerfileError, match="ONBUILD trigger that cannot be read") as caught:
        shop.build("# a comment\nFROM base\n")
    assert "Dockerfile:2:6" == str(caught.value.where)


def test_a_failing_trigger_points_at_from(shop):
    """There is no other line to point at."""
    based_on(shop, shop.build("FROM base\nONBUILD RUN exit 4\n"))
    with pytest.raises(Exception, match="exit status 4: RUN exit 4") as caught:
        shop.build("ARG A\n\nFROM base\n")
    assert 3 == caught.value.where.line
