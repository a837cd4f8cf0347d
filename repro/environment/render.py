"""An environment as a Dockerfile: its lock entry through a Jinja2 template, and the recipe's checksum.

What a template sees (docs/reference/templates.md is the page for users):

==================  ================================================================================================
``name``            the environment's name
``base``            what FROM names: ``archive:debian/bookworm``, or an image reference
``packages``        the locked ``.deb`` packages, each with ``name``, ``version``, ``architecture``; sorted, maybe none
``build_packages``  the same for the stage that compiles ``source``
``apt``             the names as they were declared
``conda``           the locked conda packages, each with ``name``, ``version``, ``build``, ``channel``, ``subdir``
``wheels``          the locked wheels, each with ``name``, ``version``, ``file``
``tools``           those that build the project's own packages, pip among them
``projects``        the folders below ``project/`` in the context that hold the project's own packages
``interpreter``     what wheels were chosen for: ``cpython-3.11-manylinux_2_36-x86_64``; empty without any
``python``          the program that pip runs with: ``python3``, or that of /opt/conda where conda brings one
``installer``       where RUN finds pip in the bound folder ``pip``; empty without wheels
``source``          what is compiled: ``file`` in the context, ``prefix``, ``run``; none where nothing is
``files``           the project's files, each with ``source`` in the context and ``target`` in the image
``env``             variables and their values, in declared order
``run``             the commands to run after the packages
``quoted``          filter: a value for ENV, ARG or LABEL, in double quotes
``as_run``          filter: the argument of a RUN instruction that runs a command of one or many lines
``as_copy``         filter: the arguments of COPY or ADD: ``{{ file.source | as_copy(file.target) }}``
==================  ================================================================================================

The build context holds the folders ``apt``, ``apt-build``, ``conda``, ``pip``, ``project``, ``source`` and ``files``,
each where the lock has something for it. A template may extend or include a shipped one by its name:
``{% extends "debian" %}``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import Digest, record_digest
from repro.environment.templating import fill, shipped_template
from repro.errors import Problem, WorkflowError
from repro.events import as_json
from repro.workflow.model import ArchiveBase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repro.digest import Json
    from repro.environment.model import EnvironmentLock
    from repro.workflow.model import TemplateEnvironment

__all__ = ["CopiedFile", "Recipe", "SourceStage", "as_copy", "as_run", "quoted", "render", "shipped_template"]

FORMAT = "recipe/1"  # changes when the same recipe would make another image
CONDA_PYTHON = "/opt/conda/bin/python3"
PIP = "/run/repro/pip"  # where RUN finds the folder pip of the context
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._+-]+)+")
# What a Dockerfile reads otherwise than the shell: flags, exec form, comments, heredocs, continuations.
_UNPLAIN = re.compile(r"^(--|\[|#)|<<|\\$")
_PLAIN_PATH = re.compile(r"(?!--)[A-Za-z0-9/._+@%,:=~-]+")  # a word of COPY that means itself


@dataclass(frozen=True, slots=True)
class Recipe:
    """A rendered Dockerfile, the name in its FROM, and the checksum that names the image's tag."""

    dockerfile: str
    digest: Digest
    base: str


@dataclass(frozen=True, slots=True)
class SourceStage:
    """What a template sees of a source that is compiled; ``file`` is the tarball's path in the context."""

    file: str
    prefix: str
    run: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file or folder of the project: ``source`` in the context, ``target`` in the image."""

    source: str
    target: str


def render(
    env: TemplateEnvironment,
    entry: EnvironmentLock,
    template_text: str,
    *,
    template_file: str,
    base_digest: Digest,
    files: Mapping[str, Digest] | None = None,
    projects: Mapping[str, Digest] | None = None,
) -> Recipe:
    """Return the recipe of ``env``: the same declaration, lock, files and template give the same bytes.

    Args:
        env: the declaration.
        entry: what it resolved to.
        template_text: the template, from `shipped_template` or from the user's own file.
        template_file: its name in messages.
        base_digest: what the base is: `lock.archive_digest` of an archive base, an image ID otherwise.
        files: what the project paths in ``env.files`` hold: the digest of each file, or of all in a folder. The
            context has them as ``files/PATH``.
        projects: the project's own packages: folder below ``project/`` in the context -> digest of all in it.

    Raises:
        DockerfileError: the template has a mistake; located in it.
        WorkflowError: a value of ``env`` cannot stand in a Dockerfile.
    """
    _check(env)
    variables = _variables(env, entry, tuple(sorted(projects or ())))
    dockerfile = fill(template_text, template_file, variables, _FILTERS)
    content: dict[str, Json] = {
        "dockerfile": dockerfile,
        "base": str(base_digest),
        "packages": as_json(entry.packages),
        **_more_content(entry, files or {}, projects or {}),
    }
    return Recipe(dockerfile, record_digest(FORMAT, content), str(variables["base"]))


def _variables(env: TemplateEnvironment, entry: EnvironmentLock, projects: tuple[str, ...]) -> dict[str, object]:
    installer = next((f"{PIP}/{wheel.file}/pip" for wheel in entry.tools if wheel.name == "pip"), "")
    source = None
    if env.source is not None:
        tarball = next((item.file for item in entry.sources), "")
        source = SourceStage(f"source/{tarball}", env.source.prefix, env.source.run)
    return {
        "name": env.name,
        "base": env.base.name if isinstance(env.base, ArchiveBase) else env.base.reference,
        "packages": entry.packages,
        "apt": env.apt,
        "env": dict(env.env),
        "run": env.run,
        "build_packages": entry.build_packages,
        "conda": entry.conda,
        "wheels": entry.wheels,
        "tools": entry.tools,
        "projects": projects,
        "interpreter": entry.interpreter,
        "python": CONDA_PYTHON if any(package.name == "python" for package in entry.conda) else "python3",
        "installer": installer,
        "source": source,
        "files": tuple(CopiedFile(f"files/{path.rstrip('/')}", target) for target, path in sorted(env.files.items())),
    }


def _more_content(
    entry: EnvironmentLock, files: Mapping[str, Digest], projects: Mapping[str, Digest]
) -> dict[str, Json]:
    """Return what decides the image beside apt packages; what an environment does not have is not in its digest."""
    parts = {
        "build_packages": as_json(entry.build_packages),
        "sources": as_json(entry.sources),
        "conda": as_json(entry.conda),
        "interpreter": entry.interpreter,
        "wheels": as_json(entry.wheels),
        "tools": as_json(entry.tools),
        "files": {path: str(digest) for path, digest in files.items()},
        "projects": {name: str(digest) for name, digest in projects.items()},
    }
    return {name: value for name, value in parts.items() if value}


def _check(env: TemplateEnvironment) -> None:
    problems = []
    for name, value in env.env.items():
        path = f"environments.{env.name}.env.{name}"
        if _NAME.fullmatch(name) is None:
            problems.append(Problem(env.where, path, "not a variable's name", hint="letters, digits and '_'"))
        if "\n" in value or "\0" in value:
            problems.append(Problem(env.where, path, "a value in an image's environment is one line of text"))
    for target, source in env.files.items():
        if any("\\" in path or not path.isprintable() for path in (target, source)):
            path = f"environments.{env.name}.files.{target}"
            problems.append(Problem(env.where, path, "COPY cannot name this file", hint="give it a plainer name"))
    if env.source is not None and _PREFIX.fullmatch(env.source.prefix) is None:
        path = f"environments.{env.name}.source.prefix"
        hint = "letters, digits and . _ + -, as in /opt/tool-1.2"
        problems.append(Problem(env.where, path, f"{env.source.prefix!r} cannot stand in a Dockerfile", hint=hint))
    if problems:
        raise WorkflowError(problems)


def quoted(value: object) -> str:
    r"""Return ``value`` in double quotes, with ``\``, ``"`` and ``$`` kept as they are by the Dockerfile."""
    escaped = re.sub(r'([\\"$])', r"\\\1", str(value))
    return f'"{escaped}"'


def as_run(command: object) -> str:
    """Return the argument of RUN: the line itself, or a heredoc that stops at the first failing line.

    One line stands as it is wherever Dockerfile and shell read it alike.
    """
    text = str(command).strip("\n")
    if "\n" not in text and _UNPLAIN.search(text.strip()) is None:
        return text.strip()
    lines = text.split("\n")
    marker = next(word for word in ("EOF", *(f"EOF{number}" for number in range(len(lines) + 1))) if word not in lines)
    return f"<<'{marker}'\nset -e\n{text}\n{marker}"


def as_copy(source: object, target: object) -> str:
    """Return the arguments of COPY or ADD: words where they mean themselves, else JSON with every sign kept as it is.

    Patterns in ``source`` match themselves alone: ``*`` becomes ``[*]``.
    """
    words = str(source), str(target)
    if all(_PLAIN_PATH.fullmatch(word) for word in words):
        return " ".join(words)
    literal = re.sub(r"([*?[])", r"[\1]", words[0]), words[1]
    return json.dumps([word.replace("$", "\\$") for word in literal], ensure_ascii=False)


_FILTERS: Final[Mapping[str, Callable[..., str]]] = {"quoted": quoted, "as_run": as_run, "as_copy": as_copy}
