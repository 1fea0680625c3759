"""Who descends from whom, in which state, with how much memory: read from /proc.

Invariant: a process that vanishes while it is being read is simply not there. A walk signals a process before it lists
its children, so that what it found cannot have had more. Standard library only, as the guardian imports it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable

PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
DEAD = frozenset("ZXx")
STILL = DEAD | frozenset("Tt")

_libc = ctypes.CDLL(None, use_errno=True)


class Stat:
    """The few fields of /proc/PID/stat that matter here; `started` is in clock ticks since boot."""

    __slots__ = ("parent", "session", "started", "state")

    def __init__(self, fields: list[bytes]) -> None:
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.started = int(fields[19])


def prctl(option: int, value: int) -> None:
    """Set a property of the calling process.

    Raises: OSError.
    """
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read(path: str) -> bytes:
    """Return a file of /proc, or nothing where its process is gone or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    pieces = []
    try:
        while piece := os.read(descriptor, 16384):
            pieces.append(piece)
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 -- pathlib costs the guardian a megabyte
    except OSError:
        return []


def stat(pid: int, thread: int | None = None) -> Stat | None:
    """Return what /proc says of a process (or one of its threads), None when it is gone."""
    path = f"/proc/{pid}/stat" if thread is None else f"/proc/{pid}/task/{thread}/stat"
    fields = read(path).rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    return Stat(fields)


def children(pid: int) -> list[int]:
    """Return the children of every thread of `pid`."""
    found: list[int] = []
    for thread in _listdir(f"/proc/{pid}/task"):
        found.extend(int(child) for child in read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _scanned_children() -> Callable[[int], list[int]]:
    """Return a look-up of children from one scan of /proc, for kernels without the `children` file."""
    by_parent: dict[int, list[int]] = {}
    for entry in _listdir("/proc"):
        if entry.isdigit() and (found := stat(int(entry))):
            by_parent.setdefault(found.parent, []).append(int(entry))
    return lambda pid: by_parent.get(pid, [])


def lister() -> Callable[[int], list[int]]:
    """Return the cheapest way to list children that this kernel offers."""
    pid = os.getpid()
    return children if os.access(f"/proc/{pid}/task/{pid}/children", os.R_OK) else _scanned_children()


def walk(roots: Iterable[int], visit: Callable[[int], object] | None = None) -> list[int]:
    """Return `roots` and their descendants, parents first; `visit` sees each before its children are listed."""
    listing = lister()
    found: dict[int, None] = {}
    queue = list(roots)
    while queue:
        pid = queue.pop()
        if pid in found:
            continue
        found[pid] = None
        if visit is not None:
            visit(pid)
        queue.extend(listing(pid))
    return list(found)


def own() -> list[int]:
    """Return the children of the calling process."""
    return lister()(os.getpid())


def tree() -> list[int]:
    """Return the descendants of the calling process, parents first."""
    return walk(own())


def send(pid: int, number: int) -> bool:
    """Signal `pid`; False when it is gone or not ours. Never a group, everybody or init."""
    if pid <= 1:
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def stop(roots: Iterable[int]) -> list[int]:
    """Send SIGSTOP to `roots` and all below, each before its children are listed; return them."""
    return walk(roots, lambda pid: send(pid, signal.SIGSTOP))


def kill(roots: Iterable[int]) -> list[int]:
    """Stop `roots` and all below, so that none forks away, then kill them; return them."""
    found = stop(roots)
    for pid in found:
        send(pid, signal.SIGKILL)
    return found


def living(pids: Iterable[int]) -> list[int]:
    """Return those of `pids` that are neither gone nor zombies."""
    return [pid for pid in pids if (seen := stat(pid)) and seen.state not in DEAD]


def moving(pids: Iterable[int]) -> dict[int, str]:
    """Return those of `pids` that have a thread which is neither stopped nor dead, with its state."""
    found = {}
    for pid in pids:
        for thread in _listdir(f"/proc/{pid}/task"):
            seen = stat(pid, int(thread))
            if seen and seen.state not in STILL:
                found[pid] = seen.state
                break
    return found


def resident(pids: Iterable[int]) -> int:
    """Return the sum of resident memory in bytes; pages that are shared count once per process."""
    total = 0
    for pid in pids:
        fields = read(f"/proc/{pid}/statm").split()
        total += int(fields[1]) * PAGE if len(fields) > 1 else 0
    return total


def proportional(pids: Iterable[int]) -> int:
    """Return the sum of memory in bytes with shared pages divided among their users; dear."""
    total = 0
    for pid in pids:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
                break
        else:
            total += resident([pid])
    return total
