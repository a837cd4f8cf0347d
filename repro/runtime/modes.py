"""Which of the three ways to be root in a container a process takes: decided by reading, without changing anything."""

from __future__ import annotations

import os
from pathlib import Path

from repro.dataclass import dataclass
from repro.errors import HostError, UsageError
from repro.runtime import seccomp, settings
from repro.runtime.identities import NEEDED, Identities, mapper, present, subordinate
from repro.runtime.spec import Mode

_NAMES = ", ".join(mode.value for mode in Mode)


@dataclass(frozen=True, slots=True)
class Choice:
    """How this process runs containers.

    Attributes:
        mode: the way.
        form: the form in which layers are kept for it (`repro.oci.store`).
        why: why not a better way, for people; empty where it is the best.
        fix: what would make the better way possible; empty where nothing is known.
        identities: in mode SUB, the IDs that `begin` gets.
        surprising: a better way is possible for the same caller in another process, which gives other images.
    """

    mode: Mode
    form: str
    why: str = ""
    fix: str = ""
    identities: Identities | None = None
    surprising: bool = False

    def begin(self) -> None:
        """Make this process able to write layers of this form: mode SUB enters its namespace. HostError if refused."""
        if self.identities is not None and present() != self.identities:
            from repro.runtime.entering import enter  # noqa: PLC0415 - ctypes, which a no-op run does without

            enter(self.identities)


def choose(uid: int, gid: int, wanted: str = "", *, etc: Path = Path("/etc")) -> Choice:
    """Return how a process of ``uid`` and ``gid`` runs containers here.

    Real root if it is root and may do what that takes; else with subordinate IDs if it has a range and may map it,
    which gives the same images; else with its one ID. Whether user namespaces can be made is not tried: see
    `repro.runtime.probe`.

    Args:
        uid: the caller's, as of this process's user namespace.
        gid: likewise.
        wanted: a mode's name that leaves no choice; empty for the best. UsageError for another word, HostError where
            that mode is not possible.
        etc: the folder of subuid and subgid.
    """
    if wanted and wanted not in {mode.value for mode in Mode}:
        raise UsageError(f"REPRO_MODE is {wanted!r}", hint=f"set it to one of {_NAMES}, or unset it")
    if not seccomp.known(os.uname().machine):
        hint = "use a machine with x86_64 or aarch64"
        raise HostError(f"containers cannot run on {os.uname().machine}", hint=hint)
    here = present()
    refused: HostError | None = None
    if wanted in {"", "real"}:
        refused = _no_root(uid, here)
        if refused is None:
            return Choice(Mode.REAL, here.form)
        if wanted:
            raise refused
    if wanted in {"", "sub"} and (uid != 0 or wanted):
        try:
            identities = _subordinate(uid, gid, here, etc)
        except HostError as error:
            refused = error
        else:
            if wanted or here == identities or settings.threads() == 1:
                return Choice(Mode.SUB, identities.form, identities=identities)
            why = f"this process has {settings.threads()} threads, and only with one could it enter a user namespace"
            return Choice(Mode.ONE, Mode.ONE.value, why, "use the `repro` command", surprising=True)
        if wanted:
            raise refused
    if refused is None:
        return Choice(Mode.ONE, Mode.ONE.value, "REPRO_MODE says so")
    why = f"{refused.message}: {refused.why}" if refused.why else refused.message
    return Choice(Mode.ONE, Mode.ONE.value, why, refused.hint or "")


def _no_root(uid: int, here: Identities) -> HostError | None:
    """Return why this process is not root enough, None if it is: the name alone does not make it so."""
    if uid != 0:
        return HostError("this process is not root", why=f"its user ID is {uid}")
    lacking = settings.lacking()
    if lacking:
        return HostError("this root may not make images", why=f"it lacks {', '.join(lacking)} (an outer container?)")
    if here.count < NEEDED:
        why = f"its user namespace has {here.count} ID(s), images need {NEEDED}"
        return HostError("this root cannot give files to other users", why=why)
    return None


def _subordinate(uid: int, gid: int, here: Identities, etc: Path) -> Identities:
    """Return the IDs of mode SUB; HostError says what stands in the way, as far as that can be read."""
    identities = subordinate(uid, gid, etc=etc)
    if here == identities:  # it has entered already
        return identities
    mapper("uid")
    mapper("gid")
    barred = settings.set_id_programs()
    if barred is not None:
        raise HostError("newuidmap would get no rights here", why=barred)
    for kind, spans, ours in (("uid", identities.uids, here.uids), ("gid", identities.gids, here.gids)):
        span = spans[1]
        if not any(o.inside <= span.outside and span.outside + span.count <= o.inside + o.count for o in ours):
            why = f"{span.outside} to {span.outside + span.count - 1} are not in the user namespace of this process"
            raise HostError(f"the subordinate {kind}s cannot be mapped", why=why)
    return identities
