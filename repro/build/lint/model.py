"""What a rule and a finding are, and what a rule looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.dockerfile import instructions as model
from repro.dockerfile.shell import ShellCommand, shell_commands
from repro.errors import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repro.build.stages import BuildPlan, Stage
    from repro.dockerfile.parser import Heredoc


@dataclass(frozen=True, slots=True)
class Subject:
    """A file and the plan of its build, as rules see them."""

    dockerfile: model.Dockerfile
    plan: BuildPlan

    def runs(self) -> Iterator[tuple[Stage, model.Run]]:
        """Yield each RUN with its stage, in the order of the file."""
        for stage in self.plan.stages:
            for one in stage.instructions:
                if isinstance(one, model.Run):
                    yield stage, one


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: ``code`` names it and its page, ``docker`` is Docker's name for the same.

    ``find`` yields (message, where).
    """

    code: str
    summary: str
    find: Callable[[Subject], Iterator[tuple[str, Location]]]
    docker: str = ""

    @property
    def page(self) -> str:
        """Where its documentation is, from the project's root."""
        return f"docs/rules/{self.code}.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a place of the file breaks."""

    rule: Rule
    message: str
    where: Location

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule.code}]"


@dataclass(frozen=True, slots=True)
class Script:
    """A shell script of a RUN: its text, and the place of an offset in it."""

    text: str
    locate: Callable[[int], Location]

    def commands(self) -> list[ShellCommand]:
        """Return its simple commands in order."""
        return shell_commands(self.text)


def scripts(run: model.Run) -> Iterator[Script]:
    """Yield what a shell is given by ``run``: its line, and bodies of heredocs that are the script itself.

    The exec form is a script of one command where its words need no quotes.
    """
    if not run.command.for_shell:
        yield Script(" ".join(run.command.words), lambda _: run.where)
        return
    line = run.command.words[0]
    places = run.places
    yield Script(line, places.at if places is not None else lambda _: run.where)
    if line.lstrip("0123456789").startswith("<<"):  # RUN <<EOF: the body is run, not read
        for document in run.heredocs:
            yield _body(document, run.where.file)


def _body(document: Heredoc, file: str) -> Script:
    def locate(offset: int) -> Location:
        before = document.content[:offset]
        return Location(file, document.line + before.count("\n"), offset - (before.rfind("\n") + 1) + 1)

    first = document.content.partition("\n")[0]
    shell = not first.startswith("#!") or first.rstrip().endswith("sh")
    return Script(document.content if shell else "", locate)
