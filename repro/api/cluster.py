"""Runs on a cluster: where their jobs go, and the driver as a job of its own."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro import process
from repro.api.project import Project, open_project
from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.events import Notice
from repro.execution import slurm, ticket
from repro.execution.cluster import Cluster
from repro.execution.profile import Profile, read_profile, told
from repro.execution.snakefile import OURS
from repro.execution.state import State
from repro.files import write_atomic
from repro.runtime.spec import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.plans import OpenedPlan
    from repro.execution.image import Image
    from repro.execution.ticket import Shared

FOLDER = "profiles"  # of a project
_PLUGIN = "snakemake_executor_plugin_"  # how the modules of such plugins begin
_OWN = ("REPRO_DRIVER", "REPRO_TAG")  # variables of Snakemake's process alone


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the jobs of a run go; ``host`` is the caller's with the profile's store, cache and mode."""

    executor: str
    profile: Profile
    host: Host


def destination(host: Host, named: str | None, executor: str | None, profile: str | None) -> Destination:
    """Return what ``--executor`` and ``--profile`` say for the workflow ``named``.

    ``profile`` is a file, or a name: ``profiles/NAME.yaml`` in the project. Without one it is the executor's name, and
    then need not be there.

    Raises:
        UsageError: the profile is not there, or no plugin for the executor.
        WorkflowError: it has mistakes; or the workflow has.
    """
    project = open_project(host, named)
    file = _profile_file(host, project, profile or executor or OURS)
    if file.exists():
        shown = os.path.relpath(file, host.cwd)
        chosen = read_profile(_text(file, shown), shown, project.workflow.steps)
    elif profile is not None:
        hint = f"make it: docs/how-to/slurm.md says what stands in {FOLDER}/slurm.yaml"
        raise UsageError(f"there is no profile {os.path.relpath(file, host.cwd)}", hint=hint)
    else:
        chosen = Profile()
    executor = executor or chosen.executor
    _require_plugin(executor)
    given = {"REPRO_STORE": chosen.store, "REPRO_CACHE": chosen.cache}
    places = {name: _place(path, host, project) for name, path in given.items() if path}
    mode = {"REPRO_MODE": chosen.mode} if chosen.mode else {}
    return Destination(executor, chosen, replace(host, environ={**host.environ, **places, **mode}))


def _require_plugin(executor: str) -> None:
    """Raise UsageError where Snakemake's plugin for ``executor`` is not installed."""
    if importlib.util.find_spec(f"{_PLUGIN}{executor.replace('-', '_')}") is None:
        package = "repro-workflow[slurm]" if executor == OURS else f"snakemake-executor-plugin-{executor}"
        why = "Snakemake's plugin for it is not installed beside repro"
        raise UsageError(f"there is no executor {executor!r}", why=why, hint=f"pip install '{package}'")


def _profile_file(host: Host, project: Project, name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return host.cwd / name
    return project.root / FOLDER / f"{name}.yaml"


def _text(file: Path, shown: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not UTF-8", why=str(error), hint="save it as UTF-8") from error


def _place(path: str, host: Host, project: Project) -> str:
    """Return a folder of a profile: absolute, ``~`` and ``$NAME`` told; a relative one is in the project."""
    text = told(path, host.environ)
    text = f"{host.home}{text[1:]}" if text == "~" or text.startswith("~/") else text
    return str(project.root / text)


def open_cluster(
    where: Destination,
    found: OpenedPlan,
    engine: Engine,
    *,
    named: Mapping[str, int],
    secrets: Sequence[str],
    keep_going: bool,
    may_lock: bool,
) -> Cluster:
    """Return the cluster for one run of ``found``.

    Raises:
        HostError: there is no Slurm on this machine.
    """
    host, project = where.host, found.project
    environ = {name: value for name, value in host.environ.items() if name.startswith("REPRO_") and name not in _OWN}
    environ |= {
        "REPRO_MODE": engine.mode.value,
        "REPRO_STORE": str(host.store_root),
        "REPRO_CACHE": str(host.cache_root),
    }

    def shared(run_id: str, images: tuple[Image, ...]) -> Shared:
        return ticket.Shared(
            run=run_id,
            project=str(project.root),
            shown=project.shown,
            workflow=_copy(found, State(project.root).runs / run_id / "cluster"),
            cwd=str(host.cwd),
            images=tuple(replace(image, layers=()) for image in images),
            environ=environ,
            scratch=where.profile.scratch or "",
            secrets=tuple(secrets),
            keep_going=keep_going,
            forced=found.selection.force,
            fetched={path: entry.digest for path, entry in found.environments.lock.content.fetched.items()},
            may_lock=may_lock,
        )

    return Cluster(
        where.executor,
        where.profile,
        shared,
        images=found.environments.image,
        fetched=found.fetched,
        environ={**host.environ, "REPRO_DRIVER": str(os.getpid())},
        command=(sys.executable, "-m", "repro", "job", "exec", "--batch"),
        named=named,
    )


def prepare(where: Destination, engine: Engine, named: str | None, *, may_lock: bool) -> None:
    """Have images made by a process of their own where making them takes a user namespace, which this one stays out of.

    In there the caller is another user to the cluster, which would refuse the jobs.

    Raises:
        ReproError: `repro build` failed; what it said is in it.
    """
    if engine.mode is not Mode.SUB:
        return
    host = where.host
    engine.stay_outside()
    if may_lock:
        engine.sink(Notice("info", "images are made by `repro build`, in a user namespace of its own"))
        words = [sys.executable, "-m", "repro", "build", "--quiet", *([] if named is None else [named])]
        process.run(words, cwd=host.cwd, env=host.environ)


def _copy(found: OpenedPlan, folder: Path) -> str:
    """Return where the workflow is for nodes, as it was when this run began, where they need it: for its inputs."""
    project = found.project
    if not project.workflow.inputs or project.workflow.source is None:
        return ""
    file = folder / project.file.name
    if not file.exists():
        write_atomic(file.with_suffix(".lock"), project.lock_file.read_bytes())
        write_atomic(file, project.workflow.source.text.encode())
    return str(file)


# ---- the driver as a job


@dataclass(frozen=True, slots=True)
class Detached:
    """A driver that was given to Slurm: the number of its job, and the file that takes what it prints."""

    number: str
    output: Path


def detach(where: Destination, named: str | None, arguments: Sequence[str]) -> Detached:
    """Give Slurm a job that is ``repro`` with these arguments, in the caller's folder.

    Raises:
        HostError: Slurm refuses it.
        UsageError: the executor is another one.
    """
    if where.executor != OURS:
        raise UsageError(f"--detach is for Slurm, not for {where.executor}", hint="leave it out, or use nohup or tmux")
    host = where.host
    project = open_project(host, named)
    state = State(project.root)
    state.prepare()
    output = state.root / "detached" / f"{host.now():%Y%m%dT%H%M%SZ}-%j.log"
    output.parent.mkdir(exist_ok=True)
    asked = where.profile.driver.over(replace(where.profile.placement, time=None, memory=None, extra=None))
    options = [f"--output={output}", f"--job-name=repro-driver-{project.workflow.name}", "--no-requeue"]
    wanted = {"partition": asked.partition, "account": asked.account, "qos": asked.qos, "constraint": asked.constraint}
    options += [f"--{name}={value}" for name, value in wanted.items() if value]
    options += [f"--time={-(-asked.time // 60)}"] if asked.time is not None else []
    options += [f"--mem={-(-(asked.memory or _DRIVER) // (1 << 20))}M", *(asked.extra or ())]
    words = shlex.join([sys.executable, "-m", "repro", *arguments])
    number = slurm.submit(f"#!/bin/sh\nexec {words}\n", options, host.cwd)
    return Detached(number, Path(str(output).replace("%j", number)))


_DRIVER = 2 << 30  # bytes of memory for a driver, Snakemake's among them
