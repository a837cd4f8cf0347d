"""What is asked of conda: environment.yml and explicit lists, with every mistake located."""

from __future__ import annotations

import pytest

from repro.digest import Digest
from repro.environment.resolvers.conda_file import CondaFile, read_conda_file, read_spec
from repro.errors import WorkflowError
from repro.workflow.model import CondaSpec

SHA = "ab" * 32


def test_an_environment_yml_gives_channels_packages_and_pip():
    """Versions keep their spelling, relative paths are from the project's root, nodefaults is no channel."""
    text = """\
name: rna
channels: [conda-forge, nodefaults, ./mine, "https://127.0.0.1/lab"]
dependencies:
  - python=3.10
  - "numpy >=1.20,<3"
  - bioconda::samtools=1.21
  - pip
  - pip:
      - rich==13.0
      - -r more/requirements.txt
prefix: /home/ada/conda
"""
    expected = CondaFile(
        ("conda-forge", "./envs/mine", "https://127.0.0.1/lab"),
        ("python=3.10", "numpy >=1.20,<3", "bioconda::samtools=1.21", "pip"),
        ("rich==13.0", "envs/more/requirements.txt"),
    )
    assert expected == read_conda_file(text, "envs/rna.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channels: [x]\ndependancies: [a]\n", "e.yml:2:1: dependancies: unknown key 'dependancies'"),
        ("channels: [x]\n", "e.yml:1:1: 'dependencies' is missing"),
        ("dependencies: [a]\n", "e.yml:1:1: channels: no channel is named"),
        ("channels: [../../out]\ndependencies: [a]\n", "e.yml:1:12: channels.0: '../../out'"),
        ("channels: ['a b']\ndependencies: [a]\n", "e.yml:1:12: channels.0: 'a b' is not a channel"),
        ("channels: [x]\ndependencies:\n- pips: [a]\n", "e.yml:3:3: dependencies.0.pips: unknown key 'pips'"),
        ("channels: [x]\ndependencies: [a]\nvariables: {A: b}\n", "'variables' is not supported"),
        ("channels: [x\n", "e.yml:"),
        ("", "e.yml:1:1: the file is empty"),
    ],
)
def test_mistakes_of_an_environment_yml_are_located(text, message):
    """Each says file, line and column."""
    with pytest.raises(WorkflowError) as caught:
        read_conda_file(text, "e.yml")
    assert message in str(caught.value)


def test_an_explicit_list_gives_addresses_and_digests():
    """Of each line: md5, sha256 in both spellings, or nothing."""
    base = "https://127.0.0.1/conda-forge/linux-64"
    text = f"""\
# platform: linux-64
@EXPLICIT
{base}/a-1.0-h1_0.conda#{"0" * 32}
{base}/b-c-1!2.0-h_1.tar.bz2#{SHA}
{base}/d-1-0.conda#sha256:{SHA}
file:///mnt/x/noarch/e-1-0.conda
"""
    lines = read_conda_file(text, "list.txt").explicit
    found = [(line.file, line.digest, line.md5, line.subdir, line.channel) for line in lines]
    assert [
        ("a-1.0-h1_0.conda", None, "0" * 32, "linux-64", "conda-forge"),
        ("b-c-1!2.0-h_1.tar.bz2", Digest(SHA), None, "linux-64", "conda-forge"),
        ("d-1-0.conda", Digest(SHA), None, "linux-64", "conda-forge"),
        ("e-1-0.conda", None, None, "noarch", "x"),
    ] == found
    assert str(lines[0].where) == "list.txt:3:1"


def test_mistakes_of_an_explicit_list_are_located_together():
    """All wrong lines are named at once."""
    text = "@EXPLICIT\nsamtools=1.21\n  https://127.0.0.1/x/linux-64/a.conda\n"
    with pytest.raises(WorkflowError) as caught:
        read_conda_file(text, "list.txt")
    assert ["list.txt:2:1", "list.txt:3:3"] == [str(problem.where) for problem in caught.value.problems]


def test_a_spec_reads_the_file_that_it_names(tmp_path):
    """A file that is not there is a mistake at its name."""
    (tmp_path / "e.yml").write_text("channels: [x]\ndependencies: [a]\n")
    assert CondaFile(("x",), ("a",)) == read_spec(CondaSpec(file="e.yml"), tmp_path)
    assert CondaFile(("y",), ("b",)) == read_spec(CondaSpec(("y",), ("b",)), tmp_path)
    with pytest.raises(WorkflowError, match="1 mistake") as caught:
        read_spec(CondaSpec(file="none.yml"), tmp_path)
    assert "none.yml:1:1: the list of conda packages cannot be read: No such file" in str(caught.value)
