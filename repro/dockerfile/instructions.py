"""The instructions of a Dockerfile as typed values (Dockerfile reference), variables still in place.

`repro.dockerfile.grammar` makes them; every word that is expanded later keeps its own location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.dockerfile.directives import Directives
    from repro.dockerfile.parser import Heredoc
    from repro.dockerfile.places import Places
    from repro.errors import Location


@dataclass(frozen=True, slots=True)
class Word:
    """A word as written, and where."""

    text: str
    where: Location


@dataclass(frozen=True, slots=True)
class Instruction:
    """What all have: the place, and the text on one line as progress and history show it."""

    where: Location
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """``words`` of the exec form, or one string when it is ``for_shell``."""

    words: tuple[str, ...]
    for_shell: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """``name=value``; ``value`` is None for ``ARG NAME`` alone."""

    name: Word
    value: Word | None


@dataclass(frozen=True, slots=True)
class From(Instruction):
    """Begins a stage on an image, on another stage, or on ``scratch``."""

    image: Word
    platform: Word | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Arg(Instruction):
    """Declares build arguments."""

    arguments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Env(Instruction):
    """Sets environment variables of later instructions and of the image."""

    variables: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """``RUN --mount=``: the options as written (``source``, ``target``, ``from``, …; short names spelled out)."""

    type: str
    options: tuple[tuple[str, str], ...]
    where: Location

    def get(self, name: str, default: str = "") -> str:
        """Return the option as written, or ``default``."""
        return dict(self.options).get(name, default)


@dataclass(frozen=True, slots=True)
class Run(Instruction):
    """Runs a command in the image; ``places`` says where the characters of a shell form's command stand."""

    command: Command
    heredocs: tuple[Heredoc, ...]
    mounts: tuple[Mount, ...]
    network: str | None
    places: Places | None = None


@dataclass(frozen=True, slots=True)
class Copy(Instruction):
    """Copies files from the context, a stage or an image.

    ``heredocs`` are the sources that are here-documents (their words are not among ``sources``).
    """

    sources: tuple[Word, ...]
    heredocs: tuple[Heredoc, ...]
    destination: Word
    source_image: Word | None
    chown: Word | None
    chmod: Word | None
    link: bool
    parents: bool
    exclude: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Add(Copy):
    """Like COPY, and fetches addresses and unpacks archives."""

    checksum: Word | None
    keep_git_dir: bool
    unpack: bool | None


@dataclass(frozen=True, slots=True)
class Workdir(Instruction):
    """Sets, and makes, the working folder."""

    path: Word


@dataclass(frozen=True, slots=True)
class User(Instruction):
    """Sets the user (``name``, ``uid``, each with ``:group``) of later RUN instructions and of the image."""

    user: Word


@dataclass(frozen=True, slots=True)
class Cmd(Instruction):
    """Sets the image's default command."""

    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint(Instruction):
    """Sets what the command is given to."""

    command: Command


@dataclass(frozen=True, slots=True)
class Label(Instruction):
    """Sets labels of the image."""

    labels: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Shell(Instruction):
    """Sets the shell of the shell form."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expose(Instruction):
    """Notes ports."""

    ports: Word


@dataclass(frozen=True, slots=True)
class Volume(Instruction):
    """Notes mount points for data."""

    paths: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class StopSignal(Instruction):
    """Sets the signal that asks the command to end."""

    signal: Word


@dataclass(frozen=True, slots=True)
class Healthcheck(Instruction):
    """Sets the health check; ``command`` is None for NONE. Durations in nanoseconds, 0 where not given."""

    command: Command | None
    interval: int
    timeout: int
    start_period: int
    start_interval: int
    retries: int


@dataclass(frozen=True, slots=True)
class OnBuild(Instruction):
    """Keeps an instruction for builds that are based on this image."""

    trigger: str


@dataclass(frozen=True, slots=True)
class Maintainer(Instruction):
    """Names the author (deprecated by Docker in favour of a label)."""

    name: str


AnyInstruction: TypeAlias = (
    From
    | Arg
    | Env
    | Run
    | Copy
    | Add
    | Workdir
    | User
    | Cmd
    | Entrypoint
    | Label
    | Shell
    | Expose
    | Volume
    | StopSignal
    | Healthcheck
    | OnBuild
    | Maintainer
)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file: its escape character and its instructions in order, the ARGs before the first FROM among them."""

    escape: str
    instructions: tuple[AnyInstruction, ...]
    directives: Directives | None = None
