"""`repro registry` as a person types it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from tests.accounts import PROJECT
from tests.registry.small import push_small
from tests.servers import PASSWORD, USER


@pytest.fixture
def repro(environ, tls, plain, tmp_path):
    """A function that runs repro in the home of a user who trusts the test's registries."""
    settings = os.path.join(environ["HOME"], ".config/repro/registries.toml")
    os.makedirs(os.path.dirname(settings))
    with open(settings, "w") as file:
        file.write(f'[registry."{tls.host}"]\nca = "{tls.authority}"\n[registry."{plain.host}"]\ninsecure = true\n')

    def run(*arguments, stdin=""):
        return subprocess.run(
            [sys.executable, "-m", "repro", "registry", *arguments],
            env={**environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_logging_in_and_out(repro, tls, environ):
    """The login is checked, kept, used, and forgotten."""
    done = repro("ls", f"{tls.host}/none")
    assert (4, f"fix: repro registry login {tls.host}") == (done.returncode, done.stderr.splitlines()[-1].strip())
    done = repro("login", tls.host, "-u", USER, "--password-stdin", stdin=PASSWORD + "\n")
    kept = os.path.join(environ["HOME"], ".config/containers/auth.json")
    assert (0, f"logged in to {tls.host} as {USER}; kept in {kept}\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
    assert 0 == repro("ls", tls.host).returncode
    assert f"forgot the login for {tls.host} in {kept}\n" == repro("logout", tls.host).stdout
    done = repro("logout", tls.host)
    assert (0, "", f"no login for {tls.host} was known\n") == (done.returncode, done.stdout, done.stderr)


def test_a_wrong_password_is_not_kept(repro, tls, environ):
    """It is denied with exit status 4; the password is not in what is printed, and the command line is warned of."""
    done = repro("login", tls.host, "-u", USER, "-p", "not-the-one")
    assert 4 == done.returncode
    assert "warning: a password on the command line" in done.stderr
    assert "denied" in done.stderr
    assert "not-the-one" not in done.stderr
    assert not os.path.exists(os.path.join(environ["HOME"], ".config/containers"))


def test_a_registry_that_asks_nobody(repro, plain):
    """A login that could not be checked is kept with a warning."""
    done = repro("login", plain.host, "-u", "me", "--password-stdin", stdin="p")
    assert 0 == done.returncode
    assert "asked for no login, so it was not checked" in done.stderr


def test_nobody_is_asked_without_a_terminal(repro, plain):
    """What is missing is an error that names the option."""
    done = repro("login", plain.host)
    assert (2, True) == (done.returncode, "-u USER" in done.stderr)
    done = repro("login", plain.host, "-u", "me")
    assert (2, True) == (done.returncode, "--password-stdin" in done.stderr)
    assert 2 == repro("login", plain.host, "-u", "me", "--password-stdin").returncode
    assert 2 == repro("login", "no host", "-u", "me", "--password-stdin", stdin="p").returncode


def test_a_person_at_a_terminal_is_asked(repro, tls, environ):
    """Without options the name and the password are asked for; the password is not echoed."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", "registry", "login", tls.host],
        env={**environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,  # else the password is asked for at the terminal of who runs the tests
    )
    os.close(inner)
    said = b""
    for prompt, answer in ((b"user name for", USER), (b"password for", PASSWORD), (b"kept in", None)):
        while prompt not in said:
            said += os.read(outer, 4096)
        if answer is not None:
            os.write(outer, answer.encode() + b"\n")
    os.close(outer)
    assert 0 == process.wait(20)
    assert PASSWORD.encode() not in said


def test_listing(repro, plain, connect):
    """Repositories of a registry, tags of a repository, as lines and as JSON."""
    push_small(connect(plain.host, insecure=True), "command/listed", "v1")
    assert "command/listed" in repro("ls", plain.host).stdout.splitlines()
    assert "v1\n" == repro("ls", f"{plain.host}/command/listed").stdout
    listed = json.loads(repro("ls", "--json", f"{plain.host}/command/listed").stdout)
    assert {"name": f"{plain.host}/command/listed", "kind": "tags", "names": ["v1"]} == listed
    done = repro("ls", f"{plain.host}/command/listed:v1")
    assert (2, True) == (done.returncode, "name the repository" in done.stderr)
    done = repro("ls", f"{plain.host}/command/nothing")
    assert (4, True) == (done.returncode, "no such repository" in done.stderr)
    done = repro("ls", f"{plain.host}/UPPER")
    assert (2, True) == (done.returncode, "lower case" in done.stderr)
