"""The file system's part of a write that loses nothing: swap two names at once, and see who is still writing.

Invariant: after `exchange` each name holds, whole, what the other held; nothing is overwritten. Where the file system
cannot do that (NFS, some FUSE mounts), a link keeps what is replaced, and only a save by rename within the microseconds
between link and rename can be missed. Used by the writer and the folder; Linux calls, each with its fallback.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def exchange(one: Path, other: Path) -> None:
    """Swap two files of one file system. Raises: OSError."""
    if not swap_at_once(one, other):
        _swap_by_links(one, other)


def swap_at_once(one: Path, other: Path) -> bool:
    """Swap two files in one step; False where this file system cannot. Raises: OSError."""
    if _renameat2 is None:
        return False
    if _renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    fault = ctypes.get_errno()
    if fault in _UNSUPPORTED:
        return False
    raise OSError(fault, os.strerror(fault), str(other))


def _swap_by_links(new: Path, place: Path) -> None:
    kept = new.with_name(f"{new.name}.kept")
    kept.unlink(missing_ok=True)
    kept.hardlink_to(place)
    new.replace(place)
    kept.replace(new)


def has_writer(descriptor: int) -> bool | None:
    """Tell whether a process has this file open for writing; None where the system will not say."""
    try:
        # A lease's default signal would end the process, should somebody open the file in the moment we hold it.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (OSError, AttributeError) as fault:
        return True if getattr(fault, "errno", None) == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def create_like(path: Path, content: bytes, like: Path) -> None:
    """Write a new file with another one's owner, mode and extended attributes, and wait until it is on the disk."""
    status = like.stat()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(OSError):
            for name in os.listxattr(like):
                os.setxattr(descriptor, name, os.getxattr(like, name))
        for owner, group in ((status.st_uid, -1), (-1, status.st_gid)):
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, owner, group)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
