"""Why an instruction came from the cache or did not: each reason, and that the trace of the last build decides nothing."""

from __future__ import annotations

import pytest

from repro.errors import BuildError
from repro.events import BuildStep
from repro.runtime.spec import Network
from tests.build.conftest import EPOCH

TEXT = """\
FROM base
ARG V=1
ENV A=one
WORKDIR /app
COPY src f.txt /app/
RUN echo $A $V > /tmp/out
RUN --mount=source=f.txt,target=/m cat /m > /tmp/copy
"""


def reasons(shop, keyword: str = "") -> list[str]:
    """Return why each instruction that began with ``keyword`` hit or missed, in the order of the file."""
    found: dict[tuple[str, int], str] = {}
    for event in shop.events:
        if isinstance(event, BuildStep) and event.reason and event.text.startswith(keyword):
            found.setdefault((event.stage, event.number), event.reason)
    return [found[place] for place in sorted(found)]


def fill(shop) -> None:
    """Write the context of `TEXT`."""
    (shop.context / "src").mkdir()
    for name in ("src/a", "src/b", "f.txt"):
        (shop.context / name).write_text(name)
        (shop.context / name).chmod(0o644)


def test_what_was_never_built_and_what_is_cached(shop):
    """The first build misses everything, the second hits everything."""
    fill(shop)
    shop.build(TEXT)
    assert [f"miss: this {name} was never built here" for name in ("WORKDIR", "COPY", "RUN", "RUN")] == reasons(shop)
    shop.build(TEXT)
    assert ["hit"] * 4 == reasons(shop)


@pytest.mark.parametrize(
    ("change", "options", "keyword", "expected"),
    [
        (("ENV A=one", "ENV A=two"), {}, "RUN echo", ["environment A changed from 'one' to 'two'"]),
        (("ENV A=one", "ENV A=one B=x"), {}, "RUN echo", ["environment B is new"]),
        (("ARG V=1\n", ""), {}, "RUN echo", ["environment V is gone"]),
        (("", ""), {"args": {"V": "2"}}, "RUN echo", ["environment V changed from '1' to '2'"]),
        (("echo $A", "echo x$A"), {}, "RUN echo", ["the command changed"]),
        (("WORKDIR /app", "WORKDIR /other"), {}, "WORKDIR", ["the working folder changed from 'app' to 'other'"]),
        (("RUN echo $A", "USER ada\nRUN echo $A"), {}, "RUN echo", ["environment HOME changed from '/root' to '/home/ada'; the user changed"]),
        (("", ""), {"network": Network.NONE}, "RUN echo", ["the network changed from 'host' to 'none'"]),
        (("", ""), {"normalize": False}, "RUN echo", ["the list of what is dropped from layers changed"]),
        (("", ""), {"epoch": EPOCH + 1}, "WORKDIR", [f"the source epoch changed from {EPOCH} to {EPOCH + 1}"]),
        (("", ""), {"no_cache": True}, "WORKDIR", ["nothing is taken from the cache (--no-cache)"]),
        (("COPY src f.txt /app/", "COPY src f.txt /app/sub/"), {}, "COPY", ["the destination changed"]),
        (("RUN echo $A", "RUN --mount=type=tmpfs,target=/t echo $A"), {}, "RUN --mount=type=tmpfs", ["the mounts changed"]),
    ],
)  # fmt: skip
def test_a_miss_says_what_changed(shop, change, options, keyword, expected):
    """Each part of a key has its own words."""
    fill(shop)
    shop.build(TEXT)
    shop.build(TEXT.replace(*change), **options)
    assert [f"miss: {text}" for text in expected] == [text for text in reasons(shop, keyword) if text != "hit"][:1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda shop: (shop.context / "src/a").write_text("new"), "miss: src/a changed (ca42eacf40e5 → 11507a0e2f5e)"),
        (lambda shop: (shop.context / "src/a").chmod(0o755), "miss: the mode of src/a changed from 0644 to 0755"),
        (lambda shop: (shop.context / "src/a").unlink(), "miss: src/a is gone"),
        (lambda shop: (shop.context / "src/c").write_text("c"), "miss: src/c is new"),
        (lambda shop: (shop.context / "src/a").rename(shop.context / "src/z"), "miss: src/a is gone; src/z is new"),
    ],
)
def test_a_copy_names_the_files_that_changed(shop, change, expected):
    """With the beginnings of their digests."""
    fill(shop)
    shop.build(TEXT)
    change(shop)
    shop.build(TEXT)
    assert [expected] == reasons(shop, "COPY")


def test_many_changed_files_are_counted(shop):
    """Three are named."""
    fill(shop)
    shop.build(TEXT)
    for number in range(5):
        (shop.context / f"src/n{number}").write_text("x")
    shop.build(TEXT)
    assert ["miss: src/n0 is new; src/n1 is new; src/n2 is new; and 2 more"] == reasons(shop, "COPY")


def test_a_bind_mount_names_the_file_that_changed(shop):
    """As a copy does, with the mount's target."""
    fill(shop)
    text = "FROM base\nRUN --mount=source=src,target=/m cat /m/a > /copy\n"
    shop.build(text)
    (shop.context / "src/a").write_text("new")
    shop.build(text)
    assert 1 == len(reasons(shop))
    assert reasons(shop)[0].startswith("miss: in the mount /m: src/a changed (")


def test_a_change_below_is_told_as_such(shop):
    """An instruction that is itself the same says that what lies below is not."""
    shop.build("FROM base\nRUN echo 1 > /a\nRUN echo b > /b\n")
    shop.build("FROM base\nRUN echo 2 > /a\nRUN echo b > /b\n")
    assert ["miss: the command changed", "miss: the layer below changed"] == reasons(shop)


def test_a_line_put_in_does_not_confuse_the_rest(shop):
    """Instructions are matched by their text, so that the new one alone is new."""
    shop.build("FROM base\nRUN echo 1 > /a\nRUN echo 2 > /b\n")
    shop.build("FROM base\nRUN echo 0 > /z\nRUN echo 1 > /a\nRUN echo 2 > /b\n")
    assert ["miss: this RUN was never built here", *["miss: the layer below changed"] * 2] == reasons(shop)


def test_a_lost_layer_says_so(shop):
    """The memory is there, the layer is not."""
    result = shop.build("FROM base\nRUN echo 1 > /a\n")
    diff_id = shop.store.config(result.image_id).diff_ids[-1]
    (shop.store.root / "layers" / shop.store.form / f"{diff_id.hex}.json").unlink()
    shop.build("FROM base\nRUN echo 1 > /a\n")
    assert ["miss: its layer is not in the store any more"] == reasons(shop)


def test_a_failed_build_keeps_what_the_one_before_said(shop):
    """After an error in the second instruction, the third is still compared with its last success."""
    text = "FROM base\nARG N=1\nRUN echo 1 > /a\nRUN test $N -lt 2\nRUN echo $N > /c\n"
    shop.build(text)
    with pytest.raises(BuildError):
        shop.build(text, args={"N": "2"})
    shop.build(text.replace("-lt 2", "-lt 9"), args={"N": "2"})
    assert "miss: environment N changed from '1' to '2'" == reasons(shop)[-1].partition(";")[0]


@pytest.mark.parametrize("garbage", ["", "[]", "3", '[{"text": "RUN echo 1 > /a"}]', '[{"text": 1}]', '{"a": 1}'])
def test_a_damaged_trace_is_no_trace(shop, garbage):
    """It decides nothing, so the build is the same; only the reason is lost."""
    text = "FROM base\nARG N=1\nRUN echo $N > /a\n"
    first = shop.build(text)
    for path in (shop.store.root / "memory/build-trace").iterdir():
        path.write_text(garbage)
    assert (first.image_id, 1) == ((again := shop.build(text)).image_id, again.cached)
    for path in (shop.store.root / "memory/build-trace").iterdir():
        path.write_text(garbage)
    shop.build(text, args={"N": "2"})
    assert ["miss: this RUN was never built here"] == reasons(shop)


def test_builds_of_different_origin_are_not_compared(shop):
    """Two projects with a Dockerfile each."""
    shop.build("FROM base\nRUN echo 1 > /a\n", origin="/one/Dockerfile")
    shop.build("FROM base\nRUN echo 2 > /a\n", origin="/two/Dockerfile")
    assert ["miss: this RUN was never built here"] == reasons(shop)
    shop.build("FROM base\nRUN echo 3 > /a\n", origin="/one/Dockerfile")
    assert ["miss: the command changed"] == reasons(shop)
