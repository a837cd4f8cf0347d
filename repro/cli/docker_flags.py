"""Flags of `docker build` that `repro image build` does not act on, as data: why, and what to do instead."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from repro.dataclass import dataclass
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Refused:
    """A flag that would change what the user gets: refused, with the reason and the way out."""

    flags: tuple[str, ...]
    why: str
    hint: str


_LIMITS = "limits of builds are not supported"
_LIMIT = "run the whole command under the limit: `systemd-run --scope -p MemoryMax=8G repro ...`, `taskset`, `ulimit`"
_DAEMON = "there is no daemon and no builder to choose: the build runs in this process"
_ATTEST = "attestations are not supported"

REFUSED = (
    Refused(("--add-host",), "RUN sees the host's own /etc/hosts", "add the name there, or use the address"),
    Refused(("--allow",), "no instruction gets more rights than the others", "leave it out"),
    Refused(("--annotation",), "annotations of manifests are not supported", "use --label, which is in the image"),
    Refused(("--attest", "--provenance", "--sbom"), _ATTEST, "leave it out"),
    Refused(("--build-context",), "named contexts are not supported", "COPY --from a stage, or an image in the store"),
    Refused(("--builder",), _DAEMON, "leave it out"),
    Refused(("--cache-from", "--cache-to"), "the cache is the local store, which no registry adds to", "leave it out"),
    Refused(("--call", "--check"), "checks are a command of their own", "run `repro dockerfile check FILE`"),
    Refused(("--cgroup-parent",), "builds make no cgroups", _LIMIT),
    Refused(("--cpu-period", "--cpu-quota", "-c", "--cpu-shares", "--cpuset-cpus", "--cpuset-mems"), _LIMITS, _LIMIT),
    Refused(("-m", "--memory", "--memory-swap", "--shm-size", "--ulimit"), _LIMITS, _LIMIT),
    Refused(("--isolation",), "there is one way to run containers here", "`repro doctor` tells which"),
    Refused(("--no-cache-filter",), "the cache is left aside as a whole or not at all", "use --no-cache"),
    Refused(("--push",), "a build sends nothing anywhere", "run `repro image push NAME` after it"),
    Refused(("--security-opt",), "RUN always gets Docker's default rights", "leave it out"),
    Refused(("--squash",), "layers are what the cache keeps", "use a last stage that copies from the others"),
    Refused(("--ssh",), "agents are not passed into builds", "give a deploy key with --secret"),
    Refused(("--stream",), "nothing is sent anywhere", "leave it out"),
)
# What these ask for is so anyhow. Scripts have them.
NEEDLESS = ("--compress", "--disable-content-trust", "--force-rm", "--load", "--rm")


class _Refuse(argparse.Action):
    """An option that ends in a UsageError with its reason."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's own signature
        namespace: argparse.Namespace,  # noqa: ARG002
        values: str | Sequence[object] | None,  # noqa: ARG002
        option_string: str | None = None,
    ) -> NoReturn:
        """Raise it."""
        why, hint = self.const
        raise UsageError(f"{option_string} is not supported", why=why, hint=hint)


def add_docker_flags(parser: argparse.ArgumentParser) -> None:
    """Add them, out of sight of the help: `docker build` lines in scripts get an answer that helps."""
    for refused in REFUSED:
        parser.add_argument(
            *refused.flags,
            action=_Refuse,
            nargs="?",
            const=(refused.why, refused.hint),
            default=argparse.SUPPRESS,
            dest=refused.flags[-1].lstrip("-"),
            help=argparse.SUPPRESS,
        )
    for flag in NEEDLESS:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
