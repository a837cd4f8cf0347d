"""Logins: those of docker and podman are found, and ours by them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess

import pytest

from repro.errors import DataError, HostError, ReproError, UsageError
from repro.registry.credentials import Credentials, Login
from tests.servers import PASSWORD, USER


def _auth(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _json(path):
    with open(path) as file:
        return json.load(file)


@pytest.fixture
def write(environ):
    """A function that writes a file of logins below the home."""

    def write_it(name, document):
        path = os.path.join(environ["HOME"], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(document if isinstance(document, str) else json.dumps(document))
        return path

    return write_it


@pytest.fixture
def helper(environ, tmp_path):
    """A program docker-credential-lab that keeps what it is given in a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    kept = tmp_path / "kept.json"
    kept.write_text("{}")
    program = folder / "docker-credential-lab"
    program.write_text(f"""#!/usr/bin/python3
import json, sys
kept = json.load(open({str(kept)!r}))
said = sys.stdin.read()
if sys.argv[1] == "store":
    login = json.loads(said)
    kept[login["ServerURL"]] = login
elif sys.argv[1] == "erase":
    kept.pop(said.strip(), None)
elif said.strip() == "broken":
    sys.exit("the key ring is locked")
elif said.strip() not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
else:
    print(json.dumps(kept[said.strip()]))
json.dump(kept, open({str(kept)!r}, "w"))
""")
    program.chmod(0o755)
    environ["PATH"] = f"{folder}:{environ['PATH']}"
    return kept


PODMAN, OWN, DOCKER = "run/containers/auth.json", ".config/containers/auth.json", ".docker/config.json"


def test_files_are_read_in_order(environ, write):
    """The first file that knows the registry wins."""
    for name in (DOCKER, OWN, PODMAN, "named.json"):
        path = write(name, {"auths": {"a:1": _auth(name, "p")}})
        if name == "named.json":
            environ["REGISTRY_AUTH_FILE"] = path
        assert Login(name, "p", "", path) == Credentials(environ).find("a:1")
    assert Credentials(environ).find("a:2") is None


def test_the_longest_prefix_wins(environ, write):
    """As podman has it, a key may name the beginning of a path, whole components only."""
    write(OWN, {"auths": {"a:1": _auth("all", "p"), "a:1/team": _auth("team", "p"), "a:1/team/x": _auth("x", "p")}})
    found = {
        path: Credentials(environ).find("a:1", path).user for path in ("", "team", "teams/x", "team/y", "team/x/z")
    }
    assert {"": "all", "team": "team", "teams/x": "all", "team/y": "team", "team/x/z": "x"} == found


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io"])
def test_spellings_of_docker_io(environ, write, key):
    """docker's own key for its registry is found by its name in images."""
    write(DOCKER, {"auths": {key: _auth("me", "p")}})
    assert "me" == Credentials(environ).find("docker.io", "library/debian").user


@pytest.mark.parametrize("key", ["https://lab.example", "https://lab.example/v2/", "http://lab.example/v1"])
def test_keys_that_are_addresses(environ, write, key):
    """Old keys of docker, addresses of an API, mean their host."""
    write(DOCKER, {"auths": {key: _auth("me", "p")}})
    assert "me" == Credentials(environ).find("lab.example", "x").user


def test_an_identity_token(environ, write):
    """docker's identitytoken is read."""
    path = write(DOCKER, {"auths": {"a:1": {**_auth("me", ""), "identitytoken": "tok"}}})
    assert Login("me", "", "tok", path) == Credentials(environ).find("a:1")


def test_a_registry_token(environ, write):
    """docker's registrytoken is read, with a name or without; one that would break out of its header is refused."""
    path = write(
        DOCKER, {"auths": {"a:1": {"registrytoken": "tok"}, "b:1": {**_auth("me", "p"), "registrytoken": "t"}}}
    )
    assert Login("", "", "", path, "tok") == Credentials(environ).find("a:1")
    assert Login("me", "p", "", path, "t") == Credentials(environ).find("b:1")
    assert "tok" not in repr(Login("", "", "", "f", "tok"))
    write(DOCKER, {"auths": {"a:1": {"registrytoken": "tok-secret\r\nX-Evil: 1"}}})
    with pytest.raises(DataError, match="the login of 'a:1' cannot be read") as caught:
        Credentials(environ).find("a:1")
    assert "secret" not in str(caught.value)


def test_a_colon_in_the_password(environ, write):
    """Only the first colon separates."""
    write(OWN, {"auths": {"a:1": _auth("me", "a:b:")}})
    assert "a:b:" == Credentials(environ).find("a:1").password


def test_passwords_are_not_shown(environ, write):
    """Neither repr nor an error of a damaged file has the secret in it."""
    login = Login("me", "topsecret", "tok-secret", "f")
    assert "secret" not in repr(login) + str(login)
    for entry in ({"auth": "dG9wc2VjcmV0"}, {"auth": "topsecret!"}, "topsecret", {"auth": 7}):
        write(OWN, {"auths": {"a:1": entry}})
        with pytest.raises(DataError) as caught:
            Credentials(environ).find("a:1")
        assert "secret" not in str(caught.value)
        assert "dG9w" not in str(caught.value)
    write(OWN, '{"auths": {"a:1": {"auth": "topsecret"')
    with pytest.raises(DataError, match="no JSON object"):
        Credentials(environ).find("a:1")


def test_a_helper_is_asked(environ, write, helper):
    """credsStore and credHelpers name programs; what one does not know is looked for on."""
    helper.write_text(
        json.dumps({"a:1": {"Username": "me", "Secret": "s"}, "b": {"Username": "<token>", "Secret": "t"}})
    )
    path = write(DOCKER, {"credsStore": "lab", "auths": {"a:1": {}, "c:1": _auth("file", "p")}})
    source = f"docker-credential-lab, named in {path}"
    find = Credentials(environ).find
    assert [Login("me", "s", "", source), Login("", "", "t", source), Login("file", "p", "", path), None] == [
        find("a:1"), find("b"), find("c:1"), find("d"),
    ]  # fmt: skip
    with pytest.raises(ReproError, match="the key ring is locked"):
        find("broken")
    write(DOCKER, {"credHelpers": {"a:1": "lab", "x": "not-there", "y": "../lab"}})
    assert "me" == find("a:1").user
    assert find("b") is None
    with pytest.raises(HostError, match="docker-credential-not-there is not installed"):
        find("x")
    with pytest.raises(DataError, match="cannot be run"):
        find("y")


def test_a_login_is_kept_in_podmans_file(environ):
    """Where there is none yet, a file of podman's is made that only its owner reads."""
    path = Credentials(environ).store("a:1", "me", "p")
    assert os.path.join(environ["HOME"], OWN) == path
    assert 0o600 == stat.S_IMODE(os.stat(path).st_mode)
    assert {"auths": {"a:1": _auth("me", "p")}} == _json(path)
    assert Login("me", "p", "", path) == Credentials(environ).find("a:1")


def test_a_login_is_kept_where_it_was(environ, write):
    """The file that has the registry's login gets the new one; all else in it stays, as does a symbolic link."""
    write(OWN, {"auths": {"b:1": _auth("b", "p")}})
    target = write("dotfiles/docker.json", {"auths": {"a:1": _auth("old", "p"), "c": {}}, "psFormat": "x", "ü": [1]})
    os.makedirs(os.path.join(environ["HOME"], ".docker"))
    link = os.path.join(environ["HOME"], DOCKER)
    os.symlink(target, link)
    assert link == Credentials(environ).store("a:1", "new", "p")
    assert os.path.islink(link)
    assert {"auths": {"a:1": _auth("new", "p"), "c": {}}, "psFormat": "x", "ü": [1]} == _json(target)


def test_a_named_file_gets_new_logins(environ, tmp_path, write):
    """$REGISTRY_AUTH_FILE is where podman would write too."""
    write(OWN, {"auths": {"b:1": _auth("b", "p")}})
    environ["REGISTRY_AUTH_FILE"] = str(tmp_path / "new" / "auth.json")
    assert environ["REGISTRY_AUTH_FILE"] == Credentials(environ).store("a:1", "me", "p")
    assert "me" == Credentials(environ).find("a:1").user


def test_a_helper_keeps_the_login(environ, write, helper):
    """Where docker's file names a helper the secret goes to it, not to the file; logging out takes it from there."""
    path = write(DOCKER, {"credsStore": "lab"})
    where = Credentials(environ).store("docker.io", "me", "s3cret")
    assert f"docker-credential-lab, named in {path}" == where
    key = "https://index.docker.io/v1/"
    assert {"credsStore": "lab", "auths": {key: {}}} == _json(path)
    assert {"ServerURL": key, "Username": "me", "Secret": "s3cret"} == json.loads(helper.read_text())[key]
    assert "s3cret" == Credentials(environ).find("docker.io").password
    assert (where,) == Credentials(environ).remove("docker.io")
    assert ({}, None) == (json.loads(helper.read_text()), Credentials(environ).find("docker.io"))


def test_logging_out_forgets_in_every_file(environ, write):
    """A login that two files have is in neither afterwards; others stay."""
    paths = [write(name, {"auths": {"a:1": _auth("a", "p"), "b:1": _auth("b", "p")}}) for name in (OWN, DOCKER)]
    assert tuple(paths) == Credentials(environ).remove("a:1")
    assert [{"auths": {"b:1": _auth("b", "p")}}] * 2 == [_json(path) for path in paths]
    assert () == Credentials(environ).remove("a:1")


def test_a_user_with_a_colon_is_refused(environ):
    """Basic authentication could not carry it."""
    with pytest.raises(UsageError, match="colon"):
        Credentials(environ).store("a:1", "me:too", "p")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_skopeo_and_we_find_each_others_logins(environ, tls, write):
    """What we keep skopeo uses, and what skopeo keeps we find."""
    folder = os.path.join(environ["HOME"], "certs")
    os.makedirs(folder)
    shutil.copy(tls.authority, f"{folder}/ca.crt")

    def skopeo(*arguments):
        command = ["skopeo", *arguments]
        return subprocess.run(command, env=environ, input=PASSWORD, capture_output=True, text=True, check=False)

    layout = f"dir:{environ['HOME']}/image"
    empty = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    write("image/version", "Directory Transport Version: 1.1\n")
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}'
    digest = hashlib.sha256(config).hexdigest()
    write(f"image/{digest}", config.decode())
    kind = "application/vnd.oci.image.config.v1+json"
    write(
        "image/manifest.json",
        {**empty, "config": {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(config)}},
    )
    copy = ("copy", "--insecure-policy", "--dest-cert-dir", folder, layout, f"docker://{tls.host}/skopeo/empty:1")
    assert 0 != skopeo(*copy).returncode
    path = Credentials(environ).store(tls.host, USER, PASSWORD)
    done = skopeo(*copy)
    assert 0 == done.returncode, done.stderr
    os.unlink(path)
    done = skopeo("login", "--cert-dir", folder, "-u", USER, "--password-stdin", tls.host)
    assert 0 == done.returncode, done.stderr
    assert (USER, PASSWORD) == ((found := Credentials(environ).find(tls.host)).user, found.password)
    assert (found.source,) == Credentials(environ).remove(tls.host)
    assert 0 != skopeo("inspect", "--cert-dir", folder, f"docker://{tls.host}/skopeo/empty:1").returncode
