"""Keep hold of everything that supervised children start, also when they lose it.

Invariant: a process that came from a supervised child is found for as long as it lives, whatever session it moved to:
this process is a subreaper, so what loses its parent falls to it, and is known by the home's mark in its environment
or, without that, because it was seen below its parent (one look every two seconds). Children that the process has for
other reasons are never touched. The supervisor relies on it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil

from symphony.local.leftovers import MARK

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_EVERY_S = 2.0
_END_S = 10.0


class Descendants:
    """What comes from the supervised children of this process."""

    def __init__(self, home: Path, stray_grace: timedelta) -> None:
        self._mark = str(home)
        self._stray_grace_s = stray_grace.total_seconds()
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._known: set[psutil.Process] = set()
        self._stray_since: dict[psutil.Process, float] = {}
        self._due = 0.0

    def tend(self, children: Collection[int]) -> None:
        """Every two seconds: look, reap strays that ended, kill those that outstay their grace."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _LOOK_EVERY_S
        parents = self.look(children)
        strays = [process for process in self._known if parents[process.pid] == os.getpid()]
        self._stray_since = {stray: self._stray_since.get(stray, now) for stray in strays}
        overdue = {stray.pid for stray in strays if now - self._stray_since[stray] > self._stray_grace_s}
        for process in self._known:
            if overdue.intersection(_line(process.pid, parents)):
                _kill(process)
        _reap(strays)

    def end(self, children: Collection[int]) -> None:
        """Kill all that came from supervised children except what stands below the `children` (pids) that still run.

        Returns when nothing is left, at the latest after ten seconds.
        """
        until = time.monotonic() + _END_S
        while time.monotonic() < until:
            parents = self.look(children)
            doomed = [process for process in self._known if not set(children).intersection(_line(process.pid, parents))]
            if not doomed:
                return
            for process in doomed:
                _kill(process)
            _reap(doomed)
            time.sleep(0.02)

    def look(self, children: Collection[int]) -> dict[int, int]:
        """Learn what the `children` (pids) have started; return each pid's parent in this process's tree."""
        tree = psutil.Process().children(recursive=True)
        parents = {}
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                parents[process.pid] = process.ppid()
        roots = {*children, *(process.pid for process in tree if process in self._known or self._is_marked(process))}
        self._known = {
            process
            for process in tree
            if process.pid in parents and process.pid not in children and roots.intersection(_line(process.pid, parents))
        }
        return parents

    def _is_marked(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            return process.ppid() == os.getpid() and process.environ().get(MARK) == self._mark
        return False


def _line(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        yield pid
        pid = parents[pid]


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.send_signal(signal.SIGKILL)


def _reap(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        with suppress(ChildProcessError, psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)
