"""Publish the results of a workflow where its ``publish:`` says; tell what was published."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.plans import assessed, opened_plan
from repro.api.project import holding, open_project
from repro.api.publish_files import claim, items, left_out, refuse_private, require_made
from repro.api.publish_records import PublicationRecord, PublishedFile, keep_record, read_records
from repro.api.publish_targets import Destination, settle_others
from repro.data.checksum import StatCache, walk
from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.events import Notice
from repro.execution.state import State
from repro.provenance import journal
from repro.workflow.expand import render_path
from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.api.host import Host
    from repro.api.plans import OpenedPlan
    from repro.api.project import Project
    from repro.data.publication import Item
    from repro.digest import Digest
    from repro.events import Sink
    from repro.names import DataUri
    from repro.workflow.model import PublishTarget

_STATE, _RECORDS = "publish", "published"


@dataclass(frozen=True, slots=True)
class _Part:
    """An entry of ``publish:``, where it goes, and its files."""

    declared: PublishTarget
    destination: Destination
    files: tuple[Item, ...]

    def path(self, item: Item) -> str:
        """Return the project path of one of its files."""
        return f"{self.declared.path}{item.name}" if self.declared.path.endswith("/") else self.declared.path


def publish(
    host: Host,
    named: str | None,
    *,
    paths: Sequence[str] = (),
    replace: bool = False,
    dry_run: bool = False,
    sink: Sink,
) -> tuple[PublishedFile, ...]:
    """Publish outputs, all or none; return how each file stands at its address, in the order of ``publish:``.

    Args:
        host: the machine and the caller.
        named: the workflow file.
        paths: entries of ``publish:`` by their project paths; all where none is named.
        replace: other files that are at the addresses are replaced.
        dry_run: nothing is sent; only looked at.
        sink: is told the progress in bytes, and which files are left out.

    Raises:
        UsageError: nothing is declared to be published, or not this; a template needs a run, and there is none.
        DataError: jobs that make what is published are not up to date; a file is a copy of a private input.
        BusyError: the project is in use by a run, or another process publishes the same.
        ExistsError, FetchError: as `repro.data.publishing.publish`.
    """
    with opened(host, sink) as engine:
        found = opened_plan(host, named, engine)
        project, state = found.project, State(found.project.root)
        chosen = _chosen(project, paths)
        run, day = _last_run(project)
        destinations = [_destination(project, one, run, day) for one in chosen]
        _refuse_same(destinations)
        with holding(host, project, "repro publish"):
            claims = [claim(found.plan, one.path, project.root) for one in chosen]
            require_made(claims, assessed(host, found, engine), project.shown)
            cache = StatCache(state.stat_cache)
            cache.load()
            parts = [
                _Part(declared, destination, items(one, destination.name, project.root, cache))
                for declared, destination, one in zip(chosen, destinations, claims, strict=True)
            ]
            cache.save()
        for part, one in zip(parts, claims, strict=True):
            refuse_private(part.files, _private(found))
            if text := left_out(one, project.root, part.files):
                sink(Notice("info", text))
    standing = _send(host, project, parts, replace=replace, dry_run=dry_run, sink=sink)
    if not dry_run:
        keep_record(state.root / _RECORDS, standing, run=run, workflow=project.shown, now=host.now())
    return standing


def require_publish(host: Host, named: str | None) -> None:
    """Raise UsageError where the workflow has nothing to publish: before a long run, not after it."""
    _chosen(open_project(host, named), ())


def published(host: Host, named: str | None) -> tuple[PublicationRecord, ...]:
    """Return the publications of the project, the newest first."""
    return read_records(State(open_project(host, named).root).root / _RECORDS)


# ---- what, and where


def _chosen(project: Project, paths: Sequence[str]) -> tuple[PublishTarget, ...]:
    """Return the entries of ``publish:`` that are meant; UsageError where there are none, or not these."""
    declared = project.workflow.publish
    if not declared:
        hint = "say where results go: publish: {results/: s3://bucket/results/} (docs/how-to/publish.md)"
        raise UsageError(f"{project.shown} publishes nothing", hint=hint)
    chosen = {}
    for path in paths or declared:
        key = next((one for one in (path, f"{path}/") if one in declared), None)
        if key is None:
            hint = f"what it publishes: {', '.join(declared)}"
            raise UsageError(f"{path} is not under `publish:` of {project.shown}", hint=hint)
        chosen[key] = declared[key]
    return tuple(chosen.values())


def _last_run(project: Project) -> tuple[str, str]:
    """Return ID and day (UTC) of the last run of this workflow that succeeded; empty where there is none."""
    for summary in reversed(journal.runs(State(project.root).runs)):
        if summary.status == "succeeded" and os.path.basename(summary.workflow) == project.file.name:
            return summary.run, (summary.ended or summary.started)[:10]
    return "", ""


def _destination(project: Project, declared: PublishTarget, run: str, day: str) -> Destination:
    scope: dict[str, object] = {"workflow": project.workflow.name, "params": project.workflow.params}
    if run:
        scope |= {"run": {"id": run}, "date": day}
    try:
        text = render_path(declared.target, scope)
    except TemplateError as error:
        why = error.message if run else "no run of it has succeeded yet that could give its ID and date"
        hint = "run `repro run` first" if not run else error.hint
        raise UsageError(
            f"the address of {declared.path} cannot be made", where=declared.where, why=why, hint=hint
        ) from error
    return Destination.of(text, declared.access, project.root)


def _refuse_same(destinations: Sequence[Destination]) -> None:
    places: set[tuple[DataUri, str]] = set()
    for one in destinations:
        if (one.uri, one.name) in places:
            message = f"two published paths have the same address {one.address}{one.name}"
            raise UsageError(message, hint="give each a place of its own")
        places.add((one.uri, one.name))


def _private(found: OpenedPlan) -> Mapping[Digest, str]:
    """Return the project paths of inputs that must not leave this site, by the digests of their files.

    Of a folder on this machine these are the files that are there now; one that is too big for that (`mount` with
    another fingerprint than ``sha256``) is hashed all the same: what leaves cannot be called back.
    """
    digests: dict[Digest, str] = {}
    for path, source in found.project.workflow.inputs.items():
        entry = found.environments.lock.content.inputs.get(path) if source.private else None
        if entry is None:
            continue
        place = found.inputs.local(source)
        if entry.files or place is None:
            digests |= {file.digest: f"{path}{file.name}" for file in entry.files}
        elif place.is_dir():
            names = [one for one in walk(place) if one.kind == "file"]
            hashed = found.environments.lock.cache.digest_files([one.path for one in names])
            digests |= {digest: f"{path}{one.name}" for one, (digest, _) in zip(names, hashed, strict=True)}
        else:
            digests[found.environments.lock.cache.digest_file(place)[0]] = path
    return digests


# ---- sending


def _send(
    host: Host,
    project: Project,
    parts: Sequence[_Part],
    *,
    replace: bool,
    dry_run: bool,
    sink: Sink,
) -> tuple[PublishedFile, ...]:
    from repro.api.pinning import reach_of  # noqa: PLC0415 - what is listed needs nobody
    from repro.data.publishing import publish as publish_all  # noqa: PLC0415

    reach, owner = reach_of(host), f"repro publish on {host.name}, process {os.getpid()}"
    above = State(project.root).root / _STATE
    publications = []
    for part in parts:
        folder = part.destination.state(above, project.file.name, part.declared.path)
        if not dry_run:
            part.destination.note(folder)
            settle_others(folder, reach, owner, sink)
        publications.append(part.destination.publication(part.files, folder, reach, owner))
    standing = publish_all(publications, replace=replace, sink=sink, dry_run=dry_run)
    owners = [part for part in parts for _ in part.files]
    return tuple(
        PublishedFile.of(one, part.path(one.item), part.destination.address)
        for part, one in zip(owners, standing, strict=True)
    )
