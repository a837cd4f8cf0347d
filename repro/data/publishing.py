"""Several publications as one: all files of all of them become visible, or none (ADR 13)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from repro.data.part import Counter
from repro.data.publication import Item, Publication, Published
from repro.data.sources.model import ExistsError
from repro.errors import ReproError, StoreError
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.events import Sink

__all__ = ["Item", "Publication", "Published", "publish"]

_MOST_NAMED = 5


def publish(
    publications: Sequence[Publication], *, replace: bool, sink: Sink, dry_run: bool = False
) -> tuple[Published, ...]:
    """Publish all or nothing; return how each file stands, publication after publication.

    What fails before the end is taken back; what was staged stays, and the next attempt goes on from there. So does
    one after a kill, which takes nothing back. With the same bytes there already, nothing is sent.

    Args:
        publications: entered by this, and closed.
        replace: other bytes that are there are replaced; otherwise they are an error.
        sink: is told the progress in bytes.
        dry_run: only look.

    Raises:
        ExistsError: other bytes are there, or appeared in the meantime; what was staged is removed.
        BusyError: another process of this machine publishes the same.
        DataError: a file changed since its digest was taken, or a list of checksums at a target cannot be read.
        FetchError: a server cannot be reached, or refuses.
        StoreError: the state of the publication cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for one in publications:
            stack.enter_context(one)
        for one in publications:
            one.survey(replace=replace, settle=not dry_run)
        if not dry_run:
            if not replace:
                _refuse_others(publications)
            _send(publications, sink)
        return tuple(published for one in publications for published in one.standing())


def _send(publications: Sequence[Publication], sink: Sink) -> None:
    """Stage, commit and finish; undo it all where something goes wrong."""
    progress = Counter(sink, "publishing", sum(one.missing for one in publications))
    try:
        for one in publications:
            one.stage(progress)
        for one in publications:
            one.commit()
    except OSError as error:
        _undo(publications, sink)
        raise StoreError("publishing failed on this machine", why=str(error)) from error
    except BaseException as error:
        _undo(publications, sink, discard=isinstance(error, ExistsError))
        raise
    finally:
        _tell_unguarded(publications, sink)
    for one in publications:
        one.finish()


def _undo(publications: Sequence[Publication], sink: Sink, *, discard: bool = False) -> None:
    """Take back what is in place; what cannot be is told, for the error that led here is the one to raise."""
    for one in reversed(publications):
        try:
            if stays := one.withdraw():
                text = f"{stays} files at {one.address} are replaced already, and stay; publish again to complete them"
                sink(Notice("warning", text))
            if one.foreign:
                text = f"somebody else wrote at {one.address} meanwhile, which stays: {_some(one.foreign)}"
                sink(Notice("warning", text))
            if discard:
                one.discard()
        except (ReproError, OSError) as error:
            text = f"what was put at {one.address} could not be taken back ({error}); publish again"
            sink(Notice("warning", text))


def _refuse_others(publications: Sequence[Publication]) -> None:
    """Raise ExistsError where other bytes are there; what earlier attempts staged is removed before."""
    others = [
        f"{one.address}{published.item.name}"
        for one in publications
        for published in one.standing()
        if published.state == "differs"
    ]
    if others:
        for one in publications:
            one.discard()
        raise ExistsError(
            "other files are there already",
            why=_some(others),
            hint="replace them with --replace, or publish to another address",
        )


def _tell_unguarded(publications: Sequence[Publication], sink: Sink) -> None:
    """Tell, once for all addresses, where files were put in place without the server's guard against other writers."""
    if addresses := sorted({one.address for one in publications if one.unguarded}):
        text = (
            "the server knows no conditional writes (If-None-Match): what is there was looked at just before instead; "
            f"see that only one publishes at a time to {_some(addresses)}"
        )
        sink(Notice("warning", text))


def _some(names: Sequence[str]) -> str:
    """Return the first of ``names`` in one line, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
