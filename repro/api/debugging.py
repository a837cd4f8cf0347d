"""`repro debug`: a shell, or one command, where a job would run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.plans import executor_of, opened_plan
from repro.api.secrets import read_secrets
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.api.host import Host
    from repro.api.selection import Selection
    from repro.events import Sink


def debug(
    host: Host,
    named: str | None,
    job: str,
    *,
    command: Sequence[str] = (),
    selection: Selection,
    secrets: Sequence[str] = (),
    sink: Sink,
    ready: Callable[[], None],
) -> int:
    """Run a shell, or ``command``, in the world of a job, and return its exit status; nothing of it is kept.

    It has this process's terminal, or its standard streams. It may be opened while a run is going on.

    Args:
        host: the machine and the caller.
        named: the workflow file.
        job: the job's id.
        command: what to run instead of a shell.
        selection: of which only the params count: they decide which jobs there are, and what they do.
        secrets: as `repro.api.Run` takes them.
        sink: hears what is built and fetched before.
        ready: called just before the terminal is handed over.

    Raises:
        UsageError: the plan has no such job, or a secret that its step names is missing.
        DataError: an input is not there yet.
    """
    given = {name: secret.data for name, secret in read_secrets(secrets, host).items()}
    with opened(host, sink) as engine:
        found = opened_plan(host, named, engine, selection=selection, may_add=True, online=True)
        engine.enter()  # before any thread
        executor = executor_of(host, found, found.environments.known_ids(), engine, sink=sink, secrets=given)
        world = executor.debugging(job)
        if not command:
            sink(Notice("info", f"{world.how_to_run()}; `exit` ends this"))
        ready()
        term = host.environ.get("TERM", "")
        return world.open(engine.launcher(), stdin=0, stdout=1, stderr=2, term=term, command=tuple(command))
