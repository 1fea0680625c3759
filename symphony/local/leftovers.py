"""End processes that a killed `up` left behind.

Invariant: a process is ended only when it is certainly this home's: it carries the home's mark in its environment,
or it is a database program that stands in the home's data directory (both servers change into theirs). No pid file
is trusted, so garbage in one, or a pid given to somebody else, does no harm. The caller holds the home's lock.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "SYMPHONY_SUPERVISED_FROM"
_SERVER_PROGRAMS = {"postgres", "valkey-server", "redis-server"}


def marked(home: Path) -> list[psutil.Process]:
    """Return what supervisors of this home started, and its descendants that kept the environment."""
    kin = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return list(_matching(lambda process: process.pid not in kin and process.environ().get(MARK) == str(home)))


def serving(data: Path) -> list[psutil.Process]:
    """Return the database processes that stand in the data directory."""
    place = str(data.resolve())
    return list(_matching(lambda process: process.name() in _SERVER_PROGRAMS and process.cwd() == place))


def end(processes: Iterable[psutil.Process], first: signal.Signals, *, grace_s: float) -> None:
    """Send the signal `first`, wait up to `grace_s`, then kill; return when none is left."""
    wanted = list(processes)
    for process in wanted:
        _send(process, first)
    if first != signal.SIGKILL:
        _, wanted = psutil.wait_procs(wanted, timeout=grace_s)
        for process in wanted:
            _send(process, signal.SIGKILL)
    psutil.wait_procs(wanted, timeout=grace_s)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a stopped process hears nothing else


def _matching(wanted: Callable[[psutil.Process], bool]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and wanted(process):
                yield process
