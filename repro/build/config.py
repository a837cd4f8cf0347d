"""What instructions do to an image's config and to the variables of their stage: pure functions on a frozen state."""

from __future__ import annotations

import posixpath
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from repro.build.ports import ports, stop_signal
from repro.dataclass import dataclass
from repro.dockerfile import instructions as model
from repro.dockerfile.words import expand, expand_words
from repro.errors import DockerfileError
from repro.oci.model import History, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.digest import Digest, Json

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
PROXIES = frozenset(
    name
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (proxy, proxy.lower())
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all stages: escape character, arguments given and global, epoch, whether rules apply."""

    escape: str
    arguments: Mapping[str, str]
    globals: Mapping[str, str]
    epoch: int
    normalize: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """A stage at some point: its config so far, the ARGs declared, and whether CMD was set in this stage.

    ``root`` is the name of the image (or ``scratch``) that the stage is based on in the end.
    """

    config: ImageConfig
    root: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    cmd_set: bool = False

    @property
    def env(self) -> dict[str, str]:
        """The environment of the image so far."""
        return dict(item.split("=", 1) for item in self.config.env if "=" in item)

    @property
    def variables(self) -> dict[str, str]:
        """What words expand with, and RUN sees: of ENV and ARG of one name the later."""
        return {**self.env, **self.arguments}

    @property
    def workdir(self) -> str:
        """The absolute working folder."""
        return self.config.working_dir or "/"

    @property
    def shell(self) -> tuple[str, ...]:
        """The shell of the shell form."""
        return self.config.shell or DEFAULT_SHELL

    def word(self, word: model.Word, settings: Settings) -> str:
        """Return ``word`` expanded."""
        return expand(word.text, self.variables, where=word.where, escape=settings.escape)

    def with_history(self, text: str, epoch: int, diff_id: Digest | None) -> State:
        """Return the state after an instruction that history shows as ``text``, with its layer if it made one."""
        entry = History(created=timestamp(epoch), created_by=text, empty_layer=diff_id is None)
        config = replace(self.config, history=(*self.config.history, entry))
        if diff_id is not None:
            config = replace(config, diff_ids=(*config.diff_ids, diff_id))
        return replace(self, config=config)


def timestamp(epoch: int) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def configure(state: State, one: model.AnyInstruction, settings: Settings) -> State:
    """Return the state after an instruction that makes no layer; DockerfileError where its words are wrong."""
    match one:
        case model.Arg():
            return _declare(state, one, settings)
        case model.Env():
            return _env(state, one, settings)
        case model.Label():
            labels = {state.word(item.name, settings): _value(state, item, settings) for item in one.labels}
            return _set(state, settings, f"LABEL {_pairs(labels)}", labels={**state.config.labels, **labels})
        case model.Cmd():
            argv = _argv(one.command, state.shell)
            return replace(_set(state, settings, f"CMD {_shown(argv)}", cmd=argv), cmd_set=True)
        case model.Entrypoint():
            argv = _argv(one.command, state.shell)
            # A CMD that came with the base was meant for the base's entry point.
            cmd = state.config.cmd if state.cmd_set else None
            return _set(state, settings, f"ENTRYPOINT {_shown(argv)}", entrypoint=argv, cmd=cmd)
        case model.User():
            user = state.word(one.user, settings)
            return _set(state, settings, f"USER {user}", user=user)
        case model.Shell():
            return _set(state, settings, f"SHELL {_shown(one.argv)}", shell=one.argv)
        case model.Expose():
            exposed = _ports(state, one, settings)
            merged = tuple(sorted({*state.config.exposed_ports, *exposed}))
            return _set(state, settings, f"EXPOSE {' '.join(exposed)}", exposed_ports=merged)
        case model.Volume():
            paths = tuple(_volume(state, path, settings) for path in one.paths)
            merged = tuple(sorted({*state.config.volumes, *paths}))
            return _set(state, settings, f"VOLUME {_shown(paths)}", volumes=merged)
        case model.StopSignal():
            signal = stop_signal(state.word(one.signal, settings), one.signal.where)
            return _set(state, settings, f"STOPSIGNAL {signal}", stop_signal=signal)
        case model.Healthcheck():
            check = _healthcheck(one)
            return _set(state, settings, one.text, healthcheck=check)
        case model.Maintainer():
            other = {**state.config.other, "author": one.name}
            return _set(state, settings, f"MAINTAINER {one.name}", other=other)
        case model.OnBuild():
            return _set(state, settings, one.text, on_build=(*state.config.on_build, one.trigger))
        case model.From() | model.Run() | model.Copy() | model.Workdir():
            raise DockerfileError(f"{one.text.split()[0]} cannot be handled here", where=one.where)


def workdir_path(state: State, one: model.Workdir, settings: Settings) -> str:
    """Return the absolute folder that WORKDIR means; an empty one stays where it is."""
    text = state.word(one.path, settings)
    return posixpath.normpath(posixpath.join("/", state.workdir, text)).replace("//", "/")


def _declare(state: State, one: model.Arg, settings: Settings) -> State:
    for item in one.arguments:
        name = state.word(item.name, settings)
        value = settings.arguments.get(name)
        if value is None:
            value = settings.globals.get(name) if item.value is None else state.word(item.value, settings)
        if value is not None:
            state = replace(state, arguments={**state.arguments, name: value})
    return state.with_history(one.text, settings.epoch, None)


def _env(state: State, one: model.Env, settings: Settings) -> State:
    # Every value of one line sees the environment before that line.
    added = {state.word(item.name, settings): _value(state, item, settings) for item in one.variables}
    merged = {**state.env, **added}
    env = tuple(f"{name}={value}" for name, value in merged.items())
    # An ARG is hidden by an ENV that follows it; one that comes after an ENV wins for what follows (BuildKit).
    arguments = {name: value for name, value in state.arguments.items() if name not in added}
    return replace(_set(state, settings, f"ENV {_pairs(added)}", env=env), arguments=arguments)


def _volume(state: State, path: model.Word, settings: Settings) -> str:
    text = state.word(path, settings).strip()
    if not text:
        raise DockerfileError(f"VOLUME {path.text} is empty", where=path.where, hint="set the variable it uses")
    return text


def _value(state: State, item: model.Assignment, settings: Settings) -> str:
    assert item.value is not None  # only ARG may leave it out
    return state.word(item.value, settings)


def _set(state: State, settings: Settings, text: str, **fields: object) -> State:
    config = replace(state.config, **fields)  # type: ignore[arg-type]  # each call names real fields
    return replace(state, config=config).with_history(text, settings.epoch, None)


def _argv(command: model.Command, shell: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the command's words; ``[]`` unsets it, as what an image lacks and what it has empty is one in a config."""
    if not command.for_shell:
        return command.words or None
    return (*shell, *command.words)


def _shown(words: tuple[str, ...] | None) -> str:
    return "[" + " ".join(f'"{word}"' for word in words or ()) + "]"


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _ports(state: State, one: model.Expose, settings: Settings) -> tuple[str, ...]:
    words = expand_words(one.ports.text, state.variables, where=one.ports.where, escape=settings.escape)
    return tuple(port for word in words for port in ports(word, one.ports.where))


def _healthcheck(one: model.Healthcheck) -> Mapping[str, Json]:
    if one.command is None:
        return {"Test": ["NONE"]}
    test: list[Json] = ["CMD-SHELL" if one.command.for_shell else "CMD", *one.command.words]
    numbers = {
        "Interval": one.interval, "Timeout": one.timeout, "StartPeriod": one.start_period,
        "StartInterval": one.start_interval, "Retries": one.retries,
    }  # fmt: skip
    return {"Test": test, **{name: number for name, number in numbers.items() if number}}
