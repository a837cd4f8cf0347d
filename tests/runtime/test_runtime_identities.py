"""Which IDs a caller may have, read from the host's files, and the name of the layers' form that follows from them."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

from repro.errors import HostError, UsageError
from repro.runtime.identities import Identities, Span, present, subordinate
from repro.runtime.modes import choose
from repro.runtime.spec import Mode

UID, GID = 1, pwd.getpwuid(1).pw_gid  # a user of every host, who is not root
NAME = pwd.getpwuid(1).pw_name


def etc(folder: Path, subuid: str | None, subgid: str | None) -> Path:
    """Return a folder like /etc with these two files."""
    for name, text in (("subuid", subuid), ("subgid", subgid)):
        if text is not None:
            (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("who", [NAME, str(UID)])
def test_range_is_found_by_name_and_by_number(tmp_path, who):
    """0 is the caller, 1 and all above are the range; lines of others, and lines that say nothing, do not matter."""
    text = f"# none\nroot:1:2\nbroken\n{who}:x:y\n{who}:300000:65536\n"
    found = subordinate(UID, GID, etc=etc(tmp_path, text, text))
    assert Identities((Span(0, UID, 1), Span(1, 300000, 65536)), (Span(0, GID, 1), Span(1, 300000, 65536))) == found
    assert ("sub-300000-65536", 65537) == (found.form, found.count)


def test_first_range_that_suffices_is_taken(tmp_path):
    """A range that is too small for an image's IDs is passed over; one added later changes nothing."""
    text = f"{NAME}:200000:1000\n{NAME}:300000:65535\n{NAME}:400000:100000\n"
    assert "sub-300000-65535" == subordinate(UID, GID, etc=etc(tmp_path, text, text)).form


def test_form_tells_other_groups_apart(tmp_path):
    """Where the ranges of users and groups differ, both are in the form's name."""
    folder = etc(tmp_path, f"{NAME}:300000:65536\n", f"{NAME}:500000:70000\n")
    assert "sub-300000-65536-500000-70000" == subordinate(UID, GID, etc=folder).form


@pytest.mark.parametrize(
    ("subuid", "subgid", "message"),
    [
        (None, None, f"{NAME} has no subordinate uids"),
        ("root:100000:65536\n", "", f"{NAME} has no subordinate uids"),
        (f"{NAME}:100000:65536\n", "", f"{NAME} has no subordinate gids"),
        (f"{NAME}:100000:65536\n", f"{NAME}:100000:1000\n", f"the subordinate gids of {NAME} are too few"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path, subuid, subgid, message):
    """The error says what is missing and gives the administrator's command, with a range that nobody has."""
    with pytest.raises(HostError) as caught:
        subordinate(UID, GID, etc=etc(tmp_path, subuid, subgid))
    assert message == caught.value.message
    asked = re.search(r"usermod --add-subuids (\d+)-(\d+) --add-subgids \1-\2 (\S+)$", caught.value.hint or "")
    assert asked is not None
    first, last, name = int(asked[1]), int(asked[2]), asked[3]
    assert (65536, NAME) == (last - first + 1, name)
    assert first == (165536 if "100000:65536" in f"{subuid}{subgid}" else 101000 if subgid else 100000)


def test_group_of_newgrp_is_refused(tmp_path):
    """newgidmap maps the caller's own group only: the error says so before newgidmap would."""
    text = f"{NAME}:300000:65536\n"
    with pytest.raises(HostError, match="the subordinate gids cannot be mapped") as caught:
        subordinate(UID, GID + 1, etc=etc(tmp_path, text, text))
    assert "newgrp" in (caught.value.hint or "")


def test_user_without_a_name_is_refused(tmp_path):
    """newuidmap finds the caller by name: an ID without one has no range."""
    with pytest.raises(HostError, match="cannot be had"):
        subordinate(3_999_999_999, 0, etc=etc(tmp_path, "3999999999:1:65536\n", ""))


@pytest.mark.parametrize(
    ("uids", "form", "count"),
    [
        ((Span(0, 0, 4294967295),), "real", 4294967295),
        ((Span(0, 1000, 1),), "map-0-1000-1-0-1000-1", 1),
        ((Span(0, 100000, 65536),), "map-0-100000-65536-0-100000-65536", 65536),
        ((Span(0, 1000, 1), Span(1, 200000, 70000)), "sub-200000-70000", 70001),
        ((Span(0, 1000, 1), Span(5, 200000, 70000)), "map-0-1000-1-5-200000-70000-0-1000-1-5-200000-70000", 1),
    ],
)
def test_form_names_the_meaning_of_ids(uids, form, count):
    """Two namespaces in which a file's owner reads differently never share a form."""
    assert (form, count) == (Identities(uids, uids).form, Identities(uids, uids).count)


def test_present_identities_are_the_kernels():
    """What is read of this process is what its own uid_map says."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    assert [line.split() for line in lines] == [
        [str(span.inside), str(span.outside), str(span.count)] for span in present().uids
    ]


def test_without_a_range_one_id_is_used_and_the_reason_told(tmp_path):
    """The choice falls back to the caller's one ID, and says why and what would be better."""
    choice = choose(UID, GID, etc=etc(tmp_path, "", ""))
    assert (Mode.ONE, "one", False) == (choice.mode, choice.form, choice.surprising)
    assert "no subordinate uids" in choice.why
    assert "usermod" in choice.fix


def test_forced_mode_is_not_replaced_by_another(tmp_path):
    """REPRO_MODE leaves no choice: what is not possible is an error, and so is a word that is no mode."""
    folder = etc(tmp_path, "", "")
    with pytest.raises(HostError, match="no subordinate uids"):
        choose(UID, GID, "sub", etc=folder)
    with pytest.raises(HostError, match="not root"):
        choose(UID, GID, "real", etc=folder)
    with pytest.raises(UsageError, match="REPRO_MODE is 'podman'"):
        choose(UID, GID, "podman", etc=folder)
    assert Mode.ONE is choose(os.getuid(), os.getgid(), "one", etc=folder).mode


def test_modes_that_give_the_same_images_share_them_in_locks():
    """A lock made as root serves a user with subordinate IDs, and the other way round."""
    assert ["real", "real", "one"] == [mode.identity for mode in (Mode.REAL, Mode.SUB, Mode.ONE)]
