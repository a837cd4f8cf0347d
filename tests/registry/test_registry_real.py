"""The client against docker-registry: nobody, a password over TLS, bearer tokens."""

from __future__ import annotations

import io
import os
import shutil
import threading
from pathlib import Path

import pytest

from repro.data.answers import NotThereError
from repro.data.transports import _Memory
from repro.digest import Digest
from repro.errors import FetchError
from repro.oci.model import Descriptor, Manifest, MediaTypes
from repro.registry import auth, listing, sending
from repro.registry.answers import DeniedError, UnknownManifestError, UnknownNameError
from repro.registry.client import Registry
from repro.registry.credentials import Credentials, Login
from repro.registry.mirrors import endpoints
from repro.registry.settings import Mirror, Settings, Trust
from tests.registry.conftest import QUICK
from tests.registry.cutter import Cutter
from tests.registry.small import push_small, upload_blob
from tests.servers import IDENTITY, PASSWORD, USER

ME = Login(USER, PASSWORD, source="the test")


def _fetched(registry, path, digest, size=None):
    memory = _Memory()
    registry.download(path, digest, memory, size=size)
    return bytes(memory.data)


def test_an_image_goes_and_comes_back(plain, connect):
    """Blobs and the manifest come back byte by byte, by tag and by digest."""
    registry = connect(plain.host, insecure=True)
    assert registry.head_manifest("real/round", "one") is None
    manifest, digest = push_small(registry, "real/round", "one")
    for reference in ("one", digest):
        assert (manifest, MediaTypes.MANIFEST, digest) == registry.manifest("real/round", reference)
        expected = Descriptor(MediaTypes.MANIFEST, digest, len(manifest))
        assert expected == registry.head_manifest("real/round", reference)
    assert b"a layer" == _fetched(registry, "real/round", Digest.of(b"a layer"), 7)
    assert registry.has_blob("real/round", Digest.of(b"a layer"), 7)
    assert not registry.has_blob("real/round", Digest.of(b"other"))


def test_what_is_not_there_is_told_apart(plain, connect):
    """A missing repository, a missing tag and a missing blob are errors of their own."""
    registry = connect(plain.host, insecure=True)
    push_small(registry, "real/there", "one")
    with pytest.raises(UnknownNameError, match="no such repository"):
        registry.tags("real/nowhere")
    with pytest.raises(UnknownManifestError, match="no such tag or digest"):
        registry.manifest("real/there", "two")
    with pytest.raises(NotThereError):
        _fetched(registry, "real/there", Digest.of(b"no"))
    with pytest.raises(FetchError, match=r"MANIFEST|blob") as caught:
        config = Descriptor(MediaTypes.CONFIG, Digest.of(b"no"), 2)
        registry.put_manifest("real/there", "x", Manifest(config, ()).to_json(), MediaTypes.MANIFEST)
    assert "400 Bad Request" in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 4096, 5001])
def test_blobs_of_any_size(plain, connect, monkeypatch, size):
    """In one piece, in chunks, and at the edges; the progress adds up to the size."""
    monkeypatch.setattr(sending, "MONOLITHIC", 1000)
    monkeypatch.setattr(sending, "CHUNK", 1024)
    registry = connect(plain.host, insecure=True)
    data = os.urandom(size)
    told = []
    registry.upload("real/sizes", Digest.of(data), size, io.BytesIO(data), told.append)
    assert size == sum(told)
    assert data == _fetched(registry, "real/sizes", Digest.of(data), size)


def test_a_source_can_be_opened_at_an_offset(plain, connect, monkeypatch, tmp_path):
    """A function that opens the bytes is as good as a file; what it opens is closed."""
    monkeypatch.setattr(sending, "MONOLITHIC", 10)
    monkeypatch.setattr(sending, "CHUNK", 1000)
    data = os.urandom(2500)
    opened = []

    def source(offset):
        opened.append((offset, io.BytesIO(data[offset:])))
        return opened[-1][1]

    connect(plain.host, insecure=True).upload("real/opened", Digest.of(data), len(data), source)
    assert [(0, True), (1000, True), (2000, True)] == [(offset, file.closed) for offset, file in opened]


def test_a_blob_is_mounted_from_another_repository(plain, connect):
    """It is there without its bytes being sent; what cannot be mounted can be uploaded at once."""
    registry = connect(plain.host, insecure=True)
    digest = upload_blob(registry, "real/from", b"mounted")
    assert registry.mount("real/to", digest, "real/from")
    assert b"mounted" == _fetched(registry, "real/to", digest)
    other = Digest.of(b"other")
    assert not registry.mount("real/to", other, "real/from")
    registry.upload("real/to", other, 5, io.BytesIO(b"other"))
    assert registry.has_blob("real/to", other, 5)


def test_names_come_in_pages(plain, connect, monkeypatch):
    """All tags and repositories are listed, however few the registry tells at once."""
    monkeypatch.setattr(listing, "PAGE", 2)
    registry = connect(plain.host, insecure=True)
    for number in range(5):
        push_small(registry, "real/tags", f"t{number}")
        push_small(registry, f"real/list{number}", "x")
    assert ("t0", "t1", "t2", "t3", "t4") == registry.tags("real/tags")
    assert {f"real/list{number}" for number in range(5)} <= set(registry.catalog())


def test_wrong_bytes_are_refused(plain, connect):
    """Bytes that are not those of the digest never get in, and the error says whose mistake it is."""
    with pytest.raises(Exception, match="the bytes have the digest sha256:") as caught:
        connect(plain.host, insecure=True).upload("real/wrong", Digest.of(b"a"), 1, io.BytesIO(b"b"))
    assert "data" == caught.value.code
    with pytest.raises(Exception, match="ends after 1 of 2 bytes"):
        connect(plain.host, insecure=True).upload("real/wrong", Digest.of(b"ab"), 2, io.BytesIO(b"a"))


def test_plain_http_needs_the_users_word(plain, connect):
    """Without `insecure` nothing is asked in plain HTTP, the loopback included; the error has the lines to write."""
    with pytest.raises(FetchError) as caught:
        connect(plain.host).ping()
    assert f'[registry."{plain.host}"]\n         insecure = true' in str(caught.value)
    assert "registries.toml" in str(caught.value)


def test_a_tls_registry_that_is_called_insecure(tls, connect):
    """The other way round it is told as well."""
    with pytest.raises(FetchError, match="remove `insecure = true`"):
        connect(tls.host, insecure=True).ping()


def test_an_unknown_authority_is_refused(tls, connect):
    """A certificate that nobody vouches for ends it; the error has the lines to write."""
    with pytest.raises(FetchError, match=r"certificate of .* was not accepted") as caught:
        connect(tls.host, login=ME).ping()
    assert f'[registry."{tls.host}"]\n         ca = ' in str(caught.value)


def test_ways_to_trust_an_authority(tls, connect, environ):
    """By the settings, by podman's certs.d, by SSL_CERT_FILE, or not at all."""
    assert connect(tls.host, login=ME, authorities=(str(tls.authority),)).ping()
    assert connect(tls.host, login=ME, verify=False).ping()
    assert connect(tls.host, login=ME, environ={**environ, "SSL_CERT_FILE": str(tls.authority)}).ping()
    folder = Path(environ["HOME"], ".config/containers/certs.d", tls.host)
    folder.mkdir(parents=True)
    shutil.copy(tls.authority, folder / "lab.crt")
    settings = Settings.load(environ)
    registry = Registry(tls.host, settings, Credentials(environ), environ, login=ME, timing=QUICK)
    assert registry.ping()
    registry.close()
    folder.joinpath("lab.crt").write_text("no certificate")
    with pytest.raises(FetchError, match=r"lab\.crt cannot be used"):
        Registry(tls.host, settings, Credentials(environ), environ, login=ME, timing=QUICK).ping()


def test_basic_authentication(tls, connect, environ):
    """With the login in podman's file an image is pushed; without, or with a wrong one, it is denied."""
    trust = {"authorities": (str(tls.authority),)}
    with pytest.raises(DeniedError, match=f"no login for {tls.host} is known") as caught:
        connect(tls.host, **trust).tags("real/x")
    assert f"repro registry login {tls.host}" in caught.value.hint
    kept = Credentials(environ).store(tls.host, USER, PASSWORD)
    push_small(connect(tls.host, **trust), "real/basic", "one")
    assert ("one",) == connect(tls.host, **trust).tags("real/basic")
    Credentials(environ).store(tls.host, USER, "not-the-password")
    with pytest.raises(DeniedError) as caught:
        connect(tls.host, **trust).manifest("real/basic", "one")
    assert f"asked as {USER!r}, from {kept}" in str(caught.value)
    assert "not-the-password" not in str(caught.value)
    assert 4 == caught.value.exit_status


def test_bearer_tokens(tokens, connect):
    """Anybody pulls; only who has a login pushes; one token serves all requests for a repository."""
    registry = connect(tokens.host, insecure=True, login=ME, writes=True)
    tokens.tokens.requests.clear()
    manifest, digest = push_small(registry, "real/tokens", "one")
    assert manifest == registry.manifest("real/tokens", digest).data
    scopes = [(asked["account"], asked.get("scope")) for asked in tokens.tokens.requests]
    assert [([USER], ["repository:real/tokens:pull,push"])] == scopes
    stranger = connect(tokens.host, insecure=True)
    assert manifest == stranger.manifest("real/tokens", "one").data
    with pytest.raises(DeniedError, match="no login"):
        upload_blob(stranger, "real/tokens", b"a stranger's")
    with pytest.raises(DeniedError, match="wrong password"):
        connect(tokens.host, insecure=True, login=Login(USER, "no", source="f")).ping()


def test_a_mount_asks_for_both_repositories(tokens, connect):
    """The token for a mount allows reading the other repository."""
    registry = connect(tokens.host, insecure=True, login=ME, writes=True)
    digest = upload_blob(registry, "real/token-from", b"mounted by token")
    assert registry.mount("real/token-to", digest, "real/token-from")


def test_an_identity_token_is_exchanged(tokens, connect):
    """docker's identitytoken gives tokens through OAuth2; a wrong one is denied."""
    registry = connect(tokens.host, insecure=True, login=Login("", "", IDENTITY, "f"), writes=True)
    upload_blob(registry, "real/identity", b"pushed")
    with pytest.raises(DeniedError, match="asked as an identity token, from f"):
        connect(tokens.host, insecure=True, login=Login("", "", "wrong", "f"), writes=True).tags("real/identity")


def test_a_registry_token_is_sent_as_it_is(tokens, connect):
    """docker's registrytoken goes to the registry, and no other is asked for; one that is not accepted is denied."""
    token = tokens.tokens.token("lab", ["repository:real/passed:pull,push"], USER)
    tokens.tokens.requests.clear()
    registry = connect(tokens.host, insecure=True, login=Login("", "", source="f", token=token), writes=True)
    upload_blob(registry, "real/passed", b"pushed with a token")
    assert [] == tokens.tokens.requests
    with pytest.raises(DeniedError, match="asked as the owner of a registry token, from f"):
        upload_blob(registry, "real/other", b"without the right")
    with pytest.raises(DeniedError, match="asked as the owner of a registry token, from f"):
        connect(tokens.host, insecure=True, login=Login("", "", source="f", token="wrong")).tags("real/passed")


def test_many_threads_ask_for_one_token(tokens, connect):
    """While one thread asks the others wait, and all use what it gets."""
    digest = upload_blob(connect(tokens.host, insecure=True, login=ME), "real/threads", b"shared")
    registry = connect(tokens.host, insecure=True)
    tokens.tokens.requests.clear()
    tokens.tokens.delay = 0.1
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(registry.has_blob("real/threads", digest))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens.tokens.delay = 0.0
    assert ([True] * 8, 1) == (found, len(tokens.tokens.requests))


def test_a_token_is_renewed_before_it_ends(tokens, connect, monkeypatch):
    """A token whose time is nearly over is not used any more."""
    registry = connect(tokens.host, insecure=True, login=ME)
    digest = upload_blob(registry, "real/renewed", b"x")
    tokens.tokens.requests.clear()
    now = auth.time.monotonic
    monkeypatch.setattr(auth.time, "monotonic", lambda: now() + 0.9 * tokens.tokens.lifetime)
    assert registry.has_blob("real/renewed", digest)
    assert 1 == len(tokens.tokens.requests)


def test_a_mirror_is_asked_first(plain, tokens, connect, environ):
    """Mirrors come before the registry, each below its prefix; a mirror without the blob says so."""
    digest = upload_blob(connect(plain.host, insecure=True), "hub/real/tool", b"from the mirror")
    mirrors = (Mirror(plain.host, "hub"), Mirror(plain.host, "empty"))
    trust = {plain.host: Trust(insecure=True), tokens.host: Trust(insecure=True, mirrors=mirrors)}
    first, second, last = endpoints(tokens.host, Settings("f", trust), Credentials(environ), environ, timing=QUICK)
    assert b"from the mirror" == _fetched(first, "real/tool", digest)
    for other in (second, last):
        with pytest.raises(FetchError, match=r"404|denied"):
            _fetched(other, "real/tool", digest)
    assert [f"{plain.host}/hub/x", f"{plain.host}/empty/x", f"{tokens.host}/x"] == [
        one.name("x") for one in (first, second, last)
    ]
    for one in (first, second, last):
        one.close()


def test_a_breaking_road_to_a_real_registry(plain, connect, monkeypatch):
    """docker-registry keeps what came before a break: it is resumed both ways, and the bytes are the right ones."""
    monkeypatch.setattr(sending, "MONOLITHIC", 1000)
    monkeypatch.setattr(sending, "CHUNK", 1_000_000)
    data = os.urandom(3_000_000)
    digest = Digest.of(data)
    told = []
    with Cutter(plain.host, up=(1_500_000, 700_000, 300_000)) as road:
        connect(road.host, insecure=True).upload("real/broken", digest, len(data), io.BytesIO(data), told.append)
        assert (3, len(data)) == (road.cut, sum(told))
    with Cutter(plain.host, down=(1_000_000, 1_500_000)) as road:
        assert data == _fetched(connect(road.host, insecure=True), "real/broken", digest, len(data))
        assert 2 == road.cut
