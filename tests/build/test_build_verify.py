"""`--verify`: a second build elsewhere, what of two layers differs, and why."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.api.engine import opened
from repro.api.host import Host
from repro.api.verify_build import verify
from repro.build.compare import Aspect, Content, Unequal, compare_layers
from repro.build.context import FolderContext
from repro.build.elsewhere import AHEAD, HOST_NAME, find_clock
from repro.build.engine import BuildOptions, build
from repro.build.explain import Known, find_causes
from repro.build.run import Extras
from repro.build.spans import differing_spans
from repro.cli.verdict import verdict_lines
from repro.errors import BuildError
from tests.build.conftest import MODE

KNOWN = Known(("repro", HOST_NAME), AHEAD)
needs_clock = pytest.mark.skipif(find_clock() is None, reason="libfaketime is not installed")


def judged(shop, text, **options):
    """Build ``text``, verify it, and return the verdict."""
    first = shop.build(text, **options)
    said = []

    def again(engine, conditions, carry):
        return build(
            text,
            file="Dockerfile",
            context=FolderContext(shop.context),
            options=BuildOptions(name="test", conditions=conditions, **options),
            store=engine.store,
            launcher=engine.launcher(),
            base=lambda name, where: carry(shop.find_base(name, where)),
            extras=lambda _: Extras(),
            sink=said.append,
        )

    host = Host.current()
    host = replace(host, environ={**host.environ, "REPRO_STORE": str(shop.store.root), "REPRO_MODE": MODE.value})
    with opened(host, said.append) as engine:
        return verify(engine, first, again)


def clocked(shop):
    """Give the workshop a base in which libfaketime works: it needs more libraries than the tiny one's shell."""
    listed = subprocess.run(["ldd", find_clock()], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"=> (/\S+)", listed):
        target = shop.context / "libraries" / os.path.relpath(library, "/usr" if library.startswith("/usr") else "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(library), target)
    shop.base = shop.build("FROM base\nCOPY --chmod=755 libraries/ /usr/\n").image_id
    return shop


def causes(verdict):
    """Return the codes of all causes by path."""
    return {one.path: [finding.cause.code for finding in one.findings] for one in verdict.differences}


# The second build


def test_a_careful_build_is_the_same_elsewhere(shop):
    """Files, folders, users and copies do not depend on where, when or under which umask they are made."""
    for name in ("b", "a", "c"):
        (shop.context / name).mkdir()
        (shop.context / name / "file").write_text(name)
    verdict = judged(
        shop,
        "FROM base AS one\nRUN mkdir -p /made/deep && echo x > /made/deep/file && ls / > /list\n"
        "FROM base\nCOPY . /all/\nCOPY --from=one /made /made\nWORKDIR /work/here\nUSER ada\n"
        "RUN echo $SOURCE_DATE_EPOCH > /home/epoch || echo $SOURCE_DATE_EPOCH > /tmp/epoch; umask > /tmp/umask\n",
    )
    assert () == verdict.differences
    assert verdict.same
    assert "umask 077" in verdict.conditions
    assert f"host name {HOST_NAME}" in verdict.conditions
    assert ["verify: the same image"] == [line.partition(",")[0] for line in verdict_lines(verdict)][:1]


def test_nothing_is_recalled_and_nothing_is_left(shop):
    """The second build runs each instruction, in a store that is gone afterwards."""
    verdict = judged(shop, "FROM base\nRUN echo hello > /file\n")
    assert verdict.same
    assert [] == [name for name in os.listdir(shop.store.root / "tmp") if name != ".lock"]


@needs_clock
def test_each_difference_is_told_by_instruction_file_and_cause(shop):
    """Time, host, lots, order: with the line of the Dockerfile, and what to do."""
    clocked(shop)
    verdict = judged(
        shop,
        "FROM base AS one\n"
        "RUN date > /date; date +%s > /seconds; cat /proc/sys/kernel/hostname > /host\n"
        "FROM base\n"
        "RUN cat /proc/sys/kernel/random/uuid > /uuid; env > /env; mkdir -p /etc/ssh; date > /etc/ssh/ssh_host_rsa_key\n"
        "COPY --from=one /date /copied\n",
    )
    assert {
        "/date": ["date"],
        "/seconds": ["epoch"],
        "/host": ["host-name"],
        "/uuid": ["uuid"],
        "/env": ["environment"],
        "/etc/ssh/ssh_host_rsa_key": ["random-identity"],
        "/copied": ["consequence"],
    } == causes(verdict)
    assert [2, 2, 2, 4, 4, 4, 5] == [one.where.line for one in verdict.differences]
    lines = "\n".join(verdict_lines(verdict))
    assert "Dockerfile:2:1: RUN date" in lines
    assert "SOURCE_DATE_EPOCH" in lines
    told = verdict.as_json()
    assert told["same"] is False
    assert "date" == told["differences"][0]["causes"][0]["code"]


@needs_clock
def test_a_command_that_fails_a_year_ahead_gets_the_true_clock(shop):
    """As downloads do whose certificates have ended by then; the verdict says so, and other RUNs keep their clock."""
    clocked(shop)
    limit = int(Host.current().now().timestamp()) + AHEAD // 2
    verdict = judged(shop, f"FROM base\nRUN true > /a\nRUN test $(date +%s) -lt {limit} && echo fresh > /b\n")
    assert verdict.same
    assert "Dockerfile:3:1: just later: the command fails 366 days ahead" in verdict.conditions
    assert "a clock 366 days ahead in RUN (libfaketime)" in verdict.conditions


def test_a_second_build_that_fails_says_which_it_was(shop):
    """The error is the instruction's, with a note that the first build had succeeded."""
    with pytest.raises(BuildError, match="exit status 1") as caught:
        judged(shop, "FROM base\nRUN test $(cat /proc/sys/kernel/hostname) = repro\n")
    assert ["This was the second build, of --verify: the first one had succeeded."] == caught.value.__notes__


@needs_clock
def test_without_normalisation_the_rules_files_differ(shop):
    """What `--no-normalize` keeps is what the rules drop; with them the same text is the same image."""
    clocked(shop)
    text = "FROM base\nRUN date > /var/log/dpkg.log; date > /root/.wget-hsts\n"
    assert judged(shop, text).same
    assert {"/root/.wget-hsts", "/var/log/dpkg.log"} == set(causes(judged(shop, text, normalize=False)))


def test_the_authors_own_epoch_wins_in_run(shop):
    """ENV SOURCE_DATE_EPOCH is what commands see; the build's own epoch stays what times are set back to."""
    text = "FROM base\nENV SOURCE_DATE_EPOCH=86400\nRUN echo $SOURCE_DATE_EPOCH > /seen; touch /now\n"
    result = shop.build(text)
    assert "86400\n" == shop.read(result, "/seen")
    assert 1_700_000_000 == int(shop.view(result).entry("/now").stat.st_mtime)


def test_a_context_that_changes_meanwhile_is_named_as_the_cause(shop):
    """COPY reads the context again."""
    (shop.context / "file").write_text("one")
    first = shop.build("FROM base\nCOPY file /file\n")

    def again(engine, conditions, carry):
        (shop.context / "file").write_text("two")
        return build(
            "FROM base\nCOPY file /file\n",
            file="Dockerfile",
            context=FolderContext(shop.context),
            options=BuildOptions(name="test", conditions=conditions),
            store=engine.store,
            launcher=engine.launcher(),
            base=lambda name, where: carry(shop.find_base(name, where)),
            extras=lambda _: Extras(),
            sink=lambda _: None,
        )

    host = Host.current()
    host = replace(host, environ={**host.environ, "REPRO_STORE": str(shop.store.root), "REPRO_MODE": MODE.value})
    with opened(host, lambda _: None) as engine:
        verdict = verify(engine, first, again)
    assert {"/file": ["source-changed"]} == causes(verdict)


def test_the_clock_is_looked_for_where_distributions_put_it(tmp_path):
    """None where there is none; the one for programs with threads first."""
    assert find_clock([str(tmp_path)]) is None
    folder = tmp_path / "faketime"
    folder.mkdir()
    (folder / "libfaketime.so.1").touch()
    assert folder / "libfaketime.so.1" == find_clock([str(tmp_path)])
    (folder / "libfaketimeMT.so.1").touch()
    assert folder / "libfaketimeMT.so.1" == find_clock([str(tmp_path)])


# Two layers


@pytest.fixture
def layers(tmp_path):
    """Two equal layers with one entry of many kinds each."""
    for name in ("first", "second"):
        root = tmp_path / name
        (root / "folder").mkdir(parents=True)
        (root / "folder/file").write_text("x")
        os.link(root / "folder/file", root / "folder/linked")
        os.symlink("file", root / "folder/link")
        os.mkfifo(root / "folder/fifo")
        for path in (root, *root.rglob("*")):
            os.utime(path, (1, 1), follow_symlinks=False)
    return tmp_path / "first", tmp_path / "second"


def test_equal_layers_have_no_difference(layers):
    """Whatever their inodes are."""
    assert [] == list(compare_layers(*layers, MODE.value))


@pytest.mark.parametrize(
    ("change", "path", "expected"),
    [
        (lambda root: (root / "folder/file").chmod(0o600), "folder/file", ["mode 0644 and 0600"]),
        (lambda root: os.utime(root / "folder", (5, 5)), "folder", ["time 1 and 5"]),
        (lambda root: os.utime(root / "folder/link", (5, 5), follow_symlinks=False), "folder/link", ["time 1 and 5"]),
        (lambda root: os.setxattr(root / "folder/fifo/..", "user.a", b"1"), "folder", ["attribute user.a none and 31"]),
    ],
    ids=["mode", "time", "time-of-link", "attribute"],
)
def test_what_a_tar_says_of_an_entry_is_compared(layers, change, path, expected):
    """Mode, times, attributes; not what no tar holds."""
    os.chmod(layers[0] / "folder/file", 0o644)
    os.chmod(layers[1] / "folder/file", 0o644)
    try:
        change(layers[1])
    except NotADirectoryError:
        os.setxattr(layers[1] / "folder", "user.a", b"1")
    found = {one.path: [str(aspect) for aspect in one.aspects] for one in compare_layers(*layers, MODE.value)}
    assert expected == found[path]


def test_replaced_and_missing_entries_are_told(layers):
    """Another kind, another target, another partner of a hard link, and what only one layer has."""
    second = layers[1]
    os.unlink(second / "folder/link")
    os.symlink("elsewhere", second / "folder/link")
    os.utime(second / "folder/link", (1, 1), follow_symlinks=False)
    os.unlink(second / "folder/linked")
    (second / "folder/linked").write_text("x")
    os.utime(second / "folder/linked", (1, 1))
    os.unlink(second / "folder/fifo")
    (second / "new").write_text("")
    os.utime(second / "folder", (1, 1))
    found = {
        one.path: (one.only, [aspect.name for aspect in one.aspects]) for one in compare_layers(*layers, MODE.value)
    }
    assert {
        "folder/fifo": ("first", []),
        "folder/file": ("", ["hard link"]),
        "folder/link": ("", ["target"]),
        "folder/linked": ("", ["hard link"]),
        "new": ("second", []),
    } == found


def test_unreadable_files_are_compared_and_keep_their_modes(layers):
    """A mode that keeps the owner out is lifted for the moment of reading alone."""
    for root, text in zip(layers, ("one", "two"), strict=True):
        (root / "folder/file").write_text(text)
        os.utime(root / "folder/file", (1, 1))
        (root / "folder/file").chmod(0)
        (root / "folder").chmod(0)
    found = {one.path: one.content for one in compare_layers(*layers, MODE.value)}
    assert Content(b"one", b"two") == found["folder/file"]
    for root in layers:
        assert 0 == stat.S_IMODE((root / "folder").stat().st_mode)
        (root / "folder").chmod(0o700)
        assert 0 == stat.S_IMODE((root / "folder/file").stat().st_mode)


# Causes


def codes(one, two, path="srv/file"):
    """Return the codes of the causes found for two contents."""
    return [finding.cause.code for finding in find_causes(Unequal(path, content=Content(one, two)), KNOWN)]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (b"at 2026-11-24T09:15:03Z\n", b"at 2027-11-25T14:22:27Z\n", "date"),
        (b"Tue Nov 24 09:15:03 UTC 2026\n", b"Thu Nov 25 14:22:27 UTC 2027\n", "date"),
        (b"built 24 Nov 2026\n", b"built 25 Nov 2027\n", "date"),
        (b"__DATE__ Nov 24 2026\n", b"__DATE__ Nov 25 2027\n", "date"),
        (b"version 20261124\n", b"version 20271125\n", "date"),
        (b"time 09:15:03\n", b"time 14:22:27\n", "date"),
        (b"t=1795511141\n", b"t=1827151965\n", "epoch"),
        (b"t=1795511141123\n", b"t=1827151965456\n", "epoch"),
        (b"\0\0" + struct.pack("<I", 1795511141) + b"\0", b"\0\0" + struct.pack("<I", 1827151965) + b"\0", "epoch"),
        (b"\0\0" + struct.pack(">I", 1795511141) + b"\0", b"\0\0" + struct.pack(">I", 1827151965) + b"\0", "epoch"),
        (b"root@repro\n", b"root@other-host\n", "host-name"),
        (b"53f17e42-9423-4ac5-9232-c58376b12d99", b"7fba9b40-566a-4d86-a718-7cde72547690", "uuid"),
        (b"from /tmp/cc3aXCNM.s\n", b"from /tmp/ccDyWKJ7.s\n", "temporary-name"),
        (b"<object at 0x7f1234567890>\n", b"<object at 0x7f0987654321>\n", "address"),
        (b"pid: 1234\n", b"pid: 99\n", "process-id"),
        (b"b\na\nc\n", b"a\nb\nc\n", "order"),
        (b'id="m4127c86628"', b'id="m2728b27c3e"', "identifier"),
        (b"LANG=C\n", b"LANG=C\nFAKETIME=+31640820\n", "environment"),
        (b"\x7fELF\0\0GNU\0abcdefghijklmnopqrst\0", b"\x7fELF\0\0GNU\0ABCDEFGHIJKLMNOPQRST\0", "build-id"),
        (b"one", b"two", "unknown"),
        (b"", b"x", "unknown"),
    ],
)
def test_a_cause_is_found_in_the_bytes_that_differ(one, two, expected):
    """In text and between the bytes of programs; a cause that both share is none."""
    same = b"\n2020-01-01 12:00:00 aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa pid 7 0x123456789\n" * 30
    assert [expected] == codes(one, two)
    if expected not in {"order", "environment"}:
        assert [expected] == codes(same + b"\0" + one + b"\0" + same, same + b"\0" + two + b"\0" + same)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("etc/machine-id", "random-identity"),
        ("etc/ssh/ssh_host_ed25519_key.pub", "random-identity"),
        ("etc/ssl/private/ssl-cert-snakeoil.key", "random-identity"),
        ("var/log/anything/deep", "log"),
        ("opt/build/config.log", "log"),
        ("tmp/left", "temporary-file"),
        ("root/.cache/matplotlib/fontlist-v330.json", "cache"),
        ("srv/code/.git/index", "git"),
        ("root/.gnupg/trustdb.gpg", "gnupg"),
        ("usr/lib/R/site-library/demo/help/paths.rds", "r-help"),
    ],
)
def test_a_place_says_what_a_file_is(path, expected):
    """Whether its content differs or only one build has it."""
    assert [expected] == codes(b"one", b"two", path)
    assert [expected] == [finding.cause.code for finding in find_causes(Unequal(path, only="first"), KNOWN)]


def tarred(time, text=b"x"):
    """Return a tar with one member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("member")
        member.mtime, member.size = time, len(text)
        archive.addfile(member, io.BytesIO(text))
    return out.getvalue()


def zipped(year, names=("member",)):
    """Return a zip whose members are of that year."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 2, 3, 4, 6)), "x")
    return out.getvalue()


def archived(time, text=b"x "):
    """Return an `ar` archive with one member."""
    head = f"{'member/':<16}{time:<12}{0:<6}{0:<6}{'100644':<8}{len(text):<10}`\n"
    return b"!<arch>\n" + head.encode() + text


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (gzip.compress(b"x", mtime=1), gzip.compress(b"x", mtime=1795511141), ["gzip-time"]),
        (gzip.compress(b"2026-11-24", mtime=0), gzip.compress(b"2027-11-25", mtime=0), ["date"]),
        (tarred(1), tarred(2), ["archive-times"]),
        (tarred(1, b"a"), tarred(1, b"b"), ["archive-members"]),
        (gzip.compress(tarred(1), mtime=0), gzip.compress(tarred(2), mtime=0), ["archive-times"]),
        (zipped(2026), zipped(2027), ["archive-times"]),
        (zipped(2026, ("a", "b")), zipped(2026, ("b", "a")), ["archive-members"]),
        (archived(1), archived(2), ["archive-times"]),
        (
            b"\xa7\r\r\n\0\0\0\0" + struct.pack("<I", 5) + b"x" * 9,
            b"\xa7\r\r\n\0\0\0\0" + bytes(4) + b"x" * 9,
            ["bytecode-time"],
        ),
    ],
    ids=["gzip", "in-gzip", "tar", "tar-member", "tar-gz", "zip", "zip-order", "ar", "pyc"],
)
def test_formats_that_keep_times_are_known(one, two, expected):
    """Their header or their members' are named, and what is packed is looked into."""
    assert expected == codes(one, two)[: len(expected)]


@given(
    st.sampled_from([b"\x1f\x8b\x08", b"!<arch>\n", b"PK\x03\x04", b"\xa7\r\r\n", b"\0" * 257 + b"ustar"]),
    st.binary(),
    st.binary(),
)
def test_damaged_files_have_a_cause_too(magic, one, two):
    """Any two different contents are explained somehow, and nothing is raised."""
    if one != two:
        assert codes(magic + one, magic + two)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_spans_hold_what_differs(head, one, two, tail):
    """They are parts of their side, and equal files have none to tell apart."""
    spans = differing_spans(head + one + tail, head + two + tail)
    for part, whole in ((spans.first, head + one + tail), (spans.second, head + two + tail)):
        assert all(line in whole for line in part.split(b"\n"))


def test_other_aspects_are_explained():
    """A time that was set on purpose, and a link to a file with a random name."""
    times = Unequal("f", (Aspect("time", "1600000000", "1600000005"),))
    assert "2020-09-13 12:26:40 and 2020-09-13 12:26:45" == find_causes(times, KNOWN)[0].evidence
    link = Unequal("f", (Aspect("target", "/tmp/a1", "/tmp/b2"),))
    assert ["temporary-name"] == [finding.cause.code for finding in find_causes(link, KNOWN)]
    assert ["unknown"] == [
        finding.cause.code for finding in find_causes(Unequal("f", (Aspect("mode", "1", "2"),)), KNOWN)
    ]
