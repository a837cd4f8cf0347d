"""RUN: the command and its world from the instruction, then one container, then a clean layer folder."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING

from repro.build.cache import plain
from repro.build.config import DEFAULT_PATH, PROXIES
from repro.build.mounts import key_part
from repro.build.placed import Placed
from repro.build.rules import RULES_VERSION, normalise
from repro.build.secrets import Mask
from repro.dataclass import dataclass
from repro.dockerfile.parser import heredoc_of
from repro.errors import BuildError
from repro.events import BuildOutput
from repro.runtime.spec import Bind, ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repro.build.bench import Workbench
    from repro.build.config import Settings, State
    from repro.build.mounts import AnyMount
    from repro.build.users import Identity
    from repro.digest import Json
    from repro.dockerfile.instructions import Run

_PIPES = "/dev/pipes"  # where BuildKit shows a heredoc that is a script of its own
_TAIL = 15  # lines of output that an error repeats
_LONGEST = 1 << 16  # bytes of a line before it is cut in two


@dataclass(frozen=True, slots=True)
class Extras:
    """What RUN gets from outside the layer (apt sources of an archive base): no part of any cache key."""

    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A RUN made ready: what is in its key, and what its container is given.

    ``script`` is a heredoc that begins with ``#!``: (file name, text), bound in at `_PIPES`.
    """

    one: Run
    argv: tuple[str, ...]
    env: Mapping[str, str]
    proxies: Mapping[str, str]
    workdir: str
    identity: Identity
    network: Network
    mounts: tuple[AnyMount, ...]
    script: tuple[str, str] | None
    normalize: bool

    def key_parts(self, arch: str) -> dict[str, Json]:
        """Return what decides the layer, the layers below and the epoch aside."""
        script: Json = None if self.script is None else [plain(part) for part in self.script]
        return {
            "argv": [plain(word) for word in self.argv],
            "env": {plain(name): plain(value) for name, value in self.env.items()},
            "workdir": plain(self.workdir),
            "user": [self.identity.uid, self.identity.gid, list(self.identity.groups)],
            "network": self.network.value,
            "mounts": [key_part(mount) for mount in self.mounts],
            "script": script,
            "rules": RULES_VERSION if self.normalize else 0,
            "platform": f"linux/{arch}",
        }

    @property
    def history(self) -> str:
        """The text that history shows."""
        return f"RUN {' '.join(self.argv)}"


def plan_run(
    one: Run,
    state: State,
    settings: Settings,
    identity: Identity,
    mounts: tuple[AnyMount, ...],
    default_network: Network,
) -> RunPlan:
    """Return the plan of a RUN: ENV wins over ARG, and proxies that no ARG declares stay out of the key."""
    argv, script = _command(one, state)
    env = {"PATH": DEFAULT_PATH, "HOME": identity.home, **state.variables}
    env.setdefault("SOURCE_DATE_EPOCH", str(settings.epoch))
    proxies = {
        spelling: value  # programs read one or the other
        for name, value in settings.arguments.items()
        if name in PROXIES
        for spelling in (name.upper(), name.lower())
    }
    network = Network(one.network) if one.network in ("none", "host") else default_network
    return RunPlan(
        one, argv, env, proxies, state.workdir, identity, network, mounts, script, normalize=settings.normalize
    )


def _command(one: Run, state: State) -> tuple[tuple[str, ...], tuple[str, str] | None]:
    """Return the command, and the script that it needs, if its heredoc is one (BuildKit's dispatchRun)."""
    words = one.command.words
    if not one.command.for_shell:
        return words, None
    if not one.heredocs:
        return (*state.shell, *words), None
    first = one.heredocs[0]
    if heredoc_of(words[0].strip(), one.where) is None:
        # Part of a larger command: the shell reads it, as it would from a script.
        full = words[0] + "".join(f"\n{doc.content}{doc.name}" for doc in one.heredocs)
        return (*state.shell, full), None
    if first.text.startswith("#!"):
        return (f"{_PIPES}/{first.name}",), (first.name, first.text)
    return (*state.shell, first.text), None


def execute(plan: RunPlan, bench: Workbench, state: State, space: Path, *, stage: str, number: int) -> Path:
    """Run the command and return its layer folder, rules applied; BuildError with its last lines if it fails.

    ``stage`` and ``number`` say which instruction its output is of.
    """
    upper, work = space / "upper", space / "work"
    upper.mkdir(mode=0o755)
    upper.chmod(0o755)  # it is the image's root while the command runs
    work.mkdir()
    extras = bench.extras(state.root)
    placed = Placed(bench.store, space, bench.secrets, bench.halt)
    try:
        placed.add(plan.mounts)
        if plan.script is not None:
            placed.binds.append(_script(space, plan.script))
        spec = ContainerSpec(
            lowers=bench.layers(state),
            upper=upper,
            work=work,
            argv=plan.argv,
            env={**plan.env, **plan.proxies, **extras.env, **placed.env},
            cwd=plan.workdir,
            user=(plan.identity.uid, plan.identity.gid),
            groups=plan.identity.groups,
            binds=(*placed.binds, *extras.binds),
            tmpfs=tuple(placed.tmpfs),
            network=plan.network,
            privileges=Privileges.BUILD,
        )
        spec = bench.conditions.surround(spec, plan.one.where)
        status, made, tail = _run(spec, bench, stage, number)
    finally:
        placed.close()
    if status != 0:
        raise _failure(plan, status, tail)
    _remove_made(upper, made)
    if plan.normalize:
        normalise(upper, bench.settings.epoch)
    return upper


def _script(space: Path, script: tuple[str, str]) -> Bind:
    folder = space / "pipes"
    folder.mkdir()
    name, text = script
    if "/" in name or name in (".", ".."):
        raise BuildError(f"{name!r} cannot be the name of a script", hint="name the heredoc with letters")
    path = folder / name
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    path.chmod(0o755)
    folder.chmod(0o755)
    return Bind(folder, _PIPES)


def _run(
    spec: ContainerSpec, bench: Workbench, stage: str, number: int
) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Run one container, its output told line by line; return status, mount points made, last lines."""
    tail: deque[str] = deque(maxlen=_TAIL)
    masked = Mask(bench.secrets.values())
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(os.devnull, "rb") as nothing:
        try:
            running = bench.launcher.start(spec, stdin=nothing.fileno(), stdout=writing, stderr=writing)
        finally:
            os.close(writing)
        with bench.halt.killing(running):
            while line := stream.readline(_LONGEST):
                text = masked(line.decode(errors="replace").rstrip("\r\n"))
                tail.append(text)
                bench.sink(BuildOutput(bench.name, text, stage, number))
            result = running.wait()
    return result.exit_status, result.made, tuple(tail)


def _failure(plan: RunPlan, status: int, tail: Sequence[str]) -> BuildError:
    lines = "\n".join(f"    {line}" for line in tail) if tail else "    (it printed nothing)"
    hint = None
    if status == 127:
        hint = "127 means that a command was not found: install it in an earlier RUN, or check PATH and the spelling"
    elif status == 126:
        hint = "126 means that a file cannot be executed: check its mode, and its #! line"
    elif status == 137:
        hint = "137 means that it was killed: often for want of memory"
    command = plan.one.text if len(plan.one.text) < 500 else f"{plan.one.text[:500]}…"
    return BuildError(
        f"the command ended with exit status {status}: {command}",
        where=plan.one.where,
        why=f"its last lines were\n{lines}",
        hint=hint,
    )


def _remove_made(upper: Path, made: Sequence[str]) -> None:
    """Remove the mount points that the runtime had to make, unless the command put something into them."""
    for path in sorted(made, reverse=True):
        host = upper / path.lstrip("/")
        with contextlib.suppress(FileNotFoundError, OSError):
            status = os.lstat(host)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(host)
            elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                os.unlink(host)
