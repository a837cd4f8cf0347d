"""Stages, arguments and the image's config."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from repro.build.stages import architecture
from repro.errors import BuildError, DockerfileError
from repro.events import BuildStep, Notice

if TYPE_CHECKING:
    from repro.build.engine import BuildResult


def config(shop, result: BuildResult) -> dict[str, object]:
    """Return the image's config document."""
    return json.loads(shop.store.config(result.image_id).to_json())


def texts(shop, state: str) -> list[str]:
    """Return the instructions that were reported in ``state``."""
    return [event.text for event in shop.events if isinstance(event, BuildStep) and event.state == state]


MANY = """\
ARG FLAVOUR=plain
FROM base AS made
RUN echo $FLAVOUR > /flavour
FROM base AS unneeded
RUN exit 1
FROM made AS Child
ARG FLAVOUR
RUN echo $FLAVOUR > /child
FROM scratch AS last
COPY --from=made /flavour /a
COPY --from=child /child /b
COPY --from=2 /child /c
COPY --from=base /etc/group /d
"""


def test_stages_build_on_each_other_and_unneeded_ones_are_left_out(shop):
    """COPY --from takes a stage by name (any case) or number, or an image."""
    result = shop.build(MANY)
    assert ["\n", "plain\n", "plain\n"] == [shop.read(result, f"/{name}") for name in "abc"]
    assert shop.read(result, "/d").startswith("root:")
    assert "RUN exit 1" not in texts(shop, "started")


@pytest.mark.parametrize(("target", "expected"), [("made", 1), ("MADE", 1), ("0", 1), ("child", 2), ("2", 2)])
def test_a_target_is_built_alone(shop, target, expected):
    """By name or number."""
    assert expected == shop.build(MANY, target=target).instructions


@pytest.mark.parametrize(
    ("text", "options", "message", "place"),
    [
        (MANY, {"target": "lst"}, "no stage 'lst'", "Dockerfile"),
        ("RUN x\nFROM base", {}, "before the first FROM", "Dockerfile:1:1"),
        ("ARG A=1", {}, "there is no FROM", "Dockerfile:1:1"),
        ("FROM $NOTHING", {}, "is empty", "Dockerfile:1:6"),
        ("FROM base\nCOPY --from=b /x /y\nFROM base AS b", {"target": "0"}, "no stage 'b' before", "Dockerfile:2:6"),
        ("FROM --platform=linux/s390x base", {}, "not this machine's", "Dockerfile:1:6"),
        ("FROM nothing", {}, "no image nothing", "Dockerfile:1:6"),
        ("FROM --platform=$NOTHING base", {}, "not this machine's", "Dockerfile:1:6"),
        ("FROM base\nEXPOSE http", {}, "not a port: 'http'", "Dockerfile:2:8"),
        ("FROM base\nEXPOSE 70000", {}, "not a port: '70000'", "Dockerfile:2:8"),
        ('FROM base\nENV A="${B:?set B}"', {}, "B: set B", "Dockerfile:2:7"),
        ("FROM base\nVOLUME $B", {}, "is empty", "Dockerfile:2:8"),
        ("FROM base\nSTOPSIGNAL $B", {}, "not a signal: ''", "Dockerfile:2:12"),
        ("FROM base\nWORKDIR /etc/passwd", {}, "is a file in the image", "Dockerfile:2:1"),
    ],
)
def test_what_cannot_be_built_is_a_located_error(shop, text, options, message, place):
    """The error names the place in the file."""
    with pytest.raises(Exception, match=message) as caught:
        shop.build(text, **options)
    assert place == str(caught.value.where)


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("ARG A=1\nFROM base\nARG A\nRUN echo $A > /o", {}, "1"),
        ("ARG A=1\nFROM base\nARG A\nRUN echo $A > /o", {"A": "given"}, "given"),
        ("ARG A=1\nFROM base\nARG A=2\nRUN echo $A > /o", {}, "2"),
        ("ARG A=1\nFROM base\nRUN echo $A > /o", {}, ""),
        ("ARG A=ba\nARG B=${A}se\nFROM $B\nARG B\nRUN echo $B > /o", {}, "base"),
        ("FROM base\nARG A=1 B=${A}2\nRUN echo $A $B > /o", {}, "1 12"),
        ("FROM base\nENV A=env\nARG A=arg\nRUN echo $A > /o", {"A": "given"}, "given"),
        ("FROM base AS a\nARG A=1\nFROM a\nRUN echo $A > /o", {}, "1"),
        ("FROM base\nARG TARGETARCH TARGETPLATFORM\nRUN echo $TARGETARCH $TARGETPLATFORM > /o", {}, None),
        ("FROM base\nRUN echo $http_proxy > /o", {"http_proxy": "p"}, "p"),
        ("FROM --platform=$BUILDPLATFORM base\nRUN echo > /o", {}, ""),
    ],
)
def test_arguments_come_from_where_docker_takes_them(shop, text, arguments, expected):
    """Given, default in the stage, default before FROM, inherited, predefined."""
    if expected is None:
        expected = f"{architecture()} linux/{architecture()}"
    assert expected == shop.read(shop.build(text, args=arguments), "/o").strip()


def test_an_argument_that_nothing_declares_is_told(shop):
    """A misspelt --build-arg does not pass in silence; a proxy needs no ARG."""
    shop.build("FROM base\nARG VERSION\n", args={"VERSOIN": "1", "VERSION": "2", "HTTPS_PROXY": "x"})
    assert ["the build argument VERSOIN is not used: no ARG declares it"] == [
        event.text for event in shop.events if isinstance(event, Notice) and "argument" in event.text
    ]


def test_a_proxy_is_in_no_key_and_no_history(shop):
    """Another proxy is a cache hit and leaves no trace in the image."""
    text = "FROM base\nRUN true\n"
    first = shop.build(text, args={"HTTP_PROXY": "one"})
    second = shop.build(text, args={"HTTP_PROXY": "two"})
    assert (first.image_id, 1) == (second.image_id, second.cached)


def test_the_config_holds_what_the_instructions_say(shop):
    """All instructions that only set the config, as the OCI image spec writes them."""
    result = shop.build(
        "FROM base\n"
        "ENV A=1 B='x y' A2=$PATH\nENV A=2 C=$A\nLABEL one=1 two='b c'\nUSER ada\nWORKDIR /home\nWORKDIR ada\n"
        'EXPOSE 80 90-91/udp\nVOLUME /v $A\nVOLUME ["/w"]\nSTOPSIGNAL SIGINT\nSHELL ["/bin/sh", "-x", "-c"]\n'
        'HEALTHCHECK --interval=5s --retries=2 CMD true\nENTRYPOINT ["top"]\nCMD echo hi\nMAINTAINER Ada\n',
        labels={"z": "last", "one": "over"},
    )
    found = config(shop, result)
    assert {
        "Cmd": ["/bin/sh", "-x", "-c", "echo hi"],
        "Entrypoint": ["top"],
        "Env": ["PATH=/usr/bin:/bin", "A=2", "B=x y", "A2=/usr/bin:/bin", "C=1"],
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}},
        "Healthcheck": {"Interval": 5_000_000_000, "Retries": 2, "Test": ["CMD-SHELL", "true"]},
        "Labels": {"one": "over", "two": "b c", "z": "last"},
        "Shell": ["/bin/sh", "-x", "-c"],
        "StopSignal": "SIGINT",
        "User": "ada",
        "Volumes": {"/v": {}, "/w": {}, "2": {}},
        "WorkingDir": "/home/ada",
    } == found["config"]
    assert ("Ada", "2023-11-14T22:13:20Z", "linux") == (found["author"], found["created"], found["os"])


@pytest.mark.parametrize(
    ("text", "entrypoint", "cmd"),
    [
        ("ENTRYPOINT top", ["/bin/sh", "-c", "top"], None),  # a CMD of the base was meant for its entry point
        ('CMD ["a"]\nENTRYPOINT ["b"]', ["b"], ["a"]),
        ('ENTRYPOINT ["b"]\nCMD ["a"]', ["b"], ["a"]),
        ("ENTRYPOINT []", None, None),
        ("CMD []", None, None),
        ("CMD", None, ["/bin/sh", "-c", ""]),
        ('ENTRYPOINT ["b"]\nENTRYPOINT []', None, None),
        ('CMD []\nENTRYPOINT ["b"]', ["b"], None),
        ("LABEL a=b", None, ["sh"]),
        ("HEALTHCHECK NONE", None, ["sh"]),
    ],
)
def test_an_entry_point_drops_the_bases_command(shop, text, entrypoint, cmd):
    """As Docker does, unless CMD was set in the same stage."""
    found = config(shop, shop.build(f"FROM base\n{text}\n"))["config"]
    assert (entrypoint, cmd) == (found.get("Entrypoint"), found.get("Cmd"))


def test_history_tells_each_instruction_with_the_epoch(shop):
    """Times are the epoch, and empty_layer is true exactly where no layer was made."""
    result = shop.build("FROM base\nENV A=1\nWORKDIR /etc\nWORKDIR /new\nCOPY <<f /\nx\nf\nRUN true\n", epoch=86400)
    found = config(shop, result)
    assert [
        ("ENV A=1", True),
        ("WORKDIR /etc", True),
        ("WORKDIR /new", False),
        ("COPY <<f /", False),
        ("RUN /bin/sh -c true", False),
    ] == [(entry["created_by"], entry.get("empty_layer", False)) for entry in found["history"]]
    assert {"1970-01-02T00:00:00Z"} == {entry["created"] for entry in found["history"]} | {found["created"]}
    assert 1 + 3 == len(found["rootfs"]["diff_ids"])


def test_workdir_is_made_for_the_user_of_that_moment(shop):
    """The folder belongs to USER, and has mode 755."""
    result = shop.build("FROM base\nUSER ada\nWORKDIR /srv/app\n")
    entry = shop.view(result).entry("/srv/app")
    assert (1000, 1001, 0o755) == (entry.uid, entry.gid, entry.stat.st_mode & 0o7777)


def test_an_image_from_scratch_starts_at_1970(shop):
    """Without a base the epoch is 0, so the image depends on nothing but its files."""
    (shop.context / "f").write_text("x")
    found = config(shop, shop.build("FROM scratch\nCOPY f /\n"))
    assert "1970-01-01T00:00:00Z" == found["created"]
    assert "/" == found["config"]["WorkingDir"]


def test_a_base_for_another_machine_is_refused(shop):
    """Its programs could not run here."""
    shop.base = shop.store.put_image(dataclasses.replace(shop.store.config(shop.base), architecture="s390x"))
    with pytest.raises(BuildError, match="base is for linux/s390x, not for linux/"):
        shop.build("FROM base\n")


def test_a_bad_dockerfile_changes_nothing(shop):
    """A mistake in the last line is told before the first instruction runs."""
    with pytest.raises(DockerfileError):
        shop.build("FROM base\nRUN true\nRUNN x\n")
    assert [] == shop.events
