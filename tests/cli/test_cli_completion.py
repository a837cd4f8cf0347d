"""The completion script, asked by a real bash as readline would ask it."""

from __future__ import annotations

import subprocess

import pytest

from repro.cli.completion import IMAGES
from repro.cli.main import COMMANDS, main

ASK = """
source "$1"; shift
repro() { [[ "$1 $2" == "image ls" ]] && printf 'lab/a:1\\nlab/a:2\\nb:latest\\n'; }
COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_repro
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path, capsys):
    """Return a function from the words of a line, the last unfinished, to what bash offers for it."""
    assert 0 == main(["completion", "bash"])
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)
    folder = tmp_path / "project"
    (folder / "results").mkdir(parents=True)
    for name in ("workflow.yaml", "results/a b.txt", "results/c.txt"):
        (folder / name).write_text("")

    def ask(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-euc", ASK, "bash", script, "repro", *words],
            cwd=folder,
            text=True,
            capture_output=True,
            check=True,
        )
        return sorted(done.stdout.splitlines())

    return ask


def test_commands_are_offered(complete):
    """The first word is a command, also after options, and after `help`."""
    assert sorted(COMMANDS) == complete("")
    assert ["registry", "run"] == complete("-C", "results", "r")
    assert ["registry", "run"] == complete("-q", "r")
    assert ["image"] == complete("help", "im")
    assert ["--debug"] == complete("--d")


def test_subcommands_and_their_options_are_offered(complete):
    """`image` has words and options of its own, and fixed choices are words."""
    assert {"build", "inspect", "ls", *IMAGES} <= set(complete("image", ""))
    assert ["--tag", "--target"] == complete("image", "build", "--t")
    assert ["--json"] == complete("image", "ls", "--j")
    assert ["bash", "zsh"] == complete("completion", "")


def test_options_of_the_workflow_s_commands_are_offered(complete):
    """What chooses among jobs is known to `run` and `plan` alike; new commands complete as others do."""
    assert ["--force", "--from"] == complete("run", "--f") == complete("plan", "--f")
    assert ["debug"] == complete("de")
    assert ["--jobs"] == complete("graph", "--j")
    assert ["--file", "--follow"] == complete("log", "--f")


def test_files_are_offered_whole(complete):
    """A file name with a blank in it is one word; options come only after a dash."""
    assert ["results/a b.txt", "results/c.txt"] == complete("why", "results/")
    assert ["workflow.yaml"] == complete("run", "-j", "2", "w")
    assert ["--locked"] == complete("run", "--l")


def test_names_of_images_are_offered(complete):
    """Where a command takes images; of a name whose colon was typed only what follows, as readline wants it."""
    assert ["b:latest", "lab/a:1", "lab/a:2"] == complete("image", "rm", "")
    assert ["lab/a:1", "lab/a:2"] == complete("image", "diff", "b:latest", "la")
    assert ["1", "2"] == complete("image", "inspect", "lab/a:")
    assert ["workflow.yaml"] == complete("image", "save", "-o", "wor")
    assert ["workflow.yaml"] == complete("image", "load", "-i", "wor")
