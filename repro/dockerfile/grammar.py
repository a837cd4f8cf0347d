"""From raw instructions to typed ones: what each instruction takes, checked, with located errors."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from repro.dockerfile import instructions as model
from repro.dockerfile.mounts import nearest, read_mount
from repro.dockerfile.parser import heredoc_of, parse
from repro.dockerfile.reading import Reading, boolean, duration
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.dockerfile.parser import RawInstruction

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_NETWORKS = ("none", "host", "default")


def read(text: str, file: str) -> model.Dockerfile:
    """Return the typed instructions of a Dockerfile's text; DockerfileError at the first mistake."""
    script = parse(text, file)
    instructions = tuple(typed(raw, script.escape) for raw in script.instructions)
    return model.Dockerfile(script.escape, instructions, script.directives)


def typed(raw: RawInstruction, escape: str = "\\") -> model.AnyInstruction:
    """Return what ``raw`` means; DockerfileError for an unknown keyword or flag, or wrong arguments."""
    reader = _READERS.get(raw.keyword)
    if reader is None:
        near = difflib.get_close_matches(raw.keyword, _READERS, n=1, cutoff=0.5)
        raise DockerfileError(
            f"unknown instruction {raw.keyword}",
            where=raw.where,
            hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(_READERS))}",
        )
    if not raw.arguments and raw.keyword not in ("CMD", "ENTRYPOINT"):
        raise DockerfileError(f"{raw.keyword} needs an argument", where=raw.where)
    return reader(Reading(raw, escape))


def _from(it: Reading) -> model.From:
    platform = it.flag("platform")
    it.finish("platform")
    words = it.words()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].text.upper() != "AS"):
        raise DockerfileError("FROM takes an image, or an image AS a name", where=it.where, hint="FROM image [AS name]")
    name = None
    if len(words) == 3:
        name = words[2].text.lower()
        if _STAGE_NAME.fullmatch(name) is None:
            raise DockerfileError(
                f"not a stage name: {words[2].text!r}",
                where=words[2].where,
                hint="a letter, then a-z, 0-9, '-', '_', '.'",
            )
    return model.From(it.where, it.text, words[0], platform, name)


def _arg(it: Reading) -> model.Arg:
    it.finish()
    out: list[model.Assignment] = []
    for word in it.quoted_words():
        name, equals, value = word.text.partition("=")
        if not name:
            raise DockerfileError("an argument has no name", where=word.where, hint="ARG NAME[=default]")
        out.append(model.Assignment(model.Word(name, word.where), model.Word(value, word.where) if equals else None))
    return model.Arg(it.where, it.text, tuple(out))


def _env(it: Reading) -> model.Env:
    it.finish()
    return model.Env(it.where, it.text, it.assignments())


def _label(it: Reading) -> model.Label:
    it.finish()
    return model.Label(it.where, it.text, it.assignments())


def _run(it: Reading) -> model.Run:
    mounts = tuple(read_mount(word) for word in it.flag_words("mount"))
    network = it.flag("network")
    if network is not None and network.text not in _NETWORKS:
        hint = nearest(network.text, _NETWORKS)
        raise DockerfileError(f"unknown network {network.text!r}", where=network.where, hint=hint)
    if (security := it.flag("security")) is not None and security.text != "sandbox":
        message = f"RUN --security={security.text} is not supported"
        raise DockerfileError(message, where=security.where, hint="leave it out: RUN has Docker's usual rights")
    if devices := it.flag_words("device"):
        raise DockerfileError("RUN --device is not supported", where=devices[0].where, hint="leave it out")
    it.finish("mount", "network", "security")
    command = it.command()
    if it.raw.heredocs and not command.for_shell:
        raise DockerfileError("the exec form takes no heredoc", where=it.where)
    if not command.words:
        raise DockerfileError("RUN needs a command", where=it.where)
    return model.Run(
        it.where, it.text, command, it.raw.heredocs, mounts, network.text if network else None, it.raw.places
    )


def _sources(it: Reading) -> tuple[list[model.Word], model.Word]:
    """Return the sources without the heredocs, and the destination."""
    strings = it.strings()
    words = list(it.words()) if strings is None else [model.Word(item, it.where) for item in strings]
    if len(words) < 2:
        raise DockerfileError(
            f"{it.raw.keyword} needs a source and a destination",
            where=it.where,
            hint=f"{it.raw.keyword} source… destination",
        )
    *sources, destination = words
    if it.raw.heredocs:
        if heredoc_of(destination.text, destination.where) is not None:
            raise DockerfileError("a heredoc is no destination", where=destination.where)
        sources = [word for word in sources if heredoc_of(word.text, word.where) is None]
    return sources, destination


def _copy(it: Reading) -> model.Copy:
    sources, destination = _sources(it)
    source_image = it.flag("from")
    if source_image is not None and "$" in source_image.text:
        raise DockerfileError(
            "--from takes no variable",
            where=source_image.where,
            hint="name a stage: FROM $IMAGE AS name, then --from=name",
        )
    if source_image is not None and it.raw.heredocs:
        raise DockerfileError("a heredoc cannot come --from elsewhere", where=source_image.where)
    out = model.Copy(
        it.where, it.text, tuple(sources), it.raw.heredocs, destination, source_image,
        it.flag("chown"), it.flag("chmod"), it.on("link"), it.on("parents"), tuple(it.flag_words("exclude")),
    )  # fmt: skip
    it.finish("from", "chown", "chmod", "link", "parents", "exclude")
    return out


def _add(it: Reading) -> model.Add:
    sources, destination = _sources(it)
    unpack = it.flag("unpack")
    out = model.Add(
        it.where, it.text, tuple(sources), it.raw.heredocs, destination, source_image=None,
        chown=it.flag("chown"), chmod=it.flag("chmod"), link=it.on("link"), parents=False,
        exclude=tuple(it.flag_words("exclude")), checksum=it.flag("checksum"),
        keep_git_dir=it.on("keep-git-dir"), unpack=None if unpack is None else boolean(unpack.text, unpack.where),
    )  # fmt: skip
    it.finish("chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack")
    return out


def _workdir(it: Reading) -> model.Workdir:
    it.finish()
    return model.Workdir(it.where, it.text, it.whole())


def _user(it: Reading) -> model.User:
    it.finish()
    return model.User(it.where, it.text, it.whole())


def _cmd(it: Reading) -> model.Cmd:
    it.finish()
    return model.Cmd(it.where, it.text, it.command())


def _entrypoint(it: Reading) -> model.Entrypoint:
    it.finish()
    return model.Entrypoint(it.where, it.text, it.command())


def _shell(it: Reading) -> model.Shell:
    it.finish()
    argv = it.strings()
    if not argv:
        raise DockerfileError("SHELL takes the JSON form only", where=it.where, hint='SHELL ["/bin/bash", "-c"]')
    return model.Shell(it.where, it.text, argv)


def _expose(it: Reading) -> model.Expose:
    it.finish()
    return model.Expose(it.where, it.text, it.whole())


def _volume(it: Reading) -> model.Volume:
    it.finish()
    strings = it.strings()
    paths = it.words() if strings is None else tuple(model.Word(item, it.where) for item in strings)
    if not paths or any(not path.text.strip() for path in paths):
        raise DockerfileError("VOLUME needs a path", where=it.where)
    return model.Volume(it.where, it.text, paths)


def _stopsignal(it: Reading) -> model.StopSignal:
    it.finish()
    return model.StopSignal(it.where, it.text, it.whole())


def _healthcheck(it: Reading) -> model.Healthcheck:
    kind, rest = [*re.split(r"\s+", it.raw.arguments, maxsplit=1), ""][:2]
    times = [duration(it.flag(name)) for name in ("interval", "timeout", "start-period", "start-interval")]
    retries = it.flag("retries")
    if retries is not None and re.fullmatch(r"\+?[0-9]{1,9}", retries.text) is None:
        raise DockerfileError(f"not a number of retries: {retries.text!r}", where=retries.where, hint="as in 3")
    it.finish("interval", "timeout", "start-period", "start-interval", "retries")
    command = None
    if kind.upper() == "CMD":
        command = it.command(rest)
        if not any(command.words):
            raise DockerfileError("HEALTHCHECK CMD needs a command", where=it.where)
    elif kind.upper() != "NONE" or rest:
        hint = "HEALTHCHECK CMD command, or HEALTHCHECK NONE"
        raise DockerfileError("HEALTHCHECK takes CMD and a command, or NONE alone", where=it.where, hint=hint)
    interval, timeout, start_period, start_interval = times
    return model.Healthcheck(
        it.where, it.text, command, interval, timeout, start_period, start_interval,
        int(retries.text) if retries else 0,
    )  # fmt: skip


def _onbuild(it: Reading) -> model.OnBuild:
    it.finish()
    keyword = it.raw.arguments.split(None, 1)[0]
    if keyword.upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise DockerfileError(f"ONBUILD {keyword.upper()} is not allowed", where=it.raw.locate(0))
    trigger = it.raw.arguments + "".join(f"\n{doc.content}{doc.name}" for doc in it.raw.heredocs)
    try:  # the trigger's own mistakes are told now, not in a later build
        inner = parse(f"# escape={it.escape}\n{trigger}\n", it.where.file)
        typed(inner.instructions[0], it.escape)
    except DockerfileError as error:
        raise DockerfileError(f"ONBUILD: {error.message}", where=it.raw.locate(0), hint=error.hint) from error
    return model.OnBuild(it.where, it.text, trigger)


def _maintainer(it: Reading) -> model.Maintainer:
    it.finish()
    return model.Maintainer(it.where, it.text, it.raw.arguments)


_READERS: dict[str, Callable[[Reading], model.AnyInstruction]] = {
    "FROM": _from, "ARG": _arg, "ENV": _env, "RUN": _run, "COPY": _copy, "ADD": _add, "WORKDIR": _workdir,
    "USER": _user, "CMD": _cmd, "ENTRYPOINT": _entrypoint, "LABEL": _label, "SHELL": _shell, "EXPOSE": _expose,
    "VOLUME": _volume, "STOPSIGNAL": _stopsignal, "HEALTHCHECK": _healthcheck, "ONBUILD": _onbuild,
    "MAINTAINER": _maintainer,
}  # fmt: skip
