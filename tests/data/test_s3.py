"""s3:// addresses, against a real server: versions, logins, publishing, and what goes wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from repro.data.answers import Broken, NotThereError
from repro.data.sources import s3_download, s3_reading
from repro.data.sources.model import ChangedError, DeniedError, ExistsError, Found, Reach, SourceFile
from repro.data.sources.s3 import S3Target, open_s3_source, open_s3_target
from repro.data.sources.s3_publishing import SMALL
from repro.data.sources.s3_upload import PART, part_size
from repro.digest import Digest
from repro.errors import DataError, FetchError
from repro.names import DataUri
from repro.workflow.model import Access
from tests.data.between import Between, failure, proxy, reply
from tests.data.served import s3
from tests.servers import make_certificates

pytestmark = pytest.mark.skipif(bool(s3.missing()), reason=f"not here: {s3.missing()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all tests of the module: each has keys of its own."""
    with s3.s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def opened():
    """Sources and targets, closed at the end: ``opened(uri, environ, **access)``; a target where ``write`` is said."""
    all_opened = []

    def open_one(uri, environ, *, write=False, timeout=20.0, **access):
        reach = Reach(environ, os.getuid(), os.getgid(), timeout=timeout)
        opener = open_s3_target if write else open_s3_source
        all_opened.append(opener(DataUri.parse(uri), Access(**access), reach))
        return all_opened[-1]

    yield open_one
    for one in all_opened:
        one.close()


@pytest.fixture
def answering():
    """A server whose answers the test writes: ``answering(handle)``."""
    running = []

    def start(handle, tls=None):
        running.append(Between(handle, tls))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def between():
    """A proxy before the server."""
    running = proxy()
    yield running
    running.close()


def environ_of(url):
    """Return the variables of a caller whose server is at ``url``."""
    return {"AWS_ENDPOINT_URL_S3": url, "AWS_ACCESS_KEY_ID": "reproadmin", "AWS_SECRET_ACCESS_KEY": "reprosecret"}


def content(source, file, start=0):
    """Return the bytes that a source has of a file."""
    return b"".join(source.pieces(file, start))


def publish(target, name, path, *, replaces=None, before=None, note=lambda token: None, told=lambda count: None):
    """Stage a file and put it in place."""
    data = path.read_bytes()
    token = target.stage(name, path, Digest.of(data), len(data), before=before, note=note, told=told)
    return target.commit(name, token, replaces=replaces)


def staged(target, name, path):
    """Stage a file; return its token."""
    data = path.read_bytes()
    return target.stage(
        name, path, Digest.of(data), len(data), before=None, note=lambda token: None, told=lambda count: None
    )


def a_file(folder, size, seed=b"x"):
    """Return a local file of ``size`` bytes that no two parts have in common."""
    path = folder / f"file-{seed.hex()}-{size}"
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


# Reading.


def test_a_version_is_read_after_it_was_overwritten_and_deleted(server, opened):
    """What was pinned is what comes, whatever happened to the key since."""
    client = server.client()
    client.put_object(Bucket="versioned", Key="pin/a", Body=b"first")
    source = opened("s3://versioned/pin/a", server.settings)
    pinned = source.stat()
    assert pinned.version
    client.put_object(Bucket="versioned", Key="pin/a", Body=b"second")
    newest = source.stat()
    assert (newest.version, newest.size) != (pinned.version, pinned.size)
    assert content(source, pinned) == b"first"
    client.delete_object(Bucket="versioned", Key="pin/a")
    with pytest.raises(NotThereError, match="pin/a"):
        source.stat()
    assert source.stat(version=pinned.version) == pinned
    assert content(source, pinned, start=2) == b"rst"


def test_a_version_that_never_was_is_not_there(server, opened):
    """A wrong version is no wrong login and no traceback."""
    server.client().put_object(Bucket="versioned", Key="never", Body=b"x")
    with pytest.raises(NotThereError):
        opened("s3://versioned/never", server.settings).stat(version="6714e591be366bafa5bd9df991a71cd3")


def test_a_folder_of_a_versioned_bucket_lists_the_newest_versions(server, opened):
    """Deleted objects and older versions are left out; each file is pinned."""
    client = server.client()
    for key, data in (("f/a", b"1"), ("f/a", b"22"), ("f/b/c", b"333"), ("f/gone", b"4")):
        client.put_object(Bucket="versioned", Key=key, Body=data)
    client.delete_object(Bucket="versioned", Key="f/gone")
    source = opened("s3://versioned/f/", server.settings)
    files = sorted(source.files())
    assert [(file.name, file.size) for file in files] == [("a", 2), ("b/c", 3)]
    assert all(file.version for file in files)
    client.put_object(Bucket="versioned", Key="f/a", Body=b"55555")
    assert [content(source, file) for file in files] == [b"22", b"333"]


def test_bytes_that_changed_since_they_were_listed_are_refused(server, opened):
    """Without versions the ETag is what is pinned, at the first byte and at any later one."""
    server.put("drift/a", b"first")
    source = opened("s3://data/drift/", server.settings)
    (listed,) = source.files()
    assert (listed.version, content(source, listed)) == ("", b"first")
    assert listed == source.stat("a")
    server.put("drift/a", b"other")
    for start in (0, 3):
        with pytest.raises(ChangedError, match="drift/a"):
            content(source, listed, start)
    assert content(source, source.stat("a")) == b"other"


@pytest.mark.parametrize("bucket", ["data", "versioned"])
def test_odd_keys_are_taken_as_they_are(server, opened, bucket):
    """Spaces, signs of URLs, quotes and other scripts: listed and read by their names."""
    names = ["sp ace/ü+%25&=.txt", "a+b", "a%20b", "100%", "日本/β", "q'\"q", "#1", "w?versionId=2", "~x", "trail."]
    for name in names:
        server.client().put_object(Bucket=bucket, Key=f"odd/{name}", Body=name.encode())
    source = opened(f"s3://{bucket}/odd/", server.settings)
    files = list(source.files())
    assert sorted(file.name for file in files) == sorted(names)
    assert [content(source, file).decode() for file in files] == [file.name for file in files]
    single = opened(f"s3://{bucket}/odd/a%20b", server.settings)
    assert content(single, single.stat()) == b"a%20b"


@pytest.mark.parametrize("bucket", ["data", "versioned"])
@pytest.mark.parametrize(
    ("count", "page"), [(25, 7), pytest.param(2005, s3_reading.PAGE, marks=pytest.mark.judge)], ids=["short", "long"]
)
def test_lists_come_in_pages(server, opened, monkeypatch, bucket, count, page):
    """More objects than one answer has: all of them, each once."""
    client = server.client()
    monkeypatch.setattr(s3_reading, "PAGE", page)
    wanted = [f"{index:04}" for index in range(count)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=bucket, Key=f"{count}/{name}", Body=b"x"), wanted))
    files = list(opened(f"s3://{bucket}/{count}/", server.settings).files())
    assert [file.name for file in files] == wanted


def test_versions_that_cannot_be_listed_are_asked_for_one_by_one(opened, answering):
    """Who has the right to read them, but not to list them, pins them too."""
    items = "".join(f"<Contents><Key>p/{name}</Key><Size>1</Size></Contents>" for name in "abc")
    denied = failure(403, "AccessDenied")

    def handle(handler, request, body):
        if request[0] == "HEAD":
            headers = {"content-length": "1", "etag": '"e"', "x-amz-version-id": f"v{request[1][-1]}"}
            reply(handler, 200, b"", headers)
        elif "?version" in request[1] or "&version" in request[1]:
            denied(handler, request, body)
        else:
            reply(handler, 200, f"<ListBucketResult>{items}</ListBucketResult>".encode())

    source = opened("s3://bucket/p/", environ_of(answering(handle).url))
    assert list(source.files()) == [SourceFile(name, 1, f"v{name}", "e") for name in "abc"]


def test_a_list_that_never_ends_is_refused(opened, answering):
    """A server that gives the same page again and again does not hold us."""
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    running = answering(lambda handler, request, body: reply(handler, 200, page + b"</ListBucketResult>"))
    with pytest.raises(FetchError, match="how its list goes on"):
        list(opened("s3://bucket/p/", environ_of(running.url)).files())


def test_marks_of_folders_are_no_files(server, opened):
    """A key that ends in a slash makes a folder be there, and is nothing in it."""
    server.put("marked/", b"")
    server.put("marked/sub/", b"")
    assert list(opened("s3://data/marked/", server.settings).files()) == []
    server.put("marked/sub/x", b"1")
    assert [file.name for file in opened("s3://data/marked", server.settings).files()] == ["sub/x"]


@pytest.mark.parametrize(
    "key", ["p/../x", "p//x", "p/a/./x", "p/a%01b", "p/" + "n" * 256, "p/taken/x", "p/same"], ids=lambda key: key[:9]
)
def test_keys_that_are_no_paths_are_refused(opened, answering, key):
    """Nothing is written outside a folder, or over another file: the key is named instead."""
    keys = ["p/taken", "p/same", key]
    items = "".join(f"<Contents><Key>{one}</Key><Size>1</Size><ETag>e</ETag></Contents>" for one in keys)
    listing = f"<ListBucketResult><EncodingType>url</EncodingType>{items}</ListBucketResult>".encode()

    def handle(handler, request, body):
        reply(handler, 200, b"<VersioningConfiguration/>" if "versioning" in request[1] else listing)

    source = opened("s3://bucket/p/", environ_of(answering(handle).url))
    files = source.files()
    assert [next(files).name, next(files).name] == ["taken", "same"]
    with pytest.raises(FetchError, match="cannot be a path"):
        next(files)


def test_what_is_not_there_is_named(server, opened):
    """A missing key, an empty prefix and a missing bucket differ in what is said."""
    with pytest.raises(NotThereError, match="nothing-here") as missing:
        opened("s3://data/nothing-here", server.settings).stat()
    assert "no bucket" not in str(missing.value)
    with pytest.raises(NotThereError, match="no-folder"):
        list(opened("s3://data/no-folder/", server.settings).files())
    for ask in (lambda source: source.stat("x"), lambda source: list(source.files())):
        with pytest.raises(NotThereError, match="there is no bucket no-such-bucket"):
            ask(opened("s3://no-such-bucket/", server.settings))


def test_many_ranges_come_in_order_to_many_threads(server, opened, tmp_path, monkeypatch):
    """A large object is asked for in ranges; who reads from an offset gets the rest."""
    part = 1 << 20
    monkeypatch.setattr(s3_download, "RANGE", part)
    data = a_file(tmp_path, 6 * part + 12345).read_bytes()
    server.put("large", data)
    source = opened("s3://data/large", server.settings)
    file = source.stat()
    starts = [0, 1, part - 1, part, 2 * part + 7, len(data) - 1, len(data)]
    with ThreadPoolExecutor(len(starts)) as pool:
        assert [len(data) - start for start in starts] == [
            len(rest) if rest == data[start:] else -1
            for start, rest in zip(starts, pool.map(lambda start: content(source, file, start), starts), strict=True)
        ]
    pieces = source.pieces(file, 0)
    assert data.startswith(next(pieces))
    pieces.close()  # who stops early leaves nothing behind


def test_an_empty_object_is_an_empty_file(server, opened):
    """No range is asked for of what has no byte."""
    server.put("empty", b"")
    source = opened("s3://data/empty", server.settings)
    assert (source.stat().size, content(source, source.stat())) == (0, b"")


# Logins.


def test_public_data_needs_no_login(server, opened):
    """`anonymous: true` sends none; nothing else can be read so."""
    server.client().put_object(Bucket="public", Key="p/a", Body=b"for all")
    server.put("private", b"x")
    source = opened("s3://public/p/", server.anonymous_settings, anonymous=True)
    assert [content(source, file) for file in source.files()] == [b"for all"]
    with pytest.raises(DeniedError, match="private"):
        opened("s3://data/private", server.anonymous_settings, anonymous=True).stat()


def test_who_may_read_may_not_write(server, opened, tmp_path):
    """The server's refusal is told as such, for small files and for uploads."""
    server.put("shared/x", b"x")
    assert opened("s3://data/shared/x", server.reader_settings).stat().size == 1
    target = opened("s3://data/shared/", server.reader_settings, write=True)
    for size in (10, SMALL + 1):
        with pytest.raises(DeniedError, match="shared/new"):
            publish(target, "new", a_file(tmp_path, size))
    assert server.get("shared/new") is None


@pytest.mark.parametrize(
    ("login", "why"),
    [
        (("reproadmin", "wrong-secret"), "not accepted"),
        (("nobody-knows", "no-secret"), "not accepted"),
        (None, "no login"),
    ],
)
def test_a_login_that_does_not_work_is_told(server, opened, login, why):
    """A wrong one and none at all have hints of their own; no key is in a message."""
    settings = server.settings_of(*login) if login else server.anonymous_settings
    for ask in (lambda source: source.stat("x"), lambda source: list(source.files())):
        with pytest.raises(DeniedError, match=why) as refused:
            ask(opened("s3://data/", settings))
        assert refused.value.hint
        assert not any(part in str(refused.value) for part in login or ())


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (400, "ExpiredToken", DeniedError, "renew the session"),
        (403, "AccessDenied", DeniedError, "access was denied"),
        (403, "RequestTimeTooSkewed", FetchError, "clock"),
        (403, "InvalidObjectState", FetchError, "restored"),
        (301, "PermanentRedirect", FetchError, "region"),
        (501, "NotImplemented", FetchError, "NotImplemented"),
        (503, "SlowDown", Broken, "answered (503|SlowDown)"),
        (500, "InternalError", Broken, "answered (500|InternalError)"),
        (404, "NoSuchBucket", NotThereError, "no bucket bucket"),
    ],
)
def test_answers_are_told_in_plain_words(opened, answering, status, code, error, words):
    """Each code becomes the error that callers act on; the server's words about a login are not repeated."""
    source = opened("s3://bucket/key", environ_of(answering(failure(status, code)).url))
    for ask in (source.stat, lambda: content(source, SourceFile("", 1, etag="e"))):
        with pytest.raises(error, match=f"(?s){words}") as told:
            ask()
        assert type(told.value) is not Broken or told.value.pause in (None, 7.0)
        assert not any(secret in str(told.value) for secret in ("reproadmin", "reprosecret"))


def test_the_endpoint_and_login_of_a_profile_are_used(server, opened, tmp_path, monkeypatch):
    """~/.aws says it, for `profile:` and for AWS_PROFILE; another login in the process's own variables does not count."""
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "config").write_text(f"[profile lab]\nendpoint_url = {server.endpoint}\nregion = lab-1\n")
    login = f"aws_access_key_id = {s3.ADMIN[0]}\naws_secret_access_key = {s3.ADMIN[1]}\n"
    (folder / "credentials").write_text(f"[lab]\n{login}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    server.put("profiled", b"x")
    home = {"HOME": str(tmp_path)}
    assert opened("s3://data/profiled", home, profile="lab").stat().size == 1
    assert opened("s3://data/profiled", home | {"AWS_PROFILE": "lab"}).stat().size == 1
    assert opened("s3://data/profiled", server.settings).stat().size == 1
    with pytest.raises(FetchError, match="nowhere") as absent:
        opened("s3://data/profiled", home, profile="nowhere").stat()
    assert absent.value.hint


def test_the_endpoint_of_the_workflow_comes_first(server, opened):
    """`endpoint:` wins over the variable; one that is no URL is told, and so is a CA bundle that is not there."""
    server.put("endpoint", b"x")
    settings = server.settings | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    assert opened("s3://data/endpoint", settings, endpoint=server.endpoint).stat().size == 1
    with pytest.raises(FetchError, match="nonsense"):
        opened("s3://data/endpoint", settings, endpoint="nonsense").stat()
    with pytest.raises(FetchError, match="CA bundle"):
        opened("s3://data/endpoint", settings | {"AWS_CA_BUNDLE": "/nowhere.pem"}).stat()


def test_certificates_are_checked(opened, answering, tmp_path):
    """The bundle that AWS_CA_BUNDLE names is trusted, or SSL_CERT_FILE's; without it nothing is sent."""
    bundle = make_certificates(tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls/server.crt", tmp_path / "tls/server.key")
    data = os.urandom(300_000)
    running = answering(lambda handler, request, body: reply(handler, 200, data, {"etag": '"e"'}), context)
    for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        source = opened("s3://bucket/key", environ_of(running.url) | {variable: str(bundle)})
        assert content(source, source.stat()) == data
    asked = len(running.requests)
    with pytest.raises(FetchError, match="certificate") as refused:
        opened("s3://bucket/key", environ_of(running.url)).stat()
    assert "AWS_CA_BUNDLE" in refused.value.hint
    assert len(running.requests) == asked


def test_no_login_is_written_to_a_log(server, opened, caplog):
    """Also where everything is logged that the libraries have to tell."""
    caplog.set_level("DEBUG")
    server.put("logged", b"x")
    source = opened("s3://data/logged", server.settings | {"AWS_SESSION_TOKEN": "a-session-token"})
    with pytest.raises(DeniedError) as refused:
        source.stat()
    told = f"{caplog.text}{refused.value}{refused.value.__cause__!r}"
    assert not any(secret in told for secret in ("a-session-token", *s3.ADMIN, "Signature="))


def test_who_pays_is_said_with_every_request(server, opened, between, tmp_path):
    """`requester_pays: true` agrees to it, through a proxy too."""
    server.put("paid/a", b"x" * 10)
    settings = server.settings | {"http_proxy": between.url}
    source = opened("s3://data/paid/", settings, requester_pays=True)
    assert [content(source, file) for file in source.files()] == [b"x" * 10]
    target = opened("s3://data/paid/", settings, write=True, requester_pays=True)
    publish(target, "b", a_file(tmp_path, SMALL + 1))
    said = [headers.get("x-amz-request-payer") for _, url, headers in between.requests if "?versioning" not in url]
    assert len(said) > 5
    assert set(said) == {"requester"}


# Publishing.


@pytest.mark.parametrize("size", [0, 10, SMALL, SMALL + 1, 2 * PART + 5])
def test_a_file_is_published_whole_with_its_digest(server, opened, tmp_path, size):
    """Nothing is seen before the commit; then the bytes are there, and their digest beside them."""
    path = a_file(tmp_path, size)
    target = opened("s3://data/out/", server.settings, write=True)
    counts = []
    token = target.stage(f"f{size}", path, Digest.of_file(path), size, before=None, note=json.dumps, told=counts.append)
    assert sum(counts) == size
    assert server.get(f"out/f{size}") is None
    placed = target.commit(f"f{size}", json.loads(json.dumps(token)), replaces=None)
    assert server.get(f"out/f{size}") == path.read_bytes()
    head = server.client().head_object(Bucket="data", Key=f"out/f{size}")
    assert head["Metadata"]["sha256"] == Digest.of_file(path).hex
    assert target.find(f"f{size}") == placed
    assert (placed.size, placed.digest) == (size, Digest.of_file(path))
    assert target.read(f"f{size}") == path.read_bytes()
    assert target.commit(f"f{size}", token, replaces=None) == placed  # its answer may have been lost


def test_the_checksum_of_another_tool_is_taken_for_the_digest(server, opened):
    """Also without our metadata, where the server keeps the sha256 of a single part."""
    server.client().put_object(Bucket="data", Key="other/a", Body=b"abc", ChecksumAlgorithm="SHA256")
    server.put("other/b", b"abc")
    server.client().put_object(Bucket="data", Key="other/c", Body=b"abc", Metadata={"sha256": "nonsense"})
    target = opened("s3://data/other/", server.settings, write=True)
    assert [target.find(name).digest for name in "abc"] == [Digest.of(b"abc"), None, None]
    assert target.find("d") is None
    with pytest.raises(NotThereError):
        target.read("d")


@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_of_two_writers_one_wins(server, opened, tmp_path, monkeypatch, size):
    """The other comes between the look and the write, and the condition stops us."""
    ours, others = (a_file(tmp_path, size, seed) for seed in (b"ours", b"others"))
    first, second = (opened("s3://data/race/", server.settings, write=True) for _ in range(2))
    tokens = [staged(first, f"r{size}", ours), staged(second, f"r{size}", others)]
    place = S3Target._place

    def raced(target, key, token, conditions):
        if target is first:
            second.commit(f"r{size}", tokens[1], replaces=None)
        return place(target, key, token, conditions)

    monkeypatch.setattr(S3Target, "_place", raced)
    with pytest.raises(ExistsError, match="exists already"):
        first.commit(f"r{size}", tokens[0], replaces=None)
    assert server.get(f"race/r{size}") == others.read_bytes()


def test_a_server_without_conditions_is_written_to_after_a_look(opened, answering, tmp_path):
    """It says that it does not know them; nothing was there a moment ago."""
    refused = failure(501, "NotImplemented")

    def handle(handler, request, body):
        if request[0] == "HEAD":
            reply(handler, 404)
        elif "if-none-match" in request[2]:
            refused(handler, request, body)
        else:
            reply(handler, 200, b"", {"etag": '"e"'})

    running = answering(handle)
    target = opened("s3://bucket/p/", environ_of(running.url), write=True)
    assert publish(target, "a", a_file(tmp_path, 10)).etag == "e"
    assert running.count("PUT") == 2


def test_what_a_look_finds_is_not_written_over(opened, answering, tmp_path):
    """A server that ignores conditions is not even asked to."""
    running = answering(lambda handler, request, body: reply(handler, 200, b"", {"etag": '"now"'}))
    target = opened("s3://bucket/p/", environ_of(running.url), write=True)
    for replaces in (None, Found(10, etag="before")):
        with pytest.raises(ExistsError):
            publish(target, "a", a_file(tmp_path, 10), replaces=replaces)
    assert running.count("PUT") == 0


@pytest.mark.parametrize("size", [10, SMALL + 1])
def test_only_what_was_seen_is_replaced(server, opened, tmp_path, size):
    """Another state than the one that was looked at stays; that one goes."""
    path = a_file(tmp_path, size)
    target = opened("s3://data/replaced/", server.settings, write=True)
    server.put(f"replaced/r{size}", b"old")
    seen = target.find(f"r{size}")
    with pytest.raises(ExistsError):
        publish(target, f"r{size}", path)
    server.put(f"replaced/r{size}", b"changed since")
    with pytest.raises(ExistsError):
        publish(target, f"r{size}", path, replaces=seen)
    assert server.get(f"replaced/r{size}") == b"changed since"
    publish(target, f"r{size}", path, replaces=target.find(f"r{size}"))
    assert server.get(f"replaced/r{size}") == path.read_bytes()


def test_what_was_put_in_place_is_taken_back(server, opened, tmp_path):
    """The version before is the newest again; without versions it is deleted, unless it is another's by now."""
    client = server.client()
    client.put_object(Bucket="versioned", Key="back/a", Body=b"before")
    target = opened("s3://versioned/back/", server.settings, write=True)
    placed = publish(target, "a", a_file(tmp_path, 10), replaces=target.find("a"))
    assert placed.version
    target.withdraw("a", placed)
    assert client.get_object(Bucket="versioned", Key="back/a")["Body"].read() == b"before"
    plain = opened("s3://data/back/", server.settings, write=True)
    placed = publish(plain, "a", a_file(tmp_path, 10))
    plain.withdraw("a", placed)
    plain.withdraw("a", placed)
    assert server.get("back/a") is None
    placed = publish(plain, "b", a_file(tmp_path, 10))
    server.put("back/b", b"another's")
    plain.withdraw("b", placed)
    assert server.get("back/b") == b"another's"


def uploads(server, key):
    """Return the identities of the uploads of a key that are under way."""
    listed = server.client().list_multipart_uploads(Bucket="data", Prefix=key).get("Uploads", [])
    return [upload["UploadId"] for upload in listed if upload["Key"] == key]


def test_a_discarded_upload_leaves_nothing(server, opened, tmp_path):
    """Its parts are no longer paid for; discarding again is no error, committing is."""
    target = opened("s3://data/discarded/", server.settings, write=True)
    token = staged(target, "a", a_file(tmp_path, SMALL + 1))
    assert len(uploads(server, "discarded/a")) == 1
    target.discard("a", token)
    target.discard("a", token)
    target.discard("b", staged(target, "b", a_file(tmp_path, 5)))
    assert uploads(server, "discarded/a") == []
    with pytest.raises(NotThereError):
        target.commit("a", token, replaces=None)


def test_a_file_that_was_altered_is_not_published(server, opened, tmp_path):
    """The bytes are hashed as they are sent, and again where they are sent at the end."""
    target = opened("s3://data/altered/", server.settings, write=True)
    for size, found in ((10, 10), (SMALL + 10, SMALL + 10), (SMALL + 10, SMALL + 9), (SMALL + 10, PART + 9)):
        path = a_file(tmp_path, found)
        with pytest.raises(DataError, match="other bytes"):
            target.stage("a", path, Digest.of(b""), size, before=None, note=lambda t: None, told=lambda n: None)
    assert uploads(server, "altered/a") == []
    path = a_file(tmp_path, 10)
    token = staged(target, "a", path)
    path.write_bytes(b"y" * 10)
    with pytest.raises(DataError, match="other bytes"):
        target.commit("a", token, replaces=None)
    assert server.get("altered/a") is None
    with pytest.raises(DataError, match="cannot be read"):
        target.stage("a", tmp_path / "no", Digest.of(b""), 9, before=None, note=lambda t: None, told=lambda n: None)


_UPLOADS = """
import json, os, pathlib, signal, sys
from repro.data.sources.model import Reach
from repro.data.sources.s3 import open_s3_target
from repro.digest import Digest
from repro.names import DataUri
from repro.workflow.model import Access

path, noted = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
target = open_s3_target(DataUri.parse("s3://data/resumed/"), Access(), Reach(dict(os.environ), 0, 0))
arrived = []

def told(count):
    arrived.append(count)
    if len(arrived) == 1:
        os.kill(os.getpid(), signal.SIGKILL)

target.stage("a", path, Digest.of_file(path), path.stat().st_size, before=None,
             note=lambda token: noted.write_text(json.dumps(token)), told=told)
"""


def test_an_upload_goes_on_where_it_was_killed(server, opened, between, tmp_path):
    """What had arrived is not sent again, nor lost when the server dies as well."""
    path, noted = a_file(tmp_path, 5 * PART + 1), tmp_path / "token"
    settings = {"PATH": os.environ["PATH"], **server.settings}
    killed = subprocess.run([sys.executable, "-c", _UPLOADS, path, noted], env=settings, check=False)
    assert killed.returncode == -signal.SIGKILL
    server.kill()
    server.start()
    token = json.loads(noted.read_text())
    listed = server.client().list_parts(Bucket="data", Key="resumed/a", UploadId=token["upload"])["Parts"]
    assert 1 <= len(listed) < 6
    target = opened("s3://data/resumed/", server.settings | {"http_proxy": between.url}, write=True)
    counts = []
    publish(target, "a", path, before=token, told=counts.append)
    assert between.count("PUT", "partNumber=") == 6 - len(listed)
    assert between.count("POST", "uploads") == 0
    assert sum(counts) == path.stat().st_size
    assert Digest.of(server.get("resumed/a")) == Digest.of_file(path)


def test_an_upload_of_other_bytes_is_begun_anew(server, opened, tmp_path):
    """A token of another file, or one whose upload is gone, counts for nothing; a part that differs is sent again."""
    target = opened("s3://data/anew/", server.settings, write=True)
    one, other = (a_file(tmp_path, PART + 9, seed) for seed in (b"1", b"2"))
    first = staged(target, "a", one)
    publish(target, "a", other, before=first)
    assert server.get("anew/a") == other.read_bytes()
    target.discard("a", first)
    publish(target, "b", one, before=first)
    assert server.get("anew/b") == one.read_bytes()
    third = staged(target, "c", one)
    publish(target, "c", other, before={**third, "sha256": Digest.of_file(other).hex})
    assert server.get("anew/c") == other.read_bytes()


def test_parts_are_as_many_as_are_allowed():
    """An object of 5 TB fits into 10,000 parts of whole MiB."""
    assert part_size(1) == part_size(10_000 * PART) == PART
    assert part_size(10_000 * PART + 1) == PART + (1 << 20)
    assert 5 << 40 <= 10_000 * part_size(5 << 40)


# Faults.


def test_a_server_that_ignores_ranges_is_read_in_one_stream(opened, answering):
    """All bytes come from the first one on, and those before the offset are passed over."""
    data = os.urandom(2 * PART + 3)
    running = answering(lambda handler, request, body: reply(handler, 200, data, {"etag": '"e"'}))
    source = opened("s3://bucket/key", environ_of(running.url))
    for start in (0, 5, PART + 1):
        assert content(source, SourceFile("", len(data), etag="e"), start) == data[start:]


@pytest.mark.parametrize(
    ("described", "etag", "error"),
    [
        ("bytes 5-9/10", "e", None),
        ("bytes 0-4/10", "e", Broken),
        ("bytes 5-9/11", "e", ChangedError),
        ("bytes 5-9/10", "f", ChangedError),
    ],
)
def test_an_answer_about_other_bytes_is_refused(opened, answering, described, etag, error):
    """Also by a server that does not know If-Match."""
    headers = {"content-range": described, "etag": f'"{etag}"'}
    running = answering(lambda handler, request, body: reply(handler, 206, b"56789", headers))
    source = opened("s3://bucket/key", environ_of(running.url))
    if error is None:
        assert content(source, SourceFile("", 10, etag="e"), 5) == b"56789"
    else:
        with pytest.raises(error):
            content(source, SourceFile("", 10, etag="e"), 5)


def test_a_truncated_body_gives_what_came_and_breaks(opened, answering):
    """The caller goes on from where it ended."""
    data = os.urandom(500_000)

    def handle(handler, request, body):
        start = int(request[2].get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        described = {"content-range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        announced = {"content-length": str(len(data) - start), "etag": '"e"', **described}
        reply(handler, 206 if start else 200, data[start:400_000] if not start else data[start:], announced)
        handler.close_connection = True

    source = opened("s3://bucket/key", environ_of(answering(handle).url))
    file, came = SourceFile("", len(data), etag="e"), b""
    with pytest.raises(Broken):
        for piece in source.pieces(file, 0):
            came += piece
    assert came == data[: len(came)]
    assert len(came) == 400_000
    assert came + content(source, file, len(came)) == data


def test_a_silent_server_is_not_waited_for_long(opened, answering):
    """The timeout is that of silence, and what it ends may be tried again."""
    running = answering(lambda handler, request, body: time.sleep(3))
    source = opened("s3://bucket/key", environ_of(running.url), timeout=0.3)
    began = time.monotonic()
    with pytest.raises(Broken, match="no answer from 127"):
        source.stat()
    assert time.monotonic() - began < 2.5


def test_a_server_that_dies_breaks_the_transfer(server, opened, tmp_path, monkeypatch):
    """While it is down nothing can be read or sent; when it is back, the same source and upload go on."""
    monkeypatch.setattr(s3_download, "RANGE", 1 << 20)
    path = a_file(tmp_path, 2 * PART)
    server.put("dies", path.read_bytes())
    source = opened("s3://data/dies", server.settings, timeout=5)
    target = opened("s3://data/died/", server.settings, write=True, timeout=5)
    file = source.stat()
    pieces = source.pieces(file, 0)
    came = next(pieces)
    server.kill()
    try:
        with pytest.raises(Broken):
            for piece in pieces:
                came += piece
        with pytest.raises(Broken, match=r"cannot connect to 127|broke"):
            source.stat()
        with pytest.raises(Broken):
            publish(target, "a", path)
    finally:
        server.start()
    assert came + content(source, file, len(came)) == path.read_bytes()
    publish(target, "a", path)
    assert Digest.of(server.get("died/a")) == Digest.of_file(path)
