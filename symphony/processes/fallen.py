"""What falls to a worker whose guardian has died: wardens, and what killed wardens have left.

Invariant: a child of this process is killed only if it is a warden, or younger than the guardian and in another session
than this process: no command of a tree can be in the worker's session, and what the worker starts by itself stays there.
Relied on by the worker's side of the guardian; works because the worker is a subreaper.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Container

from symphony.processes import procfs

SWEEP_S = 10.0
WARDEN_GRACE_S = 1.5  # wardens have seen the end of their guardian and kill their trees best by themselves
PAUSE_S = 0.02


def kill_fallen(since: int, *, wardens: Container[int], spared: Container[int]) -> list[int]:
    """Kill and bury what fell to this process since the start time `since`; return what could not be killed."""
    began = time.monotonic()
    while fallen := [pid for pid in procfs.own() if pid not in spared and (pid in wardens or _fell(pid, since))]:
        waited = time.monotonic() - began
        if waited > SWEEP_S:
            return fallen
        procfs.kill(pid for pid in fallen if pid not in wardens or waited > WARDEN_GRACE_S)
        for pid in fallen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(PAUSE_S)
    return []


def _fell(pid: int, since: int) -> bool:
    seen = procfs.stat(pid)
    return seen is not None and seen.started >= since and seen.session != os.getsid(0)
