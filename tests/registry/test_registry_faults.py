"""A registry that dies, stalls, lies and leads astray: what is got is right, or an error says why not."""

from __future__ import annotations

import io
import json
import os
import threading
import time

import pytest

from repro.data.answers import UnreachableError
from repro.data.transports import _Memory
from repro.digest import Digest
from repro.errors import DataError, FetchError, Interrupted
from repro.oci.model import MediaTypes
from repro.registry import exchange, listing, sending
from repro.registry.answers import DeniedError, LyingError, RateLimitError
from repro.registry.connections import Timing
from repro.registry.credentials import Login
from tests.registry.scripted import Scripted, endless, hang_up, ranged, reply, stalled

BLOB = os.urandom(100_000)
DIGEST = Digest.of(BLOB)
HASTY = Timing(connect=0.2, read=0.2, pause=0.001, attempts=2)
ME = Login("me", "s3cret", source="a file")
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": MediaTypes.MANIFEST}).encode()


@pytest.fixture
def registry(scripted, connect):
    """The client for the scripted registry."""
    return connect(scripted.host, insecure=True, login=ME)


def _fetched(registry, size=100_000):
    memory = _Memory()
    registry.download("a", DIGEST, memory, size=size)
    return bytes(memory.data)


# Downloads


def test_a_broken_download_goes_on_where_it_broke(scripted, registry):
    """Only what is missing is asked for again."""
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", ranged(BLOB, sent=30_000), ranged(BLOB, sent=50_000), ranged(BLOB))
    assert BLOB == _fetched(registry)
    assert [None, "bytes=30000-", "bytes=80000-"] == [seen.headers.get("Range") for seen in scripted.asked("GET")]


def test_progress_makes_failures_forgotten(scripted, registry, monkeypatch):
    """A connection that breaks often still brings a large blob, as long as each attempt brings a part."""
    monkeypatch.setattr(exchange, "_PROGRESS", 9000)
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", ranged(BLOB, sent=10_000))
    assert BLOB == _fetched(registry)
    monkeypatch.setattr(exchange, "_PROGRESS", 20_000)
    with pytest.raises(UnreachableError, match=r"broke \(tried 4 times\)"):
        _fetched(registry)


def test_a_stalled_registry_is_given_up(scripted, registry, connect):
    """Silence ends an attempt, and then all of them."""
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", stalled(BLOB), ranged(BLOB))
    assert BLOB == _fetched(registry)
    assert 2 == len(scripted.seen)
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", stalled(b""))
    with pytest.raises(UnreachableError, match=r"no answer from|broke"):
        connect(scripted.host, insecure=True, timing=HASTY).download("a", DIGEST, _Memory())


def test_another_size_is_a_lie(scripted, registry):
    """A blob that is announced, or comes, with more bytes than the manifest says is refused at once."""
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", ranged(BLOB))
    with pytest.raises(LyingError, match="100000 bytes instead of 99"):
        _fetched(registry, 99)
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", endless)
    with pytest.raises(LyingError, match="more than the 100000 bytes"):
        _fetched(registry)
    assert 2 == len(scripted.asked("GET"))
    scripted.on(f"HEAD /v2/a/blobs/{DIGEST}", reply(200, BLOB))
    with pytest.raises(LyingError, match="100000 bytes instead of 5"):
        registry.has_blob("a", DIGEST, 5)


def test_a_target_can_stop_it(scripted, registry):
    """What the target raises comes out as it is."""

    class Stopping(_Memory):
        def write(self, data):
            raise Interrupted("the pull was stopped")

    scripted.on(f"GET /v2/a/blobs/{DIGEST}", ranged(BLOB))
    with pytest.raises(Interrupted):
        registry.download("a", DIGEST, Stopping(), size=len(BLOB))


# Redirections


def _asks_for_basic(handler):
    known = "Authorization" in handler.headers
    (ranged(BLOB) if known else reply(401, WWW_Authenticate='Basic realm="x"'))(handler)


def test_authorization_stays_with_the_registry(scripted, registry):
    """A redirection to another server is followed without the login, one within the registry with it."""
    with Scripted() as storage:
        storage.on("GET /blob", ranged(BLOB))
        away = reply(307, Location=f"http://{storage.host}/blob?permission=x")
        scripted.on(f"GET /v2/a/blobs/{DIGEST}", reply(401, WWW_Authenticate='Basic realm="x"'), away)
        assert BLOB == _fetched(registry)
        assert "Authorization" not in storage.seen[0].headers
        assert "Authorization" in scripted.seen[1].headers
        scripted.on(f"GET /v2/a/blobs/{DIGEST}", reply(302, Location="/elsewhere"))
        scripted.on("GET /elsewhere", ranged(BLOB))
        assert BLOB == _fetched(registry)
        assert "Authorization" in scripted.asked("GET /elsewhere")[0].headers


def test_a_way_back_gets_no_authorization(scripted, registry):
    """Who led away cannot lead back to have the login sent to an address of his choice."""
    with Scripted() as other:
        other.on("GET /there", reply(302, Location="/again"))
        other.on("GET /again", reply(302, Location=f"http://{scripted.host}/back"))
        scripted.on("GET /back", ranged(BLOB))
        asks = reply(401, WWW_Authenticate='Basic realm="x"')
        scripted.on(f"GET /v2/a/blobs/{DIGEST}", asks, reply(302, Location=f"http://{other.host}/there"))
        assert BLOB == _fetched(registry)
        assert "Authorization" not in scripted.asked("GET /back")[0].headers
        assert [] == [seen for seen in other.seen if "Authorization" in seen.headers]


def test_a_permission_that_ran_out_is_asked_for_again(scripted, registry):
    """The storage's 403 sends us back to the registry, which gives another address."""
    with Scripted() as storage:
        storage.on("GET /old", reply(403))
        storage.on("GET /new", ranged(BLOB))
        both = [reply(307, Location=f"http://{storage.host}/{name}") for name in ("old", "new")]
        scripted.on(f"GET /v2/a/blobs/{DIGEST}", *both)
        assert BLOB == _fetched(registry)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://a/b", "http://a:x/", "gopher:x", "http://a:0/"])
def test_only_servers_are_followed(scripted, registry, target):
    """Neither files nor what is no address."""
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", reply(307, Location=target))
    with pytest.raises(FetchError, match=r"leads to .* which is not followed"):
        _fetched(registry)
    scripted.on("POST /v2/a/blobs/uploads/", reply(202, Location=target))
    with pytest.raises(FetchError, match=r"leads to .* which is not followed"):
        registry.upload("a", DIGEST, len(BLOB), io.BytesIO(BLOB))


def test_redirections_end(scripted, registry):
    """A circle is left."""
    scripted.on(f"GET /v2/a/blobs/{DIGEST}", reply(307, Location=f"/v2/a/blobs/{DIGEST}"))
    with pytest.raises(FetchError, match="more than 5 redirections"):
        _fetched(registry)


def test_tls_is_not_left(tls, connect):
    """From a registry over TLS nothing leads to plain HTTP, unless the user allowed it for that host."""
    registry = connect(tls.host, authorities=(str(tls.authority),))
    assert not registry._connections.may_be_plain("http://127.0.0.1:9/x")
    assert registry._connections.may_be_plain("https://127.0.0.1:9/x")


# Manifests


def _typed(data, kind=MediaTypes.MANIFEST, **headers):
    return reply(200, data, Content_Type=kind, **headers)


def test_the_bytes_must_be_those_asked_for(scripted, registry):
    """By digest, and by what the registry announces."""
    scripted.on("GET /v2/a/manifests/t", _typed(MANIFEST, Docker_Content_Digest=str(DIGEST)))
    with pytest.raises(LyingError, match=f"not of {DIGEST}"):
        registry.manifest("a", "t")
    scripted.on(f"GET /v2/a/manifests/{DIGEST}", _typed(MANIFEST))
    with pytest.raises(LyingError, match=f"not of {DIGEST}"):
        registry.manifest("a", DIGEST)
    scripted.on(f"HEAD /v2/a/manifests/{DIGEST}", _typed(MANIFEST, Docker_Content_Digest=str(Digest.of(MANIFEST))))
    with pytest.raises(LyingError, match="it answered for"):
        registry.head_manifest("a", DIGEST)
    scripted.on("PUT /v2/a/manifests/t", reply(201, Docker_Content_Digest=str(DIGEST)))
    with pytest.raises(LyingError, match="the registry has it as"):
        registry.put_manifest("a", "t", MANIFEST, MediaTypes.MANIFEST)


def test_an_endless_manifest_is_refused(scripted, registry):
    """No more than a manifest may have is read."""
    scripted.on("GET /v2/a/manifests/t", endless)
    with pytest.raises(LyingError, match="more than 4194304 bytes"):
        registry.manifest("a", "t")


def test_pages_of_hotels_are_no_manifests(scripted, registry):
    """An answer for browsers, or of a kind that is not known, is no image."""
    scripted.on("GET /v2/a/manifests/t", reply(200, b"<html>Log in!</html>", Content_Type="text/html"))
    with pytest.raises(LyingError, match="no manifest"):
        registry.manifest("a", "t")
    scripted.on("GET /v2/a/manifests/t", _typed(b'{"schemaVersion": 1}', "application/json"))
    with pytest.raises(DataError, match="push the image again with a current tool"):
        registry.manifest("a", "t")


def test_a_head_that_says_too_little_is_followed_by_a_get(scripted, registry):
    """Registries need not announce the digest."""
    scripted.on("HEAD /v2/a/manifests/t", _typed(b""))
    scripted.on("GET /v2/a/manifests/t", _typed(MANIFEST))
    found = registry.head_manifest("a", "t")
    assert (MediaTypes.MANIFEST, Digest.of(MANIFEST), len(MANIFEST)) == (found.media_type, found.digest, found.size)


def test_lists_that_are_none(scripted, registry, monkeypatch):
    """Names must be texts, pages end, and the next one is on the same server."""
    for data in (b"[]", b'{"tags": "x"}', b'{"tags": [1]}', b'{"tags": ["\\u001b[2J"]}', b"<html>"):
        scripted.on("GET /v2/a/tags/list", reply(200, data))
        with pytest.raises(LyingError, match="no list of names"):
            registry.tags("a")
    scripted.on("GET /v2/a/tags/list", reply(200, b'{"tags": null}'))
    assert () == registry.tags("a")
    scripted.on("GET /v2/a/tags/list", reply(200, b'{"tags": []}', Link='<http://other/x>; rel="next"'))
    with pytest.raises(LyingError, match="another server"):
        registry.tags("a")
    scripted.on("GET /v2/a/tags/list", reply(200, b'{"tags": ["x"]}', Link='</v2/a/tags/list>; rel="next"'))
    monkeypatch.setattr(listing, "_MOST_PAGES", 3)
    with pytest.raises(LyingError, match="no end: 4 names on 4 pages"):
        registry.tags("a")


# Refusals


def test_too_many_requests(scripted, connect, monkeypatch):
    """A short pause is waited for; a long one is told, with the way to a higher limit."""
    pauses = []
    registry = connect(scripted.host, insecure=True)
    monkeypatch.setattr(registry._connections.ended, "wait", pauses.append)
    scripted.on("GET /v2/a/tags/list", reply(429, Retry_After="0"), reply(429), reply(200, b'{"tags": ["x"]}'))
    assert ("x",) == registry.tags("a")
    assert [0, 0.002] == pauses
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate limit"}]}).encode()
    scripted.on("GET /v2/a/tags/list", reply(429, body, Retry_After="2400"))
    with pytest.raises(RateLimitError) as caught:
        registry.tags("a")
    assert "pull rate limit" in caught.value.why
    hint = f"try again in 40 minutes, or log in for a higher limit: repro registry login {scripted.host}"
    assert hint == caught.value.hint
    assert 4 == len(scripted.seen)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(scripted, registry, status):
    """An overloaded registry gets other chances, and then an error with what it said."""
    scripted.on("GET /v2/", reply(status), reply(200))
    registry.ping()
    scripted.on("GET /v2/", reply(status, b"come back later"))
    with pytest.raises(UnreachableError, match=rf"{status} .*: come back later \(tried 4 times\)"):
        registry.ping()


def test_a_registrys_words_cannot_move_the_cursor(scripted, registry):
    """Control characters of its messages are not printed, and long ones are cut."""
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no\x1b[2J\n" + "x" * 1000}]}).encode()
    scripted.on("GET /v2/a/tags/list", reply(403, body))
    with pytest.raises(DeniedError) as caught:
        registry.tags("a")
    assert "403 Forbidden: no [2J xxx" in caught.value.why
    assert "\x1b" not in str(caught.value)
    assert len(caught.value.why) < 500


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"errors": 3}', b'{"errors": [3, {"code": 7}]}', b"\xff" * 100_000]
)
def test_a_refusal_that_cannot_be_read(scripted, registry, body):
    """Then the status says it."""
    scripted.on("GET /v2/a/tags/list", reply(405, body, Content_Type="application/json"))
    with pytest.raises(FetchError, match=r"405 Method Not Allowed$"):
        registry.tags("a")


def test_the_secret_goes_to_servers_over_tls_only(scripted, tls, connect):
    """A realm without TLS is not asked, unless the registry itself is without."""
    registry = connect(tls.host, login=ME, verify=False)
    registry._connections.base = f"http://{scripted.host}"  # an answer over TLS, as far as the client knows
    registry._connections.may_be_plain = lambda url: scripted.host not in url or "/v2/" in url
    scripted.on("GET /v2/", reply(401, WWW_Authenticate=f'Bearer realm="http://{scripted.host}/token",service="s"'))
    with pytest.raises(FetchError, match="without TLS"):
        registry.ping()
    assert [] == scripted.asked("GET /token")


def test_a_realm_that_is_no_server(scripted, registry):
    """Nothing is read from where a challenge must not lead."""
    scripted.on("GET /v2/", reply(401, WWW_Authenticate='Bearer realm="file:///etc/passwd"'))
    with pytest.raises(FetchError, match="not followed"):
        registry.ping()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"token": 3}', b'{"token": "a\\nX-Evil: 1"}', b'{"expires_in": "soon"}']
)
def test_answers_without_a_token(scripted, registry, data):
    """A token server that gives none, or one that would break out of its header, is named."""
    scripted.on("GET /v2/", reply(401, WWW_Authenticate='Bearer realm="/token",service="s"'))
    scripted.on("GET /token", reply(200, data))
    with pytest.raises(LyingError, match="holds no token"):
        registry.ping()


def test_an_endless_token_is_refused(scripted, registry):
    """No more than a token may have is read."""
    scripted.on("GET /v2/", reply(401, WWW_Authenticate='Bearer realm="/token",service="s"'))
    scripted.on("GET /token", endless)
    with pytest.raises(LyingError, match="more than 1048576 bytes"):
        registry.ping()


def test_the_token_server_may_fail_for_a_while(scripted, registry):
    """It is asked again, and its limit is told as the registry's."""
    ask = reply(401, WWW_Authenticate='Bearer realm="/token",service="s"')
    scripted.on("GET /v2/", ask, reply(200))
    scripted.on("GET /token", reply(503), reply(200, b'{"access_token": "one"}'))
    assert registry.ping()
    scripted.on("GET /token", reply(429, Retry_After="300"))
    with pytest.raises(RateLimitError, match="try again in 5 minutes"):
        registry.tags("a")


def test_a_token_that_is_not_accepted_is_renewed_once(scripted, registry):
    """Then it is denied, instead of asking for ever."""
    scripted.on("GET /v2/", reply(401, WWW_Authenticate='Bearer realm="/token",service="s"'))
    scripted.on("GET /token", reply(200, b'{"token": "one"}'), reply(200, b'{"token": "two"}'))
    for _ in range(2):
        with pytest.raises(DeniedError, match="asked as 'me', from a file"):
            registry.ping()
    assert [None, "Bearer one", "Bearer one", "Bearer two"] == [
        seen.headers.get("Authorization") for seen in scripted.asked("GET /v2/")
    ]


def test_a_way_to_ask_that_is_not_known(scripted, registry):
    """It is named."""
    scripted.on("GET /v2/", reply(401, WWW_Authenticate="Negotiate"))
    with pytest.raises(FetchError, match="it asks for negotiate"):
        registry.ping()


# Uploads


class _Taking:
    """A registry's side of one upload; ``has`` are the bytes that it keeps."""

    def __init__(self, scripted, **headers):
        self.has = bytearray()
        self.headers = headers
        self.began = 0
        scripted.on("POST /v2/a/blobs/uploads/", self.begin)
        scripted.on("PATCH /up", self.patch)
        scripted.on("GET /up", self.status)
        scripted.on("PUT /up", self.put)
        scripted.on(f"HEAD /v2/a/blobs/{DIGEST}", self.head)
        self.done = False

    def _where(self, **more):
        return {
            "Location": f"/up?state={len(self.has)}",
            "Range": f"0-{max(0, len(self.has) - 1)}",
            **self.headers,
            **more,
        }

    def begin(self, handler):
        self.has.clear()
        self.began += 1
        reply(202, **self._where())(handler)

    def patch(self, handler):
        assert f"/up?state={len(self.has)}" == handler.path
        assert handler.headers["Content-Range"].startswith(f"{len(self.has)}-")
        self.has += handler.body
        reply(202, **self._where())(handler)

    def status(self, handler):
        reply(204, **self._where())(handler)

    def put(self, handler):
        assert f"digest={DIGEST}".replace(":", "%3A") in handler.path
        self.has += handler.body
        self.done = bytes(self.has) == BLOB
        reply(201 if self.done else 400)(handler)

    def head(self, handler):
        reply(200 if self.done else 404, BLOB if self.done else b"")(handler)


@pytest.fixture
def small(monkeypatch):
    """Chunks of 40,000 bytes."""
    monkeypatch.setattr(sending, "MONOLITHIC", 1000)
    monkeypatch.setattr(sending, "CHUNK", 40_000)


def _send(registry, source=None):
    told = []
    registry.upload("a", DIGEST, len(BLOB), source or io.BytesIO(BLOB), told.append)
    return sum(told)


def test_chunks_follow_each_other(scripted, registry, small):
    """Each goes where the last answer said, the digest with the end."""
    taking = _Taking(scripted)
    assert len(BLOB) == _send(registry)
    assert taking.done
    assert ["0-39999", "40000-79999", "80000-99999"] == [
        seen.headers["Content-Range"] for seen in scripted.asked("PATCH")
    ]


def test_a_registry_may_want_larger_chunks(scripted, registry, small):
    """OCI-Chunk-Min-Length is honoured."""
    taking = _Taking(scripted, OCI_Chunk_Min_Length="60000")
    _send(registry)
    assert taking.done
    assert ["0-59999", "60000-99999"] == [seen.headers["Content-Range"] for seen in scripted.asked("PATCH")]


def test_a_registry_may_want_smaller_bodies(scripted, registry, monkeypatch):
    """After 413, which a proxy in front of it may say, the same bytes go in smaller pieces."""
    monkeypatch.setattr(sending, "_SMALLEST_CHUNK", 5000)
    taking = _Taking(scripted)
    too_large = reply(413)
    scripted.on("PUT /up", too_large, taking.put)
    scripted.on("PATCH /up", too_large, taking.patch)
    assert len(BLOB) == _send(registry)
    assert taking.done
    assert "0-12499" == scripted.asked("PATCH")[0].headers["Content-Range"]
    assert "0-4999" == scripted.asked("PATCH")[1].headers["Content-Range"]
    scripted.on("PUT /up", too_large)
    scripted.on("PATCH /up", too_large)
    taking.done = False
    with pytest.raises(FetchError, match="take larger bodies"):
        _send(registry)


def test_endless_answers_are_not_read(scripted, registry):
    """A body that says nothing is dropped, however long it is."""
    scripted.on("GET /v2/", endless)
    registry.ping()
    scripted.on("PUT /v2/a/manifests/t", endless)
    assert Digest.of(MANIFEST) == registry.put_manifest("a", "t", MANIFEST, MediaTypes.MANIFEST)


def test_a_broken_upload_goes_on_where_the_registry_is(scripted, registry, small):
    """The registry is asked how much it has; no byte that it has is sent again."""
    taking = _Taking(scripted)

    def breaks(handler):
        hang_up(25_000)(handler)
        taking.has += handler.body

    breaks.early = True
    scripted.on("PATCH /up", taking.patch, breaks, taking.patch)
    assert len(BLOB) == _send(registry)
    assert (True, 1) == (taking.done, taking.began)
    assert [seen.headers["Content-Range"] for seen in scripted.asked("PATCH")][-1] == "65000-99999"


@pytest.mark.parametrize("status", [404, 405])
def test_an_upload_that_is_forgotten_begins_again(scripted, registry, small, status):
    """A registry that lost the upload, or cannot say how far it is, gets all of it in a new one."""
    taking = _Taking(scripted)
    scripted.on("PATCH /up", taking.patch, hang_up(10), taking.patch)
    scripted.on("GET /up", reply(status))
    assert len(BLOB) == _send(registry)
    assert (True, 2) == (taking.done, taking.began)
    scripted.on("PATCH /up", taking.patch, reply(404), taking.patch)
    taking.done = False
    _send(registry)
    assert (True, 4) == (taking.done, taking.began)


def test_a_resumed_upload_with_wrong_bytes_begins_again(scripted, registry, small):
    """Where the registry counts other bytes than it has, the digest tells, and all is sent once more."""
    taking = _Taking(scripted)

    def breaks(handler):
        hang_up(25_000)(handler)
        taking.has += bytes(10_000)

    breaks.early = True
    scripted.on("PATCH /up", breaks, taking.patch)
    assert len(BLOB) == _send(registry)
    assert (True, 2) == (taking.done, taking.began)


def test_a_lost_last_answer_is_no_second_upload(scripted, registry, small):
    """When the connection breaks at the very end, the registry is asked whether it has the blob."""
    taking = _Taking(scripted)

    def keeps_and_dies(handler):
        taking.done = True
        handler.close_connection = True

    scripted.on("PUT /up", keeps_and_dies)
    assert len(BLOB) == _send(registry)
    assert (1, 1) == (taking.began, len(scripted.asked("PUT")))


def test_a_registry_that_never_takes_it_is_given_up(scripted, registry, small):
    """Attempts that bring nothing are counted."""
    taking = _Taking(scripted)
    scripted.on("PATCH /up", hang_up(10))
    with pytest.raises(UnreachableError, match="tried 4 times"):
        _send(registry)
    assert 1 == taking.began


def test_a_registry_that_stops_listening_is_given_up(scripted, connect, small):
    """Silence after the bytes ends an attempt, and then all of them."""
    taking = _Taking(scripted)
    scripted.on("PATCH /up", lambda handler: scripted.stop.wait(5))
    with pytest.raises(UnreachableError, match=r"no answer from 127\.0\.0\.1 in time \(tried 2 times\)"):
        _send(connect(scripted.host, insecure=True, timing=HASTY))
    assert (False, 1, 2) == (taking.done, taking.began, len(scripted.asked("PATCH")))


def test_a_registry_that_counts_wrongly_is_told(scripted, registry, small):
    """It cannot have more than was sent, nor less when it says that all came."""
    _Taking(scripted)
    scripted.on("PATCH /up", reply(202, Location="/up", Range="0-99"))
    with pytest.raises(LyingError, match="40100 bytes were sent and the registry has 100"):
        _send(registry)
    scripted.on("PATCH /up", reply(202, Location="/up", Range="0-999999"))
    with pytest.raises(LyingError, match="40000 bytes were sent and the registry has 1000000"):
        _send(registry)


def test_an_upload_without_a_place_is_a_lie(scripted, registry):
    """An upload must have a Location."""
    scripted.on("POST /v2/a/blobs/uploads/", reply(202))
    with pytest.raises(LyingError, match="does not say where"):
        _send(registry)


def test_an_upload_elsewhere_gets_no_authorization(scripted, registry):
    """A Location on another server is used without the login."""
    with Scripted() as storage:
        storage.on("PUT /put", reply(201))
        place = reply(202, Location=f"http://{storage.host}/put?x=1")
        scripted.on("POST /v2/a/blobs/uploads/", reply(401, WWW_Authenticate='Basic realm="x"'), place)
        _send(registry)
        assert BLOB == storage.seen[0].body
        assert "Authorization" not in storage.seen[0].headers


def test_a_progress_that_stops_it(scripted, registry):
    """What the listener raises comes out as it is, and the connection is not used any more."""
    _Taking(scripted)

    def stop(count):
        raise Interrupted("the push was stopped")

    with pytest.raises(Interrupted):
        registry.upload("a", DIGEST, len(BLOB), io.BytesIO(BLOB), stop)


def test_a_denied_mount_is_no_failure(scripted, registry):
    """Who may not read the other repository uploads the blob."""
    scripted.on("POST /v2/a/blobs/uploads/", reply(403))
    assert not registry.mount("a", DIGEST, "b")


# Roads


def test_a_proxy_is_used(scripted, connect, environ):
    """http_proxy is honoured, and no_proxy."""
    with Scripted() as proxy:
        proxy.on(f"GET http://{scripted.host}/v2/", reply(200))
        through = connect(scripted.host, insecure=True, environ={**environ, "http_proxy": f"http://{proxy.host}"})
        through.ping()
        assert (1, 0) == (len(proxy.seen), len(scripted.seen))
    dead = {**environ, "http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}
    scripted.on("GET /v2/", reply(200))
    connect(scripted.host, insecure=True, environ=dead).ping()
    with pytest.raises(
        UnreachableError, match=r"the proxy http://127\.0\.0\.1:1 for 127\.0\.0\.1 cannot be used: Conn"
    ):
        connect(scripted.host, insecure=True, environ={**dead, "no_proxy": ""}).ping()


def test_abort_is_heard_by_who_waits(scripted, connect):
    """Whoever waits for a silent registry, or for the next attempt, is interrupted at once, and so is who asks later."""
    patient = Timing(read=30.0, pause=30.0, attempts=3)
    scripted.on("GET /v2/a/manifests/silent", stalled(b""))
    scripted.on("GET /v2/a/tags/list", reply(503))
    for act in (lambda registry: registry.manifest("a", "silent"), lambda registry: registry.tags("a")):
        registry = connect(scripted.host, insecure=True, timing=patient)
        threading.Timer(0.3, registry.abort).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            act(registry)
        assert time.monotonic() - began < 5
        with pytest.raises(Interrupted):
            registry.ping()


def test_nobody_listens(connect):
    """A closed port is named as what it is."""
    with pytest.raises(UnreachableError, match=r"cannot connect to 127\.0\.0\.1: Connection refused"):
        connect("127.0.0.1:1", insecure=True).ping()
