"""`repro image build`: from what was asked to an image in the store, its names, and the files that were asked for."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import field, replace
from typing import TYPE_CHECKING, BinaryIO

from repro.api.bases import Bases
from repro.api.engine import opened
from repro.api.excerpts import noted_excerpt
from repro.api.outputs import check_outputs, parse_output
from repro.api.secrets import read_secrets
from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.names import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from repro.api.archives import Archives
    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.outputs import Output
    from repro.api.remote import RemoteFiles
    from repro.build.conditions import Conditions
    from repro.build.context import Context
    from repro.build.engine import BuildOptions, BuildResult
    from repro.build.remote import Fetch, Fetched
    from repro.build.verify import Verdict
    from repro.data.checksum import StatCache
    from repro.digest import Digest, Json
    from repro.errors import Location
    from repro.events import Sink

_EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What `repro image build` was asked, as it was spelled on the command line.

    Attributes:
        context: a folder, a tar, an address of one, or ``-`` for standard input.
        file: the Dockerfile; None: ``Dockerfile`` in the context; ``-``: standard input.
        outputs, secrets: see `repro.api.outputs` and `repro.api.secrets`.
        pull: make archive bases as they are today, whatever the store has.
        verify: build a second time under other conditions, and compare.
        id_file, metadata_file: files to write the image ID, and what is known of the build, into.
    """

    context: str
    file: str | None = None
    tags: tuple[str, ...] = ()
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    pull: bool = False
    platforms: tuple[str, ...] = ()
    network: str = "default"
    secrets: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    normalize: bool = True
    explain: bool = False
    verify: bool = False
    id_file: str | None = None
    metadata_file: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What decided a build that found everything in the cache: while all of it stays, the same request does the same.

    Attributes:
        looked: host paths whose status counts: the context as far as it was looked at, and the Dockerfile.
        texts: files in the store, and what they hold.
        there: files and folders in the store.
    """

    looked: frozenset[str]
    texts: tuple[tuple[Path, bytes], ...]
    there: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ImageBuilt:
    """The image, the names that it has now, and how it compares with a second build where that was asked.

    ``streamed``: an output went to standard output. ``evidence``: see there; None where the same request could do more
    than find everything in the cache again.
    """

    image_id: Digest
    names: tuple[str, ...]
    streamed: bool
    verdict: Verdict | None = None
    evidence: Evidence | None = None


def build_image(
    host: Host, request: BuildRequest, *, sink: Sink, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None
) -> ImageBuilt:
    """Return the image built as ``request`` says; it is in the store, named, and written where that was asked.

    FROM takes stages, images in the store, and archive bases (``archive:debian/bookworm``). All that can be known to be
    wrong before the work is told before it. None of ``stdin`` is empty; None of ``stdout`` takes no output.

    Raises:
        UsageError: what was asked makes no sense.
        DockerfileError: the Dockerfile has a mistake.
        BuildError: an instruction failed. These two carry an excerpt of the Dockerfile as a note.
    """
    outputs = [parse_output(text, host.cwd) for text in request.outputs]
    names = _names(request, outputs)
    check_outputs(outputs, stdout)
    _check_platform(request.platforms)
    options = _options(host, request, names)
    for path in (request.id_file, request.metadata_file):
        if path is not None:
            (host.cwd / path).unlink(missing_ok=True)  # as Docker: after a failure no file tells of an older image
    with ExitStack() as stack:
        engine = stack.enter_context(opened(host, sink))
        engine.enter()
        room = stack.enter_context(engine.store.workspace())
        run = _Builder(host, request, options, Bases(engine, pull=request.pull), stdin, room)
        result = run.build(engine)
        for name in names:
            engine.store.tag(str(name), result.image_id)
        if outputs:
            from repro.api.exports import write_output  # noqa: PLC0415 - only where it is asked for

            for output in outputs:
                write_output(output, engine.store, result.image_id, names, stdout=stdout, sink=sink)
        _write_files(host, request, engine, result, names)
        verdict = None
        if request.verify:
            from repro.api.verify_build import verify  # noqa: PLC0415 - only where it is asked for

            verdict = verify(engine, result, run.again)
        evidence = run.evidence(engine, result, names)
    streamed = any(output.streamed for output in outputs)
    return ImageBuilt(result.image_id, tuple(name.familiar for name in names), streamed, verdict, evidence)


class _Builder:
    """One request, ready to be built: once in the caller's store, and again elsewhere for `--verify`."""

    def __init__(
        self,
        host: Host,
        request: BuildRequest,
        options: BuildOptions,
        bases: Bases,
        stdin: BinaryIO | None,
        room: Path,
    ) -> None:
        from repro.api.build_contexts import open_context  # noqa: PLC0415 - only to build

        self._request = request
        self._bases = bases
        self._digests = _stat_cache(host, request.context)
        self._opened = open_context(
            host, request.context, request.file, stdin, room, hasher=lambda path: self._digests.digest_file(path)[0]
        )
        self._options = replace(options, origin=str(host.cwd / request.context / self._opened.shown))

    def build(self, engine: Engine) -> BuildResult:
        """Build in the caller's store."""
        try:
            return self._build(engine, self._options, self._bases.image)
        finally:
            self._digests.save()

    def again(self, engine: Engine, conditions: Conditions, carry: Callable[[Digest], Digest]) -> BuildResult:
        """Build under other ``conditions`` in the store of ``engine``, into which ``carry`` brings the bases."""
        options = replace(self._options, conditions=conditions, no_cache=False)  # that store has nothing to recall
        return self._build(engine, options, lambda name, where: carry(self._bases.image(name, where)))

    def evidence(self, engine: Engine, result: BuildResult, names: Sequence[Reference]) -> Evidence | None:
        """Return what decided the ``result``, if nothing was made, fetched or written that must be each time."""
        from repro.build.cache import MEMORY  # noqa: PLC0415 - only to build

        asked = self._request
        each_time = asked.outputs or asked.secrets or asked.id_file or asked.metadata_file
        if each_time or asked.verify or asked.pull or asked.no_cache or engine.reached_out:
            return None
        if result.cached < result.instructions or self._opened.dockerfile is None:
            return None
        store = engine.store
        named = {str(name): result.image_id for name in names} | self._bases.found
        facts = [store.memory_text(MEMORY, key, str(layer)) for key, layer in result.recalled.items()]
        return Evidence(
            frozenset({*self._opened.context.looked, str(self._opened.dockerfile)}),
            (*(store.ref_text(name, image_id) for name, image_id in named.items()), *facts),
            tuple(store.image_files(result.image_id)),
        )

    def _build(self, engine: Engine, options: BuildOptions, base: Callable[[str, Location], Digest]) -> BuildResult:
        return build_folder(
            engine,
            self._opened.text,
            file=self._opened.shown,
            context=self._opened.context,
            options=options,
            base=base,
            archives=self._bases.archives,
        )


def build_folder(
    engine: Engine,
    text: str,
    *,
    file: str,
    context: Context,
    options: BuildOptions,
    base: Callable[[str, Location], Digest],
    archives: Archives,
) -> BuildResult:
    """Return the image of a Dockerfile's ``text`` with ``context``; errors carry an excerpt as a note."""
    from repro.build.engine import build  # noqa: PLC0415 - only to build

    with engine.store.workspace() as room, noted_excerpt(text, file):
        return build(
            text,
            file=file,
            context=context,
            options=options,
            store=engine.store,
            launcher=engine.launcher(),
            base=base,
            extras=lambda name: archives.extras(name, room),
            sink=engine.sink,
            fetch=_fetch(engine, room),
        )


def _fetch(engine: Engine, room: Path) -> Fetch:
    """Return what downloads for ADD, made when first asked: most builds ask for nothing."""

    @functools.cache
    def remote() -> RemoteFiles:
        from repro.api.remote import RemoteFiles  # noqa: PLC0415

        return RemoteFiles(engine.downloads, engine.transports, room)

    def fetch(url: str, where: Location, /, *, checksum: Digest | None = None) -> Fetched:
        return remote()(url, where, checksum=checksum)

    return fetch


def _names(request: BuildRequest, outputs: Sequence[Output]) -> list[Reference]:
    """Return the image's names, each once: of ``--tag``, then of ``--output name=``."""
    given = [*request.tags, *(name for output in outputs for name in output.names)]
    return list(dict.fromkeys(Reference.parse(name) for name in given))


def _check_platform(platforms: Sequence[str]) -> None:
    from repro.build.platforms import own_platform  # noqa: PLC0415 - only to build
    from repro.build.stages import architecture  # noqa: PLC0415

    wanted = [name for text in platforms for name in text.split(",")]
    own = architecture()
    if len(wanted) > 1:
        raise UsageError(
            f"--platform names {len(wanted)} platforms", why="an image is for one", hint=f"name linux/{own}"
        )
    if wanted and not own_platform(wanted[0], own):
        raise UsageError(
            f"--platform {wanted[0]} is not this machine's",
            why="instructions run here, and nothing is emulated",
            hint=f"build on such a machine, or name linux/{own}",
        )


def _options(host: Host, request: BuildRequest, names: Sequence[Reference]) -> BuildOptions:
    from repro.build.engine import BuildOptions  # noqa: PLC0415 - only to build
    from repro.runtime.spec import Network  # noqa: PLC0415

    return BuildOptions(
        name=names[0].familiar if names else "image",
        target=request.target,
        args=request.args,
        labels=request.labels,
        epoch=_epoch(request.args.get(_EPOCH, host.environ.get(_EPOCH))),
        network=Network.NONE if request.network == "none" else Network.HOST,
        no_cache=request.no_cache,
        secrets=read_secrets(request.secrets, host),
        normalize=request.normalize,
        explain=request.explain,
    )


def _epoch(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isascii() or not given.isdigit():
        raise UsageError(f"{_EPOCH} is {given!r}", hint="set it to seconds since 1970, or unset it")
    return int(given)


def _stat_cache(host: Host, context: str) -> StatCache:
    """Return what is remembered of this context's files: a cache of its own, so that it costs what it saves."""
    from repro.data.checksum import StatCache  # noqa: PLC0415 - only to build
    from repro.digest import Digest  # noqa: PLC0415

    name = Digest.of(str(host.cwd / context).encode("utf-8", "surrogateescape")).hex
    cache = StatCache(host.store_root / "contexts" / name)
    cache.load()
    return cache


def _write_files(
    host: Host, request: BuildRequest, engine: Engine, result: BuildResult, names: Sequence[Reference]
) -> None:
    """Write what `--iidfile` and `--metadata-file` ask for; Docker's keys, then ours."""
    from repro.files import write_atomic  # noqa: PLC0415 - only where it is asked for

    if request.id_file is not None:
        write_atomic(host.cwd / request.id_file, str(result.image_id).encode())
    if request.metadata_file is None:
        return
    import json  # noqa: PLC0415

    from repro.oci.outgoing import outgoing  # noqa: PLC0415

    descriptor = outgoing(engine.store, result.image_id, [name.repository for name in names]).descriptor
    known: dict[str, Json] = {
        "containerimage.config.digest": str(result.image_id),
        "containerimage.descriptor": descriptor.as_json(),
        "containerimage.digest": str(descriptor.digest),
        "repro.cached": result.cached,
        "repro.created": engine.store.config(result.image_id).created,
        "repro.instructions": result.instructions,
    }
    if names:
        known["image.name"] = ",".join(str(name) for name in names)
    data = json.dumps(known, indent=2, sort_keys=True) + "\n"
    write_atomic(host.cwd / request.metadata_file, data.encode())


def pairs(given: Sequence[str], option: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``K=V`` arguments as a mapping; a bare ``K`` takes its value from ``environ``."""
    out = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not key:
            raise UsageError(f"{option} {item!r} names nothing", hint=f"write {option} NAME=value")
        if equals:
            out[key] = value
        elif key in environ:
            out[key] = environ[key]
    return out
