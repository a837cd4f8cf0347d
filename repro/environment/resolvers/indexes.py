"""Where wheels come from: the indexes and folders that pip and uv are configured for on this machine.

pip's own configuration is read as pip reads it: files (global, user, the one named by ``PIP_CONFIG_FILE``), of each
the sections ``[global]`` and ``[install]``, then ``PIP_*`` variables; a later one replaces an earlier one. What
requirement files name is added. uv gets all of it as options and itself reads ``UV_*`` variables and its ``uv.toml``;
the default index is the one that uv has.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_KEYS: Final = ("index-url", "extra-index-url", "find-links", "no-index", "constraint", "cert", "proxy")
_SECTIONS: Final = ("global", "install")
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Indexes:
    """Sources of wheels, in order: addresses of simple indexes (PEP 503), and ``find_links``: pages or folders.

    ``index`` is None for the default; with ``no_index`` there are ``find_links`` alone.
    """

    index: str | None = None
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False

    def merged(self, other: Indexes) -> Indexes:
        """Return these, with ``other`` (of a requirements file) added; its own index wins."""
        return Indexes(
            other.index or self.index,
            _unique(self.extra + other.extra),
            _unique(self.find_links + other.find_links),
            self.no_index or other.no_index,
        )

    def options(self) -> list[str]:
        """Return them as options of pip and uv."""
        found = ["--no-index"] if self.no_index else []
        if self.index is not None:
            found += ["--index-url", self.index]
        for option, values in (("--extra-index-url", self.extra), ("--find-links", self.find_links)):
            found += [part for value in values for part in (option, value)]
        return found


@dataclass(frozen=True, slots=True)
class PipSettings:
    """pip's configuration, as far as it decides what is resolved and how indexes are reached."""

    indexes: Indexes
    constraints: tuple[str, ...]
    variables: Mapping[str, str]  # of the environment: pip's CA bundle and proxy, by the names that others read


def pip_settings(environ: Mapping[str, str]) -> PipSettings:
    """Return what pip is configured for by its files and by ``environ``.

    Raises:
        UsageError: a configuration file cannot be read.
    """
    values: dict[str, str] = {}
    for file in _files(environ):
        values |= _read(file)
    for key in _KEYS:
        name = f"PIP_{key.upper().replace('-', '_')}"
        if environ.get(name):
            values[key] = environ[name]
    variables = {}
    if "cert" in values:
        variables["SSL_CERT_FILE"] = values["cert"]
    if "proxy" in values:
        variables |= {"http_proxy": values["proxy"], "https_proxy": values["proxy"]}
    theirs = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")  # uv reads it
    indexes = Indexes(
        None if theirs else values.get("index-url"),
        _unique((*values.get("extra-index-url", "").split(), *environ.get("UV_EXTRA_INDEX_URL", "").split())),
        _unique((*values.get("find-links", "").split(), *filter(None, environ.get("UV_FIND_LINKS", "").split(",")))),
        values.get("no-index", "").lower() not in _FALSE,
    )
    return PipSettings(indexes, tuple(values.get("constraint", "").split()), variables)


def reaching(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` with the CA bundle and proxy that pip is configured for, where it names none itself."""
    found = dict(pip_settings(environ).variables)
    if "SSL_CERT_FILE" not in environ and environ.get("REQUESTS_CA_BUNDLE"):
        found["SSL_CERT_FILE"] = environ["REQUESTS_CA_BUNDLE"]
    return found | dict(environ)


def parse_options(lines: Iterable[str]) -> Indexes:
    """Return the indexes that lines such as ``--extra-index-url URL`` name; other lines are passed over."""
    index: str | None = None
    more: dict[str, list[str]] = {"--extra-index-url": [], "--find-links": []}
    no_index = False
    for line in lines:
        option, _, value = line.strip().replace("=", " ", 1).partition(" ")
        if option == "--index-url":
            index = value.strip()
        elif option == "--no-index":
            no_index = True
        elif option in more:
            more[option].append(value.strip())
    return Indexes(index, tuple(more["--extra-index-url"]), tuple(more["--find-links"]), no_index)


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield pip's configuration files, the weakest first, whether they are there or not."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    for folder in reversed((environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    home = environ.get("HOME")
    if home:
        yield Path(home, ".pip", "pip.conf")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config:
        yield Path(config, "pip", "pip.conf")
    if named:
        yield Path(named)


def _read(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise UsageError(f"pip's configuration {file} cannot be read", why=str(error)) from error
    found: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            values = {key.replace("_", "-"): value for key, value in parser.items(section)}
            found |= {key: values[key] for key in _KEYS if key in values}
    return found


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
