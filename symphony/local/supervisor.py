"""Run the processes of one machine: start them, keep them running, take them down in order.

Invariant: no process that came from here outlives the supervisor. Stopped in order, everything below is ended, daemons of
grandchildren too; killed, the kernel ends its children, and the next supervisor of the home ends what escaped that.
All starts happen in one thread, which lives as long as the children. `up` and `demo` rely on it; they hold the home's
lock meanwhile.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self, TextIO

from symphony.domain.errors import Cancelled, ConfigError, InvariantViolated
from symphony.local import leftovers
from symphony.local.child import Child, ChildStatus, Watch
from symphony.local.descendants import Descendants
from symphony.local.home import Home
from symphony.local.logs import ChildLog, Terminal

_STEP_S = 0.1
_LEFTOVER_GRACE_S = 5.0
_HOPELESS = 5  # ends in a row before it was ready once


class Supervisor:
    """Keeps children running from `start` until `request_stop`; a context manager does both."""

    def __init__(
        self,
        home: Home,
        *,
        stream: TextIO | None = None,
        on_change: Callable[[ChildStatus], None] = lambda _: None,
        stray_grace: timedelta = timedelta(seconds=15),
    ) -> None:
        """Prepare for `home`, whose lock the caller holds.

        `stream` gets the children's lines, each with its child's name. `on_change` is called in another thread. What
        lost its parent has `stray_grace` to end by itself: a guardian whose worker died ends what it started.
        """
        self._home = home
        self._marks = {"SYMPHONY_HOME": str(home.path), leftovers.MARK: str(home.path)}
        self._terminal = Terminal(stream) if stream else None
        self._on_change = on_change
        self._stray_grace = stray_grace
        self._watches: list[Watch] = []
        self._stop_requests = 0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """End what a killed supervisor of this home left, and begin."""
        leftovers.end(leftovers.marked(self._home.path), signal.SIGTERM, grace_s=_LEFTOVER_GRACE_S)
        self._thread.start()

    def add(self, child: Child) -> None:
        """Run one more child from now on."""
        if any(watch.child.name == child.name for watch in self._watches):
            raise InvariantViolated(f"two children are named {child.name}")
        log = ChildLog(self._home.logs, child.name, self._terminal)
        self._watches = [*self._watches, Watch(child, self._marks, log, self._on_change)]

    def status(self) -> list[ChildStatus]:
        """Return how each child is, in the order in which they were added."""
        return [watch.status for watch in self._watches]

    def wait_ready(self, name: str, timeout: timedelta) -> None:
        """Return when the child is ready.

        Raises: ConfigError with its last words when it is not in time or keeps ending; Cancelled when a stop is asked.
        """
        watch = next(watch for watch in self._watches if watch.child.name == name)
        until = time.monotonic() + timeout.total_seconds()
        while watch.status.state != "ready":
            if self._stop_requests:
                raise Cancelled(f"{name} was starting when the stop was asked")
            if time.monotonic() > until or watch.status.restarts >= _HOPELESS or not self._thread.is_alive():
                raise ConfigError(
                    f"does not start: {watch.log.last_words() or 'it wrote nothing'}",
                    place=name,
                    cure=f"see {watch.log.path}",
                )
            time.sleep(_STEP_S / 4)

    def request_stop(self) -> None:
        """Drain and stop; a second request kills what drains, a third the servers too. Safe in a signal handler."""
        self._stop_requests += 1

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait until all children are gone; False when they are not in time."""
        self._thread.join(None if timeout is None else timeout.total_seconds())
        if self._failure:
            raise self._failure
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._stop_requests:
            self.request_stop()
        self.wait()

    def _run(self) -> None:
        descendants = Descendants(self._home.path, self._stray_grace)
        try:
            try:
                self._keep_running(descendants)
            finally:
                self._shut_down(descendants)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: `wait` raises it
            self._failure = error
        if self._terminal:
            self._terminal.close()

    def _keep_running(self, descendants: Descendants) -> None:
        while not self._stop_requests:
            for watch in self._watches:
                watch.step()
            descendants.tend(self._pids())
            time.sleep(_STEP_S)

    def _shut_down(self, descendants: Descendants) -> None:
        for rank in sorted({watch.child.stop_rank for watch in self._watches}):
            stopping = [watch for watch in self._watches if watch.child.stop_rank == rank]
            descendants.look(self._pids())  # what loses its parent now must be known by then
            for watch in stopping:
                watch.ask_to_stop()
            self._see_them_stop(stopping, descendants, enough_requests=2 if rank == 0 else 3)
            descendants.end(self._pids())

    def _see_them_stop(self, stopping: list[Watch], descendants: Descendants, *, enough_requests: int) -> None:
        asked = time.monotonic()
        while left := [watch for watch in stopping if not watch.has_stopped()]:
            for watch in left:
                is_overdue = time.monotonic() - asked > watch.child.grace.total_seconds()
                if is_overdue or self._stop_requests >= enough_requests:
                    watch.kill()
            descendants.tend(self._pids())
            time.sleep(_STEP_S / 4)

    def _pids(self) -> set[int]:
        return {watch.pid for watch in self._watches if watch.pid is not None}
