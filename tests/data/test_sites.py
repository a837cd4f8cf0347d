"""sites.yaml: where this host keeps what workflows name by ``site:``."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.data import sites
from repro.data.sites import Sites
from repro.errors import UsageError, WorkflowError

PLACES = "sites:\n  nt: /data/blast/nt\n  genomes: ~/genomes\n"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The environment of a host whose own file, below its home, and whose system's file are still to be written."""
    monkeypatch.setattr(sites, "_SYSTEM", tmp_path / "etc" / "sites.yaml")
    return {"HOME": str(tmp_path / "home")}


def write(file: Path, text: str) -> Path:
    """Write a file, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_names_are_places_of_this_host(host, tmp_path):
    """A name, and a path below it; ``~`` is the caller's home."""
    file = write(tmp_path / "home/.config/repro/sites.yaml", PLACES)
    found = Sites.load(host)
    assert file == found.file
    assert Path("/data/blast/nt") == found.path("nt")
    assert Path("/data/blast/nt/2026/v5") == found.path("nt/2026/v5")
    assert tmp_path / "home/genomes/hg38.fa" == found.path("genomes/hg38.fa")


def test_the_first_file_that_is_there_counts(host, tmp_path):
    """The one that is named, then the caller's, then the system's; they are not mixed."""
    system = write(tmp_path / "etc/sites.yaml", "sites: {a: /system}")
    assert Path("/system") == Sites.load(host).path("a")
    write(tmp_path / "home/.config/repro/sites.yaml", "sites: {a: /home}")
    assert Path("/home") == Sites.load(host).path("a")
    host["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    assert system == Sites.load(host).file
    write(tmp_path / "config/repro/sites.yaml", "sites: {a: /config}")
    assert Path("/config") == Sites.load(host).path("a")
    host["REPRO_SITES"] = str(write(tmp_path / "named.yaml", "sites: {a: /named}"))
    assert Path("/named") == Sites.load(host).path("a")


def test_a_named_file_must_be_there(host):
    """A slip in the variable is not the same as having no sites."""
    with pytest.raises(UsageError, match="REPRO_SITES names it"):
        Sites.load({**host, "REPRO_SITES": "/nowhere/sites.yaml"})


def test_an_unknown_name_is_told_where_to_write_it(host, tmp_path):
    """With the name that was meant, if one is near."""
    write(tmp_path / "home/.config/repro/sites.yaml", PLACES)
    with pytest.raises(UsageError) as caught:
        Sites.load(host).path("genome/hg38.fa")
    assert "did you mean 'genomes'?" in str(caught.value)
    assert f"{tmp_path}/home/.config/repro/sites.yaml" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        Sites.load({"HOME": "/nowhere"}).path("nt")
    assert "say in /nowhere/.config/repro/sites.yaml where it is here" in caught.value.hint


@pytest.mark.parametrize("site", ["nt/..", "nt/../../etc", "nt//x", "nt/./x", "nt/"])
def test_no_path_leads_out_of_a_place(host, tmp_path, site):
    """What is below a name lies below its path."""
    write(tmp_path / "home/.config/repro/sites.yaml", PLACES)
    found = Sites.load(host)
    if site == "nt/":
        assert Path("/data/blast/nt") == found.path(site)
        return
    with pytest.raises(UsageError, match="does not name a place below nt"):
        found.path(site)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("sites:\n  nt: data/nt\n", "2:7", "no absolute path"),
        ("sites:\n  nt: [/a, /b]\n", "2:7", "a path is needed here"),
        ("sites:\n  nt:\n", "2:6", "found nothing"),
        ("sites:\n  a b: /data\n", "2:3", "cannot name a site"),
        ("site:\n  nt: /data\n", "1:1", "did you mean 'sites'?"),
        ("- nt: /data\n", "1:1", "a mapping with `sites:`"),
        ("sites:\n  nt: /a\n  nt: /b\n", "3:3", "a second time"),
        ("sites: {nt: /a\n", "2:1", ""),
    ],
)
def test_mistakes_are_located(host, tmp_path, text, place, said):
    """Each is named with file, line and column, and what would be right."""
    file = write(tmp_path / "home/.config/repro/sites.yaml", text)
    with pytest.raises(WorkflowError) as caught:
        Sites.load(host)
    assert f"{file}:{place}" in str(caught.value)
    assert said in str(caught.value)
    assert str(caught.value).endswith(f"1 mistake in {file}")


def test_an_empty_file_has_no_sites(host, tmp_path):
    """Nor has one that says so."""
    for text in ("", "# nothing yet\n", "sites: {}\n"):
        write(tmp_path / "home/.config/repro/sites.yaml", text)
        assert {} == Sites.load(host).places


def test_a_file_that_is_no_text_is_said(host, tmp_path):
    """Bytes that are not UTF-8, and a folder, are mistakes of the user and no traceback."""
    file = tmp_path / "home/.config/repro/sites.yaml"
    write(file, "").write_bytes(b"sites: {a: /\xff}")
    with pytest.raises(UsageError, match="cannot be read"):
        Sites.load(host)
    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        Sites.load(host)
