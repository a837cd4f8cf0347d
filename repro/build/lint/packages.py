"""Rules about package managers in RUN: versions that are not given, and apt's lists made in another layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.build.lint.model import Rule, Script, Subject, scripts
from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repro.dockerfile.shell import ShellCommand, ShellWord
    from repro.errors import Location

_PYTHON = re.compile(r"python[0-9.]*|pypy[0-9.]*")
_PIP = re.compile(r"pip[0-9.]*")
_LOCAL = re.compile(r"\.|\.\.|[./~].*|.*\.(?:whl|deb|zip|tar\.gz|tar\.bz2|conda|tgz)(?:\[.*\])?")
_COMMIT = re.compile(r"@[0-9a-f]{40}\b")


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager's way to install.

    ``valued`` are the options that take the next word. ``trusting`` are those under which names need no version,
    because something else pins them. ``pinned`` says whether a name as given fixes its version.
    """

    name: str
    verbs: frozenset[str]
    valued: frozenset[str]
    trusting: frozenset[str]
    pinned: Callable[[str], bool]


def _apt_pinned(name: str) -> bool:
    return "=" in name or name.endswith("-")  # name- removes


def _pip_pinned(name: str) -> bool:
    if "://" in name or " @ " in name:
        return not name.startswith("git+") or _COMMIT.search(name) is not None
    requirement = name.partition(";")[0]
    return re.search(r"={2,3}[^*=]+$", requirement) is not None


def _conda_pinned(name: str) -> bool:
    specification = name.rpartition("::")[2]
    return "://" in name or re.search(r"[^<>!~]={1,2}[^*=]", specification) is not None


APT = Manager(
    "apt", frozenset({"install", "satisfy"}),
    frozenset({"-o", "--option", "-t", "--target-release", "--default-release", "-c", "--config-file", "-a"}),
    frozenset({"--no-download"}), _apt_pinned,
)  # fmt: skip
PIP = Manager(
    "pip", frozenset({"install", "download", "wheel"}),
    frozenset({
        "-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-t", "--target", "-i", "--index-url",
        "--extra-index-url", "-f", "--find-links", "--prefix", "--root", "--src", "--platform", "--python-version",
        "--implementation", "--abi", "--trusted-host", "--proxy", "--cache-dir", "--no-binary", "--only-binary",
        "--progress-bar", "--timeout", "--retries", "--cert", "--client-cert", "--log", "--python", "-p",
        "--upgrade-strategy", "-C", "--config-settings", "--global-option", "--exists-action", "-d", "--dest",
        "-w", "--wheel-dir", "--root-user-action", "--report", "--use-feature", "--default-index", "--index",
    }),
    frozenset({"--no-index", "--require-hashes", "-c", "--constraint"}), _pip_pinned,
)  # fmt: skip
CONDA = Manager(
    "conda", frozenset({"install", "create", "update", "upgrade"}),
    frozenset({
        "-n", "--name", "-p", "--prefix", "-c", "--channel", "-f", "--file", "--solver", "--experimental-solver",
        "--revision", "-r", "--root-prefix", "--repodata-fn", "--platform", "--subdir", "--clone", "--rc-file",
        "--log-level", "--channel-priority",
    }),
    frozenset({"--offline", "--clone", "--revision"}), _conda_pinned,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Install:
    """A package manager's call: its options and the packages named on its line."""

    manager: Manager
    verb: str
    options: frozenset[str]
    packages: tuple[ShellWord, ...]
    where: Location


def _calls(script: Script) -> Iterator[Install]:
    """Yield the package managers' calls of a script."""
    for command in script.commands():
        manager, words = _manager(command)
        if manager is None:
            continue
        options, plain = _sorted_out(manager, words)
        if plain:
            where = script.locate(command.words[0].offset)
            yield Install(manager, plain[0].text, options, tuple(plain[1:]), where)


def _manager(command: ShellCommand) -> tuple[Manager | None, tuple[ShellWord, ...]]:
    """Return the package manager that a command is, and its words."""
    program, words = command.program, command.arguments
    texts = [word.text for word in words[:2]]
    if program in ("apt-get", "apt", "aptitude"):
        return APT, words
    if _PIP.fullmatch(program):
        return PIP, words
    if _PYTHON.fullmatch(program) and texts == ["-m", "pip"]:
        return PIP, words[2:]
    if program == "uv" and texts[:1] == ["pip"]:
        return PIP, words[1:]
    if program in ("conda", "mamba", "micromamba"):
        return CONDA, words
    return None, ()


def _sorted_out(manager: Manager, words: tuple[ShellWord, ...]) -> tuple[frozenset[str], list[ShellWord]]:
    """Return the names of the options, and the words that are none and belong to none."""
    options: set[str] = set()
    plain: list[ShellWord] = []
    waiting = iter(words)
    for word in waiting:
        if not word.text.startswith("-") or word.text == "-":
            plain.append(word)
            continue
        name, equals, _ = word.text.partition("=")
        options.add(name)
        if not equals and name in manager.valued:
            next(waiting, None)
    return frozenset(options), plain


def _unpinned_packages(subject: Subject) -> Iterator[tuple[str, Location]]:
    for _, run in subject.runs():
        if run.network == "none":
            continue  # what it installs was brought along
        for script in scripts(run):
            for call in _calls(script):
                if call.verb in call.manager.verbs and call.manager.trusting.isdisjoint(call.options):
                    yield from _unpinned(call)


def _unpinned(call: Install) -> Iterator[tuple[str, Location]]:
    names = [
        word.text
        for word in call.packages
        if word.literal and word.text and not _LOCAL.fullmatch(word.text) and not call.manager.pinned(word.text)
    ]
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        yield f"{call.manager.name} {call.verb} without a version: {shown}", call.where


def _update_apart(subject: Subject) -> Iterator[tuple[str, Location]]:
    for _, run in subject.runs():
        if run.network == "none":
            continue
        calls = [call for script in scripts(run) for call in _calls(script) if call.manager is APT]
        updated: Location | None = None
        used = False
        for call in calls:
            if call.verb == "update":
                updated, used = call.where, False
            elif call.verb in ("install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "satisfy", "source"):
                used = True
                if updated is None and not _needs_no_lists(call):
                    yield f"apt {call.verb} takes its lists from an older layer: update them in this RUN", call.where
        if updated is not None and not used:
            yield "apt update stands apart from install: a cached layer keeps old lists", updated


def _needs_no_lists(call: Install) -> bool:
    """Say whether an install takes files alone, or nothing."""
    if "--no-download" in call.options:
        return True
    return call.verb == "install" and all(word.text and _LOCAL.fullmatch(word.text) for word in call.packages)


RULES = (
    Rule("unpinned-packages", "packages are installed in whatever version is newest", _unpinned_packages),
    Rule("apt-update-apart", "apt's lists and what is installed from them are in different layers", _update_apart),
)
