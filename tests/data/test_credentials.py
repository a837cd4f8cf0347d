"""Logins come from the files where people keep them, and from no file that others may read."""

from __future__ import annotations

import pytest

from repro.data.credentials import SmbLogin, netrc_login, smb_login
from repro.errors import UsageError

NETRC = """# mine
machine data.example.org login ada password s3cret
machine data.example.org:8443
    login "ada lovelace"
    password "with \\"quotes\\""
machine half.example.org login only
"""


@pytest.fixture
def home(tmp_path):
    """Return what writes a private file into a home, and the environment with that home."""

    def write(name: str, text: str | bytes, mode: int = 0o600) -> dict[str, str]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return {"HOME": str(tmp_path)}

    return write


def test_a_host_is_looked_up_with_its_port_and_without(home):
    """A name with a port is nearer; a host that is not there has no login."""
    environ = home(".netrc", NETRC)
    assert netrc_login(environ, "data.example.org") == ("ada", "s3cret")
    assert netrc_login(environ, "data.example.org:80") == ("ada", "s3cret")
    assert netrc_login(environ, "data.example.org:8443") == ("ada lovelace", 'with "quotes"')
    assert netrc_login(environ, "half.example.org") == ("only", "")
    assert netrc_login(environ, "example.org") is None


def test_the_default_entry_is_for_all_others(home):
    """As ftp has it."""
    environ = home(".netrc", f"{NETRC}default login anonymous password me@example.org\n")
    assert netrc_login(environ, "elsewhere") == ("anonymous", "me@example.org")
    assert netrc_login(environ, "data.example.org") == ("ada", "s3cret")


def test_the_variable_names_another_file(home, tmp_path):
    """Which must be there, while the one in the home need not."""
    environ = home("other", "machine h login a password b")
    assert netrc_login(environ, "h") is None
    assert netrc_login({**environ, "NETRC": str(tmp_path / "other")}, "h") == ("a", "b")
    assert netrc_login({}, "h") is None
    with pytest.raises(UsageError, match="gone"):
        netrc_login({"NETRC": str(tmp_path / "gone")}, "h")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_may_read_or_write_is_refused(home, mode):
    """With the way to close it."""
    for name, ask in ((".netrc", netrc_login), (".smbcredentials", lambda environ, host: smb_login(environ, host, ""))):
        environ = home(name, "username=ada\npassword=s3cret\n", mode)
        with pytest.raises(UsageError, match=f"0{mode:o}") as caught:
            ask(environ, "h")
        assert "chmod 600" in caught.value.hint
        home(name, "", 0o600)


@pytest.mark.parametrize(
    ("text", "line"),
    [("machine h login a password hunter2 oops hunter2\n", 2), ("\n\nhunter2 what\n", 3), ("machine\n", 2)],
)
def test_a_netrc_that_is_none_is_told_by_its_line_and_not_shown(home, text, line):
    """What stands there may be a password."""
    environ = home(".netrc", text)
    with pytest.raises(UsageError) as caught:
        netrc_login(environ, "h")
    assert caught.value.where.file.endswith(".netrc")
    assert abs(caught.value.where.line - line) <= 1
    assert "hunter2" not in f"{caught.value!r}{caught.value}{caught.value.__cause__}"


def test_bytes_that_are_no_text_are_refused(home):
    """Neither file may hold them."""
    environ = home(".netrc", b"machine h login \xff password x\n")
    with pytest.raises(UsageError, match="text"):
        netrc_login(environ, "h")
    environ = home(".smbcredentials", b"username=\xff\n")
    with pytest.raises(UsageError, match="text"):
        smb_login(environ, "h", "")


def test_credentials_are_read_as_mount_cifs_reads_them(home):
    """Other spellings of the names, blank lines, and an equals sign in a password."""
    text = "# mine\n\nuser=ada\n  pass=with = and blank \ndom=LAB\n"
    login = smb_login(home(".smbcredentials", text), "nas", "")
    assert login == SmbLogin("ada", "with = and blank ", "LAB")
    assert login.name == "LAB\\ada"
    assert "blank" not in repr(login)


def test_the_login_must_be_that_of_the_user_who_is_asked_for(home):
    """Else that of the netrc file, else none."""
    environ = home(".smbcredentials", "username=ada\npassword=a\n")
    assert smb_login(environ, "nas", "ada") == SmbLogin("ada", "a")
    assert smb_login(environ, "nas", "bob") is None
    home(".netrc", "machine nas login bob password b\n")
    assert smb_login(environ, "nas:445", "bob") == SmbLogin("bob", "b")
    assert smb_login(environ, "nas", "eve") is None
    assert smb_login(environ, "other", "") == SmbLogin("ada", "a")


def test_the_variable_names_another_file_of_credentials(home, tmp_path):
    """It counts before the one in the home."""
    environ = home(".smbcredentials", "username=ada\npassword=a\n")
    home("mine", "username=bob\npassword=b\n")
    assert smb_login({**environ, "REPRO_SMB_CREDENTIALS": str(tmp_path / "mine")}, "nas", "") == SmbLogin("bob", "b")


@pytest.mark.parametrize(
    ("text", "line"), [("username=a\nhunter2\n", 2), ("username=a\nsec=hunter2\n", 2), ("password=hunter2\n", 1)]
)
def test_credentials_that_are_none_are_told_by_their_line_and_not_shown(home, text, line):
    """What stands there may be a password."""
    environ = home(".smbcredentials", text)
    with pytest.raises(UsageError) as caught:
        smb_login(environ, "nas", "")
    assert (caught.value.where.line, "hunter2" in str(caught.value)) == (line, False)
