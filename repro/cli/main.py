"""The `repro` command: finds the subcommand, runs it, turns errors into messages and exit statuses.

Only the chosen command's module is imported, so that ``repro --help`` and small commands stay quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from repro import __version__
from repro.errors import ReproError, UsageError, WorkflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "validate": "check workflow.yaml; print every mistake with its place and its fix",
    "plan": "say for each job whether it is cached, or why it would run",
    "graph": "draw the steps of a workflow, or its jobs: Mermaid, Graphviz or SVG",
    "lock": "resolve environments to hashes and write workflow.lock",
    "build": "build the images of a workflow's environments",
    "env": "list environments, print their Dockerfiles, export them, compare their packages",
    "run": "run a workflow: lock, build, then every job that is not cached",
    "publish": "bring results to where the workflow says, all or none",
    "data": "list, fetch and check the inputs of a workflow; bring files to an address",
    "debug": "step into the container of a job, with its inputs and its command",
    "status": "say how the last run went and whether one is going on",
    "log": "list the runs of a project, the jobs of one run, or what a job printed; follow a run",
    "why": "walk from a result back to inputs, commands, images and packages",
    "job": "run a batch of jobs on a node of a cluster (called by `repro run --executor`)",
    "schema": "print the JSON Schema of workflow files, for editors",
    "doctor": "say what this host gives to containers, and what to ask for",
    "image": "build, list, compare, name, pass on and remove images",
    "registry": "log in to registries and out, and list what they have",
    "store": "say what the store takes, remove what nothing needs, verify it",
    "dockerfile": "print the instructions of a Dockerfile, or what is doubtful in it",
    "completion": "print the shell's completion script",
}

_EPILOG = """\
Start with:  repro run workflow.yaml        (see examples/samtools in the source)
Help on one: repro COMMAND --help
Environment: REPRO_STORE (images and layers), REPRO_LAYERS (unpacked layers, on this machine), REPRO_CACHE and
             REPRO_CACHE_LIMIT (what is fetched: docs/how-to/data.md), REPRO_APT_MIRROR, REPRO_REGISTRIES
             (docs/reference/registries.md), REPRO_SITES (docs/reference/data.md), REPRO_LIMITS
             (docs/explanation/trust.md), NO_COLOR, REPRO_MODE (real, sub or one: how to be root in containers; see
             `repro doctor`)
Exit status: 0 done; 1 jobs failed; 2 usage or workflow mistakes; 3 lock; 4 data or download; 5 store or lock
             held; 6 build; 74 a file cannot be read or written; 125 the host cannot run containers; 130 interrupted
"""


def _usage_error(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    raise UsageError(message, hint=f"see `{parser.prog} --help`")


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are UsageErrors; a line of help per option, text kept as written."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        _usage_error(self, message)


class Subparser(Parser):
    """The parser of a command's command: argparse makes it with keywords of its own."""

    def __init__(self, prog: str, **_: object) -> None:
        super().__init__(prog, "")


def top_parser() -> Parser:
    """Return the parser of what stands before the command, whose help lists the commands."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = Parser(
        "repro",
        "From one workflow.yaml to results that anyone can re-create and check.\n\ncommands:\n" + listing,
        _EPILOG,
    )
    parser.usage = "repro [-C DIR] [-q | -v] COMMAND [ARGUMENTS]"
    parser.add_argument("--version", action="version", version=f"repro {__version__}")
    parser.add_argument("-C", dest="folder", metavar="DIR", help="work as if started in DIR")
    parser.add_argument("-q", "--quiet", action="store_true", help="only warnings, failures and results")
    parser.add_argument("-v", "--verbose", action="store_true", help="also what builds print, and cached jobs")
    parser.add_argument("--debug", action="store_true", help="log what repro does, and tracebacks of errors")
    parser.add_argument("command", metavar="COMMAND", nargs="?")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    _open_streams()
    try:
        return _flushed(arguments)
    except BrokenPipeError:
        _drop_output()  # the reader of our output left: no message
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("repro: interrupted", file=sys.stderr)
        return 130
    except ReproError as error:
        if debug:
            import traceback  # noqa: PLC0415 - only where it is asked for

            traceback.print_exc()
        print_error(error)
        return error.exit_status
    except OSError as error:
        if debug:
            raise
        _drop_output()
        about = f"{error.filename}: " if error.filename is not None else ""
        print(
            f"{_error_word()} {about}{error.strerror or error}\n"
            "  fix: see that there is room, and that you may read and write there",
            file=sys.stderr,
        )
        return 74  # EX_IOERR
    except Exception as error:
        if debug:
            raise
        print(
            f"{_error_word()} {type(error).__name__}: {error}\n"
            "  why: this is a mistake in repro, not in your work\n"
            "  fix: run the same with --debug and report what it prints",
            file=sys.stderr,
        )
        return 70  # EX_SOFTWARE


def print_error(error: ReproError) -> None:
    """Print an error as every command does, with what it is about below it (lines of a Dockerfile)."""
    located = isinstance(error, WorkflowError)  # a list in which each line begins with its place, for editors
    print(str(error) if located else f"{_error_word()} {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(note, file=sys.stderr)


def _flushed(arguments: Sequence[str]) -> int:
    """Run one command and write out all that it printed, while a failure of that can still be told."""
    try:
        status = _dispatch(arguments)
    except SystemExit as done:  # argparse's way to end after --help and --version
        status = int(done.code or 0)
    sys.stdout.flush()
    return status


def _open_streams() -> None:
    """Open what the caller closed of stdin, stdout and stderr on /dev/null, lest a file of ours gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
            if getattr(sys, name).fileno() != number:
                os.dup2(getattr(sys, name).fileno(), number)


def _drop_output() -> None:
    """Send what is still buffered for stdout to nowhere, so that the interpreter's end does not fail on it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _error_word() -> str:
    from repro.cli.screen import colour_wanted  # noqa: PLC0415 - only when there is an error

    return "\033[31merror:\033[0m" if colour_wanted(sys.stderr, os.environ) else "error:"


def _dispatch(arguments: Sequence[str]) -> int:
    parser = top_parser()
    options = parser.parse_args(arguments)
    if options.debug:
        import logging  # noqa: PLC0415 - costs as much as the interpreter's own start

        # Only ours: what libraries log of a protocol may have logins in it.
        logging.basicConfig(level=logging.INFO, format="%(relativeCreated)6d %(name)s: %(message)s")
        logging.getLogger("repro").setLevel(logging.DEBUG)
    if options.command is None:
        parser.print_help()
        return 0
    if options.command == "help":
        return _dispatch([*options.arguments[:1], "--help"])
    if options.command not in COMMANDS:
        import difflib  # noqa: PLC0415 - only for a mistyped command

        near = difflib.get_close_matches(options.command, COMMANDS, 1)
        hint = f"did you mean `repro {near[0]}`?" if near else "see `repro --help`"
        raise UsageError(f"there is no command {options.command!r}", hint=hint)
    if options.folder is not None:
        try:
            os.chdir(options.folder)
        except OSError as error:
            raise UsageError(f"-C {options.folder}: {error.strerror}") from error
    module = importlib.import_module(f"repro.cli.{options.command}")
    command = Parser(f"repro {options.command}", COMMANDS[options.command].capitalize() + ".")
    module.add_arguments(command)
    command.set_defaults(quiet=options.quiet, verbose=options.verbose)
    parse = command.parse_intermixed_args if command.get_default("intermixed") else command.parse_args
    status: int = module.run(parse(options.arguments))
    return status


if __name__ == "__main__":
    sys.exit(main())
