"""Secrets: shown to the command that asks for them, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from repro.build.secrets import Mask, Secret
from repro.digest import Digest
from repro.errors import BuildError, DockerfileError
from repro.events import BuildOutput, event_json

VALUE = b"hunter2-and-more\n"
GIVEN = {"token": Secret("token", VALUE)}


def said(shop) -> list[str]:
    """Return the lines that RUN printed."""
    return [event.text for event in shop.events if isinstance(event, BuildOutput)]


@pytest.mark.parametrize(
    ("mount", "command", "expected"),
    [
        ("id=token", "stat -c '%n %a' /run/secrets/token; wc -c < /run/secrets/token", ["/run/secrets/token 400", "17"]),
        ("id=token,target=/a/b,mode=0440", "stat -c %a /a/b; wc -c < /a/b", ["440", "17"]),
        ("id=token,dst=rel", "wc -c < /work/rel", ["17"]),
        ("source=token", "wc -c < /run/secrets/token", ["17"]),
        ("target=/etc/token", "wc -c < /etc/token", ["17"]),
        ("id=token,env=TOKEN", "test ! -e /run/secrets/token; test \"$TOKEN\" = 'hunter2-and-more\n' && echo same", ["same"]),
        ("id=token,env=TOKEN,target=/t", 'test "$TOKEN" && wc -c < /t', ["17"]),
        ("id=$NAME", "wc -c < /run/secrets/token", ["17"]),
        ("id=absent", "test ! -e /run/secrets/absent && echo nothing", ["nothing"]),
        ("id=token", "echo x > /run/secrets/token || echo read-only", ["/bin/sh: 1: cannot create /run/secrets/token: Read-only file system", "read-only"]),
    ],
)  # fmt: skip
def test_a_secret_is_shown_as_docker_shows_it(shop, mount, command, expected):
    """By file, by variable, under any target; an optional one that is not given is just not there."""
    shop.build(
        f"FROM base\nENV NAME=token\nWORKDIR /work\nRUN --mount=type=secret,{mount} <<E\n{command}\nE\n",
        secrets=GIVEN,
    )
    assert expected == said(shop)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has one ID")
def test_a_secret_belongs_to_whom_the_mount_says(shop):
    """A user of the image can read it by its mode alone."""
    shop.build(
        "FROM base\nUSER ada\nRUN --mount=type=secret,id=token,uid=1000,gid=2000 "
        "stat -c '%u %g %a' /run/secrets/token; wc -c < /run/secrets/token\n",
        secrets=GIVEN,
    )
    assert ["1000 2000 400", "17"] == said(shop)


def test_a_required_secret_that_is_missing_is_a_located_error(shop):
    """The error names the secret and how to give it."""
    with pytest.raises(BuildError, match="secret 'other' is required") as caught:
        shop.build("FROM base\nRUN --mount=type=secret,id=other,required=true true\n", secrets=GIVEN)
    assert "Dockerfile:2:5" == str(caught.value.where)
    assert "--secret id=other" in (caught.value.hint or "")


def test_a_secret_is_in_no_file_of_the_store_and_in_no_event(shop):
    """Not in layer, image, key, memory, history or progress, though the command prints it; no stub is left either."""
    result = shop.build(
        "FROM base\nRUN --mount=type=secret,id=token --mount=type=secret,id=token,env=T cat /run/secrets/token; echo $T; "
        "echo used > /used\n",
        secrets=GIVEN,
    )
    value = VALUE.strip()
    holders = [path for path in shop.store.root.rglob("*") if path.is_file() and value in path.read_bytes()]
    assert [] == holders
    assert value.decode() not in repr([event_json(event) for event in shop.events])
    assert ["***", "***"] == [line for line in said(shop) if line]
    assert ["used"] == os.listdir(shop.store.image_layers(result.image_id)[-1])


def test_a_secret_is_in_no_error(shop):
    """The last lines of a failing command are masked too."""
    with pytest.raises(BuildError) as caught:
        shop.build("FROM base\nRUN --mount=type=secret,id=token cat /run/secrets/token; exit 1\n", secrets=GIVEN)
    assert "hunter2" not in str(caught.value)
    assert "    ***" in str(caught.value)


def test_another_value_is_a_cache_hit_and_another_name_is_not(shop):
    """Only the id is in the key."""
    text = "FROM base\nRUN --mount=type=secret,id=token wc -c /run/secrets/token > /n\n"
    shop.build(text, secrets=GIVEN)
    assert 1 == shop.build(text, secrets={"token": Secret("token", b"another")}).cached
    assert 0 == shop.build(text.replace("id=token", "id=token,target=/run/secrets/token,env=T"), secrets=GIVEN).cached


def test_a_secret_lies_in_memory_while_it_is_shown_and_is_gone_afterwards(shop):
    """Where the host has a folder in memory, the file system of the store never sees the bytes."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("the host has no folder in memory")
    shop.build(
        "FROM base\nRUN --mount=type=secret,id=token while read -r line; do case $line in *' /run/secrets/token '*) "
        'echo "${line##* - }";; esac; done < /proc/self/mountinfo\n',
        secrets=GIVEN,
    )
    assert ["tmpfs"] == [line.split()[0] for line in said(shop)]
    folder = Path("/dev/shm") / f"repro-{Digest.of(os.fsencode(shop.store.root)).short}"
    assert folder.is_dir()
    assert [] == list(folder.glob("work-*"))


def test_an_ssh_mount_is_refused_with_what_to_do(shop):
    """A build never talks to an agent."""
    with pytest.raises(DockerfileError, match="type=ssh is not supported") as caught:
        shop.build("FROM base\nRUN --mount=type=ssh true\n")
    assert "type=secret" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("values", "line", "expected"),
    [
        ([b"abcd"], "xabcdx abcd", "x***x ***"),
        ([b"abc"], "abc", "abc"),  # too short to hide without hiding everything
        ([b"first line\nsecond line\n"], "the second line", "the ***"),
        ([b"abcd", b"abcdef"], "abcdef", "***"),
        ([b"  padded  "], "padded", "***"),
        ([], "anything", "anything"),
    ],
)
def test_a_mask_hides_values(values, line, expected):
    """Whole values and lines of them, the longest first."""
    assert expected == Mask(Secret(str(at), value) for at, value in enumerate(values))(line)


def test_a_secret_does_not_show_itself():
    """Neither in a message nor in a traceback."""
    assert "hunter2" not in repr(GIVEN["token"])
