"""Jinja2 as environments' Dockerfiles use it: sandboxed, no undefined names, mistakes located in the template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import repro
from repro.errors import DockerfileError, Location, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUFFIX = ".Dockerfile.j2"
_NAMED = re.compile(r"""\{%[-+]?\s*(?:extends|include|import|from)\s+["']([a-z0-9-]+)["']""")


def shipped_template(name: str, where: Location | None = None) -> str:
    """Return the text of the template ``name``; UsageError, at ``where``, names those that are shipped."""
    for folder in _shipped_folders():
        path = folder / f"{name}{SUFFIX}"
        if re.fullmatch(r"[a-z0-9-]+", name) and path.is_file():
            return path.read_text(encoding="utf-8")
    raise UsageError(
        f"no template is called {name!r}",
        where=where,
        hint=f"shipped are: {', '.join(shipped_names())}; a template of your own is given by its path, with a slash",
    )


def shipped_names() -> tuple[str, ...]:
    """Return the names of the shipped templates, sorted."""
    found = {path.name.removesuffix(SUFFIX) for folder in _shipped_folders() for path in folder.glob(f"*{SUFFIX}")}
    return tuple(sorted(found))


def with_shipped(text: str) -> str:
    """Return a template's text followed by those of the shipped templates that it extends or includes, and they theirs.

    What a template gives depends on these texts and its variables alone; nothing is rendered to find that out.
    """
    texts, waiting = [text], [text]
    seen: set[str] = set()
    while waiting:
        for name in _NAMED.findall(waiting.pop()):
            if name in shipped_names() and name not in seen:
                seen.add(name)
                texts.append(shipped_template(name))
                waiting.append(texts[-1])
    return "".join(texts)


def _shipped_folders() -> tuple[Path, Path]:
    """Return where templates lie: inside the wheel, and beside the package in a checkout."""
    package = Path(repro.__file__).parent
    return package / "templates", package.parent / "templates"


def fill(text: str, file: str, variables: Mapping[str, object], filters: Mapping[str, Callable[..., str]]) -> str:
    """Return what the template ``text`` gives; it may extend and include the shipped ones by name.

    Raises:
        DockerfileError: it has a mistake; located in the template, with the names that it may use.
    """
    import jinja2  # noqa: PLC0415 - 110 ms that only a build pays
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    def load(name: str) -> tuple[str, str, None]:
        # A file name makes tracebacks name the template, so that a mistake can be located.
        if name == file:
            return text, file, None
        try:
            return shipped_template(name), f"{name}{SUFFIX}", None
        except UsageError as error:
            raise jinja2.TemplateNotFound(name, error.message) from error

    templates = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= filters
    known = f"a template knows: {', '.join(variables)}, and the filters {', '.join(filters)}"
    try:
        return templates.get_template(file).render(variables)
    except jinja2.TemplateSyntaxError as error:
        raise _mistake(error, Location(error.filename or file, error.lineno), known) from error
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise _mistake(error, _failed_at(error, file), known) from error


def _mistake(error: Exception, where: Location, hint: str) -> DockerfileError:
    return DockerfileError(f"the template cannot be rendered: {error}", where=where, hint=hint)


def _failed_at(error: Exception, file: str) -> Location:
    """Return the template's line that was being rendered: Jinja2 puts it into the traceback."""
    found = Location(file, 1)
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name == file or name.endswith(SUFFIX):
            found = Location(name, trace.tb_lineno)
        trace = trace.tb_next
    return found
