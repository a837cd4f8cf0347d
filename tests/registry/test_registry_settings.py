"""registries.toml: what it says, and how its mistakes are told."""

from __future__ import annotations

import os

import pytest

from repro.errors import UsageError
from repro.names import parse_domain
from repro.registry.connections import Timing
from repro.registry.settings import Mirror, Settings, SettingsError, Trust


@pytest.fixture
def write(environ):
    """A function that writes registries.toml."""

    def write_it(text):
        path = os.path.join(environ["HOME"], ".config/repro/registries.toml")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    return write_it


def test_no_file_is_no_settings(environ):
    """Every registry is spoken to over TLS, the loopback's too."""
    assert Trust() == Settings.load(environ).of("localhost:5000")


def test_all_that_can_be_said(environ, write):
    """Each key has its meaning, `ca` beside the file; hosts are told apart by their ports."""
    path = write(
        '[registry."localhost:5000"]\ninsecure = true\n'
        '[registry."Lab.example"]\nca = "lab.crt"\nverify = false\nmirrors = ["m.example:1/hub/", "n.example"]\n'
        "timeout = 2.5\nattempts = 1\n".lower()
    )
    authority = os.path.join(os.path.dirname(path), "lab.crt")
    open(authority, "w").close()
    settings = Settings.load(environ)
    assert Trust(insecure=True) == settings.of("localhost:5000")
    assert Trust() == settings.of("localhost:5001")
    mirrors = (Mirror("m.example:1", "hub"), Mirror("n.example"))
    lab = Trust(verify=False, authorities=(authority,), mirrors=mirrors, timeout=2.5, attempts=1)
    assert lab == settings.of("lab.example")
    assert Timing(connect=2.5, read=2.5, attempts=1) == Timing.of(lab)
    assert Timing() == Timing.of(Trust())
    assert Timing(connect=15.0, read=600.0) == Timing.of(Trust(timeout=600.0))


def test_another_file_can_be_named(environ, tmp_path):
    """$REPRO_REGISTRIES wins; a file that it names must be there."""
    other = tmp_path / "other.toml"
    with pytest.raises(SettingsError, match="is not there"):
        Settings.load({**environ, "REPRO_REGISTRIES": str(other)})
    other.write_text('[registry."a:1"]\ninsecure = true\n')
    assert Settings.load({**environ, "REPRO_REGISTRIES": str(other)}).of("a:1").insecure


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[registry."a:1"]\n\n  insecur = true\n', 3, "did you mean 'insecure'"),
        ('[registry."a:1"]\ninsecure = "yes"\n', 2, "'insecure' must be true or false"),
        ('# one\n[registry."a:1"]\nmirrors = "m"\n', 3, "a list of registries"),
        ('[registry."a:1"]\nmirrors = ["UPPER_/x"]\n', 2, "not a registry's host name"),
        ('[registry."a:1"]\nca = "nowhere.crt"\n', 2, "nowhere.crt is not there"),
        ('[registry."a:1"]\ninsecure = true\n[registry."b"]\nca = 1\n', 4, "'ca' must be"),
        ('[registry."a:1"]\ninsecure = true\nverify = false\n', 3, "is about TLS"),
        ('[registry."a:1"]\ntimeout = 0\n', 2, "'timeout' must be a number of seconds, above 0 and at most 3600"),
        ('[registry."a:1"]\ntimeout = nan\n', 2, "'timeout' must be a number of seconds"),
        ('[registry."a:1"]\ntimeout = true\n', 2, "'timeout' must be a number of seconds"),
        ('[registry."a:1"]\n\nattempts = 0\n', 3, "'attempts' must be a whole number from 1 to 100"),
        ('[registry."a:1"]\nattempts = 2.0\n', 2, "'attempts' must be a whole number"),
        ('[registry."b"]\n[registry."https://a"]\n', 2, "write 'a'"),
        ('[registry."a b"]\n', 1, "not a registry's host name"),
        ("[registries.a]\n", 1, "did you mean 'registry'"),
        ("registry = 3\n", 1, "must be tables"),
        ("[registry]\na = 3\n", 2, "must be a table"),
        ('[registry."a"\n', 1, "not TOML"),
    ],
)
def test_mistakes_name_their_line(environ, write, text, line, said):
    """Every mistake is told with the file, its line and what would be right."""
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    assert f"{path}:{line}:" in str(caught.value)
    assert said in str(caught.value)


def test_certificates_of_podman_count(environ):
    """What lies in certs.d is trusted, with a key of our own where there is one."""
    folder = os.path.join(environ["HOME"], ".config/containers/certs.d/a:1")
    os.makedirs(folder)
    for name in ("ca.crt", "me.cert", "me.key", "alone.cert", "notes"):
        open(os.path.join(folder, name), "w").close()
    trust = Settings.load(environ).of("a:1")
    assert ((f"{folder}/ca.crt",), ((f"{folder}/me.cert", f"{folder}/me.key"),)) == (trust.authorities, trust.clients)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost:5000", "localhost:5000"),
        ("https://Lab.example/v2/", "lab.example"),
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_names_of_registries(text, host):
    """A registry is found by the spellings that docker takes."""
    assert host == parse_domain(text)


@pytest.mark.parametrize("text", ["", "a b", "host:port", "user@host", "-x"])
def test_no_names_of_registries(text):
    """What cannot be a host is refused."""
    with pytest.raises(UsageError, match="not a registry's host name"):
        parse_domain(text)
