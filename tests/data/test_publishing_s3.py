"""Publishing to S3 where another writer comes in between, and to servers that know no conditions, or ignore them."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from repro.data.publication import MANIFEST, Item, Publication
from repro.data.publishing import publish
from repro.data.sources.model import DeniedError, ExistsError, Reach
from repro.data.sources.s3 import S3Target, open_s3_source, open_s3_target
from repro.data.sources.s3_publishing import SMALL
from repro.data.sums_text import list_text
from repro.digest import Digest
from repro.events import Notice, ignore
from repro.names import DataUri
from repro.workflow.model import Access
from tests.data.between import Between, failure, reply
from tests.data.served import s3

pytestmark = pytest.mark.skipif(bool(s3.missing()), reason=f"not here: {s3.missing()}")

BYTES = {"a.txt": b"alpha", "b.txt": b"beta", "large.bin": b"0123456789abcdef" * (SMALL // 8)}  # one is an upload
EXPECTED = {**BYTES, MANIFEST: list_text({name: Digest.of(data) for name, data in BYTES.items()})}
CONDITIONS = ("if-match", "if-none-match")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all tests of the module: each has keys of its own."""
    with s3.s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


class Older:
    """A server that is older than conditions: it ``says`` so, or ignores them; the rest is done by a real one.

    It gives no heed to a condition about reading either, and counts the requests with one.
    """

    def __init__(self, server, *, says):
        self.conditions = []
        self._says = says
        self._behind = urlsplit(server.endpoint).netloc
        self._front = Between(self._answer)
        self.settings = {**server.settings, "AWS_ENDPOINT_URL_S3": self._front.url}

    def _answer(self, handler, request, body):
        method, path, headers = request
        if method in ("PUT", "POST", "DELETE") and any(name in headers for name in CONDITIONS):
            self.conditions.append(method)
            if self._says:
                failure(501, "NotImplemented")(handler, request, body)
                return
        upstream = http.client.HTTPConnection(self._behind, timeout=30)
        try:
            upstream.request(method, path, body or None, self._without(method, path, headers, body))
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        kept = {name.lower(): value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
        reply(handler, answer.status, data, kept)

    def _without(self, method, path, headers, body):
        """Return the headers without conditions; they were signed, so the rest is signed anew."""
        if all(name not in headers for name in CONDITIONS):
            return headers
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        kept = {name: value for name, value in headers.items() if name not in (*CONDITIONS, "authorization")}
        request = AWSRequest(method, f"http://{self._behind}{path}", kept, body)
        request.context["timestamp"] = headers["x-amz-date"]
        S3SigV4Auth(Credentials(*s3.ADMIN), "s3", "us-east-1").add_auth(request)
        return dict(request.headers)

    def close(self):
        """Stop serving."""
        self._front.close()


@pytest.fixture
def older(server):
    """A function that starts an older server in front of the real one."""
    running = []

    def start(*, says):
        running.append(Older(server, says=says))
        return running[-1]

    yield start
    for one in running:
        one.close()


def target_at(area, settings, bucket="data"):
    """Return a target."""
    return open_s3_target(DataUri.parse(f"s3://{bucket}/{area}/"), Access(), Reach(settings, 0, 0, timeout=20))


def publication(folder, area, settings, *, target=None):
    """Return the publication of `BYTES` to a folder of the server."""
    (folder / "made").mkdir(exist_ok=True)
    items = []
    for name, data in BYTES.items():
        (folder / "made" / name).write_bytes(data)
        items.append(Item(name, folder / "made" / name, Digest.of(data), len(data)))
    uri, reach = DataUri.parse(f"s3://data/{area}/"), Reach(settings, 0, 0, timeout=20, attempts=2, pause=0.01)
    return Publication(
        target_at(area, settings) if target is None else target,
        items,
        address=str(uri),
        state=folder / "state",
        reach=reach,
        source=lambda: open_s3_source(uri, Access(), reach),
    )


def seen(server, area):
    """Return what everybody sees in a folder."""
    names = [name for name in server.names() if name.startswith(f"{area}/")]
    return {name.removeprefix(f"{area}/"): server.get(name) for name in names}


def placed(target, folder, name, data):
    """Publish one file; return what is there then."""
    path = folder / f"{name}-{len(data)}"
    path.write_bytes(data)
    token = target.stage(
        name, path, Digest.of(data), len(data), before=None, note=lambda token: None, told=lambda count: None
    )
    return target.commit(name, token, replaces=None)


def race(monkeypatch, target, act):
    """Have ``act`` happen after each look of ``target`` at an object."""
    look = S3Target._head

    def raced(one, key):
        found = look(one, key)
        if one is target:
            act()
        return found

    monkeypatch.setattr(S3Target, "_head", raced)


@pytest.mark.parametrize("theirs", [b"theirs", None])
def test_what_another_wrote_after_the_look_is_not_taken_back(server, tmp_path, monkeypatch, theirs):
    """The deletion is conditional: it finds the other's object, or none."""
    area = "gone" if theirs is None else "theirs"
    target, key = target_at(area, server.settings), f"{area}/a"
    found = placed(target, tmp_path, "a", b"ours")
    race(monkeypatch, target, lambda: server.remove(key) if theirs is None else server.put(key, theirs))
    target.withdraw("a", found)
    assert theirs == server.get(key)
    target.close()


def test_what_was_put_in_place_is_taken_back_by_one_conditional_request(server, older, tmp_path):
    """Where versions are kept the version needs no condition."""
    one = older(says=False)
    for bucket, expected in (("data", ["PUT", "DELETE"]), ("versioned", ["PUT"])):
        one.conditions.clear()
        target = target_at("back", one.settings, bucket)
        target.withdraw("a", placed(target, tmp_path, "a", b"ours"))
        assert (None, expected) == (target.find("a"), one.conditions)
        target.close()


@pytest.mark.parametrize("says", [True, False])
def test_a_server_without_conditions_gets_a_look_before(server, older, tmp_path, says):
    """All is published and taken back there, too; what somebody else wrote since is left alone."""
    one, area = older(says=says), f"older {says}"
    target = target_at(area, one.settings)
    mine, other = placed(target, tmp_path, "mine", b"ours"), placed(target, tmp_path, "other", b"ours")
    assert says == target.unguarded
    server.put(f"{area}/other", b"theirs")
    target.withdraw("mine", mine)
    target.withdraw("other", other)
    with pytest.raises(ExistsError):
        placed(target, tmp_path, "other", b"ours")
    assert {"other": b"theirs"} == seen(server, area)
    target.close()


def test_a_server_that_says_that_it_knows_no_conditions_is_told_once(server, older, tmp_path):
    """Not a word where nothing is sent, or by a server that knows them."""
    for settings, area, expected in ((older(says=True).settings, "told", 1), (server.settings, "knows", 0)):
        (tmp_path / area).mkdir()
        for count in (expected, 0):
            told = []
            publish([publication(tmp_path / area, area, settings)], replace=False, sink=told.append)
            texts = [event.text for event in told if isinstance(event, Notice)]
            assert [True] * count == [f"s3://data/{area}/" in text and "If-None-Match" in text for text in texts]
        assert EXPECTED == seen(server, area)


@pytest.mark.parametrize("says", [True, False])
def test_a_failure_at_a_server_without_conditions_takes_everything_back(server, older, tmp_path, says):
    """An upload and small files alike; then it goes on."""
    one, area = older(says=says), f"failure {says}"

    class Failing(S3Target):
        def commit(self, name, token, *, replaces):
            if name == MANIFEST:
                raise DeniedError("no")
            return super().commit(name, token, replaces=replaces)

    failing = Failing(target_at(area, one.settings)._client, area)
    with pytest.raises(DeniedError):
        publish([publication(tmp_path, area, one.settings, target=failing)], replace=False, sink=ignore)
    assert {} == seen(server, area)
    assert len(BYTES) == one.conditions.count("DELETE")
    publish([publication(tmp_path, area, one.settings)], replace=False, sink=ignore)
    assert EXPECTED == seen(server, area)
