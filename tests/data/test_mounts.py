"""Addresses of servers are found where they are mounted, from the text of mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.data.sources.mounts import mounted
from repro.names import DataUri

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
NFS = "40 22 0:35 / /mnt/data rw,relatime shared:5 - nfs4 Nas.example.org:/export rw,vers=4.2,proto=tcp,port=0,addr=192.0.2.1"
SMB = "41 22 0:36 / /mnt/win rw - cifs //nas.example.org/Share rw,username=me,addr=192.0.2.1"


def where(address: str, *lines: str) -> str | None:
    """Return where an address is mounted, as text."""
    found = mounted(DataUri.parse(address), "\n".join((ROOT, *lines)) + "\n")
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("nfs://nas.example.org/export", "/mnt/data"),
        ("nfs://nas.example.org/export/", "/mnt/data"),
        ("nfs://NAS.example.org/export/a b/ü", "/mnt/data/a b/ü"),
        ("nfs://nas.example.org:2049/export/a", "/mnt/data/a"),
        ("nfs://nas.example.org//export//a", "/mnt/data/a"),
        ("nfs://nas.example.org:2050/export/a", None),
        ("nfs://nas.example.org/exports/a", None),
        ("nfs://nas.example.org/", None),
        ("nfs://other.example.org/export/a", None),
        ("nfs://nas.example.org/export/../etc", None),
        ("smb://nas.example.org/export/a", None),
        ("smb://nas.example.org/share/A", "/mnt/win/A"),
        ("smb://me@nas.example.org:445/SHARE/A/", "/mnt/win/A"),
        ("smb://nas.example.org/shared/A", None),
        ("http://nas.example.org/export/a", None),
        ("file:///export/a", None),
    ],
)
def test_an_address_is_where_its_server_is_mounted(address, path):
    """Host without case, port, path; nothing else is near enough."""
    assert where(address, NFS, SMB) == path


def test_the_nearest_mount_counts_and_of_equal_ones_the_last():
    """One export in another, and one that is mounted twice."""
    inner = "50 22 0:40 / /srv/inner rw - nfs nas.example.org:/export/deep rw"
    again = "51 22 0:35 / /srv/again rw - nfs4 nas.example.org:/export rw"
    assert where("nfs://nas.example.org/export/deep/a", NFS, inner) == "/srv/inner/a"
    assert where("nfs://nas.example.org/export/a", NFS, inner, again) == "/srv/again/a"


def test_what_another_file_system_hides_is_not_there():
    """A mount above the mount, and one below it."""
    above = "60 22 0:50 / /mnt/data rw - tmpfs tmpfs rw"
    below = "61 40 0:51 / /mnt/data/scratch rw - tmpfs tmpfs rw"
    assert where("nfs://nas.example.org/export/a", NFS, above) is None
    assert where("nfs://nas.example.org/export/scratch/a", NFS, below) is None
    assert where("nfs://nas.example.org/export/scratch2/a", NFS, below) == "/mnt/data/scratch2/a"


def test_a_bind_mount_shows_a_folder_of_the_export():
    """Its root is where the export goes on."""
    bound = "70 22 0:35 /reads/2024 /data rw - nfs4 nas.example.org:/export rw"
    assert where("nfs://nas.example.org/export/reads/2024/a", bound) == "/data/a"
    assert where("nfs://nas.example.org/export/reads/2023/a", bound) is None


def test_a_folder_of_a_share_may_be_mounted():
    """In the source and in the root, as the kernel has it, or in the source alone."""
    for root in ("/reads", "/"):
        line = f"80 22 0:35 {root} /r rw - cifs //nas.example.org/share/reads rw,prefixpath=reads"
        assert where("smb://nas.example.org/share/reads/a", line) == "/r/a"
        assert where("smb://nas.example.org/share/a", line) is None


def test_escapes_are_undone():
    """A blank in the export, and in the mount point."""
    line = r"90 22 0:35 / /mnt/my\040data rw - nfs nas.example.org:/my\040export\134 rw"
    assert where("nfs://nas.example.org/my export\\/a", line) == "/mnt/my data/a"


def test_ports_and_addresses_in_brackets_are_compared():
    """IPv6, and an NFS server on another port."""
    line = "91 22 0:35 / /six rw - nfs4 [2001:DB8::1]:/e rw,port=12049"
    assert where("nfs://[2001:db8::1]:12049/e/a", line) == "/six/a"
    assert where("nfs://[2001:db8::1]/e/a", line) is None


def test_fuse_counts_where_it_speaks_the_protocol():
    """A FUSE client of NFS does, sshfs does not: its source looks the same."""
    for kind, path in (("fuse.nfs", "/f/a"), ("fuse.sshfs", None), ("fuse", None), ("fuse.smbnetfs", None)):
        assert where("nfs://nas/e/a", f"92 22 0:35 / /f rw - {kind} nas:/e rw") == path


def test_optional_fields_and_lines_that_are_none_are_read_over():
    """The kernel may have any number of fields before the dash."""
    line = "93 22 0:35 / /o rw shared:1 master:2 propagate_from:3 unbindable - nfs nas:/e rw"
    assert where("nfs://nas/e/a", "", "nonsense", "1 2 3 - nfs", line) == "/o/a"


def test_a_root_that_is_mounted_over_nfs_is_found():
    """A machine without a disk."""
    assert where("nfs://nas/roots/one/etc/a", "1 0 0:9 / / rw - nfs nas:/roots/one rw") == "/etc/a"
    assert where("nfs://nas/a", "94 22 0:35 / /all rw - nfs4 nas:/ rw") == "/all/a"


def test_the_mounts_of_this_process_are_read():
    """Nothing of that name is mounted here."""
    assert mounted(DataUri.parse("nfs://no-such-host.invalid/export/a")) is None
    assert mounted(DataUri.parse("nfs://h/e"), "1 0 0:9 / /m rw - nfs h:/e rw") == Path("/m")
