"""Reading what a command writes until it exits, within bounds of memory and time.

Invariant: the command is never blocked by its reader; the end is the command's exit and not the end of its pipes, which
a background process may keep open for ever.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable

from symphony.processes.capture import Capture, Captured
from symphony.processes.process import Process

CHUNK = 65536
QUIET_S = 0.05  # a pipe that a background process keeps open is done when it is quiet for so long
DRAIN_S = 0.5
LEAST_WAIT_S = 0.02


class Collector:
    """Reads both outputs of one process."""

    def __init__(self, process: Process, head: int, tail: int) -> None:
        self._process = process
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._exited = False
        self._captures = [Capture(head, tail), Capture(head, tail)]
        self._open: dict[int, Capture] = {}
        for stream, capture in zip((process.stdout, process.stderr), self._captures, strict=True):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._open[stream.fileno()] = capture
                self._poll.register(stream.fileno(), select.POLLIN)
        process.ring_at_exit(self._bell)

    def read_until_exit(self, remaining_s: Callable[[], float]) -> bool:
        """Collect until the command has exited; False when no time remains before that."""
        while not self._exited:
            remaining = remaining_s()
            if remaining <= 0:
                return False
            self._read(None if math.isinf(remaining) else max(remaining, LEAST_WAIT_S))
        return True

    def drain(self, clock: Callable[[], float]) -> None:
        """Collect what is still in the pipes after the exit, for a short time."""
        until = clock() + DRAIN_S
        while self._open and clock() < until and self._read(QUIET_S):
            continue

    def _read(self, timeout_s: float | None) -> bool:
        ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
        for descriptor, _ in ready:
            if descriptor == self._bell:
                self._exited = True
                self._poll.unregister(self._bell)
                continue
            try:
                chunk = os.read(descriptor, CHUNK)
            except BlockingIOError:
                continue
            if chunk:
                self._open[descriptor].add(chunk)
            else:
                self._poll.unregister(descriptor)
                del self._open[descriptor]
        return bool(ready)

    def results(self) -> tuple[Captured, Captured]:
        """Return what was kept of standard output and standard error."""
        return self._captures[0].result(), self._captures[1].result()

    def close(self) -> list[int]:
        """Stop; return copies of the pipes that a background process still holds open."""
        self._process.ring_at_exit(None)
        os.close(self._bell)
        return [os.dup(descriptor) for descriptor in self._open]
