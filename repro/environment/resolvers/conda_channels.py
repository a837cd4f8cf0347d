"""Where conda channels are on this machine: a lock names channels, and only the machine's configuration their hosts."""

from __future__ import annotations

import os
import posixpath
import string
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from repro.data.cache import Wanted
from repro.environment.resolvers.conda_file import read_spec
from repro.workflow.parser import parse
from repro.workflow.source import ListNode, MapNode, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.environment.model import CondaPackage
    from repro.workflow.model import CondaSpec

DEFAULTS: Final = "defaults"
_ALIAS: Final = "CONDA_CHANNEL_ALIAS"


class Channels:
    """Addresses of channels, as conda's own configuration gives them ("Using the .condarc conda configuration file").

    Read are ``$CONDA_CHANNEL_ALIAS`` and, of the first ``.condarc`` that says them, ``channel_alias``,
    ``custom_channels`` and ``default_channels``: ``$CONDARC``, ``~/.condarc``, ``~/.conda/.condarc``,
    ``$XDG_CONFIG_HOME/conda/.condarc``, ``/etc/conda/.condarc``. A name that none of them places is looked for where
    conda looks by itself.

    Args:
        root: of the project; its channels (``./channel``) are below.
        environ: the environment variables.

    Raises:
        WorkflowError: a ``.condarc`` is not YAML.
    """

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._alias: str | None = environ.get(_ALIAS) or None
        self._custom: dict[str, str] = {}
        self._defaults: tuple[str, ...] = ()
        for path in _condarcs(environ):
            self._read(path, environ)

    def addresses(self, channel: str) -> tuple[str, ...]:
        """Return the URLs of ``channel``, which is a name, a URL or a project path; none where nothing places it.

        ``defaults`` may stand for several; without ``default_channels`` in a ``.condarc``, it stands for none.
        """
        if channel.startswith("./"):
            return (Path(os.path.normpath(self._root.absolute() / channel)).as_uri(),)
        if "://" in channel:
            return (channel.rstrip("/"),)
        if channel == DEFAULTS:
            return tuple(url for name in self._defaults if name != DEFAULTS for url in self.addresses(name))
        for name in _and_parents(channel):
            if name in self._custom:
                return (f"{self._custom[name].rstrip('/')}/{channel}",)
        if self._alias is not None:
            return (f"{self._alias.rstrip('/')}/{channel}",)
        return _own(channel)

    def _read(self, path: Path, environ: Mapping[str, str]) -> None:
        """Take from a ``.condarc`` what no earlier one said."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        root = parse(text, str(path)).root
        found = {entry.key.text: entry.value for entry in root} if isinstance(root, MapNode) else {}
        alias, custom, defaults = (found.get(key) for key in ("channel_alias", "custom_channels", "default_channels"))
        if isinstance(alias, Scalar) and self._alias is None:
            self._alias = _expanded(alias.text, environ)
        if isinstance(custom, MapNode):
            for entry in custom:
                if isinstance(entry.value, Scalar):
                    self._custom.setdefault(entry.key.text, _expanded(entry.value.text, environ))
        if isinstance(defaults, ListNode) and not self._defaults:
            self._defaults = tuple(_expanded(node.text, environ) for node in defaults.items if isinstance(node, Scalar))


def locked_name(channel: str) -> str:
    """Return what a lock calls ``channel``: its name, or the last part of its URL or path."""
    if "://" in channel or channel.startswith("./"):
        return posixpath.basename((urlsplit(channel).path if "://" in channel else channel).rstrip("/"))
    return channel


def locate_conda(
    packages: Iterable[CondaPackage], spec: CondaSpec, root: Path, environ: Mapping[str, str]
) -> list[Wanted]:
    """Return where each locked package can be fetched from on this machine.

    A package that no declared channel or line of the list leads to has no address: only a cache or a vendor folder
    has it.

    Raises:
        WorkflowError: the file that ``spec`` names, or a ``.condarc``, has mistakes.
    """
    asked = read_spec(spec, root)
    channels = Channels(root, environ)
    bases: dict[str, list[str]] = {}
    for channel in asked.channels:
        bases.setdefault(locked_name(channel), []).extend(channels.addresses(channel))
    listed: dict[tuple[str, str], list[str]] = {}
    for line in asked.explicit:
        listed.setdefault((line.subdir, line.file), []).append(line.url)
    result = []
    for package in sorted(packages):
        below = f"{package.subdir}/{quote(package.file, safe='!+~_.-')}"
        urls = [f"{base}/{below}" for base in bases.get(package.channel, ())]
        urls += listed.get((package.subdir, package.file), ())
        result.append(Wanted(package.file, package.digest, package.size, tuple(urls)))
    return result


def _condarcs(environ: Mapping[str, str]) -> list[Path]:
    """Return where configuration may stand, the first one counting most."""
    home = environ.get("HOME", "")
    settings = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    own = [f"{home}/.condarc", f"{home}/.conda/.condarc"] if home else []
    named = [environ["CONDARC"]] if environ.get("CONDARC") else []
    more = [f"{settings}/conda/.condarc"] if settings else []
    return [Path(path) for path in [*named, *own, *more, "/etc/conda/.condarc"]]


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    """Return the value with environment variables filled in, as conda does; unknown ones stay as written."""
    return string.Template(text).safe_substitute(environ)


def _and_parents(channel: str) -> list[str]:
    """Return ``a/label/b``, ``a/label``, ``a``: settings of a channel hold for its labels."""
    parts = channel.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _own(channel: str) -> tuple[str, ...]:
    """Return where the solver itself places a name; nowhere without it."""
    try:
        from rattler import Channel  # noqa: PLC0415 - an extra
    except ImportError:
        return ()
    return (Channel(channel).base_url.rstrip("/"),)
