"""The packages' own scripts, run in the tree by dpkg, without network."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.environment.resolvers.dpkg import ADMIN
from repro.errors import BuildError
from repro.files import remove_tree
from repro.oci.inode import set_owner
from repro.runtime.spec import ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.environment.resolvers.dpkg import Unpacked
    from repro.runtime.container import Launcher

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TAIL = 20  # lines of the scripts' output that an error quotes

# Every preinst before any postinst: what they prepare (users, diversions) must be there for all. dpkg would
# set these variables (dpkg(1), "ENVIRONMENT"); debconf finds the package by DEBCONF_PACKAGE, for its script lies
# where dpkg would not run it from. Arguments: package, architecture and info name of each, three by three.
_SCRIPT = """\
export DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_MAINTSCRIPT_NAME=preinst
export DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1
while [ $# -gt 0 ]; do
  DPKG_MAINTSCRIPT_PACKAGE=$1 DPKG_MAINTSCRIPT_ARCH=$2 DEBCONF_PACKAGE=$1 \\
    "/var/lib/dpkg/info/$3.preinst" install || { echo "preinst of $1 failed" >&2; exit 1; }
  shift 3
done
unset DPKG_ADMINDIR DPKG_ROOT DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT
exec dpkg --abort-after=1 --configure --pending
"""

# What the scripts leave that says when or where they ran, and that nothing later needs.
_DROPPED = {
    "var/cache/ldconfig/aux-cache": "inode numbers and times; ldconfig makes it again",
    "var/log/dpkg.log": "the time of each step",
    "var/log/alternatives.log": "the time of each step",
    f"{ADMIN}/status-old": "a backup, written or not as dpkg's steps fall",
}


@dataclass(frozen=True, slots=True)
class _Owner:
    path: str
    gid: int
    reason: str


# Owners that scripts give with chown or chgrp, which a container with a single ID only pretends to do. Group
# ids are base-passwd's static ones (42 shadow, 43 utmp, 8 mail); the user is root. A missing path is fine.
_GIVEN = (
    _Owner("etc/shadow", 42, "passwd's postinst (shadowconfig): readable for group shadow"),
    _Owner("etc/gshadow", 42, "passwd's postinst (shadowconfig): readable for group shadow"),
    _Owner("var/log/btmp", 43, "base-files' postinst: group utmp"),
    _Owner("var/log/lastlog", 43, "base-files' postinst: group utmp"),
    _Owner("var/log/wtmp", 43, "base-files' postinst: group utmp"),
    _Owner("var/mail", 8, "base-files' postinst: group mail"),
)


def configure(
    tree: Path, work: Path, packages: Sequence[Unpacked], *, epoch: int, launcher: Launcher, what: str
) -> None:
    """Run the packages' scripts in ``tree``, so that dpkg calls all of them installed.

    Args:
        tree: the root, with dpkg's database; changed in place.
        work: an empty folder on the same file system.
        packages: what is in the tree.
        epoch: seconds since 1970, given to the scripts as SOURCE_DATE_EPOCH.
        launcher: starts the container, which has no network.
        what: the base's name, for messages.

    Raises:
        BuildError: a script failed; with the end of its output.
    """
    preinsts = [package for package in packages if package.has("preinst")]
    preinsts.sort(key=lambda package: (package.name != "base-passwd", package.name))  # it makes /etc/passwd
    words = (word for package in preinsts for word in (package.name, package.fields["Architecture"], package.info_name))
    spec = ContainerSpec(
        lowers=(),
        upper=tree,
        work=work,
        argv=("/bin/sh", "-eu", "-c", _SCRIPT, "configure", *words),
        env={
            "PATH": PATH,
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "DEBCONF_NONINTERACTIVE_SEEN": "true",
            "SOURCE_DATE_EPOCH": str(epoch),
        },
        network=Network.NONE,
        privileges=Privileges.BUILD,
    )
    with tempfile.TemporaryFile(dir=work.parent) as output, open(os.devnull, "rb") as nothing:
        result = launcher.run(spec, stdin=nothing.fileno(), stdout=output.fileno(), stderr=output.fileno())
        if result.exit_status != 0:
            output.seek(0)
            tail = "\n".join(output.read().decode(errors="replace").splitlines()[-_TAIL:])
            raise BuildError(
                f"the packages of {what} could not be configured (exit status {result.exit_status})", why=tail
            )
    for path in result.made:
        remove_tree(tree / path.lstrip("/"))


def clean(tree: Path, form: str) -> None:
    """Remove what differs from run to run; give the owners that the scripts could only pretend to give."""
    for name in _DROPPED:
        (tree / name).unlink(missing_ok=True)
    if form != "one":
        return
    for owner in _GIVEN:
        path = tree / owner.path
        if path.exists() and not path.is_symlink():
            set_owner(path, 0, owner.gid, form)
