"""The agent of kind `command`: any program that reads a prompt and changes the workspace.

The prompt comes on its standard input; what it writes is its log and its sign of life. Exit 0 = finished, exit 75 =
blocked with the question on the last line, anything else = the attempt failed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from dataclasses import dataclass, field
from datetime import timedelta

from symphony.agents.log import AgentLog, agent_log
from symphony.agents.protocol import Asked, Assignment, Finished, Stopped, Turn
from symphony.domain.errors import ConfigError, Transient
from symphony.processes.capture import Capture
from symphony.processes.process import Process
from symphony.processes.wire import now
from symphony.telemetry.redaction import redact

EXIT_BLOCKED = 75
_HEAD, _TAIL = 16_384, 16_384
_CHUNK = 65_536
_LOOK_EVERY_S = 5.0
_LOOK_SOON_S = 0.01
_GRACE_S = 5.0


class CommandAgent:
    """Runs one shell command line a turn."""

    def __init__(self, command: str) -> None:
        self._command = command

    def turn(self, assignment: Assignment) -> Turn:
        """Run the command to its end, its stop, its time-out or its stall.

        No login shell: what its start-up files do (rehash, wait for locks) would cost every one of hundreds of agents.
        """
        try:
            process = assignment.tree.start(
                ["bash", "-c", self._command],
                cwd=assignment.workspace,
                env=assignment.environment,
                stdin=assignment.prompt.encode(),
                merge_stderr=True,
            )
        except OSError as error:
            raise ConfigError(
                f"the agent's command cannot be started: {error.strerror}: {error.filename}",
                place="agent.command",
                cure="install bash and the command on this node",
            ) from error
        with process, agent_log(assignment.log) as log:
            return _Watch(process, assignment, log).to_the_end()


@dataclass
class _Watch:
    """A running command, its output and its clocks."""

    process: Process
    assignment: Assignment
    log: AgentLog
    output: Capture = field(default_factory=lambda: Capture(_HEAD, _TAIL))

    def __post_init__(self) -> None:
        self._began = self._last_sign = now()
        self._frozen_before = self.assignment.tree.frozen_s
        self._frozen_at_sign = self._frozen_before
        self._received = 0

    def to_the_end(self) -> Turn:
        self.assignment.heard("started")
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.process.ring_at_exit(bell)
        self.assignment.ring_at_change(bell)
        pipe = self.process.stdout.fileno()
        os.set_blocking(pipe, False)
        poller = select.poll()
        poller.register(bell, select.POLLIN)
        poller.register(pipe, select.POLLIN)
        try:
            while self.process.returncode is None:
                ready = {descriptor for descriptor, _ in poller.poll(self._time_left_s() * 1000)}
                if bell in ready:
                    os.eventfd_read(bell)
                if pipe in ready and not self._read(pipe):
                    poller.unregister(pipe)
                if self.assignment.stop_reason() is not None:
                    return self._stop()
            self._read_last_words(pipe)
        finally:
            self.assignment.ring_at_change(None)
            self.process.ring_at_exit(None)
            os.close(bell)
        return self._result(self.process.returncode)

    def _read_last_words(self, pipe: int) -> None:
        """Take what the command left in the pipe, which is no more than the pipe holds: its daemons may write for ever."""
        end = self._received + fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        while self._received < end and self._read(pipe):
            continue

    def _read(self, pipe: int) -> bool:
        """Take what is there; False at the end, or when nothing is there and nothing will come."""
        try:
            chunk = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return self.process.returncode is None
        if not chunk:
            return False
        self._received += len(chunk)
        self.output.add(chunk)
        self.log.add(chunk)
        self._last_sign, self._frozen_at_sign = now(), self.assignment.tree.frozen_s
        self.assignment.heard("output")
        return True

    def _time_left_s(self) -> float:
        """Give the time until the clocks are to be looked at again; frozen time counts in neither.

        Raises: Transient when one of them has run out.
        """
        frozen = self.assignment.tree.frozen_s
        silent = now() - self._last_sign - (frozen - self._frozen_at_sign)
        taken = now() - self._began - (frozen - self._frozen_before)
        stall, longest = self.assignment.stall_timeout, self.assignment.turn_timeout
        if stall is not None and silent > stall.total_seconds():
            raise Transient(f"the agent stalled: nothing heard for {_spoken(stall)}", category="stalled")
        if taken > longest.total_seconds():
            raise Transient(f"the agent's turn took longer than {_spoken(longest)}", category="turn_timeout")
        left = longest.total_seconds() - taken
        if stall is not None:
            left = min(left, stall.total_seconds() - silent)
        return min(max(left, _LOOK_SOON_S), _LOOK_EVERY_S)

    def _stop(self) -> Turn:
        with contextlib.suppress(Transient):
            self.process.signal(signal.SIGTERM)
        self.process.wait(_GRACE_S)
        return Stopped()

    def _result(self, code: int) -> Turn:
        text = redact(self.output.result().text()).strip()
        last_line = text.splitlines()[-1] if text else ""
        if code == 0:
            return Finished(text)
        if code == EXIT_BLOCKED:
            return Asked(last_line or "The agent is blocked and did not say why.")
        if self.assignment.stop_reason() is not None:
            return Stopped()
        if self.assignment.tree.ended in {"memory", "processes", "deadline"}:
            raise Transient(f"the agent was ended: {self.assignment.tree.ended}", category=self.assignment.tree.ended)
        how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        raise Transient(f"the agent {how}: {last_line}" if last_line else f"the agent {how}", category="agent_exit")


def _spoken(duration: timedelta) -> str:
    return f"{duration.total_seconds():g} s"
