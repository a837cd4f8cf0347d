"""Many files at once: what failed of them, told in one error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from repro.data.answers import NotThereError, UnreachableError
from repro.data.sources.model import ChangedError
from repro.errors import FetchError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

PARALLEL: Final = 8
_NAMED_FAILURES = 20  # a message names this many files, then counts
_MOVED_ON = (
    "bring the files (a vendor folder: REPRO_VENDOR; a cache: REPRO_CACHE), name a mirror that keeps old versions "
    "(`mirror:`, REPRO_APT_MIRROR, REPRO_APT_SNAPSHOT), or take what there is today with `repro lock --upgrade`"
)
_NO_ADDRESS = "set REPRO_APT_MIRROR=<URL of a mirror>, or bring a cache that has the files (REPRO_CACHE)"
_IN_THE_WRITING = "wait until nothing changes it any more, then run it again"
_NOTHING_THERE = "correct the address, or have it put there"
_ASK = "see that the address is right, or ask who runs the server"
_NO_NETWORK = "run it once where the network can be reached: everything fetched is kept"


class Named(Protocol):
    """What has a name for people."""

    @property
    def name(self) -> str:
        """The name."""


Item = TypeVar("Item", bound=Named)


class UnfetchedError(FetchError):
    """Files could not be had; ``failures`` says which, and why each."""

    def __init__(self, failures: Sequence[tuple[str, FetchError]], message: str, why: str, hint: str | None) -> None:
        super().__init__(message, why=why, hint=hint)
        self.failures = tuple(failures)


def each(items: Sequence[Item], do: Callable[[Item], None], stop: threading.Event) -> list[tuple[str, FetchError]]:
    """Do something to each item, `PARALLEL` at a time; return what failed, by name.

    Nothing more is begun once that many in a row could not be reached: each would cost all its attempts.
    """
    failures: list[tuple[str, FetchError]] = []
    unreachable = 0
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch") as pool:
        tasks = {pool.submit(do, item): item for item in items}
        try:
            for task in as_completed(tasks):
                if task.cancelled():
                    failures.append((tasks[task].name, UnreachableError(tasks[task].name, why="not tried any more")))
                    continue
                try:
                    task.result()
                    unreachable = 0
                except FetchError as error:
                    failures.append((tasks[task].name, error))
                    unreachable = unreachable + 1 if isinstance(error, UnreachableError) else 0
                if unreachable == PARALLEL:
                    for waiting in tasks:
                        waiting.cancel()
        finally:  # nothing is left of them unless something else ended the loop
            stop.set()  # downloads under way notice it at their next bytes
            pool.shutdown(wait=False, cancel_futures=True)
    return failures


def hint_for(failures: Sequence[tuple[str, FetchError]], *, offline: bool, packages: bool) -> str | None:
    """Return what to do about files that could not be had; ``packages`` come from mirrors, which move on."""
    errors = [error for _, error in failures]
    if offline and packages:
        return _NO_ADDRESS
    if any(isinstance(error, UnreachableError) for error in errors):
        return _NO_NETWORK
    if packages and all(isinstance(error, NotThereError) for error in errors):
        return _MOVED_ON
    return next((hint for error in errors if (hint := error.hint if packages else way_on(error))), None)


def way_on(error: FetchError) -> str:
    """Return what to do about data that could not be had: what the error says itself, else what its kind says."""
    if error.hint:
        return error.hint
    match error:
        case UnreachableError():
            return _NO_NETWORK
        case ChangedError():
            return _IN_THE_WRITING
        case NotThereError():
            return _NOTHING_THERE
        case _:
            return _ASK


def unfetched(failures: list[tuple[str, FetchError]], total: int, what: str, hint: str | None) -> UnfetchedError:
    """Return one error that names every file that could not be had, of ``total``."""
    failures.sort(key=lambda failure: failure[0])
    lines = [f"{name}: {error.why or error.message}" for name, error in failures[:_NAMED_FAILURES]]
    if len(failures) > _NAMED_FAILURES:
        lines.append(f"and {len(failures) - _NAMED_FAILURES} more")
    message = f"{len(failures)} of {total} files could not be had ({what})"
    return UnfetchedError(failures, message, "\n       ".join(lines), hint)
