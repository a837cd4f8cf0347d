"""Where this host keeps data that a workflow names by ``site:``: a map from names to paths, outside the project.

::

    sites:
      nt: /data/blast/nt
      genomes: ~/genomes

It is read from the file that ``$REPRO_SITES`` names, else from ``$XDG_CONFIG_HOME/repro/sites.yaml`` (``~/.config``
where that is not set), else from ``/etc/repro/sites.yaml``: from the first that is there.
"""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Self

from repro.dataclass import dataclass
from repro.errors import UsageError, WorkflowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location, Problem
    from repro.workflow.fields import Problems
    from repro.workflow.source import Node

VARIABLE = "REPRO_SITES"
_SYSTEM = Path("/etc/repro/sites.yaml")


class SitesError(WorkflowError):
    """All the mistakes of a sites.yaml."""

    def __init__(self, file: Path, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.message = f"{len(self.problems)} mistake{'s' if len(self.problems) != 1 else ''} in {file}"


@dataclass(frozen=True, slots=True)
class Sites:
    """The places of this host, by name. ``file`` is where they stand, or would; ``where`` the place of each in it."""

    file: Path
    places: Mapping[str, Path]
    where: Mapping[str, Location]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Return the places of this host; none where there is no file.

        Raises:
            SitesError: with every mistake in the file.
            UsageError: the file cannot be read, or the one that ``$REPRO_SITES`` names is not there.
        """
        home = _home(environ)
        named = environ.get(VARIABLE)
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "repro" / "sites.yaml"
        for file in [Path(named)] if named else [config, _SYSTEM]:
            try:
                text = file.read_bytes().decode()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
                raise UsageError(f"{file} cannot be read", why=why) from error
            return cls(file, *_read(text, file, home))
        if named:
            raise UsageError(f"{named} is not there", why=f"{VARIABLE} names it", hint=f"write it, or unset {VARIABLE}")
        return cls(config, {}, {})

    def path(self, site: str) -> Path:
        """Return the path of ``site``: a name, or a name and a path below it (``nt/2026-11``).

        Raises:
            UsageError: no such name, or a path that leads out of the place.
        """
        from repro.workflow import fields  # noqa: PLC0415 - only where a site is named

        name, _, below = site.partition("/")
        if any(part in ("", ".", "..") for part in below.removesuffix("/").split("/")) and below:
            raise UsageError(
                f"site:{site} does not name a place below {name}", hint="leave out '.', '..' and empty parts"
            )
        if name not in self.places:
            close = fields.near(name, self.places)
            raise UsageError(
                f"the site {name!r} is not known on this host",
                why=f"{self.file} has no such name" + (f": {close}" if close else ""),
                hint=f"say in {self.file} where it is here: `sites: {{{name}: /path/of/the/data}}`",
            )
        return self.places[name] / below


def _home(environ: Mapping[str, str]) -> Path:
    """Return the caller's home."""
    if home := environ.get("HOME"):
        return Path(home)
    import os  # noqa: PLC0415

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def _read(text: str, file: Path, home: Path) -> tuple[dict[str, Path], dict[str, Location]]:
    """Return the places and where each stands; SitesError with all mistakes."""
    from repro.workflow import fields  # noqa: PLC0415 - YAML is read only where a site is named
    from repro.workflow.fields import Problems  # noqa: PLC0415
    from repro.workflow.parser import parse  # noqa: PLC0415

    try:
        document = parse(text, str(file))
    except WorkflowError as error:
        raise SitesError(file, error.problems) from error
    problems = Problems(document.source)
    problems.found.extend(document.problems)
    places: dict[str, Path] = {}
    where: dict[str, Location] = {}
    if document.root is not None:
        top = fields.entries(document.root, "", problems, "a mapping with `sites:`") or ()
        sites = fields.keys(top, "", problems, ("sites",)).get("sites")
        named = fields.entries(sites, "sites", problems, "a mapping of names to paths") if sites is not None else ()
        for name, node in fields.named(named or (), "sites", problems, "a site", dashes=True).items():
            place = _place(node, f"sites.{name}", problems, home)
            if place is not None:
                places[name] = place
                where[name] = node.where
    if problems.found:
        raise SitesError(file, tuple(problems.found))
    return places, where


def _place(node: Node, path: str, problems: Problems, home: Path) -> Path | None:
    """Return an absolute path, ``~`` being the caller's home."""
    from repro.workflow import fields  # noqa: PLC0415

    given = fields.text(node, path, problems, "a path")
    if given is None:
        return None
    if given == "~" or given.startswith("~/"):
        return home / given[2:]
    if not given.startswith("/"):
        problems.add(node.where, path, f"{given!r} is no absolute path", "begin it with / or ~/")
        return None
    return Path(given)
