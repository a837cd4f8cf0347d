"""Cache and tmpfs mounts: what lasts, what is shared, how a cache begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repro.errors import DockerfileError
from repro.events import BuildOutput

HERE = Path(__file__).parents[2]


def said(shop) -> list[str]:
    """Return the lines that RUN printed."""
    return [event.text for event in shop.events if isinstance(event, BuildOutput)]


def cache(options: str, command: str) -> str:
    """Return a Dockerfile whose one RUN has a cache at /c."""
    return f"FROM base\nRUN --mount=type=cache,target=/c{options} {command}\n"


def test_a_cache_is_known_by_its_id_else_by_its_target(shop):
    """The same id at another target is the same cache; another id is another."""
    shop.build(cache("", "echo 1 > /c/f"))
    shop.build("FROM base\nRUN --mount=type=cache,target=/d,id=/c cat /d/f\n")
    assert ["1"] == said(shop)
    shop.build(cache(",id=other", "ls /c"))
    assert [] == said(shop)


@pytest.mark.parametrize("options", [",mode=0700", ",uid=5,gid=6"])
def test_a_cache_that_begins_otherwise_is_another_cache(shop, options):
    """As in Docker: mode and owner belong to its identity."""
    shop.build(cache("", "echo 1 > /c/f"))
    shop.build(cache(options, "ls /c; stat -c %a /c"))
    assert ["700" if "mode" in options else "755"] == said(shop)


def test_a_cache_begins_with_what_from_names(shop):
    """A stage's folder is copied once; what is changed in it lasts, and the stage stays as it was."""
    text = (
        "FROM base AS seed\nRUN mkdir /s && echo seed > /s/f\n"
        "FROM base\nARG N\nRUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/f && echo $N >> /c/f\n"
        "COPY --from=seed /s/f /f\n"
    )
    shop.build(text, args={"N": "1"})
    result = shop.build(text, args={"N": "2"})
    assert ["seed", "1"] == said(shop)
    assert "seed\n" == shop.read(result, "/f")


def test_a_read_only_cache_cannot_be_written(shop):
    """`readonly` holds for the command, not for others."""
    shop.build(cache(",ro", "echo 1 > /c/f || echo no"))
    assert "no" == said(shop)[-1]


def test_a_cache_leaves_nothing_in_the_layer(shop):
    """Not even the folder that it is mounted on."""
    result = shop.build(cache(",id=x", "echo 1 > /c/f && echo 1 > /kept"))
    assert ["kept"] == [path.name for path in shop.store.image_layers(result.image_id)[-1].iterdir()]


def test_the_same_cache_twice_in_one_command(shop):
    """Two targets of a locked cache do not wait for each other."""
    shop.build(
        "FROM base\nRUN --mount=type=cache,target=/a,id=x,sharing=locked --mount=type=cache,target=/b,id=x,sharing=locked "
        "echo 1 > /a/f && cat /b/f\n"
    )
    assert ["1"] == said(shop)


LOCKED = """\
import sys
from pathlib import Path
from tests.build.conftest import MODE, Workshop
from repro.runtime.container import Launcher
shop = Workshop(Path(sys.argv[1]), Launcher(MODE))
shop.build(
    "FROM base\\nARG N\\nRUN --mount=type=cache,target=/c,sharing=SHARING "
    "n=$(cat /c/n || echo 0); sleep 0.3; echo $((n+1)) > /c/n\\n".replace("SHARING", sys.argv[3]),
    args={"N": sys.argv[2]},
)
"""


def count(shop, sharing: str) -> list[str]:
    """Let three processes count in one cache at the same time; return what each of its folders says."""
    children = [
        subprocess.Popen([sys.executable, "-c", LOCKED, str(shop.folder / "shared"), str(number), sharing], cwd=HERE)
        for number in range(3)
    ]
    assert [0, 0, 0] == [child.wait(timeout=120) for child in children]
    return sorted(path.read_text().strip() for path in (shop.folder / "shared/store/caches").glob("*/*/n"))


def test_a_locked_cache_is_for_one_command_at_a_time(shop):
    """Three processes that read, wait and write lose no count."""
    assert ["3"] == count(shop, "locked")


def test_a_private_cache_is_another_one_for_each_that_comes_while_it_is_used(shop):
    """Whoever comes at the same time gets a cache of its own: together they count to three."""
    assert 3 == sum(map(int, count(shop, "private")))


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("type=cache,target=/c,sharing=none", "'none'"),
        ("type=cache,target=/c,mode=9", "mode"),
        ("type=cache,target=/c,uid=x", "uid"),
        ("type=cache,target=/", "whole root"),
        ("type=cache,target=/c,from=base,source=/etc/group", "cannot begin as a file"),
        ("type=cache,target=/c,from=base,source=/nothing", "does not exist"),
        ("type=tmpfs,target=/c,size=big", "size"),
        ("type=bind,target=..,source=x", "whole root|does not exist"),
        ("type=secret,id=a,target=/", "whole root"),
    ],
)
def test_a_mount_that_cannot_be_is_a_located_error(shop, mount, message):
    """The error is at the mount."""
    with pytest.raises(DockerfileError, match=message) as caught:
        shop.build(f"FROM base\nRUN --mount={mount} true\n")
    assert 2 == caught.value.where.line


def test_variables_are_expanded_in_every_option(shop):
    """As in BuildKit; `from` alone takes none."""
    (shop.context / "f").write_text("text\n")
    shop.build(
        "FROM base\nENV S=f T=/t I=name\nRUN --mount=source=$S,target=$T cat /t\n"
        "RUN --mount=type=cache,target=/c,id=$I echo 1 > /c/f\nRUN --mount=type=cache,target=/c,id=name cat /c/f\n"
        "ARG SIZE=64k\nRUN --mount=type=tmpfs,target=/t,size=${SIZE} stat -f -c %b /t\n"
    )
    assert ["text", "1", "16"] == said(shop)
