"""`repro image build`, with the flags and spellings of `docker build`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro import api
from repro.cli import replay
from repro.cli.arguments import add_progress, progress
from repro.cli.docker_flags import add_docker_flags
from repro.errors import BuildError, ReproError

if TYPE_CHECKING:
    import argparse

EPILOG = """\
--output types: oci (an OCI layout as a tar, or a folder where dest ends in / or is one), docker (for `docker load`),
tar (the image's root as a tar), local (the same as a folder; `-o DIR` for short; `-o -` is type=tar,dest=-). The image
is in the store in any case. Layers made here are written uncompressed; the image ID does not depend on that.
Exit status: 1 an instruction failed, or --verify found a difference; 2 usage, or a mistake in the Dockerfile; else as
`repro --help` says.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("context", metavar="PATH", help="the build context: a folder, a tar, or - for a tar or a Dockerfile on stdin")
    add("-f", "--file", metavar="FILE", help="the Dockerfile (default: PATH/Dockerfile); - is stdin")
    add("-t", "--tag", action="append", default=[], metavar="NAME", help="name the image (repeatable)")
    add("--target", metavar="STAGE", help="stop at this stage")
    add(
        "--build-arg",
        action="append",
        default=[],
        metavar="K=V",
        help="set an ARG (repeatable); SOURCE_DATE_EPOCH is the time that the image bears",
    )
    add("--label", action="append", default=[], metavar="K=V", help="set a label (repeatable)")
    add("--no-cache", action="store_true", help="run every instruction again")
    add("--pull", action="store_true", help="ask for bases anew, whatever the store has")
    add("--platform", action="append", default=[], metavar="OS/ARCH", help="refuse to build for another machine")
    add("--network", choices=("default", "host", "none"), default="default", help="of RUN (default: the host's)")
    add(
        "--secret",
        action="append",
        default=[],
        metavar="id=ID[,src=FILE|,env=NAME]",
        help="give RUN --mount=type=secret these bytes; no layer and no log has them (repeatable)",
    )
    add(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="type=TYPE,dest=PATH",
        help="also write the image: oci, docker, local or tar (repeatable)",
    )
    add("--iidfile", metavar="FILE", help="write the image ID to FILE")
    add("--metadata-file", metavar="FILE", help="write what is known of the build to FILE, as JSON")
    add("--explain", action="store_true", help="say of each instruction whether it came from the cache, and why")
    add("--verify", action="store_true", help="build again under other conditions, and compare")
    add("--no-normalize", action="store_true", help="keep logs and caches that regenerate, in what RUN makes")
    add_progress(parser)
    add_docker_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print the image ID: to stderr where an output takes stdout."""
    host = api.Host.current()
    request = api.BuildRequest(
        options.context,
        file=options.file,
        tags=tuple(options.tag),
        target=options.target,
        args=api.pairs(options.build_arg, "--build-arg", host.environ),
        labels={name: value for name, _, value in (label.partition("=") for label in options.label)},
        no_cache=options.no_cache,
        pull=options.pull,
        platforms=tuple(options.platform),
        network=options.network,
        secrets=tuple(options.secret),
        outputs=tuple(options.output),
        normalize=not options.no_normalize,
        explain=options.explain,
        verify=options.verify,
        id_file=options.iidfile,
        metadata_file=options.metadata_file,
    )
    with replay.listening() as heard:
        status, evidence = _build(host, request, options)
    if evidence is not None:
        replay.keep(host.store_root, heard, evidence)
    return status


def _build(host: api.Host, request: api.BuildRequest, options: argparse.Namespace) -> tuple[int, api.Evidence | None]:
    """Build and print; return the exit status, and what decided a build that found everything in the cache."""
    with progress(options) as display:
        try:
            built = api.build_image(host, request, sink=display, stdin=sys.stdin.buffer, stdout=sys.stdout.buffer)
        except ReproError as error:
            display.finish()
            display.failed(error)
            return (1 if isinstance(error, BuildError) else error.exit_status), None
    print(built.image_id, file=sys.stderr if built.streamed else sys.stdout)
    if built.verdict is None:
        return 0, built.evidence
    from repro.cli.verdict import print_verdict  # noqa: PLC0415 - only after --verify

    print_verdict(built.verdict)
    return (0 if built.verdict.same else 1), None
