"""The Snakefile of a round: read by Snakemake itself, whatever the folder is called; and its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from repro.execution import snakefile
from repro.execution.profile import Placement, Profile
from repro.execution.ticket import Batch
from tests.slurm.test_batches import job


def written(folder, *batches: Batch, **placement):
    """Write a round of these batches, and return its Snakefile's text."""
    folder.mkdir()
    snakefile.write_round(folder, batches, Profile(Placement(**placement)), ("/usr/bin/python3", "-m", "repro", "x y"))
    return (folder / "Snakefile").read_text()


def test_snakemake_reads_it(tmp_path):
    """A dry run shows the batches in order, each with its command, in a folder whose name needs quotes."""
    folder = tmp_path / 'it\'s {a} "b" $HOME'
    first, second = Batch("1-1-a", (job("a"),), cpus=2, time=61), Batch("1-2-b", (job("b"),), after=("1-1-a",))
    written(folder, first, second, partition="lab", extra=("--exclusive", "--comment=a b"))
    argv = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--dry-run", "--printshellcmds", "--nolock"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    commands = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "-m repro" in line]
    lines = [line.partition("exec ")[2] for line in commands]
    words = [subprocess.check_output(["sh", "-c", f"printf '%s\\n' {line}"], text=True).splitlines() for line in lines]
    assert ["/usr/bin/python3", "-m", "repro", "x y", f"{folder}/tickets/1-1-a.json"] == words[0]
    assert f"{folder}/tickets/1-2-b.json" == words[1][-1]


def test_alike_batches_share_a_rule(tmp_path):
    """Batches that ask for the same are one rule, so that ten thousand of them are read as quickly as one."""
    alike = [Batch(f"1-{number}-a", (job("a"),), memory=1 << 30) for number in range(50)]
    text = written(tmp_path / "round", *alike, Batch("1-51-b", (job("b"),), gpus=2), gpus="gpu:a100")
    assert 2 == text.count("rule kind_")
    assert "resources: mem_mb=1280" in text
    assert "gres='gpu:a100:2'" in text
    after = json.loads((tmp_path / "round/batches.json").read_text())
    assert 51 == len(after)


def test_named_resources_are_held_to_over_all(tmp_path):
    """What a job takes of licences is in its rule, and how many there are in the command line."""
    text = written(tmp_path / "round", Batch("1-1-a", (job("a"),), named={"licences": 1}))
    assert "licences=1" in text
    words = snakefile.command_line("slurm", Profile(jobs=7), {"licences": 2}, accounting=False)
    assert "licences=2" == words[words.index("--resources") + 1]
    assert "7" == words[words.index("--jobs") + 1]
    assert "--repro-no-account" in words
    assert "--repro-no-account" not in snakefile.command_line("slurm", Profile(), {}, accounting=True)


def test_other_executors_get_no_options_of_ours():
    """The plugin of another cluster is used by its name, with Snakemake's own options alone."""
    words = snakefile.command_line("lsf", Profile(), {}, accounting=False)
    assert "lsf" == words[words.index("--executor") + 1]
    assert [] == [word for word in words if word.startswith("--repro")]


def test_environment_of_snakemake():
    """Snakemake finds our plugin, and nothing of a profile of the user's own."""
    env = snakefile.environment({"PYTHONPATH": "/mine", "SNAKEMAKE_PROFILE": "theirs", "HOME": "/h"}, "tag")
    assert {"HOME": "/h", "REPRO_TAG": "tag", "PYTHONPATH": f"{snakefile.PLUGINS}:/mine"} == env
    assert (snakefile.PLUGINS / "snakemake_executor_plugin_repro/__init__.py").exists()
    assert os.path.isabs(snakefile.PLUGINS)
