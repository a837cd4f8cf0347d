"""An NFS 4 export as a folder, without a client in the kernel: FUSE in front of the NFS client of `nfs4fs`.

Run as ``python tests/nfs_bridge.py HOST:PORT EXPORT MOUNTPOINT``; it serves until it is unmounted.

As with the kernel's client, locks are this mount's alone, names and attributes are cached for a second, a file that
is opened is read anew (close-to-open), and a file that is unlinked while open lives on under a hidden name. Unlike it,
calls to a dead server fail after minutes with EIO, times can only be set to the server's now, and owners not at all.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time

from fuse import FUSE, FuseOSError, Operations
from nfs4fs import _native

_NOT_EMPTY = 66  # RFC 8881 section 15.1: NFS4ERR_NOTEMPTY, which the client gives as it came
_NOW = 60.0  # seconds that a time may be off and still mean now
_TIMES = {"st_atime": "accessed_ns", "st_mtime": "modified_ns", "st_ctime": "change"}


class Bridge(Operations):
    """One mount: each call becomes the client's own."""

    use_ns = True

    def __init__(self, host: str, export: str) -> None:
        self._client = _native.NfsClient(host, auth="auth_sys", request_timeout=3.0, connect_timeout=3.0)
        self._export = export
        self._guard = threading.Lock()

    def __call__(self, op, *args):
        """Answer one call of the kernel; each error is an errno."""
        try:
            method = getattr(self, op)
        except AttributeError:
            raise FuseOSError(errno.ENOSYS) from None
        try:
            return method(*args)
        except FuseOSError:
            raise
        except OSError as error:
            known = errno.ENOTEMPTY if error.errno == _NOT_EMPTY else error.errno
            raise FuseOSError(known if known in errno.errorcode else errno.EIO) from error
        except Exception as error:
            print(op, args[:1], repr(error), file=sys.stderr, flush=True)
            raise FuseOSError(errno.EIO) from error

    def _at(self, path: str) -> str:
        return self._export if path == "/" else f"{self._export}{path}"

    def getattr(self, path, fi=None):
        """Return what stat(2) says."""
        said = self._client.fstat(fi.fh) if fi is not None else self._client.lstat(self._at(path))
        found = {name: said[key] for name, key in _TIMES.items()}
        return found | {
            "st_mode": said["mode"],
            "st_size": said["size"],
            "st_nlink": said["nlink"],
            "st_uid": said["uid"],
            "st_gid": said["gid"],
            "st_blocks": said["blocks"],
        }

    def readdir(self, path, _fh):
        """Return the names in a folder, as the server has them now."""
        return [".", "..", *(os.path.basename(entry["name"]) for entry in self._client.listdir(self._at(path)))]

    def create(self, path, mode, fi):
        """Make a file; the server decides which of two makers was first."""
        try:
            fi.fh = self._client.open(self._at(path), "x+", permissions=mode & 0o7777)
        except FileExistsError:
            if fi.flags & os.O_EXCL:
                raise
            fi.fh = self._client.open(self._at(path), "r+")
        return 0

    def open(self, path, fi):
        """Open a file that is there."""
        fi.fh = self._client.open(self._at(path), "r" if fi.flags & os.O_ACCMODE == os.O_RDONLY else "r+")
        return 0

    def read(self, _path, size, offset, fi):
        """Return up to ``size`` bytes."""
        return self._client.pread(fi.fh, size, offset)

    def write(self, _path, data, offset, fi):
        """Write all of ``data``."""
        done = 0
        while done < len(data):
            done += self._client.pwrite(fi.fh, data[done:], offset + done)
        return done

    def release(self, _path, fi):
        """Close."""
        self._client.close(fi.fh)
        return 0

    def truncate(self, path, length, fi=None):
        """Set a file's length."""
        if fi is not None:
            self._client.ftruncate(fi.fh, length)
        else:
            self._client.truncate(self._at(path), length)

    def unlink(self, path):
        """Remove a file; the client is silent about one that is missing."""
        with self._guard:
            self._client.lstat(self._at(path))
            self._client.remove_many([self._at(path)])

    rmdir = unlink

    def mkdir(self, path, mode):
        """Make a folder."""
        self._client.mkdir(self._at(path), mode & 0o7777)

    def rename(self, old, new):
        """Rename, in place of what is there."""
        self._client.rename_many([(self._at(old), self._at(new))])

    def link(self, target, source):
        """Make ``target`` another name of ``source``."""
        self._client.hardlink(self._at(source), self._at(target))

    def symlink(self, target, source):
        """Make ``target`` a symbolic link."""
        self._client.symlink(source, self._at(target))

    def readlink(self, path):
        """Return what a symbolic link says."""
        return self._client.readlink(self._at(path))

    def chmod(self, path, mode):
        """Set a file's mode."""
        self._client.chmod(self._at(path), mode & 0o7777)

    def utimens(self, path, times=None):
        """Set a file's time to the server's now; the client knows no other."""
        if times is not None and times[1] > 2 * 10**9 and abs(times[1] / 1e9 - time.time()) > _NOW:
            raise FuseOSError(errno.EOPNOTSUPP)
        self._client.touch(self._at(path))

    def chown(self, _path, _owner, _group):
        """Refuse: the client cannot."""
        raise FuseOSError(errno.EOPNOTSUPP)

    def statfs(self, _path):
        """Return some numbers: the client asks no server for them."""
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 30, "f_bavail": 1 << 29, "f_bfree": 1 << 29}

    def fsync(self, _path, _datasync, _fi):
        """Do nothing: what was written went to the server."""
        return 0

    fsyncdir = fsync


if __name__ == "__main__":
    FUSE(
        Bridge(sys.argv[1], sys.argv[2]),
        sys.argv[3],
        raw_fi=True,
        foreground=True,
        fsname="nfs-bridge",
        subtype="nfs",
        big_writes=True,
        max_read=131072,
    )
