"""`repro image pull` and `push` with a registry that lies: it is refused by name, and nothing wrong is kept.

A real docker-registry is behind a man in the middle. Whatever he says, the store is sound afterwards and has no image,
and the same command against the honest registry works.
"""

from __future__ import annotations

import json

import pytest

from repro.digest import Digest
from repro.oci.model import MediaTypes
from tests.faults.bench import Bench
from tests.faults.lab import BIG, SMALL, pull_name, pull_refused, pulls, push_name, push_refused, pushes
from tests.faults.middleman import Answer, Middleman, changed, instead
from tests.registry.scripted import endless

RARE = pytest.mark.judge  # beside another lie that the same code finds


# Lies about what is pulled


def _blob(lab, image="small"):
    return f"/blobs/{lab.layer(image)['digest']}"


def _flipped(answer):
    middle = len(answer.data) // 2
    answer.data = answer.data[:middle] + bytes([answer.data[middle] ^ 1]) + answer.data[middle + 1 :]


def _torn(answer):
    answer.length = len(answer.data)
    answer.data = answer.data[:-10]


def _shorter(answer):
    answer.data = answer.data[:-10]


def _longer(answer):
    answer.data += b"more!"


def _another(answer):
    answer.data = answer.data[::-1]


def _page(answer):
    answer.data, answer.headers = b"<html>Welcome to the hotel!</html>", {"Content-Type": "text/html"}


def _relabelled(answer):
    answer.headers["Docker-Content-Digest"] = str(Digest.of(b"another"))


def _bytes_without_length(handler):
    handler.take()
    endless(handler)


@pytest.mark.parametrize(
    ("path", "lie", "said"),
    [
        ("blob", changed(_flipped), "cannot fetch blob sha256:.*\n.*other bytes than asked for came: sha256:"),
        ("blob", changed(_torn), r"truncated|broke.*tried 2 times"),
        ("blob", changed(_shorter), r"it has \d+ bytes instead of \d+"),
        pytest.param("blob", changed(_longer), r"it has \d+ bytes instead of \d+", marks=RARE),
        pytest.param("blob", changed(_another), "other bytes than asked for came", marks=RARE),
        ("blob", changed(_page), r"34 bytes instead of \d+"),
        ("blob", _bytes_without_length, r"more than the \d+ bytes expected"),
        ("blob", instead(307, Location="/v2/faults/small/blobs/sha256:" + "0" * 64), r"404|redirections"),
        pytest.param("blob", instead(404, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}', Content_Type="application/json"), "404", marks=RARE),
        ("tag", changed(_relabelled), "the bytes that came are those of sha256:.*, not of"),
        ("tag", changed(_flipped), "the bytes that came are those of|no manifest"),
        ("tag", changed(_page), "what came is no manifest[\\s\\S]*log in to this network"),
        ("tag", _bytes_without_length, "more than 4194304 bytes"),
        ("config", changed(_flipped), "other bytes than asked for came"),
    ],
    ids=["flipped", "torn", "shorter", "longer", "another", "page", "endless", "astray", "gone", "relabelled", "rewritten",
         "hotel", "endless-manifest", "config"],
)  # fmt: skip
def test_lies_are_refused(lab, middle, reader, path, lie, said):
    """Other bytes, lengths and digests than were asked for."""
    config = json.loads(lab.manifests["small"])["config"]["digest"]
    place = {"blob": _blob(lab), "tag": "/manifests/1$", "config": f"/blobs/{config}"}[path]
    middle.rule("GET", place, lie)
    pull_refused(reader, pull_name(middle), said)
    pulls(reader, lab, middle)


def test_a_manifest_by_its_digest(lab, middle, reader):
    """The registry cannot give another image for a digest."""
    asked = Digest.of(lab.manifests["small"])
    middle.rule("GET", f"/manifests/{asked}", instead(200, lab.manifests["big"], Content_Type=MediaTypes.MANIFEST))
    name = f"{middle.host}/faults/small@{asked}"
    pull_refused(reader, name, f"those of {Digest.of(lab.manifests['big'])}, not of {asked}")
    middle.honest()
    reader.works("image", "pull", name)
    assert reader.image(name) == lab.ids["small"]


def test_redirections_end(lab, middle, reader):
    """A circle is left, and named."""
    middle.rule("GET", "/blobs/", instead(307, Location=f"http://{middle.host}/v2/faults/small{_blob(lab)}"))
    pull_refused(reader, pull_name(middle), "more than 5 redirections")
    pulls(reader, lab, middle)


def _crafted(lab, middle, change):
    """Have the tag stand for a manifest and a config that ``change`` altered; all digests fit what came."""
    manifest = json.loads(lab.manifests["small"])
    old = manifest["config"]["digest"]
    config = json.loads((lab.author.store / "blobs/sha256" / old.removeprefix("sha256:")).read_bytes())
    change(manifest, config)
    data = json.dumps(config).encode()
    manifest["config"].update(digest=str(Digest.of(data)), size=manifest["config"].pop("lie", len(data)))
    middle.rule("GET", f"/blobs/{Digest.of(data)}", instead(200, data))
    middle.rule("GET", "/manifests/1$", instead(200, json.dumps(manifest).encode(), Content_Type=MediaTypes.MANIFEST))


def _swap(manifest, config):
    config["rootfs"]["diff_ids"].reverse()


def _forget_one(manifest, config):
    config["rootfs"]["diff_ids"].pop()


def _larger_layer(manifest, config):
    manifest["layers"][0]["size"] += 1


def _larger_config(manifest, config):
    manifest["config"]["lie"] = 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_swap, "the bytes of layer|diffID|not its own"),
        (_forget_one, "its config has 1 layers, its manifest 2"),
        (_larger_layer, r"\d+ bytes instead of \d+"),
        (_larger_config, r"\d+ bytes instead of 9"),
    ],
)
def test_images_that_do_not_agree_with_themselves(lab, middle, reader, change, said):
    """Digests fit, and the config, the sizes or the layers do not."""
    _crafted(lab, middle, change)
    pull_refused(reader, pull_name(middle), said)
    pulls(reader, lab, middle)


def test_other_ranges_than_asked_for(lab, middle, tmp_path):
    """A registry may ignore Range, and one that gives another part is asked again from the start."""
    reader = Bench(tmp_path / "reader", middle.host, attempts=3)
    blob = _blob(lab)
    whole = changed(lambda answer: None)

    def ignores(handler):
        del handler.headers["Range"]
        handler.pass_on()

    def another_part(handler):
        assert handler.headers["Range"].startswith("bytes=")
        handler.headers.replace_header("Range", "bytes=7-")
        handler.pass_on()

    for act in (ignores, another_part):
        middle.rule("GET", blob, changed(_torn), act, whole)
        reader.works("image", "pull", pull_name(middle))
        ranges = [seen.headers.get("Range") for seen in middle.seen if seen.path.endswith(blob)]
        size = lab.layer()["size"]
        assert ranges[:2] == [None, f"bytes={size - 10}-"]
        assert reader.image(pull_name(middle)) == lab.ids["small"]
        middle.honest()
        reader.works("image", "rm", "-f", pull_name(middle))
        reader.works("store", "gc", "--cache")
    pulls(reader, lab, middle)


def test_a_redirection_takes_no_login_along(lab, middle, reader):
    """A blob may lie with another server, which is not told who we are."""
    reader.log_in(middle.host, "me", "s3cret")

    def asks(handler):
        if "Authorization" not in handler.headers:
            handler.give(Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}, b""))
        elif "/blobs/" in handler.path:
            handler.give(Answer(307, {"Location": f"http://{storage.host}{handler.path}"}, b""))
        else:
            handler.pass_on()

    with Middleman(lab.server.host) as storage:
        middle.rule("GET", "", asks)
        reader.works("image", "pull", pull_name(middle))
        assert len(storage.seen) == 3
        assert [seen for seen in storage.seen if "Authorization" in seen.headers] == []
    assert reader.image(pull_name(middle)) == lab.ids["small"]


# Lies about what is pushed


@pytest.fixture
def writer(tmp_path, middle):
    """A bench with an image ``small`` that the registry has not, named for the man in the middle."""
    bench = Bench(tmp_path / "writer", middle.host)
    bench.make(push_name(middle), SMALL, 20_000)
    return bench


def _other_range(answer):
    answer.headers["Range"] = "0-99"


@pytest.mark.parametrize(
    ("method", "path", "lie", "said"),
    [
        ("PUT", "/manifests/", changed(_relabelled), "the registry has it as sha256:"),
        ("PUT", "/uploads/", changed(_relabelled), "the registry has it as sha256:"),
        pytest.param(
            "PUT",
            "/uploads/",
            instead(201, b"", Docker_Content_Digest=f"sha256:{'0' * 64}"),
            "the registry has it as",
            marks=RARE,
        ),
        ("HEAD", "/blobs/sha256:", instead(200), r"of 0 bytes instead of \d+"),
        pytest.param("POST", "/uploads/", instead(202), "does not say where", marks=RARE),
        ("POST", "/uploads/", instead(202, Location="file:///etc/passwd"), "leads to .* which is not followed"),
        ("POST", "/uploads/", instead(200, b"<html>", Content_Type="text/html"), "answered 200 OK, which is no"),
    ],
    ids=["manifest", "blob", "not-kept", "head-size", "nowhere", "file", "hotel"],
)
def test_lies_about_a_push(lab, middle, writer, method, path, lie, said):
    """Other digests than were sent, and uploads that lead nowhere."""
    middle.rule(method, path, lie)
    push_refused(writer, push_name(middle), said)
    pushes(lab, writer, middle)


def test_a_blob_that_is_not_there(lab, middle, writer):
    """A registry that has, so it says, what it has not, refuses the manifest; the error names why."""

    def has(handler):
        handler.head(200, {"Docker-Content-Digest": handler.path.rpartition("/")[2]}, None)
        handler.close_connection = True

    middle.rule("HEAD", "/blobs/", has)
    push_refused(writer, push_name(middle), "cannot write .*\n.*400 Bad Request: .*blob unknown")
    pushes(lab, writer, middle)


def test_a_count_that_is_wrong(lab, middle, tmp_path):
    """A registry that has, so it says, less than was sent."""
    writer = Bench(tmp_path / "writer", middle.host)
    writer.make(push_name(middle), BIG)
    middle.rule("PATCH", "/uploads/", changed(_other_range))
    push_refused(writer, push_name(middle), r"\d+ bytes were sent and the registry has 100")
    pushes(lab, writer, middle)


def test_an_upload_on_another_host(lab, middle, writer):
    """It goes there, without the login."""
    writer.log_in(middle.host, "me", "s3cret")

    def asks(handler):
        if "Authorization" in handler.headers:
            handler.pass_on()
        else:
            handler.take()
            handler.give(Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}, b""))

    def elsewhere(answer):
        answer.headers["Location"] = answer.headers["Location"].replace(middle.host, storage.host)

    with Middleman(lab.server.host) as storage:
        middle.rule("POST", "/uploads/", instead(401, WWW_Authenticate='Basic realm="x"'), changed(elsewhere))
        middle.rule("PUT", "/manifests/", asks)
        writer.works("image", "push", push_name(middle))
        assert {seen.method for seen in storage.seen} == {"PUT"}
        assert [seen for seen in storage.seen if "Authorization" in seen.headers] == []
    pushes(lab, writer, middle)
