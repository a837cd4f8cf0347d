"""What of a run those share who see to its jobs, on this host or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    import threading

    from repro.events import Sink
    from repro.execution.assess import Files
    from repro.execution.jobs import Jobs
    from repro.execution.records import Records
    from repro.execution.state import State
    from repro.execution.temporary import Temporaries


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a run; ``stopping`` is set once it is to end."""

    state: State
    jobs: Jobs
    files: Files
    records: Records
    temporaries: Temporaries
    sink: Sink
    stopping: threading.Event
