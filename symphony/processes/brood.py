"""The processes that a warden itself started: their start, their failure to start, their exit, their signals.

Invariant: each start is answered exactly once, before its exit is told; a pid is signalled only while it is not yet
reaped, so never a stranger's. Nothing here waits. Standard library only.
"""

from __future__ import annotations

import json
import os

from symphony.processes import child, procfs
from symphony.processes.wire import Channel, close_all

START_DESCRIPTORS = 4  # what to run, and the three streams
_PASSES = 20


class Brood:
    """The direct children of one warden, numbered by the client."""

    def __init__(self, client: Channel, files: tuple[int, int]) -> None:
        self._client = client
        self._files = files
        self.running: dict[int, int] = {}
        self.starting: dict[int, tuple[int, int]] = {}

    def start(self, number: int, descriptors: list[int]) -> None:
        """Fork the child that becomes process `number`; whether it did is known when its report closes."""
        report, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError as error:
            close_all([report, theirs, *descriptors])
            self._client.send({"re": number, "errno": error.errno, "file": "fork"})
            return
        if pid == 0:
            child.become(descriptors[0], descriptors[1:], theirs, self._files)
        close_all([theirs, *descriptors])
        self.starting[report] = (pid, number)
        self.running[pid] = number

    def settle(self, report: int) -> None:
        """Answer the start whose child has reported: trouble, or nothing because the command now runs."""
        pid, number = self.starting.pop(report)
        trouble = os.read(report, 65536)
        os.close(report)
        if trouble:
            self.running.pop(pid, None)
            self._client.send({"re": number, **json.loads(trouble)})
        else:
            self._client.send({"re": number, "pid": pid})

    def reap(self, ended: str | None) -> bool:
        """Bury the dead, tell the exits of those that the client knows; True when no child at all is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            for report in [report for report, (starting, _) in self.starting.items() if starting == pid]:
                self.settle(report)
            number = self.running.pop(pid, None)
            if number is not None:
                self._client.send({"exit": number, "code": os.waitstatus_to_exitcode(status), "ended": ended})

    def signal(self, number: int, what: int) -> None:
        """Signal the process group that process `number` leads, as a terminal would."""
        for pid, known in self.running.items():
            if known == number:
                try:
                    os.killpg(pid, what)
                except (ProcessLookupError, PermissionError):
                    procfs.send(pid, what)

    def end(self, number: int) -> None:
        """Kill process `number` with its session and its descendants; what left both goes with the tree."""
        for leader in [pid for pid, known in self.running.items() if known == number]:
            for _ in range(_PASSES):
                session = [pid for pid in procfs.tree() if _in_session(pid, leader)]
                if not procfs.living(procfs.kill([leader, *session])):
                    break


def _in_session(pid: int, leader: int) -> bool:
    seen = procfs.stat(pid)
    return seen is not None and seen.session == leader
