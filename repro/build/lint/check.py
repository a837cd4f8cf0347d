"""All rules over a file, less what its ``# check=`` directive skips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.build.lint import instructions, packages, secrets, stages
from repro.build.lint.model import Finding, Rule, Subject
from repro.dataclass import dataclass
from repro.dockerfile.reading import boolean
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.build.stages import BuildPlan
    from repro.dockerfile.directives import Directive
    from repro.dockerfile.instructions import Dockerfile

RULES: tuple[Rule, ...] = (*stages.RULES, *packages.RULES, *secrets.RULES, *instructions.RULES)


@dataclass(frozen=True, slots=True)
class Check:
    """What ``# check=skip=a,b;error=true`` asks for; names are ours or Docker's, ``all`` skips every rule."""

    skip: frozenset[str] = frozenset()
    error: bool = False

    def skips(self, rule: Rule) -> bool:
        """Say whether the file wants to hear nothing of ``rule``."""
        return not self.skip.isdisjoint({"all", rule.code, rule.docker})


def lint(plan: BuildPlan, dockerfile: Dockerfile) -> tuple[Finding, ...]:
    """Return what the rules find in the file, in its order, less what it skips.

    Raises:
        DockerfileError: the ``check`` directive has an option that is none.
    """
    check = _check(dockerfile)
    subject = Subject(dockerfile, plan)
    found = {
        Finding(rule, message, where)
        for rule in RULES
        if not check.skips(rule)
        for message, where in rule.find(subject)
    }
    return tuple(sorted(found, key=lambda one: (one.where, one.rule.code, one.message)))


def enforce(findings: Sequence[Finding], dockerfile: Dockerfile) -> None:
    """Do nothing, unless the file says ``# check=error=true``: then a finding is a DockerfileError."""
    if not findings or not _check(dockerfile).error:
        return
    first = findings[0]
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    raise DockerfileError(
        f"{first.message} [{first.rule.code}]{more}",
        where=first.where,
        why="the file says # check=error=true",
        hint=f"see {first.rule.page}",
    )


def _check(dockerfile: Dockerfile) -> Check:
    directive = None if dockerfile.directives is None else dockerfile.directives.get("check")
    return Check() if directive is None else _read_check(directive)


def _read_check(directive: Directive) -> Check:
    skip: frozenset[str] = frozenset()
    error = False
    for option in directive.value.split(";"):
        name, equals, value = (part.strip() for part in option.partition("="))
        if name == "skip" and equals:
            skip = frozenset(rule.strip() for rule in value.split(","))
        elif name == "error" and equals:
            error = boolean(value, directive.where)
        else:
            hint = "as in # check=skip=unpinned-base;error=true"
            raise DockerfileError(f"unknown option {option.strip()!r} of check", where=directive.where, hint=hint)
    return Check(skip, error)
