"""RUN in real containers."""

from __future__ import annotations

import os

import pytest

from repro.build.run import Extras
from repro.errors import BuildError, DockerfileError
from repro.events import BuildOutput
from repro.runtime.spec import Bind, Network
from tests.build.conftest import EPOCH


def said(shop) -> list[str]:
    """Return the lines that RUN printed."""
    return [event.text for event in shop.events if isinstance(event, BuildOutput)]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("RUN echo shell form $((1+1))", ["shell form 2"]),
        ('RUN ["echo", "exec", "$HOME form"]', ["exec $HOME form"]),
        ("RUN echo one && \\\n    # a comment\n    echo two", ["one", "two"]),
        ("RUN <<EOF\necho a heredoc\necho in $PWD\nEOF", ["a heredoc", "in /"]),
        ("RUN <<-EOF\n\techo tabs go\n\tEOF", ["tabs go"]),
        ("RUN <<EOF\n#!/bin/cat\nthe script itself\nEOF", ["#!/bin/cat", "the script itself"]),
        ("RUN cat <<A - && cat <<'B'\nfirst $HOME\nA\nsecond $HOME\nB", ["first /root", "second $HOME"]),
        ('SHELL ["/bin/sh", "-u", "-c"]\nRUN echo ${unset:-shell is set}', ["shell is set"]),
        ("RUN echo to stderr >&2", ["to stderr"]),
        ("RUN printf 'no newline at the end'", ["no newline at the end"]),
        ("RUN echo $SOURCE_DATE_EPOCH", [str(EPOCH)]),
        ("ARG A=arg\nARG B=arg\nENV B=env\nRUN echo $A $B", ["arg env"]),
        ("WORKDIR /made/here\nRUN pwd", ["/made/here"]),
        ("USER ada\nRUN echo $HOME", ["/home/ada"]),
        ("RUN --network=none cat /etc/resolv.conf | wc -c", ["0"]),
        ("RUN test -t 0 || cat | wc -c", ["0"]),
    ],
)
def test_a_command_runs_as_docker_runs_it(shop, run, expected):
    """Each form of RUN prints what it should."""
    shop.build(f"FROM base\n{run}\n")
    assert expected == said(shop)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has one ID")
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("ada", "1000 1001 1001 2000"),
        ("ada:lab", "1000 2000 2000"),
        ("1000", "1000 1001 1001 2000"),
        ("4242", "4242 0 0"),
        ("4242:77", "4242 77 77"),
    ],
)
def test_a_user_is_looked_up_in_the_image(shop, user, expected):
    """Names, numbers and groups come out as the image's passwd and group say."""
    shop.build(f"FROM base\nUSER {user}\nRUN echo $(id -u) $(id -g) $(id -G)\n")
    assert [expected] == said(shop)


def test_a_user_that_the_image_lacks_is_a_located_error(shop):
    """The error names the user and what there is."""
    with pytest.raises(BuildError, match="no user 'bob'") as caught:
        shop.build("FROM base\nUSER bob\nRUN true\n")
    assert "Dockerfile:3:1" == str(caught.value.where)
    assert "root, ada" in (caught.value.why or "")


def test_what_a_command_changes_becomes_the_layer_and_nothing_else(shop):
    """New, changed and removed files are there; mount points, resolv.conf and hosts leave no trace."""
    result = shop.build(
        "FROM base\nRUN echo x > /new && rm /var/log/keep.log && rm -r /home/ada && mkdir /home/ada && "
        "echo more >> /etc/group && ls /dev /proc /run > /dev/null\n"
    )
    view = shop.view(result)
    layer = shop.store.image_layers(result.image_id)[-1]
    assert "x\n" == shop.read(result, "/new")
    assert view.entry("/var/log/keep.log") is None
    assert [] == view.listdir("/home/ada")
    assert ["etc", "home", "new", "var"] == sorted(os.listdir(layer))
    assert ["group"] == os.listdir(layer / "etc")


def test_the_rules_drop_logs_and_leave_what_lies_below(shop):
    """A dropped file that a lower layer has shows the lower one again; other logs and apt's lists stay."""
    result = shop.build(
        "FROM base\nRUN echo more >> /var/log/dpkg.log; mkdir -p /var/log/apt /var/lib/apt/lists /var/cache/apt; "
        "echo t > /var/log/apt/history.log; echo t > /var/cache/apt/pkgcache.bin; echo t > /var/lib/apt/lists/x; "
        "echo t > /var/log/own.log\n"
    )
    view = shop.view(result)
    assert "from the base\n" == shop.read(result, "/var/log/dpkg.log")
    assert [] == view.listdir("/var/log/apt")
    assert [] == view.listdir("/var/cache/apt")
    assert "t\n" == shop.read(result, "/var/lib/apt/lists/x")
    assert "t\n" == shop.read(result, "/var/log/own.log")


def test_a_failing_command_says_where_what_and_its_last_words(shop):
    """The error has the instruction's place, the command, the exit status and the end of the output."""
    with pytest.raises(BuildError) as caught:
        shop.build("FROM base\nRUN echo before; echo the cause >&2; exit 7\n")
    text = str(caught.value)
    assert "Dockerfile:2:1: the command ended with exit status 7: RUN echo before" in text
    assert "    the cause" in text
    assert [] == [name for name in os.listdir(shop.store.root / "tmp") if name.startswith("work")]


def test_a_command_that_is_missing_has_a_hint(shop):
    """Exit status 127 is explained."""
    with pytest.raises(BuildError) as caught:
        shop.build("FROM base\nRUN samtoolz --version\n")
    assert "not found" in (caught.value.hint or "")


def test_a_failed_build_keeps_the_steps_before_it(shop):
    """After a failure, what had succeeded comes from the cache."""
    with pytest.raises(BuildError):
        shop.build("FROM base\nRUN echo a > /a\nRUN exit 1\n")
    result = shop.build("FROM base\nRUN echo a > /a\nRUN exit 0\n")
    assert (2, 1) == (result.instructions, result.cached)


def test_a_bind_mount_shows_context_files_and_leaves_no_trace(shop):
    """Files and folders of the context are there read-only; the mount point is not in the image."""
    (shop.context / "apt").mkdir()
    (shop.context / "apt/list").write_text("packages\n")
    result = shop.build(
        "FROM base\n"
        "RUN --mount=type=bind,source=apt,target=/run/repro/apt --mount=source=apt/list,target=/one.txt "
        "cat /run/repro/apt/list /one.txt; touch /run/repro/apt/x 2>/dev/null || echo read-only\n"
    )
    assert ["packages", "packages", "read-only"] == said(shop)
    assert shop.view(result).entry("/one.txt") is None
    assert [] == os.listdir(shop.store.image_layers(result.image_id)[-1])


def test_a_writable_bind_mount_throws_its_changes_away(shop):
    """Writes work and reach neither the context nor the image."""
    (shop.context / "d").mkdir()
    (shop.context / "d/f").write_text("old\n")
    shop.build("FROM base\nRUN --mount=source=d,target=/d,rw echo new > /d/f && cat /d/f && echo x > /d/x\n")
    assert ["new"] == said(shop)
    assert "old\n" == (shop.context / "d/f").read_text()
    assert ["f"] == os.listdir(shop.context / "d")


def test_a_bind_mount_from_a_stage_shows_its_merged_files(shop):
    """Files from several layers of the stage are there, removed ones are not."""
    shop.build(
        "FROM base AS made\nRUN mkdir /d && echo 1 > /d/one && echo 0 > /d/gone\nRUN echo 2 > /d/two && rm /d/gone\n"
        "FROM base\nRUN --mount=from=made,source=/d,target=/mnt cat /mnt/one /mnt/two && ls /mnt\n"
        "RUN --mount=from=made,source=/d/two,target=/two cat /two\n"
    )
    assert ["1", "2", "one", "two", "2"] == said(shop)


def test_an_ignored_file_is_not_in_a_bind_mount(shop):
    """.dockerignore holds for mounts as it does for COPY."""
    (shop.context / ".dockerignore").write_text("secret\n")
    (shop.context / "secret").write_text("s")
    (shop.context / "open").write_text("o")
    shop.build("FROM base\nRUN --mount=target=/ctx ls -A /ctx\n")
    assert [".dockerignore", "open"] == said(shop)


def test_a_changed_bind_source_runs_the_command_again(shop):
    """The digests of what is mounted are in the key."""
    (shop.context / "f").write_text("1")
    text = "FROM base\nRUN --mount=source=f,target=/f cat /f > /copy\n"
    first = shop.build(text)
    assert 1 == shop.build(text).cached
    (shop.context / "f").write_text("2")
    second = shop.build(text)
    assert 0 == second.cached
    assert ["1", "2"] == [shop.read(first, "/copy"), shop.read(second, "/copy")]


def test_tmpfs_and_cache_mounts(shop):
    """A tmpfs is empty and gone; a cache lasts from one build to the next and is not in the image."""
    text = (
        "FROM base\nARG N\nRUN --mount=type=tmpfs,target=/scratch --mount=type=cache,target=/cache,id=c "
        "echo $N >> /cache/log && touch /scratch/x && cat /cache/log\n"
    )
    shop.build(text, args={"N": "1"})
    result = shop.build(text, args={"N": "2"})
    assert ["1", "2"] == said(shop)
    assert [] == os.listdir(shop.store.image_layers(result.image_id)[-1])


def test_a_missing_mount_source_names_near_names(shop):
    """The error points at the mount."""
    (shop.context / "packages").mkdir()
    with pytest.raises(DockerfileError, match="'packagse'") as caught:
        shop.build("FROM base\nRUN --mount=source=packagse,target=/p true\n")
    assert "did you mean packages?" == caught.value.hint


def test_extras_are_given_from_outside_and_are_in_no_key(shop, tmp_path):
    """Binds and variables from outside work, and another value of them is still a cache hit."""
    (tmp_path / "outside").write_text("from outside\n")
    extras = Extras(binds=(Bind(tmp_path / "outside", "/etc/outside.conf"),), env={"FROM_OUTSIDE": "1"})
    text = "FROM base\nRUN cat /etc/outside.conf && echo $FROM_OUTSIDE\n"
    result = shop.build(text, extras=extras)
    assert ["from outside", "1"] == said(shop)
    assert shop.view(result).entry("/etc/outside.conf") is None
    assert 1 == shop.build(text).cached


def test_the_network_of_a_build_can_be_none(shop):
    """`--network=host` on one instruction wins over the build's none."""
    shop.build("FROM base\nRUN ls /sys/class/net | cat\nRUN --network=host true\n", network=Network.NONE, no_cache=True)
    assert [] == [line for line in said(shop) if line != "lo"]
