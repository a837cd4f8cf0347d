"""COPY, rule by rule."""

from __future__ import annotations

import os
import stat

import pytest

from repro.build.conditions import Conditions
from repro.build.context import MappingContext
from repro.errors import BuildError, DockerfileError
from tests.build.conftest import EPOCH

FILES = ("a.txt", "b.txt", "dir/x", "dir/sub/y", "dir/sub/z.txt", "other/w", "with blank")


@pytest.fixture
def filled(shop):
    """A context with files whose content is their path."""
    for path in FILES:
        file = shop.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
        file.chmod(0o640 if path == "b.txt" else 0o644)
    for folder in ("dir", "dir/sub", "other"):
        (shop.context / folder).chmod(0o755)
    os.symlink("x", shop.context / "dir/link")
    os.symlink("a.txt", shop.context / "to-a")
    os.symlink("dir", shop.context / "to-dir")
    os.symlink("/etc/passwd", shop.context / "outside")
    return shop


def files_of(view, folder: str) -> list[str]:
    """Return the paths of all files and links below ``folder``; a link with its target."""
    out: list[str] = []
    for name in view.listdir(folder):
        entry = view.entry(f"{folder}/{name}")
        if entry.kind == "folder":
            out.extend(files_of(view, f"{folder}/{name}"))
        else:
            out.append(f"{folder}/{name}" + (f" -> {entry.target}" if entry.kind == "link" else ""))
    return out


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        ("a.txt /t/", ["/t/a.txt"]),
        ("a.txt /t/new", ["/t/new"]),
        ("./a.txt /t/", ["/t/a.txt"]),
        ("/a.txt /t/", ["/t/a.txt"]),
        ("../../a.txt /t/", ["/t/a.txt"]),
        ("a.txt b.txt /t/", ["/t/a.txt", "/t/b.txt"]),
        ("*.txt /t/", ["/t/a.txt", "/t/b.txt"]),
        ("[ab].txt /t/", ["/t/a.txt", "/t/b.txt"]),
        ("?.txt /t/", ["/t/a.txt", "/t/b.txt"]),
        ("dir /t", ["/t/link -> x", "/t/sub/y", "/t/sub/z.txt", "/t/x"]),
        ("dir/ /t/", ["/t/link -> x", "/t/sub/y", "/t/sub/z.txt", "/t/x"]),
        ("dir/sub other /t/", ["/t/w", "/t/y", "/t/z.txt"]),
        ("dir/*/z.txt /t/", ["/t/z.txt"]),
        ("d*/s* /t/", ["/t/y", "/t/z.txt"]),
        ("to-a /t/", ["/t/to-a"]),
        ("to-dir /t/", ["/t/link -> x", "/t/sub/y", "/t/sub/z.txt", "/t/x"]),
        ("to-dir/x /t/", ["/t/x"]),
        ('["with blank", "/t/"]', ["/t/with blank"]),
        ("a.txt none*.txt /t/", ["/t/a.txt"]),
        ("<<one <<two a.txt /t/\n1\none\n2\ntwo", ["/t/a.txt", "/t/one", "/t/two"]),
        ("<<one /t/name\n1\none", ["/t/name"]),
        ("$SOURCE /t/${NAME:-named}", ["/t/named"]),
        ("a.txt/ /t/", ["/t/a.txt"]),
        ("a.txt b.txt /t/x/.", ["/t/x/a.txt", "/t/x/b.txt"]),
        ("a.txt b.txt /t/x", ["/t/x"]),  # the last one wins, as in Docker; a warning says so
        ("dir/sub other /t", ["/t/w", "/t/y", "/t/z.txt"]),
        ("to-*/x a.txt /t/", ["/t/a.txt"]),  # a pattern does not enter links
        ("--parents dir/sub/y a.txt /t", ["/t/a.txt", "/t/dir/sub/y"]),
        ("--parents ./dir/./sub/y /t/", ["/t/sub/y"]),
        ("--parents dir/./sub /t/", ["/t/sub/y", "/t/sub/z.txt"]),
        ("--parents */sub/*.txt /t/", ["/t/dir/sub/z.txt"]),
        ("--parents **/y /t/", ["/t/dir/sub/y"]),
        ("--parents d*/./sub/y none* /t/", ["/t/sub/y"]),
        ("--parents --exclude=**/y dir/sub /t/", ["/t/dir/sub/z.txt"]),
        ("--exclude=sub dir /t/", ["/t/link -> x", "/t/x"]),
        ("--exclude=*.txt --exclude=link dir /t/", ["/t/sub/y", "/t/sub/z.txt", "/t/x"]),
        ("--exclude=**/*.txt --exclude=l* dir /t/", ["/t/sub/y", "/t/x"]),
        ("--exclude=* --exclude=!sub/y dir /t/", ["/t/sub/y"]),
        ("--exclude=b* *.txt /t/", ["/t/a.txt"]),
        ("--link a.txt dir /t/", ["/t/a.txt", "/t/link -> x", "/t/sub/y", "/t/sub/z.txt", "/t/x"]),
    ],
)
def test_sources_go_where_docker_puts_them(filled, copy, expected):
    """Files, folders, patterns, links and heredocs against one destination."""
    result = filled.build(f"FROM base\nARG SOURCE=a.txt\nCOPY {copy}\n")
    assert expected == files_of(filled.view(result), "/t")


@pytest.mark.parametrize(
    ("copy", "path"),
    [
        ("a.txt /usr/bin", "/usr/bin/a.txt"),  # an existing folder
        ("a.txt /bin", "/usr/bin/a.txt"),  # a link to a folder
        ("a.txt /bin/b", "/usr/bin/b"),  # below a link
        ("a.txt .", "/usr/a.txt"),
        ("a.txt sub/", "/usr/sub/a.txt"),
        ("a.txt ../tmp/", "/tmp/a.txt"),
        ("a.txt here", "/usr/here"),
        ("dir/sub /lib", "/usr/lib/y"),
    ],
)
def test_destinations_are_resolved_inside_the_image(filled, copy, path):
    """Relative to WORKDIR, links followed inside the root, and the link itself stays."""
    result = filled.build(f"FROM base\nWORKDIR /usr\nCOPY {copy}\n")
    assert filled.view(result).entry(path) is not None
    assert "link" == filled.view(result).entry("/bin").kind


def test_a_link_of_the_image_never_leads_out_of_it(filled, tmp_path):
    """An absolute link in the image is followed inside the image, not on the host."""
    outside = tmp_path / "outside"
    outside.mkdir()
    result = filled.build(
        f"FROM base\nRUN ln -s {outside} /way-out && ln -s ../../../../.. /up\nCOPY a.txt /way-out/\nCOPY a.txt /up/etc/\n"
    )
    assert [] == os.listdir(outside)
    assert "a.txt" == filled.read(result, f"{outside}/a.txt")
    assert "a.txt" == filled.read(result, "/etc/a.txt")


@pytest.mark.parametrize(
    ("copy", "message", "column", "hint"),
    [
        ("c.txt /t/", "'c.txt' does not exist", 6, "did you mean"),
        ("dir/sub/q /t/", "'dir/sub/q' does not exist", 6, None),
        ("outside /t", "a link to '/etc/passwd', which does not exist", 6, None),
        ("dir /etc/passwd", "is a file in the image, not a folder", 1, None),
        ("a.txt /etc/passwd/x", "is a file in the image, not a folder", 1, None),
        ("--chown=bob a.txt /t", "no user 'bob'", 6, "number"),
        ("--chown=ada:none a.txt /t", "no group 'none'", 6, "number"),
        ("--chown=: a.txt /t", "names nobody", 6, "user:group"),
        ("--chmod=rw a.txt /t", "not a mode", 6, "u=rwX"),
        ("--chmod=10000 a.txt /t", "not a mode", 6, "octal"),
        ("--chmod=u+y a.txt /t", "not a mode", 6, "octal"),
        ("--parents dir/q /t", "'dir/q' does not exist", 16, None),
        ("--exclude=[ a.txt /t", "not a pattern", 6, None),
        ("[a /t/", "not a pattern", 6, "[[]"),
        ("https://example.org/x /t/", "COPY cannot read an address", 6, "ADD"),
        ("git@example.org:x.git /t/", "a git repository cannot be a source", 6, "clone"),
        ("--from=nowhere a.txt /t", "no image nowhere", 1, None),
        ("--from=5 a.txt /t", "no stage '5'", 6, None),
    ],
)
def test_what_cannot_be_copied_is_a_located_error(filled, copy, message, column, hint):
    """The error points at the word and says what would be right."""
    with pytest.raises(Exception, match=message) as caught:
        filled.build(f"FROM base\nCOPY {copy}\n")
    assert f"Dockerfile:2:{column}" == str(caught.value.where)
    assert hint is None or hint in (caught.value.hint or "")


def test_a_folder_is_not_replaced_by_a_file(filled):
    """Nor a file of the image by a folder below it."""
    with pytest.raises(BuildError, match="/t/sub is a folder"):
        filled.build(
            "FROM base\nCOPY dir /t\nCOPY <<sub /u/sub\nx\nsub\nCOPY --from=base /etc/passwd /t/passwd\nRUN true\nCOPY <<sub /t/\nx\nsub\n"
        )


def test_modes_are_kept_and_owners_become_root(filled):
    """A file's mode comes over whatever the umask, the context's owner does not."""
    (filled.context / "a.txt").chmod(0o4711)
    old = os.umask(0o077)
    try:
        result = filled.build("FROM base\nCOPY a.txt b.txt /t/\nCOPY <<doc /t/\nx\ndoc\n")
    finally:
        os.umask(old)
    view = filled.view(result)
    found = {
        name: (stat.S_IMODE(view.entry(f"/t/{name}").stat.st_mode), view.entry(f"/t/{name}").uid)
        for name in view.listdir("/t")
    }
    assert {"a.txt": (0o4711, 0), "b.txt": (0o640, 0), "doc": (0o644, 0)} == found
    assert 0o755 == stat.S_IMODE(view.entry("/t").stat.st_mode)


@pytest.mark.parametrize(
    ("chown", "expected"),
    [
        ("ada", (1000, 1001)),
        ("ada:lab", (1000, 2000)),
        ("ada:", (1000, 0)),
        ("7", (7, 7)),
        ("7:lab", (7, 2000)),
        (":lab", (0, 2000)),
        ("$WHO", (1000, 1001)),
    ],
)
def test_chown_and_chmod_apply_to_all_that_is_made(filled, chown, expected):
    """Names are the image's; files, folders and made parents get the owner."""
    result = filled.build(f"FROM base\nENV WHO=ada\nCOPY --chown={chown} --chmod=0700 dir /made/t\n")
    view = filled.view(result)
    for path in ("/made", "/made/t", "/made/t/x", "/made/t/sub"):
        assert expected == (view.entry(path).uid, view.entry(path).gid), path
    assert 0o700 == stat.S_IMODE(view.entry("/made/t/x").stat.st_mode)


def test_folders_of_the_image_keep_their_mode_owner_and_time(filled):
    """Copying into /tmp does not change /tmp, as an overlay's copy-up would not."""
    result = filled.build("FROM base\nCOPY --chown=ada a.txt /tmp/\nCOPY dir /home\n")
    view = filled.view(result)
    assert (0o1777, 0) == (stat.S_IMODE(view.entry("/tmp").stat.st_mode), view.entry("/tmp").uid)
    assert ["ada", "link", "sub", "x"] == view.listdir("/home")


def test_times_are_kept_and_clamped_to_the_epoch(filled):
    """An old file keeps its time in whole seconds, a new one gets the epoch."""
    os.utime(filled.context / "a.txt", ns=(0, 1_000_000_000_900_000_000))
    result = filled.build("FROM base\nCOPY a.txt b.txt /t/\n")
    view = filled.view(result)
    assert 1_000_000_000 * 10**9 == view.entry("/t/a.txt").stat.st_mtime_ns
    assert view.entry("/t/b.txt").stat.st_mtime_ns == EPOCH * 10**9


def test_a_stage_is_copied_with_owners_links_and_hard_links(filled):
    """COPY --from keeps what the layers have."""
    result = filled.build(
        "FROM base AS one\nRUN mkdir -p /d/e && echo x > /d/f && ln /d/f /d/e/same && ln -s f /d/l && mkfifo /d/p && "
        "chmod 0000 /d/f && chmod 0555 /d/e\nCOPY --chown=ada b.txt /d/mine\n"
        "FROM scratch\nCOPY --from=one /d /t\nCOPY --from=0 /bin/sh /t/\n"
    )
    view = filled.view(result)
    assert ["/t/e/same", "/t/f", "/t/l -> f", "/t/mine", "/t/p", "/t/sh"] == files_of(view, "/t")
    assert view.entry("/t/f").stat.st_ino == view.entry("/t/e/same").stat.st_ino
    assert 1000 == view.entry("/t/mine").uid
    assert (0o000, 0o555) == tuple(stat.S_IMODE(view.entry(path).stat.st_mode) for path in ("/t/f", "/t/e"))
    assert "fifo" == view.entry("/t/p").kind


def test_a_hard_link_never_leads_to_a_file_that_was_replaced(filled):
    """A source that overwrites the first name of a linked file leaves its other name with its own bytes."""
    result = filled.build(
        "FROM base AS one\nRUN mkdir /a /b && echo linked > /a/f && ln /a/f /b/other && echo new > /b/f\n"
        "FROM scratch\nCOPY --from=one /a /b /t/\n"
    )
    assert ["new\n", "linked\n"] == [filled.read(result, f"/t/{name}") for name in ("f", "other")]


def test_a_file_replaces_what_lower_layers_and_earlier_sources_have(filled):
    """The last one wins, also over a link."""
    result = filled.build(
        "FROM base\nRUN ln -s nowhere /l\nCOPY a.txt /etc/passwd\nCOPY dir other <<x /t/\nfrom the heredoc\nx\nCOPY dir/sub /t\n"
    )
    assert "a.txt" == filled.read(result, "/etc/passwd")
    assert "from the heredoc\n" == filled.read(result, "/t/x")


def test_dockerignore_hides_files_from_copy(filled):
    """Ignored files are not copied; naming one is an error that says why; a ! line brings one back."""
    (filled.context / ".dockerignore").write_text("*\n!dir/sub/y\n!a.txt\n")
    result = filled.build("FROM base\nCOPY . /t/\n")
    assert ["/t/a.txt", "/t/dir/sub/y"] == files_of(filled.view(result), "/t")
    with pytest.raises(DockerfileError) as caught:
        filled.build("FROM base\nCOPY b.txt /t/\n")
    assert ".dockerignore" in (caught.value.hint or "")


def test_a_pattern_that_matches_nothing_is_told(filled):
    """Docker copies nothing and says nothing; we say it."""
    filled.build("FROM base\nCOPY no*.file /t/\n")
    assert any("no file matches no*.file" in getattr(event, "text", "") for event in filled.events)


def test_heredocs_expand_unless_quoted(filled):
    """Variables go in, quotes around the name keep them."""
    result = filled.build("FROM base\nENV A=value\nCOPY <<x <<'y' <<-z /t/\n$A ${B:-b}\nx\n$A\ny\n\ttab $A\n\tz\n")
    assert ["value b\n", "$A\n", "tab value\n"] == [filled.read(result, f"/t/{name}") for name in "xyz"]


def test_a_made_up_context_has_files_and_folders_by_name(shop, tmp_path):
    """A mapping of names to host paths works for COPY and for mounts."""
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs/p.deb").write_text("p")
    (tmp_path / "script").write_text("s")
    context = MappingContext({"apt": tmp_path / "debs", "bin/script": tmp_path / "script"})
    result = shop.build(
        "FROM base\nCOPY . /all\nCOPY apt/*.deb bin /t/\nRUN --mount=source=apt,target=/m cat /m/p.deb > /t/seen\n"
        "RUN --mount=target=/m cat /m/bin/script > /t/whole\n",
        context=context,
    )
    view = shop.view(result)
    assert ["/all/apt/p.deb", "/all/bin/script"] == files_of(view, "/all")
    assert ["/t/p.deb", "/t/script", "/t/seen", "/t/whole"] == files_of(view, "/t")


def test_names_need_not_be_utf8(shop):
    """A file name of any bytes is copied and found again in the cache."""
    name = os.fsdecode(b"caf\xe9 \n x")
    (shop.context / "d").mkdir()
    (shop.context / "d" / name).write_text("x")
    result = shop.build("FROM base\nCOPY d /t\n")
    assert [name] == shop.view(result).listdir("/t")
    assert 1 == shop.build("FROM base\nCOPY d /t\n").cached


@pytest.mark.parametrize(
    ("chmod", "expected"),
    [
        ("7", (0o007, 0o007, 0o007)),
        ("4755", (0o4755, 0o4755, 0o4755)),
        ("u=rwX,go=rX", (0o644, 0o755, 0o755)),
        ("go-rwx", (0o640 & 0o700, 0o755 & 0o700, 0o700)),
        ("+x", (0o751, 0o755, 0o755)),
        ("+w", (0o640, 0o755, 0o755)),  # without a who the umask's bits stay as they are
        ("a+w,o=", (0o660, 0o770, 0o770)),
        ("u+s,g+s,+t", (0o7640, 0o7755, 0o7755)),
        ("o=u", (0o646, 0o757, 0o757)),
    ],
)
def test_symbolic_modes_change_each_file_as_chmod_would(shop, chmod, expected):
    """A plain file, an executable and a folder, next to what chmod(1) makes of the same modes in RUN."""
    (shop.context / "d/folder").mkdir(parents=True)
    for name, mode in (("plain", 0o640), ("program", 0o755)):
        (shop.context / "d" / name).write_text(name)
        (shop.context / "d" / name).chmod(mode)
    (shop.context / "d/folder").chmod(0o755)
    result = shop.build(
        f"FROM base\nCOPY d /ran\nRUN umask 022; chmod {chmod} /ran/*\nCOPY --chmod={chmod} d /copied\n"
    )
    view = shop.view(result)
    modes = {
        place: tuple(
            stat.S_IMODE(view.entry(f"/{place}/{name}").stat.st_mode) for name in ("plain", "program", "folder")
        )
        for place in ("ran", "copied")
    }
    assert {"ran": expected, "copied": expected} == modes


def test_hard_links_of_the_context_stay_within_one_folder(shop):
    """As in Docker: linked in one copied folder, apart in two, and apart when they are copied by name."""
    for folder in ("d", "e"):
        (shop.context / folder).mkdir()
    (shop.context / "d/x").write_text("x")
    os.link(shop.context / "d/x", shop.context / "d/y")
    os.link(shop.context / "d/x", shop.context / "e/z")
    result = shop.build("FROM base\nCOPY d e /t/\nCOPY d/x d/y /n/\nCOPY . /all/\n")
    view = shop.view(result)

    def inode(path: str) -> int:
        return view.entry(path).stat.st_ino

    assert inode("/t/x") == inode("/t/y")
    assert inode("/t/x") != inode("/t/z")
    assert inode("/n/x") != inode("/n/y")
    assert inode("/all/d/x") == inode("/all/e/z")
    os.unlink(shop.context / "d/y")
    (shop.context / "d/y").write_text("x")
    assert 0 == shop.build("FROM base\nCOPY d /t/\n").cached


def test_extended_attributes_of_the_context_are_left_out(shop):
    """What a browser notes of a download must not make another image."""
    (shop.context / "f").write_text("f")
    os.setxattr(shop.context / "f", "user.xdg.origin.url", b"somewhere")
    result = shop.build("FROM base\nCOPY f /t/\n")
    assert "user.xdg.origin.url" not in os.listxattr(shop.view(result).entry("/t/f").host)


def test_a_link_of_the_files_name_is_replaced_and_one_at_the_destination_is_followed(filled):
    """`COPY a.txt /t/` over a link /t/a.txt leaves what it leads to alone; `COPY a.txt /t/l` writes there."""
    result = filled.build(
        "FROM base\nRUN mkdir /t && echo old > /target && ln -s /target /t/a.txt && ln -s /other /t/l\n"
        "COPY a.txt /t/\nCOPY b.txt /t/l\n"
    )
    view = filled.view(result)
    assert ("file", "old\n") == (view.entry("/t/a.txt").kind, filled.read(result, "/target"))
    assert ("link", "b.txt") == (view.entry("/t/l").kind, filled.read(result, "/other"))


def test_link_makes_a_layer_that_needs_nothing_below(filled):
    """Folders are new, links of the image are not followed, and the layer serves over another base."""
    first = filled.build("FROM base\nCOPY --link a.txt /bin/\nCOPY --link --chown=ada b.txt /tmp/\n")
    view = filled.view(first)
    assert ["a.txt"] == view.listdir("/bin")
    assert (0o755, 1000) == (stat.S_IMODE(view.entry("/tmp").stat.st_mode), view.entry("/tmp").uid)
    again = filled.build("FROM base\nRUN echo > /new\nCOPY --link a.txt /bin/\n")
    assert (2, 1) == (again.instructions, again.cached)
    plain = filled.build("FROM base\nCOPY --link --chmod=0600 a.txt /bin/\n")
    assert "link" == filled.view(plain).entry("/bin").kind


def test_parents_keep_their_modes_and_need_not_be_meant(filled):
    """Folders on the way come with the source's mode, existing ones get it too; files beside are not copied."""
    (filled.context / "dir").chmod(0o711)
    (filled.context / "dir/sub").chmod(0o750)
    result = filled.build("FROM base\nRUN mkdir -p /t/dir && chmod 0700 /t/dir\nCOPY --parents dir/sub/y /t/\n")
    view = filled.view(result)
    assert ["sub"] == view.listdir("/t/dir")
    assert (0o711, 0o750) == tuple(stat.S_IMODE(view.entry(path).stat.st_mode) for path in ("/t/dir", "/t/dir/sub"))


def test_what_is_excluded_does_not_matter_to_the_cache(filled):
    """A changed file that --exclude leaves out, or --parents does not name, is a hit."""
    text = "FROM base\nCOPY --exclude=sub dir /t/\nCOPY --parents a.txt /u/\n"
    filled.build(text)
    (filled.context / "dir/sub/y").write_text("changed")
    (filled.context / "b.txt").write_text("changed")
    assert 2 == filled.build(text).cached


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq"])
def test_names_that_mark_deleted_files_are_a_located_error(shop, name):
    """Docker makes a broken layer of them."""
    (shop.context / "d").mkdir()
    (shop.context / "d" / name).write_text("x")
    with pytest.raises(BuildError, match="cannot hold a file of this name") as caught:
        shop.build("FROM base\nCOPY d /t/\n")
    assert "Dockerfile:2:1" == str(caught.value.where)


def test_several_files_to_one_name_are_told(filled):
    """Docker keeps the last one without a word."""
    filled.build("FROM base\nCOPY a.txt b.txt /t\n")
    assert any("each file replaces the one before" in getattr(event, "text", "") for event in filled.events)
    filled.build("FROM base\nCOPY a.txt b.txt /tmp\n")
    assert not any("each file" in getattr(event, "text", "") for event in filled.events)


def test_the_order_of_creation_does_not_show(filled):
    """Going through folders backwards makes the same image."""
    text = "FROM base\nCOPY . /t/\nCOPY --from=base /usr /u\n"
    first = filled.build(text)
    second = filled.build(text, no_cache=True, conditions=Conditions(reverse=True))
    assert first.image_id == second.image_id


def test_holes_stay_holes(shop):
    """A sparse file of 1 GiB takes no more room in the layer than in the context."""
    with open(shop.context / "sparse", "wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"x")
    result = shop.build("FROM base\nCOPY sparse /\n")
    status = shop.view(result).entry("/sparse").stat
    assert 1 << 30 == status.st_size
    assert status.st_blocks < 1 << 14
