"""Rules about single instructions: ADD, WORKDIR, CMD and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.build.lint.model import Rule, Subject
from repro.dockerfile import instructions as model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.errors import Location

_ONCE = {model.Cmd: "CMD", model.Entrypoint: "ENTRYPOINT", model.Healthcheck: "HEALTHCHECK"}


def _unchecked_url(subject: Subject) -> Iterator[tuple[str, Location]]:
    for one in subject.dockerfile.instructions:
        if isinstance(one, model.Add) and one.checksum is None:
            for word in one.sources:
                if word.text.lower().startswith(("http://", "https://")):
                    yield f"ADD takes whatever {word.text} serves: give its --checksum=sha256:…", word.where


def _relative_workdir(subject: Subject) -> Iterator[tuple[str, Location]]:
    for stage in subject.plan.stages:
        known = isinstance(stage.base, int)
        for one in stage.instructions:
            if not isinstance(one, model.Workdir):
                continue
            text = one.path.text.strip("'\"")
            if not known and not text.startswith(("/", "$")):
                yield f"WORKDIR {one.path.text} is relative to a folder that only the base knows", one.where
            known = True


def _repeated(subject: Subject) -> Iterator[tuple[str, Location]]:
    for stage in subject.plan.stages:
        seen: dict[str, Location] = {}
        for one in stage.instructions:
            name = _ONCE.get(type(one))
            if name in seen:
                yield f"only the last {name} of a stage counts: this one is overridden", seen[name]
            if name is not None:
                seen[name] = one.where


def _shell_form(subject: Subject) -> Iterator[tuple[str, Location]]:
    for stage in subject.plan.stages:
        if any(isinstance(one, model.Shell) for one in stage.instructions):
            continue  # the author chose the shell
        for one in stage.instructions:
            if isinstance(one, model.Cmd | model.Entrypoint) and one.command.for_shell and one.command.words[0]:
                name = _ONCE[type(one)]
                yield f'{name} runs through a shell, which passes no signals on: write {name} ["…"]', one.where


def _maintainer(subject: Subject) -> Iterator[tuple[str, Location]]:
    for one in subject.dockerfile.instructions:
        if isinstance(one, model.Maintainer):
            yield "MAINTAINER is deprecated: write LABEL org.opencontainers.image.authors=…", one.where


def _misspelt_directive(subject: Subject) -> Iterator[tuple[str, Location]]:
    directives = subject.dockerfile.directives
    if directives is not None and (doubtful := directives.doubtful) is not None:
        yield f"# {doubtful.name}= is a comment; known directives are syntax, escape and check", doubtful.where


RULES = (
    Rule("unchecked-url", "ADD fetches an address without a checksum", _unchecked_url),
    Rule("relative-workdir", "a WORKDIR depends on the base's own", _relative_workdir, docker="WorkdirRelativePath"),
    Rule(
        "repeated-command", "CMD, ENTRYPOINT or HEALTHCHECK is given twice in a stage", _repeated,
        docker="MultipleInstructionsDisallowed",
    ),
    Rule("shell-form-command", "CMD or ENTRYPOINT runs through a shell", _shell_form, docker="JSONArgsRecommended"),
    Rule("maintainer", "MAINTAINER is deprecated", _maintainer, docker="MaintainerDeprecated"),
    Rule("misspelt-directive", "a comment at the top is nearly a directive", _misspelt_directive),
)  # fmt: skip
