"""Web servers as sources: nginx on a good day, and a server whose faults a test chooses."""

from __future__ import annotations

import os
import time

import pytest

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import ChangedError, DeniedError, Reach, SourceFile
from repro.data.sources.opening import open_source, open_target
from repro.data.sources.web import WebSource, _settled
from repro.errors import FetchError
from repro.names import DataUri
from repro.workflow.model import Access
from tests.data.loopback import cut, status, whole
from tests.data.served.web import PASSWORD, USER, WebServer, missing

DATA = os.urandom(1 << 20)


@pytest.fixture(scope="module", params=["http", "https"])
def nginx(request, tmp_path_factory):
    """A web server with one file."""
    if absent := missing():
        pytest.skip(f"not here: {absent}")
    server = WebServer(tmp_path_factory.mktemp("web") / "server", request.param)
    server.start()
    server.put("x.bin", DATA)
    server.put("sub/y.txt", b"y")
    yield server
    server.stop()


def source(address: str, settings: dict | None = None, timeout: float = 10.0) -> WebSource:
    """Return the source at an address."""
    return WebSource(DataUri.parse(address), Reach(settings or {}, os.getuid(), os.getgid(), timeout=timeout))


def read(opened: WebSource, file: SourceFile, start: int = 0) -> bytes:
    """Return the bytes of a file from an offset on."""
    return b"".join(opened.pieces(file, start))


@pytest.mark.parametrize("place", ["data", "norange", "nohead", "silent", "redir", "bare"])
@pytest.mark.parametrize("start", [0, 1, 777_777, len(DATA)])
def test_servers_differ_and_the_bytes_do_not(nginx, place, start):
    """Without ranges, without HEAD, without ETag, led elsewhere: the right bytes come from any offset."""
    opened = source(nginx.at(place), nginx.settings)
    file = opened.stat("x.bin")
    assert len(DATA) == file.size
    assert file.etag
    assert DATA[start:] == read(opened, file, start)


@pytest.mark.parametrize("place", ["data", "silent"])
def test_a_file_is_settled_once_its_second_is_over(nginx, place):
    """Its time, and the ETag that is made of it, are the same for two states in a second."""
    path = nginx.data / "x.bin"
    for age, settled in ((3, True), (0, False)):
        then = int(time.time()) - age
        os.utime(path, (then, then))
        assert source(nginx.at(place), nginx.settings).stat("x.bin").settled == settled


@pytest.mark.parametrize(
    ("dates", "settled"),
    [
        ({}, True),  # an ETag alone is the server's word
        ({"Last-Modified": "Wed, 18 Nov 2026 10:00:00 GMT"}, False),
        ({"Last-Modified": "Wed, 18 Nov 2026 10:00:00 GMT", "Date": "Wed, 18 Nov 2026 10:00:01 GMT"}, False),
        ({"Last-Modified": "Wed, 18 Nov 2026 10:00:00 GMT", "Date": "Wed, 18 Nov 2026 10:00:02 GMT"}, True),
        ({"Last-Modified": "Wed, 18 Nov 2026 10:00:00 -0000", "Date": "Wed, 18 Nov 2026 10:00:02 GMT"}, False),
        ({"Last-Modified": "yesterday", "Date": "today"}, False),
    ],
)
def test_dates_that_cannot_be_compared_settle_nothing(dates, settled):
    """Nor does one without the other."""
    assert _settled(dates) == settled


@pytest.mark.parametrize("place", ["data", "silent", "redir"])
def test_folders_list_themselves(nginx, place):
    """Also where the list is at another address than the one that was asked for."""
    opened = source(nginx.at(place), nginx.settings)
    assert ["sub/y.txt", "x.bin"] == [file.name for file in opened.files()]


def test_a_page_that_lists_nothing_is_not_taken_for_an_empty_folder(nginx):
    """Another page is there, or none may be seen: the way out is to name the files."""
    nginx.put("home/index.html", b'<title>My data</title><a href="x.bin">here</a>')
    nginx.put("home/x.bin", b"x")
    with pytest.raises(FetchError, match="no list of files") as caught:
        list(source(f"{nginx.root}home/", nginx.settings).files())
    assert "name its files" in caught.value.hint
    nginx.remove("home/index.html")
    nginx.remove("home/x.bin")
    with pytest.raises(DeniedError):
        list(source(nginx.at("bare"), nginx.settings).files())


def test_a_login_comes_from_netrc(nginx):
    """Without it access is denied, and the message says where logins are looked for; no message holds one."""
    with pytest.raises(DeniedError) as caught:
        source(nginx.at("auth"), nginx.settings).stat("x.bin")
    assert "netrc" in caught.value.hint
    settings = nginx.log_in()
    opened = source(nginx.at("auth"), settings)
    assert DATA == read(opened, opened.stat("x.bin"))
    assert ["sub/y.txt", "x.bin"] == [file.name for file in opened.files()]
    with pytest.raises(NotThereError) as gone:
        opened.stat("gone")
    assert PASSWORD not in str(gone.value)


def test_a_login_is_not_taken_elsewhere(nginx):
    """A server that leads to another does not get that one what is meant for itself."""
    with pytest.raises(DeniedError):
        source(nginx.at("elsewhere"), nginx.log_in()).stat("x.bin")


def test_the_login_is_sent_in_no_other_request(loopback, tmp_path):
    """Seen from the servers: the one that is named gets it, the one that it leads to does not."""
    other = type(loopback)()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    try:
        other.files["/x"] = b"here"
        loopback.faults["/x"] = [status(302, Location=other.url("/x"))]
        opened = source(loopback.url("/x"), {"NETRC": str(netrc)})
        assert b"here" == read(opened, SourceFile("", 4))
        sent = [{name.lower() for name in one.requests[0][1]} for one in (loopback, other)]
        assert [True, False] == ["authorization" in names for names in sent]
    finally:
        other.close()


def test_a_file_that_is_gone_or_busy(nginx):
    """410 is final, 503 is not."""
    with pytest.raises(NotThereError):
        source(nginx.at("gone"), nginx.settings).stat("x")
    with pytest.raises(Broken, match="503"):
        source(nginx.at("busy"), nginx.settings).stat("x")


def test_a_server_that_dies_in_the_middle_is_broken(nginx):
    """What came is right, and the rest is asked for once it is there again."""
    opened = source(nginx.at("slow"), nginx.settings)
    file = opened.stat("x.bin")
    found = bytearray()
    with pytest.raises(Broken):
        for piece in opened.pieces(file, 0):
            found += piece
            nginx.kill()
    with pytest.raises(Broken):
        opened.stat("x.bin")
    nginx.start()
    assert DATA == bytes(found) + read(opened, file, len(found))


def test_a_changed_time_is_a_change(nginx):
    """The same size at another time: nginx gives another ETag, and without one the time decides."""
    nginx.put("t.bin", b"first!")
    for place in ("data", "silent"):
        opened = source(nginx.at(place), nginx.settings)
        file = opened.stat("t.bin")
        nginx.put("t.bin", b"second")
        os.utime(nginx.data / "t.bin", (time.time() + 10, time.time() + 10))
        with pytest.raises(ChangedError):
            read(opened, file)
        nginx.put("t.bin", b"first!")
    nginx.remove("t.bin")


def test_an_unknown_authority_is_refused(nginx):
    """The message names the variable that makes it known."""
    if nginx.kind == "http":
        pytest.skip("there is no certificate")
    with pytest.raises(FetchError, match="certificate") as caught:
        source(nginx.root).stat("x.bin")
    assert "SSL_CERT_FILE" in caught.value.hint


def test_nothing_is_written_to_web_servers(nginx):
    """The way out names what can be written to."""
    with pytest.raises(FetchError, match="only read from") as caught:
        open_target(DataUri.parse(nginx.root), Access(), Reach({}, 0, 0))
    assert "sftp://" in caught.value.hint
    assert isinstance(open_source(DataUri.parse(nginx.root), Access(), Reach({}, 0, 0)), WebSource)


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        (cut(DATA, 1000), Broken),
        (status(200), ChangedError),
        (whole(DATA + b"more"), ChangedError),
        (status(206, Content_Range="bytes 5-9/1048576"), Broken),
        (status(206), Broken),
        (status(416, Content_Range="bytes */7"), ChangedError),
        (status(404), NotThereError),
        (status(403), DeniedError),
        (status(500), Broken),
        (status(418), FetchError),
        (status(302, Location="ftp://elsewhere/x"), FetchError),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("start", [0, 10])
def test_wrong_answers_give_no_wrong_bytes(loopback, fault, meaning, start):
    """Each fault is an error of the right kind, and what came before it is how the file goes on."""
    loopback.faults["/x"] = [fault]
    found = bytearray()
    with pytest.raises(meaning) as caught:
        for piece in source(loopback.url("/x")).pieces(SourceFile("", len(DATA)), start):
            found += piece
    assert meaning is type(caught.value)
    assert DATA[start : start + len(found)] == found


@pytest.mark.parametrize("said", ["bytes 5-1048575/1048576", "bytes 0-9/1048576", "all of them", None])
def test_another_range_than_asked_for_gives_no_bytes(loopback, said):
    """Though as many bytes come as are wanted."""

    def other(handler) -> None:
        handler.send_response(206)
        if said is not None:
            handler.send_header("Content-Range", said)
        handler.send_header("Content-Length", str(len(DATA) - 10))
        handler.end_headers()
        handler.wfile.write(DATA[5:-5])

    loopback.faults["/x"] = [other]
    opened = source(loopback.url("/x"))
    with pytest.raises(Broken, match="another part"):
        read(opened, SourceFile("", len(DATA)), 10)


def test_an_etag_that_is_another_is_a_change(loopback):
    """Though the size is the same; a weak one says nothing about bytes (RFC 9110, 8.8.1)."""

    def tagged(tag: str):
        def fault(handler) -> None:
            handler.send_response(200)
            handler.send_header("ETag", tag)
            handler.send_header("Content-Length", "4")
            handler.end_headers()
            handler.wfile.write(b"here")

        return fault

    loopback.faults["/x"] = [tagged('"two"'), tagged('W/"two"'), tagged('"one"')]
    opened = source(loopback.url("/x"))
    listed = SourceFile("", 4, etag='"one"')
    with pytest.raises(ChangedError, match="it was"):
        read(opened, listed)
    assert b"here" == read(opened, listed)
    assert b"here" == read(opened, listed)


def html(data: bytes):
    """Answer with a page."""

    def answer(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html;charset=UTF-8")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def test_lists_of_other_servers_are_read(loopback):
    """Apache's has links that sort it, one upwards, absolute ones, and some that lead elsewhere."""
    page = (
        b"<html><head><title>Index of /data</title></head><body><h1>Index of /data</h1><table>"
        b'<tr><th><a href="?C=N;O=D">Name</a></th></tr><tr><td><a href="/">Parent Directory</a></td></tr>'
        b'<tr><td><a href="a%20b.txt">a b.txt</a></td></tr><tr><td><a href="/data/c.txt">c.txt</a></td></tr>'
        b'<tr><td><a href="../other/d.txt">d</a><a href="//elsewhere/data/e.txt">e</a><a href="f.txt#part">f</a>'
        b'<a href="%2e%2e/g.txt">g</a><a href="a%2Fb">h</a><a href="sub/">sub/</a><a>i</a></td></tr></table>'
    )
    loopback.faults["/data/"] = [html(page)]
    loopback.faults["/data/sub/"] = [html(b"<h1>Directory listing for /data/sub/</h1><a href='j.txt'>j.txt</a>")]
    for name in ("a%20b.txt", "c.txt", "sub/j.txt"):
        loopback.files[f"/data/{name.replace('%20', ' ')}"] = b"here"
    assert ["a b.txt", "c.txt", "sub/j.txt"] == [file.name for file in source(loopback.url("/data/")).files()]


def test_folders_without_end_are_given_up(loopback):
    """A server whose folders lead into themselves."""
    page = b"<title>Index of it</title><a href='again/'>again</a>"

    class Always(dict):
        def get(self, path, default=None):
            return [html(page)]

    loopback.faults = Always()
    with pytest.raises(FetchError, match="deeper than"):
        list(source(loopback.url("/data/")).files())


def test_no_version_is_known(loopback):
    """A version that is asked for is not passed over in silence."""
    with pytest.raises(FetchError, match="no versions"):
        source(loopback.url("/x")).stat("", "1")
