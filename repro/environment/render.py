"""An environment as a Dockerfile: its lock entry through a Jinja2 template, and the recipe's checksum.

What a template sees (the reference for users' own templates):

============  ======================================================================================
``name``      the environment's name
``base``      what FROM names: ``archive:debian/bookworm``, or an image reference
``packages``  the locked packages, each with ``name``, ``version``, ``architecture``; sorted, maybe none
``apt``       the names as they were declared
``env``       variables and their values, in declared order
``run``       the commands to run after the packages
``quoted``    filter: a value for ENV, ARG or LABEL, in double quotes
``as_run``    filter: the argument of a RUN instruction that runs a command of one or many lines
============  ======================================================================================

The build context holds the folder ``apt`` where ``packages`` is not empty: a flat repository of just those
packages with the ``apt.conf`` that makes apt use nothing else (`resolvers.flat`). A template may extend or include
a shipped one by its name: ``{% extends "debian" %}``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import repro
from repro.dataclass import dataclass
from repro.digest import Digest, record_digest
from repro.errors import DockerfileError, Location, Problem, UsageError, WorkflowError
from repro.events import as_json
from repro.workflow.model import ArchiveBase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.environment.model import EnvironmentLock
    from repro.workflow.model import TemplateEnvironment

FORMAT = "recipe/1"  # changes when the same recipe would make another image
_SUFFIX = ".Dockerfile.j2"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a Dockerfile reads otherwise than the shell: flags, exec form, comments, heredocs, continuations.
_UNPLAIN = re.compile(r"^(--|\[|#)|<<|\\$")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A rendered Dockerfile, the name in its FROM, and the checksum that names the image's tag."""

    dockerfile: str
    digest: Digest
    base: str


def render(
    env: TemplateEnvironment,
    entry: EnvironmentLock,
    template_text: str,
    *,
    template_file: str,
    base_digest: Digest,
) -> Recipe:
    """Return the recipe of ``env``: the same declaration, lock and template give the same bytes.

    Args:
        env: the declaration.
        entry: what it resolved to.
        template_text: the template, from `shipped_template` or from the user's own file.
        template_file: its name in messages.
        base_digest: what the base is: `lock.archive_digest` of an archive base, an image ID otherwise.

    Raises:
        DockerfileError: the template has a mistake; located in it.
        WorkflowError: a value of ``env`` cannot stand in a Dockerfile.
    """
    _check_env(env)
    base = env.base.name if isinstance(env.base, ArchiveBase) else env.base.reference
    variables: dict[str, object] = {
        "name": env.name,
        "base": base,
        "packages": entry.packages,
        "apt": env.apt,
        "env": dict(env.env),
        "run": env.run,
    }
    dockerfile = _rendered(template_text, template_file, variables)
    content = {
        "dockerfile": dockerfile,
        "base": str(base_digest),
        "packages": as_json(entry.packages),
    }
    return Recipe(dockerfile, record_digest(FORMAT, content), base)


def shipped_template(name: str, where: Location | None = None) -> str:
    """Return the text of the template ``name``; UsageError, at ``where``, names those that are shipped."""
    for folder in _shipped_folders():
        path = folder / f"{name}{_SUFFIX}"
        if re.fullmatch(r"[a-z0-9-]+", name) and path.is_file():
            return path.read_text(encoding="utf-8")
    known = sorted(
        {path.name.removesuffix(_SUFFIX) for folder in _shipped_folders() for path in folder.glob(f"*{_SUFFIX}")}
    )
    raise UsageError(
        f"no template is called {name!r}",
        where=where,
        hint=f"shipped are: {', '.join(known)}; a template of your own is given by its path, with a slash",
    )


def _shipped_folders() -> tuple[Path, Path]:
    """Return where templates lie: inside the wheel, and beside the package in a checkout."""
    package = Path(repro.__file__).parent
    return package / "templates", package.parent / "templates"


def _check_env(env: TemplateEnvironment) -> None:
    problems = []
    for name, value in env.env.items():
        path = f"environments.{env.name}.env.{name}"
        if _NAME.fullmatch(name) is None:
            problems.append(Problem(env.where, path, "not a variable's name", hint="letters, digits and '_'"))
        if "\n" in value or "\0" in value:
            problems.append(Problem(env.where, path, "a value in an image's environment is one line of text"))
    if problems:
        raise WorkflowError(problems)


def _quoted(value: object) -> str:
    r"""Return ``value`` in double quotes, with ``\``, ``"`` and ``$`` kept as they are by the Dockerfile."""
    escaped = re.sub(r'([\\"$])', r"\\\1", str(value))
    return f'"{escaped}"'


def _as_run(command: object) -> str:
    """Return the argument of RUN: the line itself, or a heredoc that stops at the first failing line.

    One line stands as it is wherever Dockerfile and shell read it alike.
    """
    text = str(command).strip("\n")
    if "\n" not in text and _UNPLAIN.search(text.strip()) is None:
        return text.strip()
    lines = text.split("\n")
    marker = next(word for word in ("EOF", *(f"EOF{number}" for number in range(len(lines) + 1))) if word not in lines)
    return f"<<'{marker}'\nset -e\n{text}\n{marker}"


def _rendered(text: str, file: str, variables: Mapping[str, object]) -> str:
    """Return the template's output; DockerfileError, located, for any mistake in it."""
    import jinja2  # noqa: PLC0415 - 110 ms that only a build pays
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    def load(name: str) -> tuple[str, str, None]:
        # A file name makes tracebacks name the template, so that a mistake can be located.
        if name == file:
            return text, file, None
        try:
            return shipped_template(name), f"{name}{_SUFFIX}", None
        except UsageError as error:
            raise jinja2.TemplateNotFound(name, error.message) from error

    templates = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"quoted": _quoted, "as_run": _as_run}
    try:
        return templates.get_template(file).render(variables)
    except jinja2.TemplateSyntaxError as error:
        raise _mistake(error, Location(error.filename or file, error.lineno)) from error
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise _mistake(error, _failed_at(error, file)) from error


def _mistake(error: Exception, where: Location) -> DockerfileError:
    return DockerfileError(
        f"the template cannot be rendered: {error}",
        where=where,
        hint="a template knows: name, base, packages, apt, env, run, and the filters quoted and as_run",
    )


def _failed_at(error: Exception, file: str) -> Location:
    """Return the template's line that was being rendered: Jinja2 puts it into the traceback."""
    line = 1
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name == file or name.endswith(_SUFFIX):
            file, line = name, trace.tb_lineno
        trace = trace.tb_next
    return Location(file, line)
