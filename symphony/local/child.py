"""One supervised child: what it is, and the watch that keeps it running.

Invariant: a child that ended is started again, after at most five seconds, until it is asked to stop. All methods of a
watch run in the supervisor's thread, to whose life its process is tied. The supervisor relies on it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from symphony.domain.errors import ConfigError
from symphony.local.logs import ChildLog
from symphony.local.tether import tethered

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_HEALTHY_S = 10.0

State = Literal["starting", "ready", "pausing", "stopping", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What to run.

    `command`: a sequence is tied to the supervisor (killed when it dies); a callable is asked before every start and
    ties its command itself. `env` is the whole environment (default: ours). `ready` is asked with the pid until it
    says yes. Children of the lowest `stop_rank` stop first; each has `grace` between its stop signal and SIGKILL.
    """

    name: str
    command: Sequence[str] | Callable[[], Sequence[str]]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    ready: Callable[[int], bool] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: timedelta = timedelta(seconds=10)
    stop_rank: int = 0


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A child at one moment; `returncode` is its last end's (negative = signal)."""

    name: str
    state: State
    since: datetime
    pid: int | None = None
    restarts: int = 0
    returncode: int | None = None


class Watch:
    """Keeps one child running."""

    def __init__(
        self, child: Child, marks: Mapping[str, str], log: ChildLog, on_change: Callable[[ChildStatus], None]
    ) -> None:
        self.child = child
        self.log = log
        self.status = ChildStatus(child.name, "pausing", datetime.now(UTC))
        self._marks = marks
        self._on_change = on_change
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._due = 0.0
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process else None

    def step(self) -> None:
        """Start the child when it is due; see whether it is ready, healthy or has ended."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._due:
                self._start()
        elif (returncode := self._process.poll()) is not None:
            self._pause(returncode)
        elif self.status.state == "starting":
            if self.child.ready is None or self.child.ready(self._process.pid):
                self._become("ready")
        elif now - self._started > _HEALTHY_S:
            self._failures = 0

    def ask_to_stop(self) -> None:
        """Send the stop signal; the child is not started again."""
        if self._process is None:
            self._become("stopped")
            return
        self._become("stopping")
        self._send(self.child.stop_signal)
        self._send(signal.SIGCONT)  # a stopped process hears nothing else

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def has_stopped(self) -> bool:
        """Tell whether the child has ended after it was asked to stop."""
        if self._process is not None and (returncode := self._process.poll()) is not None:
            self._process = None
            self._become("stopped", returncode=returncode)
        return self._process is None

    def _start(self) -> None:
        try:
            self._process = process = self._spawn()
        except (OSError, ConfigError) as error:
            self.log.write(f"cannot start: {error}".encode())
            self._pause(None)
            return
        assert process.stdout is not None
        self.log.follow(process.stdout)
        self._started = time.monotonic()
        self._become("starting")

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.child.command
        argv = command() if callable(command) else tethered(command, signal.SIGKILL)
        environment = os.environ if self.child.env is None else self.child.env
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.child.cwd,
            env={**environment, **self._marks},
            start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
        )

    def _pause(self, returncode: int | None) -> None:
        self._process = None
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        if returncode is not None:
            self.log.write(f"ended with {returncode}; starts again in {pause_s:.1f} s".encode())
        self._due = time.monotonic() + pause_s
        self._failures += 1
        self._become("pausing", returncode=returncode, restarts=self.status.restarts + 1)

    def _become(self, state: State, *, returncode: int | None = None, restarts: int | None = None) -> None:
        self.status = replace(
            self.status,
            state=state,
            since=datetime.now(UTC),
            pid=self.pid,
            restarts=self.status.restarts if restarts is None else restarts,
            returncode=self.status.returncode if returncode is None else returncode,
        )
        self._on_change(self.status)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                self._process.send_signal(number)
