"""`--verify`: a build once more, elsewhere, and the verdict on both."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from repro.api.engine import opened
from repro.errors import BuildError, Location
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repro.api.engine import Engine
    from repro.build.conditions import Conditions
    from repro.build.elsewhere import Elsewhere
    from repro.build.engine import BuildResult
    from repro.build.verify import Verdict
    from repro.digest import Digest
    from repro.oci.store import Store

_UMASK: Final = 0o077  # the strictest that people have
_PAUSE: Final = 2.1  # seconds: zip and FAT keep every second one, so that files are surely of another time


class Again(Protocol):
    """Builds the image once more: everything as the first time but engine and conditions."""

    def __call__(self, engine: Engine, conditions: Conditions, carry: Callable[[Digest], Digest], /) -> BuildResult:
        """Return the build's result in the store of ``engine``, which is empty at first.

        ``carry`` brings an image of the first store, such as a base, into that one and returns its ID.
        """


def verify(engine: Engine, first: BuildResult, again: Again) -> Verdict:
    """Return whether ``again`` gives the image of ``first``, and if not, what differs and why.

    The second build recalls nothing: its store is new and lies below a workspace of the first, so on the same file
    system; downloads are shared. It has another host name, clock (see `repro.build.elsewhere`), umask and order of
    creation. A RUN that fails under the other clock gets the true one (certificates end within the year).

    Raises:
        BuildError: the second build failed, with the true clock too.
    """
    from repro.build.conditions import Conditions  # noqa: PLC0415 - only to verify
    from repro.build.elsewhere import AHEAD, HOST_NAME, Elsewhere, find_clock  # noqa: PLC0415
    from repro.build.explain import Known  # noqa: PLC0415
    from repro.build.verify import judge  # noqa: PLC0415

    host = engine.host
    with engine.store.workspace() as room, _umask(_UMASK):
        settings = {"REPRO_STORE": os.fspath(room / "store"), "REPRO_CACHE": os.fspath(host.cache_root)}
        settings["REPRO_LAYERS"] = ""  # all of it lies in the room, and goes with it
        (room / "outside").mkdir(mode=0o755)
        with opened(replace(host, environ={**host.environ, **settings}), engine.sink) as other:
            place = Elsewhere(
                find_clock(), room / "outside", other.store, other.launcher(), lambda: host.now().timestamp()
            )
            conditions = Conditions(reverse=True, surround=place.surround)
            engine.sink(Notice("info", "verifying: the same build once more, elsewhere"))
            time.sleep(_PAUSE)
            second = _build(other, conditions, place, again, lambda image: _carry(engine.store, other.store, image))
            changed = (
                *place.conditions(),
                f"umask {_UMASK:03o}",
                f"store {other.store.root}",
                "reverse order of creation",
            )
            return judge(first, second, (engine.store, other.store), Known(("repro", HOST_NAME), AHEAD), changed)


def _build(
    other: Engine, conditions: Conditions, place: Elsewhere, again: Again, carry: Callable[[Digest], Digest]
) -> BuildResult:
    """Return the second build; a RUN that fails under the other clock is tried with the true one, the rest recalled."""
    while True:
        try:
            return again(other, conditions, carry)
        except BuildError as error:
            if not isinstance(error.where, Location) or not place.give_up(error.where):
                error.add_note("This was the second build, of --verify: the first one had succeeded.")
                raise
            other.sink(Notice("info", f"{error.where}: the command fails a year ahead: again, just later"))


def _carry(source: Store, target: Store, image_id: Digest) -> Digest:
    """Copy an image from one store to another, by its tars; return its ID."""
    for diff_id in source.config(image_id).diff_ids:
        if not target.has_layer(diff_id):
            with target.workspace() as room:
                with open(room / "layer.tar", "wb") as file:
                    source.write_layer(diff_id, file)
                target.add_layer(room / "layer.tar", diff_id=diff_id)
    return target.put_image_bytes(source.read_blob(image_id))


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
