"""The lock of a place on this node: held by a warden and by everything it started, asked back by the next holder.

Invariant: the lock is free only when the last process of the tree that inherited it has ended. Its file names the
warden, but is never believed: a process is signalled only when /proc shows that it holds this very lock.
Used by the warden. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal

from symphony.processes import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from symphony.processes.wire import Message


class Lock:
    """An flock on `path`, opened once; its descriptor is inherited by the tree."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def take(self) -> bool:
        """Take the lock if it is free and write who holds it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not self._is_in_place():
            os.close(self.descriptor)
            self.descriptor = self._open()
            return False
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(_introduction()).encode(), 0)
        fcntl.fcntl(self.descriptor, fcntl.F_SETFD, 0)
        return True

    def _is_in_place(self) -> bool:
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.descriptor))

    def ask(self) -> None:
        """Ask the warden that holds the lock to end its tree, waking it and its guardian where they are stopped."""
        warden = self._warden()
        if warden is None:
            return
        for pid in (_guardian_of(warden), warden):
            if pid is not None:
                procfs.send(pid, signal.SIGCONT)
        procfs.send(warden, signal.SIGTERM)

    def _warden(self) -> int | None:
        try:
            said = json.loads(os.pread(self.descriptor, 4096, 0))
            warden = int(said["pid"])
        except (ValueError, KeyError, TypeError):
            return None
        if warden <= 1 or said != _introduction(warden):
            return None
        return warden if warden in self.holders([warden]) else None

    def holders(self, among: list[int] | None = None) -> list[int]:
        """Return the processes that hold this lock, without those that merely wait for it."""
        pids = among if among is not None else [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
        return [pid for pid in pids if pid != os.getpid() and self._holds(pid)]

    def _holds(self, pid: int) -> bool:
        ours = os.fstat(self.descriptor)
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
        except OSError:
            return False
        for descriptor in descriptors:
            try:
                same = os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), ours)  # noqa: PTH116
            except OSError:
                continue
            if same and b"FLOCK" in procfs.read(f"/proc/{pid}/fdinfo/{descriptor}"):
                return True
        return False

    def evict(self) -> None:
        """Kill who holds the lock, what a killed or hanging warden has left; never this warden's guardian and worker."""
        ours = procfs.stat(os.getppid())
        spared = (os.getppid(), ours.parent if ours else 0)
        holders = [pid for pid in self.holders() if pid not in spared]
        for pid in holders:
            guardian = _guardian_of(pid)
            if guardian is not None:
                procfs.send(guardian, signal.SIGCONT)
        procfs.kill(holders)


def _introduction(pid: int | None = None) -> Message:
    """Return what tells one process from all others, in other containers and after a reboot too."""
    pid = os.getpid() if pid is None else pid
    seen = procfs.stat(pid)
    return {
        "pid": pid,
        "started": seen.started if seen else None,
        "boot": procfs.read("/proc/sys/kernel/random/boot_id").decode().strip(),
        "pids": os.readlink("/proc/self/ns/pid"),  # noqa: PTH115
    }


def _guardian_of(warden: int) -> int | None:
    """Return the parent of a warden when it is a guardian, known by the command line that a fork without exec keeps."""
    seen = procfs.stat(warden)
    if seen is None or seen.parent <= 1:
        return None
    line = procfs.read(f"/proc/{warden}/cmdline")
    return seen.parent if line and line == procfs.read(f"/proc/{seen.parent}/cmdline") else None
