"""What an environment is made of beside apt packages: pip, conda, files of the project, a source that is compiled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repro.digest import Digest
from repro.errors import DataError
from repro.workflow import fields
from repro.workflow.commands import read_line
from repro.workflow.model import CondaSpec, SourceBuild
from repro.workflow.paths import literal_path, normal
from repro.workflow.source import MapNode, Scalar

if TYPE_CHECKING:
    from repro.workflow.fields import Problems
    from repro.workflow.source import Node

CONDA_KEYS: Final = ("channels", "packages")
SOURCE_KEYS: Final = ("url", "sha256", "apt", "run", "prefix")

# A requirement begins with a project's name, and maybe extras (PEP 508); the resolver reads the rest.
_REQUIREMENT: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:[<>=!~;(].*)?"
)
_LISTS: Final = (".txt", ".in", ".toml", ".lock")  # files that hold requirements
_OWN: Final = re.compile(r"(?P<folder>\.|\./.*?|\.\./.*?)(?P<extras>\[[A-Za-z0-9._,\s-]+\])?")
_CHANNEL: Final = re.compile(
    r"(?:https?://[^\s/]+/|file:///)\S*|\./\S*|[A-Za-z0-9][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.-]+)*"
)
_URL: Final = re.compile(r"(?:https?://[^\s/]+/|file:///)\S+")
_NOT_OURS: Final = ("/dev", "/proc", "/sys", "/run")  # of an image: mounted over in every container


def read_pip(node: Node, path: str, problems: Problems) -> tuple[str, ...]:
    """Return requirements, lists of them and the project's own packages; one alone need not be a list."""
    nodes = (node,) if isinstance(node, Scalar) else fields.items(node, path, problems, "requirements") or ()
    found: list[str] = []
    for number, item in enumerate(nodes):
        place = path if item is node else f"{path}.{number}"
        given = fields.text(item, place, problems, "a requirement")
        read = None if given is None else _pip_item(given.strip(), item, place, problems)
        if read is None:
            continue
        if read in found:
            problems.add(item.where, place, f"{read!r} stands here a second time", "keep one of the two")
        else:
            found.append(read)
    return tuple(found)


def _pip_item(given: str, node: Node, path: str, problems: Problems) -> str | None:
    own = _OWN.fullmatch(given)
    if own is not None:
        if own_folder(given) == ".":
            return given
        folder = literal_path(own["folder"], node, path, problems)
        return None if folder is None else f"./{folder.rstrip('/')}{own['extras'] or ''}"
    if is_list(given):
        return literal_path(given, node, path, problems)
    if "://" in given or given.startswith("-"):
        message = f"{given!r} is an {'option' if given.startswith('-') else 'address'}, and requirements name projects"
        hint = "indexes are those that pip is configured for; options can stand in a requirements.txt"
        problems.add(node.where, path, message, hint)
        return None
    if _REQUIREMENT.fullmatch(given) is None:
        hint = "as in numpy==2.1.0; a folder of the project as ./tools, a list of requirements as requirements.txt"
        problems.add(node.where, path, f"{given!r} is not a requirement", hint)
        return None
    return given


def own_folder(item: str) -> str | None:
    """Return the folder of the project's own package that an item of ``pip`` names; None if it names none."""
    own = _OWN.fullmatch(item)
    return None if own is None else normal(own["folder"]).rstrip("/") or "."


def is_list(item: str) -> bool:
    """Whether an item of ``pip`` is a file of the project that lists requirements."""
    return item.endswith(_LISTS) and _OWN.fullmatch(item) is None and re.search(r"[\s<>=]", item) is None


def read_conda(node: Node, path: str, problems: Problems) -> CondaSpec | None:
    """Return channels and match specs, or the file that holds them."""
    if isinstance(node, Scalar):
        given = fields.text(node, path, problems, "the path of an environment.yml, or channels and packages,")
        file = None if given is None else literal_path(given, node, path, problems)
        return None if file is None else CondaSpec(file=file)
    found = fields.keys(
        fields.entries(node, path, problems, "channels and packages as a mapping") or (),
        path,
        problems,
        CONDA_KEYS,
    )
    read: dict[str, tuple[str, ...]] = {}
    for key in CONDA_KEYS:
        if key in found:
            read[key] = fields.texts(found[key], f"{path}.{key}", problems, key) or ()
        elif isinstance(node, MapNode):
            problems.add(node.where, path, f"{key!r} is missing", "write {channels: [...], packages: [...]}")
    for number, channel in enumerate(read.get("channels", ())):
        if _CHANNEL.fullmatch(channel) is None or "/../" in f"{channel}/":
            hint = "a channel is a name, a URL, or a folder of the project that starts with ./"
            problems.add(found["channels"].where, f"{path}.channels.{number}", f"{channel!r} is not a channel", hint)
    return CondaSpec(read["channels"], read["packages"]) if read.keys() == {"channels", "packages"} else None


def read_files(node: Node, path: str, problems: Problems) -> dict[str, str]:
    """Return which project path each path of the image is copied from."""
    result: dict[str, str] = {}
    for entry in fields.entries(node, path, problems, "paths in the image, each with a project path,") or ():
        target = entry.key.text
        place = f"{path}.{target}"
        clean = "/" + normal(target.strip("/"))
        if not target.startswith("/") or clean == "/" or ".." in clean.split("/"):
            hint = "write it from the root, as in /opt/refs/genes.tsv"
            problems.add(entry.key.where, place, f"{target!r} is not a path in an image", hint)
        elif clean.startswith(tuple(f"{folder}/" for folder in _NOT_OURS)) or clean in _NOT_OURS:
            hint = "choose another folder, such as /opt"
            problems.add(entry.key.where, place, f"{target!r} lies in a folder that containers mount over", hint)
        else:
            given = fields.text(entry.value, place, problems, "a project path")
            source = None if given is None else literal_path(given, entry.value, place, problems)
            if source is not None:
                result[clean] = source
    return result


def read_source(node: Node, path: str, problems: Problems, apt: tuple[str, ...]) -> SourceBuild | None:
    """Return the tarball that is compiled; ``apt`` are the packages of its stage, which the caller has read."""
    entries = fields.entries(node, path, problems, "a source as a mapping")
    if entries is None:
        return None
    found = fields.keys(entries, path, problems, SOURCE_KEYS)
    hint = "write {url: https://…/name-1.2.tar.gz, sha256: …, apt: [gcc, make], run: [make install]}"
    for key in ("url", "sha256", "run"):
        if key not in found:
            problems.add(node.where, path, f"{key!r} is missing", hint)
    url = fields.text(found["url"], f"{path}.url", problems, "a URL") if "url" in found else None
    if url is not None and _URL.fullmatch(url) is None:
        problems.add(
            found["url"].where, f"{path}.url", f"{url!r} is not a URL", "http:, https: and file: are understood"
        )
    digest = _digest(found["sha256"], f"{path}.sha256", problems) if "sha256" in found else None
    prefix = fields.text(found["prefix"], f"{path}.prefix", problems, "a path") if "prefix" in found else "/usr/local"
    if prefix is not None and (not prefix.startswith("/") or normal(prefix.strip("/")) in ("", ".")):
        where = found["prefix"].where
        problems.add(
            where, f"{path}.prefix", f"{prefix!r} is not a folder of the image", "as in /usr/local or /opt/tool"
        )
    commands = read_commands(found["run"], f"{path}.run", problems) if "run" in found else ()
    if url is None or digest is None or prefix is None:
        return None
    return SourceBuild(url, digest, commands, apt, "/" + normal(prefix.strip("/")))


def read_commands(node: Node, path: str, problems: Problems) -> tuple[str, ...]:
    """Return shell commands, each for a RUN of its own."""
    commands = []
    for number, item in enumerate(fields.items(node, path, problems, "commands") or ()):
        command = read_line(item, f"{path}.{number}", problems)
        if command is not None:
            commands.append(command)
    return tuple(commands)


def _digest(node: Node, path: str, problems: Problems) -> Digest | None:
    given = fields.text(node, path, problems, "a sha256")
    if given is None:
        return None
    try:
        return Digest(given.removeprefix("sha256:").lower())
    except DataError as error:
        problems.add(node.where, path, f"{given!r} is not a sha256", error.hint or "64 hexadecimal digits")
        return None
