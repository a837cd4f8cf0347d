"""From a Dockerfile's text to an image in the store."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from repro.build.bases import Bases
from repro.build.bench import Workbench
from repro.build.builder import Built, StageBuilder
from repro.build.cache import LayerMemory
from repro.build.config import PROXIES, Settings, State, timestamp
from repro.build.graph import Graph
from repro.build.halt import Halt
from repro.build.lint import enforce, lint
from repro.build.options import BuildOptions, BuildResult, FindBase, MadeLayer
from repro.build.run import Extras
from repro.build.stages import BuildPlan, architecture, plan_build
from repro.build.triggers import with_triggers
from repro.dockerfile import instructions as model
from repro.dockerfile.grammar import read
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.build.context import Context
    from repro.build.remote import Fetch
    from repro.events import Sink
    from repro.oci.store import Store
    from repro.runtime.container import Launcher


__all__ = ["BuildOptions", "BuildResult", "Extras", "FindBase", "MadeLayer", "build"]


def build(
    text: str,
    *,
    file: str,
    context: Context,
    options: BuildOptions,
    store: Store,
    launcher: Launcher,
    base: FindBase,
    extras: Callable[[str], Extras],
    sink: Sink,
    fetch: Fetch | None = None,
) -> BuildResult:
    """Build the image that a Dockerfile's text describes; it is in the store afterwards, untagged.

    The image ID depends on the text, what it reads of ``context``, the bases, the arguments and the epoch alone.
    Stages that do not need one another are built at the same time; the first error ends them all.

    Args:
        text: the Dockerfile.
        file: its name in errors.
        context: where COPY and bind mounts read.
        options: see `BuildOptions`.
        store: takes layers and image, and remembers layers for later builds.
        launcher: runs RUN; not touched when everything is cached.
        base: see `FindBase`.
        extras: what RUN gets from outside the layer, by the name of the image that a stage is based on in the end.
        sink: hears `BuildStep`, `BuildOutput` and `Notice`, from several threads; those of a stage in order.
        fetch: downloads for ADD of URLs; None: such an ADD is an error.

    Raises:
        DockerfileError: the text has a mistake, or names what is not there.
        BuildError: an instruction failed.
    """
    arch = architecture()
    bases = Bases(store, base, arch)
    dockerfile = read(text, file)
    plan = plan_build(dockerfile, target=options.target, arguments=options.args, arch=arch)
    store.sweep()
    epoch = bases.epoch(plan, options.epoch)
    plan = with_triggers(plan, bases.config)
    if options.lint:
        _warn(plan, dockerfile, sink)
    _warn_unused(plan, options, sink)

    def finished(index: int) -> State:
        return graph.result(index).state

    halt = Halt()
    bench = Workbench(
        plan=plan,
        arch=arch,
        name=options.name,
        network=options.network,
        settings=Settings(plan.escape, options.args, plan.globals, epoch, normalize=options.normalize),
        context=context,
        store=store,
        launcher=launcher,
        memory=LayerMemory(store, forget=options.no_cache),
        image=bases.config,
        extras=_once(extras),
        sink=sink,
        finished=finished,
        halt=halt,
        secrets=options.secrets,
        conditions=options.conditions,
        fetch=fetch,
    )
    jobs = options.jobs or len(os.sched_getaffinity(0))
    builder = StageBuilder(bench, options, threading.Semaphore(jobs))
    graph: Graph[Built] = Graph(plan.needed, lambda index: builder.build(plan.stages[index]), halt)
    graph.run(at_once=jobs > 1 and len(plan.needed) > 1)
    return _result(plan, graph, options, bench, epoch)


def _result(plan: BuildPlan, graph: Graph[Built], options: BuildOptions, bench: Workbench, epoch: int) -> BuildResult:
    """Keep the target's image and say what became of the stages."""
    config = graph.result(plan.target.index).state.config
    if options.labels:
        config = replace(config, labels={**config.labels, **dict(sorted(options.labels.items()))})
    image_id = bench.store.put_image(replace(config, created=timestamp(epoch)))
    built = [graph.result(index) for index in plan.needed]
    layers = tuple(layer for one in built for layer in one.layers)
    return BuildResult(image_id, len(layers), sum(one.cached for one in built), layers, bench.memory.recalled)


def _once(extras: Callable[[str], Extras]) -> Callable[[str], Extras]:
    """Return ``extras`` asked once for each name, by one thread at a time: it may write files."""
    lock = threading.Lock()
    known: dict[str, Extras] = {}

    def asked(name: str) -> Extras:
        with lock:
            if name not in known:
                known[name] = extras(name)
            return known[name]

    return asked


def _warn(plan: BuildPlan, dockerfile: model.Dockerfile, sink: Sink) -> None:
    """Tell of what the rules find; DockerfileError where the file wants that to be one."""
    findings = lint(plan, dockerfile)
    for one in findings:
        sink(Notice("warning", f"{one.where}: {one.message} [{one.rule.code}]"))
    enforce(findings, dockerfile)


def _warn_unused(plan: BuildPlan, options: BuildOptions, sink: Sink) -> None:
    """Tell of build arguments that no ARG asks for: mostly a misspelling."""
    declared = {
        item.name.text
        for stage in plan.stages
        for one in stage.instructions
        if isinstance(one, model.Arg)
        for item in one.arguments
    }
    known = declared | set(plan.globals) | PROXIES | {"SOURCE_DATE_EPOCH"}
    for name in sorted(set(options.args) - known):
        sink(Notice("warning", f"the build argument {name} is not used: no ARG declares it"))
