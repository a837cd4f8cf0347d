"""A rendered Dockerfile as others read it: bases that they can have, our epoch, and only what Docker 20.10 knows.

That one has bind mounts in its own front end, but neither heredocs nor ``RUN --network``: a command of several lines
becomes a script in the context, and what installs from the context alone does so with a network that it does not use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.dockerfile.parser import parse
from repro.environment.render import quoted
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.dockerfile.parser import RawInstruction
    from repro.oci.model import ImageConfig

BASE: Final = "repro-base"  # the stage that unpacks a base which no registry has
BASE_TAR: Final = "base.tar"
_FROM: Final = re.compile(r"(FROM\s+(?:--\S+\s+)*)(\S+)", re.IGNORECASE)
_NETWORK: Final = re.compile(r"(RUN\s+(?:--\S+\s+)*?)--network=(?:none|default)\s+", re.IGNORECASE)
_SCRIPT: Final = "/run/repro/run.sh"


@dataclass(frozen=True, slots=True)
class Portable:
    """A Dockerfile for other builders, and the scripts that its context must have: path -> text."""

    dockerfile: str
    scripts: Mapping[str, str]


def with_bases(dockerfile: str, bases: Mapping[str, str], file: str) -> str:
    """Return the Dockerfile with each FROM that names a key of ``bases`` naming its value instead."""
    lines = dockerfile.splitlines(keepends=True)
    for one in parse(dockerfile, file).instructions:
        if one.keyword == "FROM":
            lines[one.where.line - 1] = _FROM.sub(
                lambda found: found[1] + bases.get(found[2], found[2]), lines[one.where.line - 1], count=1
            )
    return "".join(lines)


def portable(dockerfile: str, *, file: str, bases: Mapping[str, str], epoch: int, first_stage: str = "") -> Portable:
    """Return ``dockerfile`` so that `docker build` makes the same files of it.

    Args:
        dockerfile: as rendered.
        file: its name in messages.
        bases: what a FROM names -> what it names for others: an image with its digest, or a stage.
        epoch: the build's SOURCE_DATE_EPOCH, given to each stage.
        first_stage: instructions that make such a stage, put before all others.

    Raises:
        DockerfileError: COPY or ADD takes a heredoc, which cannot become a script.
    """
    text = with_bases(dockerfile, bases, file)
    lines = text.splitlines(keepends=True)
    scripts: dict[str, str] = {}
    out: list[str] = []
    done = 0  # lines that are in ``out``
    for one in parse(text, file).instructions:
        out += lines[done : one.where.line - 1]
        done = one.end_line
        if one.keyword == "FROM":
            if first_stage:
                out.append(first_stage)
                first_stage = ""
            out += [*lines[one.where.line - 1 : done], f"ARG SOURCE_DATE_EPOCH={epoch}\n"]
        elif one.heredocs:
            name = f"run/{len(scripts) + 1}.sh"
            scripts[name] = _script(one)
            flags = [f"--{flag.name}={flag.value}" for flag in one.flags if flag.name != "network"]
            mount = f"--mount=type=bind,source={name},target={_SCRIPT}"
            out.append(" ".join(["RUN", *flags, mount, f"sh {_SCRIPT}\n"]))
        else:
            first = _NETWORK.sub(r"\1", lines[one.where.line - 1], count=1)
            out += [first, *lines[one.where.line : done]]
    return Portable("".join([*out, *lines[done:]]), scripts)


def _script(one: RawInstruction) -> str:
    """Return what the one heredoc of a RUN holds, which the shell is given whole."""
    if one.keyword != "RUN" or len(one.heredocs) != 1 or re.fullmatch(r"<<-?(['\"]?)\w+\1", one.arguments) is None:
        raise DockerfileError(
            "a heredoc that other builders cannot be given",
            where=one.where,
            hint="in a template write RUN {{ command | as_run }}, and bring files by `files:`",
        )
    return one.heredocs[0].content


def base_stage(config: ImageConfig, image: str) -> str:
    """Return the stage that makes the base of ``base.tar``: its files and its settings, in one layer."""
    lines = [f"# The base {image}: its whole root, for no registry has it.", f"FROM scratch AS {BASE}"]
    lines += [f"ADD {BASE_TAR} /"]
    lines += [f"ENV {name}={quoted(value)}" for name, _, value in (item.partition("=") for item in config.env)]
    lines += [f"LABEL {quoted(name)}={quoted(value)}" for name, value in config.labels.items()]
    lines += [f"WORKDIR {config.working_dir}"] if config.working_dir not in ("", "/") else []
    lines += [f"USER {config.user}"] if config.user else []
    return "\n".join([*lines, "", ""])
