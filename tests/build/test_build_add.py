"""ADD: archives, told by their content and unpacked inside the destination, and addresses."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import random
import stat
import struct
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from repro.api.remote import RemoteFiles
from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.digest import Digest
from repro.errors import BuildError, DockerfileError, FetchError
from tests.build.conftest import EPOCH, MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = os.geteuid() == 0
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member for `pack`."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_000_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def pack(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> None:
    """Write a tar with these members."""
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))


SOME = (
    entry("d", tarfile.DIRTYPE, mode=0o711, uid=7, gid=8),
    entry("d/f", data=b"file", mode=0o4755, uid=5, gid=6),
    entry("l", tarfile.SYMTYPE, linkname="d/f"),
    entry("h", tarfile.LNKTYPE, linkname="d/f", mode=0o4755, uid=5, gid=6),
    entry("p", tarfile.FIFOTYPE),
    entry("deep/er/x", data=b"x"),
)


@pytest.mark.parametrize(("name", "mode"), [("t.tar", "w"), ("t", "w:gz"), ("t.bz2", "w:bz2"), ("t.xz", "w:xz")])
def test_an_archive_is_unpacked_whatever_its_name(shop, name, mode):
    """Owners, modes, times, links and hard links are the archive's; implied folders are root's."""
    pack(shop.context / name, *SOME, mode=mode)
    result = shop.build(f"FROM base\nADD {name} /t\n")
    view = shop.view(result)
    assert ["d", "deep", "h", "l", "p"] == view.listdir("/t")
    folder, file = view.entry("/t/d"), view.entry("/t/d/f")
    assert (0o711, 7, 8) == (stat.S_IMODE(folder.stat.st_mode), folder.uid, folder.gid)
    assert (0o4755, 5, 6) == (stat.S_IMODE(file.stat.st_mode), file.uid, file.gid)
    assert 1_000_000_000 == int(file.stat.st_mtime)
    assert file.stat.st_ino == view.entry("/t/h").stat.st_ino
    assert ("link", "d/f", "fifo") == (view.entry("/t/l").kind, view.entry("/t/l").target, view.entry("/t/p").kind)
    implied = view.entry("/t/deep/er")
    assert (0o755, 0, EPOCH) == (stat.S_IMODE(implied.stat.st_mode), implied.uid, int(implied.stat.st_mtime))
    assert 1 == shop.build(f"FROM base\nADD {name} /t\n").cached


def test_what_is_no_archive_is_copied(shop):
    """Zip, compressed texts, texts named .tar, and a tar of nothing stay files; so does an archive of COPY."""
    pack(shop.context / "real.tar", *SOME)
    pack(shop.context / "none.tar")
    (shop.context / "text.tar").write_text("text")
    (shop.context / "empty.tar").write_bytes(b"")
    (shop.context / "text.gz").write_bytes(gzip.compress(b"text"))
    (shop.context / "broken.gz").write_bytes(b"\x1f\x8b\x08 nonsense")
    (shop.context / "x.zip").write_bytes(b"PK\x03\x04")
    result = shop.build("FROM base\nADD none.tar *.gz x.zip text.tar empty.tar /t/\nCOPY real.tar /c/\n")
    assert ["broken.gz", "empty.tar", "none.tar", "text.gz", "text.tar", "x.zip"] == shop.view(result).listdir("/t")
    assert ["real.tar"] == shop.view(result).listdir("/c")
    result = shop.build("FROM base\nADD --unpack=false real.tar /t/\n")
    assert ["real.tar"] == shop.view(result).listdir("/t")


def test_bytes_after_the_end_of_an_archive_do_not_matter(shop):
    """Docker and tar stop at the end mark."""
    pack(shop.context / "t.tar", entry("f", data=b"f"))
    with open(shop.context / "t.tar", "ab") as file:
        file.write(b"signature")
    assert ["f"] == shop.view(shop.build("FROM base\nADD t.tar /t/\n")).listdir("/t")


def test_chown_and_chmod_are_not_for_what_an_archive_holds(shop):
    """Owners and modes stay the archive's, as Docker has it; the made destination gets the owner."""
    pack(shop.context / "t.tar", *SOME)
    view = shop.view(shop.build("FROM base\nADD --chown=ada:lab --chmod=0600 t.tar /t/\n"))
    plain = shop.view(shop.build("FROM base\nADD t.tar /t/\n"))
    assert (1000, 2000) == (view.entry("/t").uid, view.entry("/t").gid)
    for path in ("/t/d", "/t/d/f"):
        one, other = view.entry(path), plain.entry(path)
        assert (other.uid, other.gid, other.stat.st_mode) == (one.uid, one.gid, one.stat.st_mode), path


def test_extended_attributes_of_an_archive_go_on_to_other_stages(shop):
    """They are in the layer, COPY --from takes them along, and another value is another layer."""
    pack(
        shop.context / "t.tar",
        entry("d", tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.user.kind": "folder"}),
        entry("d/f", data=b"f", pax_headers={"SCHILY.xattr.user.kind": "file"}),
    )
    text = "FROM base AS one\nADD t.tar /\nFROM base\nCOPY --from=one /d /x/\nCOPY --from=one / /y\n"
    first = shop.build(text)
    view = shop.view(first)
    values = [os.getxattr(view.entry(path).host, "user.kind") for path in ("/x/f", "/y/d", "/y/d/f")]
    assert [b"file", b"folder", b"file"] == values
    pack(
        shop.context / "t.tar",
        entry("d", tarfile.DIRTYPE, pax_headers={"SCHILY.xattr.user.kind": "folder"}),
        entry("d/f", data=b"f", pax_headers={"SCHILY.xattr.user.kind": "other"}),
    )
    second = shop.build(text)
    assert b"other" == os.getxattr(shop.view(second).entry("/x/f").host, "user.kind")


def test_an_entry_replaces_what_is_there(shop):
    """Files, links and folders give way to another kind; folders are merged; what was hidden stays hidden."""
    pack(
        shop.context / "t.tar",
        entry("file", tarfile.DIRTYPE),
        entry("folder", data=b"new"),
        entry("link", tarfile.DIRTYPE),
        entry("kept/new", data=b"new"),
        entry("again", data=b"gone"),
        entry("again", tarfile.DIRTYPE),
        entry("again/new", data=b"new"),
        entry("twice/x", data=b"x"),
        entry("twice", data=b"file"),
    )
    result = shop.build(
        "FROM base\nRUN mkdir -p /t/folder/sub /t/kept /t/again /x && echo old > /t/file && ln -s /x /t/link && "
        "echo old > /t/kept/old && echo old > /t/again/old\nADD t.tar /t\n"
    )
    view = shop.view(result)
    kinds = {name: view.entry(f"/t/{name}").kind for name in view.listdir("/t")}
    assert {
        "again": "folder",
        "file": "folder",
        "folder": "file",
        "kept": "folder",
        "link": "folder",
        "twice": "file",
    } == kinds
    assert [["new"], ["new", "old"]] == [view.listdir(f"/t/{name}") for name in ("again", "kept")]
    assert [] == view.listdir("/x")


def test_links_in_a_path_lead_where_they_would_if_the_destination_were_the_root(shop):
    """Links of the archive and of the image, absolute ones too; hard links to files of the image are copied up."""
    pack(
        shop.context / "t.tar",
        entry("real", tarfile.DIRTYPE),
        entry("abs", tarfile.SYMTYPE, linkname="/real"),
        entry("abs/one", data=b"1"),
        entry("image/two", data=b"2"),
        entry("./sub/../three", data=b"3"),
        entry("/four", data=b"4"),
        entry("hard", tarfile.LNKTYPE, linkname="lower"),
    )
    result = shop.build(
        "FROM base\nRUN mkdir -p /t/there && ln -s there /t/image && echo low > /t/lower\nADD t.tar /t\n"
    )
    view = shop.view(result)
    assert [["one"], ["two"]] == [view.listdir(f"/t/{name}") for name in ("real", "there")]
    assert ["abs", "four", "hard", "image", "lower", "real", "there", "three"] == view.listdir("/t")
    assert view.entry("/t/hard").stat.st_ino == view.entry("/t/lower").stat.st_ino


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([entry("../up", data=b"x")], "leads out of the destination"),
        ([entry("a/../../up", data=b"x")], "leads out of the destination"),
        ([entry("l", tarfile.SYMTYPE, linkname="../.."), entry("l/x", data=b"x")], "leads out of the destination"),
        ([entry("l", tarfile.SYMTYPE, linkname="l"), entry("l/x", data=b"x")], "round in circles"),
        ([entry("h", tarfile.LNKTYPE, linkname="/etc/passwd")], "no file in the image"),
        ([entry("h", tarfile.LNKTYPE, linkname="../etc/passwd")], "leads out of the destination"),
        ([entry("f", data=b"x"), entry("f/x", data=b"x")], "is a file in the image, not a folder"),
        ([entry(".wh.f", data=b"x")], "cannot hold a file of this name"),
        ([entry(".wh.d/f", data=b"x")], "cannot hold a file of this name"),
        ([entry("c", tarfile.CHRTYPE)], "a character device 0:0"),
    ],
)
def test_a_hostile_archive_stays_inside(shop, members, message):
    """The error names the archive, the entry and the line; the host is left alone."""
    pack(shop.context / "t.tar", *members)
    with pytest.raises(BuildError, match=message) as caught:
        shop.build("FROM base\nADD t.tar /t/\n")
    assert "Dockerfile:2:1" == str(caught.value.where)
    assert "t.tar cannot be unpacked" in caught.value.message


def test_a_truncated_archive_is_an_error(shop):
    """Half an archive is not silently half an image."""
    pack(shop.context / "t.tar", entry("f", data=random.Random(1).randbytes(5000)))
    data = (shop.context / "t.tar").read_bytes()
    (shop.context / "t.tar").write_bytes(data[:2000])
    with pytest.raises(BuildError, match="cut short"):
        shop.build("FROM base\nADD t.tar /t/\n")
    (shop.context / "t.tar").write_bytes(gzip.compress(data)[:3000])
    with pytest.raises(BuildError, match=r"cut short|broken"):
        shop.build("FROM base\nADD t.tar /t/\n")


@pytest.mark.skipif(not ROOT, reason="only root makes devices")
def test_devices_of_an_archive_are_made(shop):
    """As root; their numbers are kept."""
    pack(shop.context / "t.tar", entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3))
    found = shop.view(shop.build("FROM base\nADD t.tar /t/\n")).entry("/t/null")
    assert ("device", os.makedev(1, 3)) == (found.kind, found.stat.st_rdev)


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``pages``; counts what was asked."""

    pages: dict[str, bytes] = {}  # noqa: RUF012 - filled by each test
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        """Send a page with a fixed time."""
        Site.asked.append(self.path)
        data = Site.pages.get(self.path)
        self.send_response(404 if data is None else 200)
        if self.path != "/undated":
            self.send_header("Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT")
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """The address of a web site on this host."""
    Site.pages, Site.asked = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch(tmp_path, shop):
    """Downloads for a build, with a cache of their own."""
    room = tmp_path / "room"
    room.mkdir()
    return RemoteFiles(Downloads(tmp_path / "cache"), Transports({}, pause=0.001), room)


def test_an_address_gives_its_last_name_mode_and_time(shop, site, fetch):
    """0600, root's, Last-Modified; 1970 where the server does not say; a name as the destination wins."""
    Site.pages = {"/a/data%20file.txt?x=1": b"data", "/undated": b"u"}
    result = shop.build(
        f"FROM base\nADD {site}/a/data%20file.txt?x=1 /t/\nADD {site}/undated /named\nADD --chmod=0644 --chown=ada "
        f"{site}/undated /tmp\n",
        fetch=fetch,
    )
    view = shop.view(result)
    file, named, owned = (view.entry(path) for path in ("/t/data file.txt", "/named", "/tmp/undated"))
    assert (0o600, 0, 1_000_000_000) == (stat.S_IMODE(file.stat.st_mode), file.uid, int(file.stat.st_mtime))
    assert 0 == int(named.stat.st_mtime)
    assert (0o644, 1000) == (stat.S_IMODE(owned.stat.st_mode), owned.uid)
    assert ["/a/data%20file.txt?x=1", "/undated"] == sorted(Site.asked)


def test_the_bytes_that_came_are_the_key(shop, site, fetch, tmp_path):
    """The same bytes are a hit, whatever the query string; others are not."""
    Site.pages = {"/f?1": b"one", "/f?2": b"one", "/f?3": b"three"}
    shop.build(f"FROM base\nADD {site}/f?1 /t/\n", fetch=fetch)
    assert 1 == shop.build(f"FROM base\nADD {site}/f?2 /t/\n", fetch=fetch).cached
    assert 0 == shop.build(f"FROM base\nADD {site}/f?3 /t/\n", fetch=fetch).cached


def test_an_address_is_unpacked_only_when_asked(shop, site, fetch, tmp_path):
    """ADD of an address keeps an archive whole; --unpack=true unpacks it."""
    pack(tmp_path / "t.tar.gz", entry("f", data=b"f"), mode="w:gz")
    Site.pages = {"/t.tar.gz": (tmp_path / "t.tar.gz").read_bytes()}
    result = shop.build(f"FROM base\nADD {site}/t.tar.gz /a/\nADD --unpack=true {site}/t.tar.gz /b/\n", fetch=fetch)
    assert [["t.tar.gz"], ["f"]] == [shop.view(result).listdir(path) for path in ("/a", "/b")]


def test_a_checksum_is_verified_and_saves_the_network(shop, site, fetch, tmp_path):
    """Other bytes are an error with both digests; right ones are kept, and found again without a server."""
    Site.pages = {"/f": b"right"}
    right, wrong = Digest.of(b"right"), Digest.of(b"wrong")
    with pytest.raises(FetchError, match="another file than --checksum names") as caught:
        shop.build(f"FROM base\nADD --checksum={wrong} {site}/f /t/\n", fetch=fetch)
    assert "Dockerfile:2:88" == str(caught.value.where)
    assert str(right) in (caught.value.why or "")
    assert str(wrong) in (caught.value.why or "")
    text = f"FROM base\nARG SUM={right}\nADD --checksum=$SUM {site}/f /t/\n"
    first = shop.build(text, fetch=fetch)
    offline = RemoteFiles(Downloads(tmp_path / "cache"), Transports({}, pause=0.001), tmp_path / "room")
    Site.pages, Site.asked = {}, []
    again = shop.build(text, fetch=offline, no_cache=True)
    assert (first.image_id, []) == (again.image_id, Site.asked)


@pytest.mark.parametrize(
    ("add", "message", "kind"),
    [
        ("{site}/gone /t/", "cannot fetch", FetchError),
        ("{site}/ /t/", "the address names no file", BuildError),
        ("--checksum=md5:x {site}/f /t/", "not a checksum", DockerfileError),
        ("--checksum=sha256:00 {site}/f /t/", "not a checksum", DockerfileError),
        ("--checksum={sum} f /t/", "http or https address", DockerfileError),
        ("--checksum={sum} {site}/f {site}/g /t/", "for one source", DockerfileError),
        ("git@example.org:x/y.git /t/", "a git repository", DockerfileError),
        ("https://example.org/x.git#main /t/", "a git repository", DockerfileError),
        ("--keep-git-dir git://example.org/x /t/", "a git repository", DockerfileError),
    ],
)
def test_wrong_addresses_are_located_errors(shop, site, fetch, add, message, kind):
    """Each says what is wrong, in line 2."""
    Site.pages = {"/f": b"f", "/": b"index"}
    with pytest.raises(kind, match=message) as caught:
        shop.build(f"FROM base\nADD {add.format(site=site, sum=Digest.of(b'f'))}\n", fetch=fetch)
    assert str(caught.value.where).startswith("Dockerfile:2:")


def test_a_build_without_network_says_so(shop):
    """A caller that gives no way to download gets an error, not a traceback."""
    with pytest.raises(DockerfileError, match="nothing can be downloaded"):
        shop.build("FROM base\nADD http://127.0.0.1:9/x /t/\n")


def test_capabilities_of_an_archive_are_kept_in_every_mode(shop):
    """A file capability comes out of the layer as it went in."""
    info, data = entry("f", data=b"f")
    info.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
    with tarfile.open(shop.context / "t.tar", "w", format=tarfile.PAX_FORMAT, encoding="latin-1") as archive:
        archive.addfile(info, io.BytesIO(data))
    raw = (shop.context / "t.tar").read_bytes()
    if CAPABILITY not in raw:
        pytest.skip("this Python encodes binary pax values")
    host = shop.view(shop.build("FROM base\nADD t.tar /t/\n")).entry("/t/f").host
    name = "security.capability" if MODE.value != "one" else "user.repro.capability"
    assert CAPABILITY == os.getxattr(host, name)[:20]
