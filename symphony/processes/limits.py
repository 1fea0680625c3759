"""How much a tree uses, counted over its processes: for hosts where no cgroup is delegated.

Invariant: measuring is cheap while a tree is far from its limits (resident pages once a second) and exact before it is
killed (shared pages divided among their users). RLIMIT_AS and RLIMIT_NPROC cannot do this: the one breaks runtimes that
reserve address space, the other counts the whole user. Standard library only.
"""

from __future__ import annotations

import time

from symphony.processes import procfs

CALM_S = 1.0
NEAR_S = 0.2


class Gauge:
    """Measures the tree below this process against its limits, at most every `pause_s`."""

    def __init__(self, memory: int | None, processes: int | None) -> None:
        self._memory = memory
        self._processes = processes
        self._next = 0.0
        self.pause_s = CALM_S
        self.wanted = memory is not None or processes is not None

    def hurry(self) -> None:
        """Look at once: somebody on this machine forks a lot."""
        self._next = 0.0

    def over(self) -> str | None:
        """Return the limit that the tree is over, None also when it is not yet time to look."""
        if time.monotonic() < self._next:
            return None
        pids = procfs.tree()
        over, near = None, False
        if self._processes is not None:
            near = len(pids) * 2 > self._processes
            over = "processes" if len(pids) > self._processes else None
        if self._memory is not None and over is None:
            resident = procfs.resident(pids)
            near = near or resident * 2 > self._memory
            if resident > self._memory and procfs.proportional(pids) > self._memory:
                over = "memory"
        self.pause_s = NEAR_S if near else CALM_S
        self._next = time.monotonic() + self.pause_s
        return over
