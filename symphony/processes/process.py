"""A running command as its worker sees it: streams, exit, signals; and reading its output within bounds.

Invariant: `returncode` is set exactly once, also when the warden that would have told it is dead (then as killed).
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from symphony.processes.capture import Captured


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that is over. `returncode` is negative for a signal; `limit` is why the guardian ended its tree."""

    returncode: int
    stdout: Captured
    stderr: Captured
    timed_out: bool
    limit: str | None


class Process:
    """One command in a tree. `stdin` is there where none was given, `stderr` where it is not merged."""

    def __init__(self, stdin: io.FileIO | None, stdout: io.BufferedReader, stderr: io.BufferedReader | None) -> None:
        self.pid = 0
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._exited = threading.Event()
        self._lock = threading.Lock()
        self._bell: int | None = None
        self._send: Callable[[int], None] = lambda _number: None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code, None when the command still runs after `timeout_s`."""
        self._exited.wait(timeout_s)
        return self.returncode

    def signal(self, number: signal.Signals) -> None:
        """Signal the command and the process group that it leads, as a terminal would.

        Raises: Transient when the guardian has died.
        """
        if self.returncode is None:
            self._send(number)

    def close(self) -> None:
        """Close the streams."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self) -> Process:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the streams."""
        self.close()

    def ring_at_exit(self, bell: int | None) -> None:
        """Write to the eventfd `bell` when the command exits, or has."""
        with self._lock:
            self._bell = bell
            if bell is not None and self.returncode is not None:
                os.eventfd_write(bell, 1)

    def note_exit(self, code: int) -> None:
        """Take the exit code; the first one counts."""
        with self._lock:
            if self.returncode is not None:
                return
            self.returncode = code
            if self._bell is not None:
                os.eventfd_write(self._bell, 1)
        self._exited.set()

    def note_start(self, pid: int, send: Callable[[int], None]) -> None:
        """Take the pid and the way to signal it."""
        self.pid = pid
        self._send = send
