"""Transports: what a user sees of a mirror that is slow, wrong, far away or moved."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.data import transports
from repro.data.addresses import bypasses, redacted
from repro.data.answers import NotThereError
from repro.data.transports import Transports
from repro.errors import FetchError
from tests.data.loopback import cut, status, whole

BODY = bytes(range(256)) * 4000


@pytest.fixture
def client() -> Transports:
    """Transports that hardly wait between attempts."""
    return Transports({}, pause=0.001)


def test_a_file_comes_as_it_is_stored(loopback, client):
    """Bytes that look compressed are not unpacked on the way."""
    loopback.files["/x.gz"] = b"\x1f\x8b" + BODY
    assert loopback.files["/x.gz"] == client.get(loopback.url("/x.gz"))
    assert "identity" == loopback.requests[0][1]["Accept-Encoding"]


def test_missing_file_is_told_from_other_failures(loopback, client):
    """A 404 is not tried again and is an error of its own, so that the hint can speak of a mirror that moved on."""
    with pytest.raises(NotThereError, match="404"):
        client.get(loopback.url("/nothing"))
    assert 1 == len(loopback.requests)


def test_a_broken_download_continues_where_it_broke(loopback, client):
    """After a lost connection only the rest is asked for, and the result is the whole file."""
    loopback.files["/big"] = BODY
    loopback.faults["/big"] = [cut(BODY, 700_000)]
    memory = transports._Memory()
    client.download(loopback.url("/big"), memory, size=len(BODY))
    assert BODY == bytes(memory.data)
    assert [None, "bytes=700000-"] == [headers.get("Range") for _, headers in loopback.requests]


def test_a_server_that_ignores_range_is_no_corruption(loopback, client):
    """A whole answer to a request for the rest replaces what had come."""
    loopback.faults["/big"] = [cut(BODY, 5000), whole(BODY)]
    memory = transports._Memory()
    client.download(loopback.url("/big"), memory, size=len(BODY))
    assert BODY == bytes(memory.data)


def test_a_file_that_shrank_is_begun_again(loopback, client):
    """A server that cannot satisfy the range is asked for the whole file."""
    loopback.files["/f"] = b"short"
    memory = transports._Memory()
    memory.write(b"more than five bytes")
    client.download(loopback.url("/f"), memory)
    assert b"short" == bytes(memory.data)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(loopback, client, code):
    """An overloaded server gets another chance."""
    loopback.files["/f"] = b"here"
    loopback.faults["/f"] = [status(code), status(code)]
    assert b"here" == client.get(loopback.url("/f"))


def test_retry_after_is_honoured(loopback, client, monkeypatch):
    """The server's own pause replaces ours, up to a limit."""
    pauses: list[float] = []
    monkeypatch.setattr(transports.time, "sleep", pauses.append)
    loopback.files["/f"] = b"here"
    loopback.faults["/f"] = [
        status(503, Retry_After="7"),
        status(503, Retry_After="86400"),
        status(503, Retry_After="?"),
    ]
    assert b"here" == client.get(loopback.url("/f"))
    assert [7, transports.LONGEST_PAUSE, 0.004] == pauses


def test_a_lasting_failure_says_how_often_it_was_tried(loopback, client):
    """The message has the status and the number of attempts."""
    loopback.faults["/f"] = [status(503)] * 9
    with pytest.raises(FetchError, match=r"503 Service Unavailable \(tried 5 times\)"):
        client.get(loopback.url("/f"))
    assert 5 == len(loopback.requests)


def test_truncation_is_said_in_bytes(loopback, client):
    """A server whose file is shorter than it should be is found out."""
    loopback.files["/f"] = b"12345"
    with pytest.raises(FetchError, match="truncated: 5 of 9 bytes came"):
        client.download(loopback.url("/f"), transports._Memory(), size=9)


def test_too_many_bytes_are_refused(loopback, client):
    """Neither an endless answer nor a longer file than expected fills memory or disk."""
    loopback.files["/f"] = BODY
    with pytest.raises(FetchError, match="more than the 1000 bytes"):
        client.get(loopback.url("/f"), limit=1000)
    with pytest.raises(FetchError, match="more than the 9 bytes"):
        client.download(loopback.url("/f"), transports._Memory(), size=9)


def test_nobody_listening_is_said_in_plain_words(client):
    """A closed port is named as what it is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match=r"cannot connect to 127\.0\.0\.1: Connection refused"):
        client.get(f"http://127.0.0.1:{port}/f")


def test_an_unknown_host_is_said_in_plain_words(client):
    """A name that does not resolve (.invalid never does, RFC 6761) makes one think of the network."""
    with pytest.raises(FetchError, match=r"the host nowhere\.invalid is not known here: is the network up\?"):
        client.get("http://nowhere.invalid/f")


def test_access_denied_is_not_tried_again(loopback, client):
    """A 403 is final."""
    loopback.faults["/f"] = [status(403)]
    with pytest.raises(FetchError, match="access was denied"):
        client.get(loopback.url("/f"))
    assert 1 == len(loopback.requests)


def test_redirections_are_followed_to_http_only(loopback, client):
    """Mirrors redirect; none leads to a file of this host."""
    loopback.files["/there"] = b"found"
    loopback.faults["/here"] = [status(302, Location="/there")]
    assert b"found" == client.get(loopback.url("/here"))
    loopback.faults["/trap"] = [status(302, Location="file:///etc/passwd")]
    with pytest.raises(FetchError, match="not followed"):
        client.get(loopback.url("/trap"))
    loopback.faults["/loop"] = [status(302, Location="/loop") for _ in range(20)]
    with pytest.raises(FetchError, match="more than 5 redirections"):
        client.get(loopback.url("/loop"))


def test_a_user_in_the_address_is_sent_and_never_shown(loopback, client):
    """Credentials go to the server as basic authentication, and to no message."""
    secret = loopback.url("/f").replace("http://", "http://me:s3cret%21@")
    loopback.files["/f"] = b"for you"
    assert b"for you" == client.get(secret)
    assert "Basic bWU6czNjcmV0IQ==" == loopback.requests[0][1]["authorization"]
    with pytest.raises(NotThereError) as caught:
        client.get(secret + "no")
    assert "s3cret" not in str(caught.value)
    assert loopback.url("/f") == redacted(secret)


def test_a_proxy_is_used_where_it_is_named(loopback):
    """http_proxy takes the request; no_proxy keeps it from there."""
    loopback.files["http://mirror.invalid/f"] = b"by proxy"
    loopback.files["/f"] = b"direct"
    proxied = Transports({"http_proxy": loopback.url(""), "no_proxy": "localhost,127.0.0.1"}, pause=0.001)
    assert b"by proxy" == proxied.get("http://mirror.invalid/f")
    assert b"direct" == proxied.get(loopback.url("/f"))


@pytest.mark.parametrize(
    ("host", "no_proxy", "bypassed"),
    [
        ("a.example", "*", True),
        ("a.example", "example", True),
        ("a.example", ".example", True),
        ("a.example", "*.example", True),
        ("a.example", "a.example:80", True),
        ("example", ".example", True),
        ("aexample", "example", False),
        ("a.example", "", False),
        ("a.example", "b.example, c", False),
    ],
)
def test_no_proxy_means_hosts_and_domains(host, no_proxy, bypassed):
    """The spellings of no_proxy that curl and pip know are understood."""
    assert bypassed == bypasses(host, no_proxy)


def test_files_of_this_host(tmp_path, client):
    """A file: address works as a mirror on a mounted disk does, with names quoted."""
    (tmp_path / "a b").write_bytes(b"local")
    url = (tmp_path / "a b").as_uri()
    assert b"local" == client.get(url)
    with pytest.raises(NotThereError):
        client.get(url + "c")
    with pytest.raises(FetchError, match="truncated"):
        client.download(url, transports._Memory(), size=6)
    with pytest.raises(FetchError, match="more than"):
        client.get(url, limit=4)
    with pytest.raises(FetchError, match="not of elsewhere"):
        client.get("file://elsewhere/f")
    with pytest.raises(FetchError, match="Is a directory"):
        client.get(tmp_path.as_uri())


def test_other_schemes_are_refused(client):
    """The message says which ones work."""
    with pytest.raises(FetchError, match="ftp: not an address") as caught:
        client.get("ftp://127.0.0.1/f")
    assert "http://, https:// and file://" in str(caught.value)


def test_a_ca_bundle_that_is_not_there_is_named(tmp_path):
    """SSL_CERT_FILE with a wrong path is not silently ignored."""
    with pytest.raises(FetchError, match=r"CA bundle .*gone\.pem"):
        Transports({"SSL_CERT_FILE": str(tmp_path / "gone.pem")}).get("https://127.0.0.1:1/f")


@given(st.text(), st.text(alphabet="abc.:*, []0123456789"))
def test_no_proxy_never_breaks(host, no_proxy):
    """Whatever stands in no_proxy, there is an answer."""
    assert bypasses(host, no_proxy) in (True, False)
