"""Servers of data that answer wrongly, or refuse: each answer through HTTP, each login of every protocol."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from repro.digest import Digest
from tests.data.served.s3 import READER
from tests.faults.data_lab import MIB, Desk, Wired, some_bytes, some_of
from tests.faults.middleman import Answer, Middleman, Seen, changed, instead

DATA = some_bytes(3 * MIB, "answers")
_ERROR = "<Error><Code>{code}</Code><Message>reproadmin may not</Message></Error>"


@pytest.fixture
def work(servers_of_data, machines, tmp_path):
    """A function that puts bytes at a server, and declares them as the input ``one``: gives the server, a machine."""

    def work(kind: str, place: str = "data") -> tuple[Wired, Desk]:
        server = servers_of_data[kind]
        server.server.put(f"{tmp_path.name}/one", DATA)
        desk = machines(tmp_path / "machine", server.settings)
        root = server.through(server.server.at(place)) if kind == "http" else server.root
        desk.declare({"one": f"{root}{tmp_path.name}/one"})
        return server, desk

    return work


@pytest.fixture
def between(servers_of_data, machines, tmp_path):
    """A function that gives a man in the middle of a server that speaks HTTP, and a machine that trusts him."""
    middles = []

    def between(kind: str, place: str = "data") -> tuple[Middleman, Desk]:
        server = servers_of_data[kind]
        server.server.put(f"{tmp_path.name}/one", DATA)
        middle = Middleman(server.address).__enter__()
        middles.append(middle)
        desk = machines(tmp_path / "machine", server.via(middle.host))
        root = server.root if kind == "s3" else f"http://{middle.host}/{place}/"
        desk.declare({"one": f"{root}{tmp_path.name}/one"})
        return middle, desk

    yield between
    for middle in middles:
        middle.__exit__()


def completes(desk):
    """Lock and fetch, now that nothing is wrong any more."""
    assert desk.place().read_bytes() == DATA
    assert desk.locked()["digest"] == str(Digest.of(DATA))
    assert desk.parts() == 0


def refuses(desk, *said, status=4, **env):
    """Lock what cannot be: an error with these words, where it was declared, and nothing is locked or kept."""
    desk.refused(status, "workflow.yaml:4:3", *said, command=("lock",), **env)
    assert desk.locked() is None
    assert list(desk.cache.glob("sha256/*/*")) == []


def logged_in(seen: Seen) -> bool:
    """Return whether a request has a login."""
    return any(name.lower() == "authorization" for name in seen.headers)


# ---- statuses


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "access was denied (401 Unauthorized)"),
        pytest.param(403, "access was denied (403 Forbidden)", marks=pytest.mark.judge),
        (404, "the server does not have it (404 Not Found)"),
        pytest.param(410, "the server does not have it (410 Gone)", marks=pytest.mark.judge),
        pytest.param(416, "one", marks=pytest.mark.judge),
        pytest.param(418, "the server answered 418", marks=pytest.mark.judge),
    ],
)
def test_a_web_server_that_refuses(between, status, said):
    """What it says is final; once it says otherwise all is well."""
    middle, desk = between("http")
    for method in ("HEAD", "GET"):
        middle.rule(method, "one", instead(status))
    refuses(desk, said)
    assert len(middle.seen) <= 3
    middle.honest()
    completes(desk)


@pytest.mark.parametrize("kind", some_of(("http", "s3"), "http"))
@pytest.mark.parametrize("status", [pytest.param(500, marks=pytest.mark.judge), 503])
def test_a_server_that_is_busy_is_asked_again(between, kind, status):
    """After the time that it asks for."""
    middle, desk = between(kind)
    middle.rule("HEAD", "one", instead(status, Retry_After="1"), lambda handler: handler.pass_on())
    middle.rule("GET", "one", instead(status, Retry_After="1"), lambda handler: handler.pass_on())
    completes(desk)


@pytest.mark.parametrize("kind", some_of(("http", "s3"), "http"))
def test_a_server_that_stays_busy_is_given_up(between, kind):
    """After five attempts, at the pace that it asks for."""
    middle, desk = between(kind)
    for method in ("HEAD", "GET"):
        middle.rule(method, "one", instead(503, Retry_After="0"))
    refuses(desk, "503" if kind == "http" else "the server answered", "tried 5 times")
    middle.honest()
    completes(desk)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "ExpiredToken", "the login has expired (ExpiredToken)"),
        pytest.param(
            403, "InvalidAccessKeyId", "the login is not accepted (InvalidAccessKeyId)", marks=pytest.mark.judge
        ),
        pytest.param(
            403, "SignatureDoesNotMatch", "the login is not accepted (SignatureDoesNotMatch)", marks=pytest.mark.judge
        ),
        (403, "AccessDenied", "access was denied (AccessDenied)"),
        (404, "NoSuchBucket", "there is no bucket data"),
        pytest.param(404, "NoSuchKey", "the server does not have it", marks=pytest.mark.judge),
        pytest.param(301, "PermanentRedirect", "it is elsewhere", marks=pytest.mark.judge),
    ],
)
def test_an_s3_server_that_refuses(between, status, code, said):
    """In words of ours: those of a server may name a key."""
    middle, desk = between("s3")
    answer = instead(status, _ERROR.format(code=code).encode(), Content_Type="application/xml")
    for method in ("HEAD", "GET"):
        middle.rule(method, "one", answer)
    middle.rule("HEAD", "/data$", instead(status))
    refuses(desk, said)
    middle.honest()
    completes(desk)


# ---- bodies


def halved(answer: Answer) -> None:
    """Announce all, and send half."""
    answer.length, answer.data = len(answer.data), answer.data[: len(answer.data) // 2]


def emptied(answer: Answer) -> None:
    """Announce all, and send nothing."""
    answer.length, answer.data = len(answer.data), b""


def flipped(answer: Answer) -> None:
    """Change a bit."""
    middle = len(answer.data) // 2
    answer.data = answer.data[:middle] + bytes([answer.data[middle] ^ 1]) + answer.data[middle + 1 :]


def lengthened(answer: Answer) -> None:
    """Send more than there is."""
    answer.data += b"more"
    answer.length = None


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_body_that_ends_too_early_is_gone_on_with(between, kind):
    """From where it ended."""
    middle, desk = between(kind)
    middle.rule("GET", "one", changed(halved), lambda handler: handler.pass_on())
    completes(desk)
    assert middle.passed["down"] < 1.2 * len(DATA)


@pytest.mark.judge
@pytest.mark.parametrize("kind", ["http", "s3"])
def test_bodies_that_never_come_are_an_error(between, kind):
    """With what was announced in it, or that the connection broke."""
    middle, desk = between(kind)
    middle.rule("GET", "one", changed(emptied))
    refuses(desk, "one", "tried 5 times")
    middle.honest()
    completes(desk)


@pytest.mark.parametrize("kind", some_of(("http", "s3"), "s3"))
def test_other_bytes_than_a_declared_checksum_are_never_locked(between, kind):
    """What was changed on the way to the first reader can be told by what the author says of the bytes."""
    middle, desk = between(kind)
    text = (desk.project / "workflow.yaml").read_text()
    address = text.partition("one: ")[2].partition("\n")[0]
    desk.declare({"one": f'{{uri: "{address}", checksum: "{Digest.of(DATA)}"}}'})
    middle.rule("GET", "one", changed(flipped))
    desk.refused(4, "workflow.yaml:4:3", str(Digest.of(DATA)), command=("lock",))
    assert desk.locked() is None
    middle.honest()
    completes(desk)


@pytest.mark.parametrize("kind", some_of(("http", "s3"), "http"))
def test_more_bytes_than_announced_are_refused(between, kind):
    """The beginning is right, and yet it is another file."""
    middle, desk = between(kind)
    middle.rule("GET", "one", changed(lengthened))
    refuses(desk, "one")
    middle.honest()
    completes(desk)


# ---- ranges and redirections


def all_of_it(answer: Answer) -> None:
    """Send all, whatever was asked for."""
    answer.headers.pop("Content-Range", None)
    answer.status, answer.data = 200, DATA


def other_part(answer: Answer) -> None:
    """Send another part than asked for, and say so."""
    size = len(answer.data)
    answer.status, answer.headers["Content-Range"] = 206, f"bytes 7-{size + 6}/{len(DATA)}"


def silent_part(answer: Answer) -> None:
    """Say that it is a part, and not which."""
    answer.headers.pop("Content-Range", None)
    answer.status = 206


@pytest.mark.parametrize("kind", some_of(("http", "s3"), "http"))
@pytest.mark.parametrize("lie", [all_of_it, other_part, silent_part], ids=["all", "other", "no"])
def test_a_range_that_is_not_what_was_asked_for(between, kind, lie):
    """All bytes, or others, or nobody knows which: none of them stands where it does not belong."""
    middle, desk = between(kind)
    middle.rule("GET", "one", changed(halved), changed(lie), lambda handler: handler.pass_on())
    completes(desk)


def test_a_server_that_knows_no_ranges(work):
    """It sends all of it again after a break, and that is taken."""
    server, desk = work("http", "norange")
    server.wire.at("down", 2 * MIB, server.wire.cut)
    completes(desk)
    assert server.wire.passed["down"] > 4 * MIB


def test_an_address_that_leads_in_a_circle(between):
    """Is told at once."""
    middle, desk = between("http")
    for method in ("HEAD", "GET"):
        middle.rule(method, "one", lambda handler: instead(302, Location=handler.path)(handler))
    refuses(desk, "redirections")
    assert len(middle.seen) < 20
    middle.honest()
    completes(desk)


def test_a_login_stays_with_its_server(between, servers_of_data, tmp_path):
    """Led to another one, it is not told the login: refused there, as anybody is."""
    middle, desk = between("http", "auth")
    server = servers_of_data["http"]
    with Middleman(server.address) as other:
        for method in ("HEAD", "GET"):
            middle.rule(
                method, "one", lambda handler: instead(302, Location=f"http://{other.host}{handler.path}")(handler)
            )
        settings = server.server.log_in()
        refuses(desk, "access was denied", NETRC=settings["NETRC"])
        assert [True] == sorted({logged_in(seen) for seen in middle.seen})
        assert other.seen
        assert [False] == sorted({logged_in(seen) for seen in other.seen})
    middle.honest()
    desk.env["NETRC"] = settings["NETRC"]
    completes(desk)


# ---- logins


def test_an_s3_login_that_is_wrong(work):
    """The server itself says so: an unknown key, a wrong secret, none, one without the right."""
    server, desk = work("s3")
    refuses(desk, "the login is not accepted", AWS_ACCESS_KEY_ID="nobody")
    refuses(desk, "the login is not accepted", AWS_SECRET_ACCESS_KEY="topsecret")
    desk.declare({"one": f"s3://probe/{Path(server.root).name}/one"})
    reader = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True))
    refuses(desk, "access was denied", "s3://probe/", **reader)


def test_an_smb_login_that_is_wrong(work, tmp_path):
    """A wrong password, an unknown user, a share that is closed, one that is not there."""
    server, desk = work("smb")
    smb = server.server
    try:
        for user, password in ((smb.user, "topsecret"), ("nobody-known", "topsecret")):
            smb.login(user, password)
            refuses(desk, "refuses the login", "smbcredentials")
    finally:
        smb.login(smb.user, smb.password)
    completes(desk)
    desk.forget()
    (desk.project / "workflow.lock").unlink()
    for share, said in (("closed", "the server refuses"), ("nothing", "there is no")):
        desk.declare({"one": f"{server.root.replace('/data/data/', f'/{share}/data/')}{tmp_path.name}/one"})
        refuses(desk, said, share)


def test_an_ssh_key_that_is_not_accepted(work):
    """Nor is one that is not there."""
    server, desk = work("sftp")
    key = server.server.ssh / "id"
    kept = {name: (server.server.ssh / name).read_bytes() for name in ("id", "id.pub")}
    for name in kept:
        (server.server.ssh / name).unlink()
    try:
        refuses(desk, "does not accept the user", "no key was found")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        refuses(desk, "does not accept the user", "none of 1 keys is accepted")
    finally:
        for name, data in kept.items():
            (server.server.ssh / name).write_bytes(data)
    completes(desk)


def test_an_ssh_server_that_is_not_the_known_one(work, tmp_path):
    """Unknown, it is refused with its fingerprint; with another key than known, as an attack."""
    server, desk = work("sftp")
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    try:
        server.know("")
        refuses(desk, "SHA256:", "known")
        server.know(" ".join(other.with_suffix(".pub").read_text().split()[:2]))
        refuses(desk, "SHA256:", "key")
    finally:
        server.know(server.server.host_key)
    completes(desk)


def test_an_nfs_export_that_is_not_there(work, tmp_path):
    """Nor a file in one that is."""
    server, desk = work("nfs")
    for path in (f"nothing/data/{tmp_path.name}/one", f"export/data/{tmp_path.name}/two"):
        desk.declare({"one": f"nfs://127.0.0.1:{server.wire.port}/{path}"})
        refuses(desk, "there is no", path)
    desk.declare({"one": f"{server.root}{tmp_path.name}/one"})
    completes(desk)
