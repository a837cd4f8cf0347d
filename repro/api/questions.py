"""Questions about results and about the host: `why` and `doctor`."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from repro.api.project import find_state
from repro.data.checksum import StatCache
from repro.errors import LockError, UsageError
from repro.execution.key import asserted_text
from repro.execution.state import State
from repro.provenance import journal, lineage
from repro.runtime.probe import Check, HostReport, probe
from repro.workflow.model import ArchiveBase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.api.host import Host
    from repro.digest import Digest, Json
    from repro.events import FileRecord
    from repro.provenance.lineage import Elsewhere, ImageInfo, JobInfo, Lineage, Origin


def why(host: Host, path: str) -> Lineage:
    """Return how the file (or folder output) came to be, by its bytes as they are now; of a raw input, who read it.

    An input from elsewhere than the project is told of as it was last read.

    UsageError when it is missing or in no project; DataError when no recorded job made or read these bytes.
    """
    root, relative = find_state(host, path)
    target = root / relative
    folder = State(root).runs
    entries = [(summary.run, journal.read(folder / summary.run / journal.JOURNAL)) for summary in journal.runs(folder)]
    if not target.exists():
        found = lineage.last_read(entries, relative)
        if found is not None and found.elsewhere:
            return found
        raise UsageError(f"there is no file {path}", hint="name a result that is there, or make it with `repro run`")
    cache = StatCache(State(root).stat_cache)
    now = cache.record(root, f"{relative}/" if target.is_dir() else relative)
    found = lineage.why(entries, relative, now.digest)
    if found.file.folder and relative.startswith(found.file.path):  # its bytes are recorded with the folder's alone
        return lineage.why(entries, found.file.path, cache.record(root, found.file.path).digest)
    return found


def lineage_lines(found: Lineage, *, every_package: bool = False) -> Iterator[str]:
    """Give the lineage as text: the file, its jobs with command and inputs, images with packages, raw inputs."""
    yield _file_text(found.file)
    if found.readers:
        yield "  no job made it: it is a raw input"
        yield from (f"  from     {_source_text(source)}" for source in found.sources(found.file))
        yield from (f"  read by  {job}" for job in found.readers)
        return
    makers = {job.key: job.job for job in found.jobs}
    for job in found.jobs:
        yield ""
        yield f"job {job.job}  (run {job.run}, {job.wall:.1f} s, on {job.host}, ended {job.ended})"
        yield f"  image    {job.image}  environment {job.environment}"
        yield from (
            f"  {'command' if number == 0 else '':8} {line}" for number, line in enumerate(job.command.splitlines())
        )
        if job.params:
            yield f"  params   {', '.join(f'{name}={_value_text(value)}' for name, value in job.params.items())}"
        for name, origins in job.inputs.items():
            for origin in origins:
                yield f"  input    {name}: {_file_text(origin.file)}  {_origin_text(origin, makers)}"
        for origin in job.code:
            yield f"  code     {_file_text(origin.file)}"
        for name, file in job.outputs.items():
            yield f"  output   {name}: {_file_text(file)}"
    for image in found.images:
        yield ""
        yield from _image_lines(image, [job for job in found.jobs if job.image == image.image], every=every_package)
    yield ""
    yield "raw inputs and code"
    for file in found.raw:
        yield f"  {_file_text(file)}"
        yield from (f"    from {_source_text(source)}" for source in found.sources(file))


def _image_lines(image: ImageInfo, jobs: list[JobInfo], *, every: bool) -> Iterator[str]:
    yield f"image {image.image}  environment {image.environment}"
    words = set(re.findall(r"[A-Za-z0-9][A-Za-z0-9+.-]+", "\n".join(job.command for job in jobs)))
    shown = [(name, version) for name, version in image.packages if every or name in words]
    for name, version in shown:
        yield f"  package  {name} {version}"
    if len(shown) < len(image.packages):
        more = " more" if shown else ""
        yield f"  {len(image.packages) - len(shown)}{more} packages: --packages lists them"


def _value_text(value: Json) -> str:
    """Return a parameter on one line: text as it is where nothing in it misleads, else as JSON."""
    plain = isinstance(value, str) and re.fullmatch(r"[^\s,=\"'\[\]{}]+(?: [^\s,=\"'\[\]{}]+)*", value)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _file_text(file: FileRecord) -> str:
    asserted = f"  {asserted_text(file.asserted)}" if file.asserted else ""
    return f"{file.path}  {file.digest}  {file.size} bytes{asserted}"


def _origin_text(origin: Origin, makers: Mapping[Digest, str]) -> str:
    if origin.made_by is not None:
        return f"from {makers[origin.made_by]}"
    return "raw input" if origin.elsewhere is None else f"from {origin.elsewhere.uri}"


def _source_text(source: Elsewhere) -> str:
    version = f"  version {source.version}" if source.version else ""
    return f"{source.uri}{version}"


def doctor(host: Host) -> HostReport:
    """Return what this host gives to containers, tried where the store is (or would be), and to archive bases."""
    place = host.store_root
    while not place.is_dir():
        place = place.parent
    report = probe(host.uid, host.gid, place, host.environ.get("REPRO_MODE", ""))
    free = shutil.disk_usage(place).free
    store = Check("store", ok=True, detail=f"{host.store_root}, {free / 1e9:.1f} GB free on its disk")
    return replace(report, checks=(*report.checks, store, _archive_check(host)))


def _archive_check(host: Host) -> Check:
    """Return whether a base can be made from Debian's archive here: is a mirror known, and whose is the keyring?"""
    from repro.environment.resolvers.keyring import NoKeyringError  # noqa: PLC0415 - imports OpenPGP
    from repro.environment.resolvers.source import find_source  # noqa: PLC0415

    base, keyring = ArchiveBase("debian", "bookworm"), "keyring found"
    try:
        try:
            source = find_source(base, environ=host.environ)
        except NoKeyringError:
            source = find_source(base, environ=host.environ, signed=False)
            keyring = "no keyring here: the archive's own is used, for the keys known to this program"
    except LockError as error:
        return Check("debian archive", ok=False, detail=error.message, remedy=error.hint or "")
    return Check("debian archive", ok=True, detail=f"{keyring}; suites known: {', '.join(source.suites())}")
