"""A round of batches as a Snakefile, and the command line of the Snakemake that brings it to the cluster.

Snakemake is the distributed engine in a process of its own, and runs on no node: each of its jobs is ``repro job exec``
of one batch. A batch is done for it once the node is: what became of the jobs is in the node's result and journal. So
its outputs are done-tokens, in a fresh folder that holds nothing else, and it cannot delete or mark a real output.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.execution.profile import Placement, Profile
    from repro.execution.ticket import Batch

OURS = "slurm"  # the executor that is ours; all others are plugins in stock form
PLUGINS = Path(__file__).parent / "snakemake"  # for PYTHONPATH: Snakemake finds plugins by their modules' names
DONE, RESULTS, TICKETS = "done", "results", "tickets"
LOG, TOLD = "snakemake.log", "told.jsonl"
_POLL = 1  # seconds between two looks at the queue
_OVERHEAD = 256 << 20  # bytes of memory for repro itself beside the jobs

_HEAD = """\
# One round of batches, written by repro; what each job of them is says {tickets}/.
import json
with open("batches.json") as file:
    AFTER = json.load(file)

rule all:
    input: list(AFTER)
"""

_RULE = """
rule kind_{number}:
    input: lambda wildcards: AFTER[f"{done}/{number}/{{wildcards.name}}"]
    output: touch("{done}/{number}/{{name}}")
    threads: {cpus}
    resources: {resources}
    shell: {command!r}
"""


def write_round(folder: Path, batches: Sequence[Batch], profile: Profile, command: Sequence[str]) -> None:
    """Write the Snakefile of a round, with its ``batches.json``, into ``folder``.

    Args:
        folder: absolute; on a file system that the nodes share.
        batches: of the round.
        profile: what Slurm is asked for.
        command: runs a batch once the path of its ticket is put behind it.
    """
    for name in (DONE, RESULTS):
        (folder / name).mkdir(parents=True)
    kinds: dict[tuple[int, str], int] = {}  # what is asked for, to the number of a rule
    tokens: dict[str, str] = {}
    for batch in batches:
        asked = _text(_resources(batch, profile.of(batch.jobs[0].step.name)))
        number = kinds.setdefault((batch.cpus, asked), len(kinds) + 1)
        tokens[batch.name] = f"{DONE}/{number}/{batch.name}"
    after = {tokens[batch.name]: [tokens[name] for name in batch.after] for batch in batches}
    (folder / "batches.json").write_text(json.dumps(after, separators=(",", ":")), encoding="ascii")
    ticket = f"{folder}/{TICKETS}/"
    shell = shlex.join([*command, ticket]).replace("{", "{{").replace("}", "}}")
    quote = "'" if shell.endswith("'") else ""  # a path with blanks ends in a quote, behind which comes the name
    shell = f"exec {shell.removesuffix(quote)}{{wildcards.name}}.json{quote}"
    parts = [_HEAD.format(tickets=TICKETS)]
    for (cpus, asked), number in kinds.items():
        parts.append(_RULE.format(number=number, done=DONE, cpus=cpus, resources=asked, command=shell))
    (folder / "Snakefile").write_text("".join(parts), encoding="utf-8", errors="surrogateescape")


def _resources(batch: Batch, placement: Placement) -> dict[str, int | str]:
    """Return what is asked of the cluster for a batch, in the words of Snakemake's Slurm plugin."""
    asked: dict[str, int | str] = {}
    if batch.memory is not None:
        asked["mem_mb"] = -(-(batch.memory + _OVERHEAD) // (1 << 20))  # Slurm's M are MiB
    if batch.time is not None:
        asked["runtime"] = -(-batch.time // 60)
    if batch.gpus:
        asked["gres"] = f"{placement.gpus or 'gpu'}:{batch.gpus}"
    named = {
        "slurm_partition": placement.partition,
        "slurm_account": placement.account,
        "constraint": placement.constraint,
        "qos": placement.qos,
        "slurm_extra": shlex.join(placement.extra or ()),
    }
    asked.update({name: value for name, value in named.items() if value})
    return {**batch.named, **asked}


def _text(asked: Mapping[str, int | str]) -> str:
    """Return the resources as arguments; Snakemake wants one at least."""
    return ", ".join(f"{name}={value!r}" for name, value in asked.items()) or "repro=1"


def command_line(executor: str, profile: Profile, named: Mapping[str, int], *, accounting: bool) -> list[str]:
    """Return Snakemake's command line for a round in the current folder.

    Args:
        executor: ``slurm``, or the name of another executor plugin that is installed.
        profile: how many jobs there are at once.
        named: what all jobs under way may take of the run's named resources.
        accounting: whether Slurm keeps accounts; without them only squeue tells of a job.
    """
    words = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--directory", "."]
    words += ["--executor", "repro" if executor == OURS else executor, "--jobs", str(profile.jobs)]
    words += ["--scheduler", "greedy", "--keep-going", "--keep-incomplete", "--drop-metadata", "--ignore-incomplete"]
    words += ["--nolock", "--rerun-triggers", "mtime", "--workflow-profile", "none", "--latency-wait", "60"]
    words += ["--seconds-between-status-checks", str(_POLL), "--nocolor"]
    words += ["--default-resources", "tmpdir=system_tmpdir"]  # else each job asks for memory and disk by guess
    if named:
        words += ["--resources", *(f"{name}={count}" for name, count in named.items())]
    if executor == OURS:
        words += ["--repro-no-requeue", "--repro-pass-command-as-script", "--repro-keep-successful-logs"]
        words += ["--repro-init-seconds-before-status-checks", str(_POLL)]
        if not accounting:
            words += ["--repro-no-account", "--repro-status-command", "squeue"]
    return words


def environment(environ: Mapping[str, str], run_tag: str) -> dict[str, str]:
    """Return the environment of Snakemake's process: the caller's, the folder of our plugin, and the run's tag."""
    paths = [str(PLUGINS), *filter(None, [environ.get("PYTHONPATH", "")])]
    own = {name: value for name, value in environ.items() if name != "SNAKEMAKE_PROFILE"}
    return {**own, "PYTHONPATH": ":".join(paths), "REPRO_TAG": run_tag}
