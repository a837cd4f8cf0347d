"""An image says which archive its packages are from."""

from __future__ import annotations

import pytest

from repro.environment.resolvers.os_release import archive_of
from repro.errors import Location, LockError
from repro.oci.view import View
from repro.workflow.model import ArchiveBase

WHERE = Location("workflow.yaml", 4, 3)
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\n# a comment\nID=debian\n'
UBUNTU = "PRETTY_NAME='Ubuntu 24.04 LTS'\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"


@pytest.fixture
def image(tmp_path):
    """A layer with apt-get; returns what makes a view of it with os-release in the usual two places."""
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "lib").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr" / "bin" / "apt-get").touch()

    def made(text: str | None) -> View:
        if text is not None:
            (tmp_path / "usr" / "lib" / "os-release").write_text(text)
            (tmp_path / "etc" / "os-release").symlink_to("../usr/lib/os-release")
        return View((tmp_path,), "one")

    made.root = tmp_path
    return made


@pytest.mark.parametrize(
    ("text", "base"),
    [
        (DEBIAN, ArchiveBase("debian", "bookworm")),
        (UBUNTU, ArchiveBase("ubuntu", "noble", components=("main", "universe"))),
    ],
)
def test_known_distributions(image, text, base):
    """Quoted or not, the ID and the codename say which suite, with the components that such images have."""
    assert base == archive_of(image(text), WHERE)


def test_os_release_in_its_second_place(image):
    """An image without /etc/os-release is read from /usr/lib."""
    view = image(DEBIAN)
    (image.root / "etc" / "os-release").unlink()
    assert ArchiveBase("debian", "bookworm") == archive_of(view)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not say which system it is"),
        ('ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n', "which is Alpine Linux v3.20"),
        ("ID=linuxmint\nID_LIKE=ubuntu\nVERSION_CODENAME=wilma\n", "which is linuxmint"),
        ("NAME=x\n", "of an unknown system"),
        ("ID=debian\nPRETTY_NAME=x/sid\n", "does not say which suite"),
        ("ID='debian\n", "cannot be read"),
    ],
)
def test_images_without_an_archive(image, text, message):
    """Each error is at the environment and says what to do."""
    with pytest.raises(LockError, match=message) as caught:
        archive_of(image(text), WHERE)
    assert (WHERE, True) == (caught.value.where, bool(caught.value.hint) or "cannot be read" in message)


def test_image_without_apt(image):
    """A distroless image of Debian has its os-release and nothing to install with."""
    (image.root / "usr" / "bin" / "apt-get").unlink()
    with pytest.raises(LockError, match="has no apt-get"):
        archive_of(image(DEBIAN), WHERE)
