"""The warden of one tree: the subreaper that starts its processes, reaps them, freezes and kills them all.

Invariant: every process of the tree descends from its warden whatever it does (setsid, double fork), because orphans
fall to the nearest subreaper; so "no child left" means "no process left". A warden decides little: the guardian
orders, but a warden kills its tree by itself when its worker or its guardian is gone, on SIGTERM (the next holder asks),
over a limit of memory or processes, and when a trust or a freeze ended long ago and the guardian kept silent.
Forked from the guardian without exec, so that it costs little memory. Standard library only.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
from collections.abc import Callable

from symphony.processes import procfs
from symphony.processes.brood import START_DESCRIPTORS, Brood
from symphony.processes.limits import Gauge
from symphony.processes.lock import Lock
from symphony.processes.wire import Channel, Garbled, close_all, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from symphony.processes.wire import Message

GRACE_S = 5.0  # how long after an instant a silent guardian is taken for late and not for stopped
IDLE_S = 5.0  # a sleep of this machine does not count in a poll's timeout
FREEZE_PATIENCE_S = 5.0
ASK_AGAIN_S = 0.5
KILL_PAUSE_S = 0.05
DISK_WAIT_S = 1.0  # a thread in uninterruptible sleep stops as soon as it wakes: no reason to wait longer
FINAL = frozenset({"trust", "handover", "worker", "guardian", "protocol"})  # after these the lock is given up too


class Warden:
    """The state and the loop of one warden."""

    def __init__(self, client: socket.socket, guardian: socket.socket, order: Message, files: tuple[int, int]) -> None:
        self.client = Channel(client)
        self.guardian = Channel(guardian)
        self.brood = Brood(self.client, files)
        self.gauge = Gauge(order["memory"], order["processes"])
        self.order = order
        self.lock: Lock | None = None
        self.ready = False
        self.ended: str | None = None
        self.leaving = False
        self.deferred: list[tuple[int, list[int]]] = []
        self.trust_until: float | None = order["trust_until"]
        self.frozen_until: float | None = None
        self.freezing: list[int] = []  # orders to answer when nothing moves
        self.freezing_since = 0.0
        self.stopped: list[int] = []  # what the last pass of a freeze found
        self.killing = False
        self.kill_pause = 0.0
        self.emptying: list[int] = []  # orders to answer when the tree is empty
        self.opened = now()
        self.asked: float | None = None
        self.wake = _catch_signals()

    def run(self) -> None:
        """Serve until the tree is empty and no longer wanted."""
        procfs.prctl(procfs.PR_SET_CHILD_SUBREAPER, 1)
        empty = True
        while not (self.leaving and empty and not self.killing):
            if not self.ready and not self.leaving:
                self._take_lock()
            self._listen()
            empty = self.brood.reap(self.ended)
            self._work(empty=empty)

    def _listen(self) -> None:
        handlers: dict[int, Callable[[], None]] = {self.wake: self._hear_signals}
        if not self.leaving:
            handlers[self.client.fileno()] = self._hear_client
            handlers[self.guardian.fileno()] = self._hear_guardian
        poll = select.poll()
        for descriptor in (*handlers, *self.brood.starting):
            poll.register(descriptor, select.POLLIN)
        for channel in (self.client, self.guardian):
            if channel.unsent and not self.leaving:
                poll.register(channel.fileno(), select.POLLIN | select.POLLOUT)
        for descriptor, event in poll.poll(self._timeout_s() * 1000):
            if event == select.POLLOUT:
                continue
            if descriptor in handlers:
                handlers[descriptor]()
            elif descriptor in self.brood.starting:
                self.brood.settle(descriptor)
        self.client.flush()
        self.guardian.flush()

    def _timeout_s(self) -> float:
        if self.killing:
            return self.kill_pause
        if self.freezing:
            return 0.005
        if not self.ready:
            return 0.05
        pause = self.gauge.pause_s if self._measures() else IDLE_S
        return min(pause, max(0.0, self._patience_ends() - now()))

    def _measures(self) -> bool:
        return self.gauge.wanted and self.frozen_until is None and not self.killing

    def _hear_signals(self) -> None:
        if signal.SIGTERM in os.read(self.wake, 4096):
            self._end("handover")

    def _hear_client(self) -> None:
        try:
            message, descriptors = self.client.receive()
        except BlockingIOError:
            return
        except EOFError:
            procfs.send(os.getppid(), signal.SIGCONT)
            self._end("worker")
            return
        except Garbled:
            self._end("protocol")
            return
        try:
            self._obey_client(message, descriptors)
        except (KeyError, TypeError, ValueError):
            close_all(descriptors)
            self._end("protocol")

    def _obey_client(self, message: Message, descriptors: list[int]) -> None:
        match message["op"]:
            case "start" if len(descriptors) == START_DESCRIPTORS:
                self.deferred.append((int(message["re"]), descriptors))
            case "signal":
                self.brood.signal(int(message["number"]), int(message["signal"]))
            case "end":
                self.brood.end(int(message["number"]))
            case unknown:
                raise ValueError(unknown)

    def _hear_guardian(self) -> None:
        try:
            message, _ = self.guardian.receive()
        except BlockingIOError:
            return
        except (EOFError, Garbled):
            self._end("guardian")
            return
        self._obey_guardian(message)

    def _obey_guardian(self, message: Message) -> None:
        match message["op"]:
            case "trust":
                self.trust_until = message["until"]
            case "look":
                self.gauge.hurry()
            case "freeze":
                self.freezing.append(message["re"])
                self.freezing_since = now()
                self.frozen_until = message["until"]
            case "thaw":
                self.freezing.append(message["re"])
                self._thaw()
            case "kill" | "clear" | "close" as how:
                self.emptying.append(message["re"])
                if how == "kill":
                    self.ended = self.ended or message["reason"]
                self.leaving = self.leaving or how == "close" or message.get("reason") in FINAL
                self._begin_to_kill()

    def _end(self, reason: str) -> None:
        """Kill the tree and leave, by the warden's own decision."""
        if self.ended is None:
            self.ended = reason
            self.guardian.send({"op": "ended", "reason": reason})
        self.leaving = self.leaving or reason in FINAL
        self._begin_to_kill()

    def _begin_to_kill(self) -> None:
        self.killing, self.kill_pause = True, 0.0
        self.frozen_until = None
        self._answer_freezing(0)

    def _work(self, *, empty: bool) -> None:
        if self.killing:
            self._kill(empty=empty)
        elif self.freezing:
            self._freeze()
        elif self.frozen_until is None:
            self._start_deferred()
            if not empty and self._measures() and (over := self.gauge.over()):
                self._end(over)
        self._watch_the_guardian()

    def _kill(self, *, empty: bool) -> None:
        if not empty:
            procfs.kill(procfs.own())
            empty = self.brood.reap(self.ended)
        if not empty:
            self.kill_pause = min(KILL_PAUSE_S, max(0.001, self.kill_pause * 2))
            return
        self.killing = False
        for order in self.emptying:
            self.guardian.send({"op": "done", "re": order, "left": 0, "empty": True})
        self.emptying.clear()

    def _freeze(self) -> None:
        waited = now() - self.freezing_since
        seen = sorted(procfs.stop(procfs.own()))
        moving = procfs.moving(seen)
        if waited > DISK_WAIT_S:
            moving = {pid: state for pid, state in moving.items() if state != "D"}
        # One quiet pass is not enough: who was listed may have handed on to a child and died before its signal came.
        quiet = not moving and seen == self.stopped
        self.stopped = seen
        if quiet or waited > FREEZE_PATIENCE_S:
            self._answer_freezing(len(moving))

    def _answer_freezing(self, left: int) -> None:
        for order in self.freezing:
            self.guardian.send({"op": "done", "re": order, "left": left, "empty": False})
        self.freezing.clear()

    def _thaw(self) -> None:
        self.frozen_until = None
        for pid in procfs.tree():
            procfs.send(pid, signal.SIGCONT)
        self._answer_freezing(0)

    def _start_deferred(self) -> None:
        starts, self.deferred = self.deferred, []
        for number, descriptors in starts:
            if self.ended:
                close_all(descriptors)
                self.client.send({"re": number, "ended": self.ended})
            else:
                self.brood.start(number, descriptors)

    def _watch_the_guardian(self) -> None:
        if self.ready and not self.leaving and now() >= self._patience_ends():
            procfs.send(os.getppid(), signal.SIGCONT)
            self._end("trust")

    def _patience_ends(self) -> float:
        limit = self.trust_until if self.frozen_until is None else self.frozen_until
        return math.inf if limit is None else limit + GRACE_S

    def _take_lock(self) -> None:
        try:
            if self.lock is None and self.order["lock"]:
                self.lock = Lock(self.order["lock"])
            if self.lock is None or self.lock.take():
                self.ready = True
                self.guardian.send({"op": "ready"})
            else:
                self._wait_for_lock(self.lock)
        except OSError as error:
            self._fail({"errno": error.errno, "file": self.order["lock"]})

    def _wait_for_lock(self, lock: Lock) -> None:
        waited, timeout_s = now() - self.opened, self.order["lock_timeout_s"]
        if waited > timeout_s:
            self._fail({"held": lock.holders()[:5]})
        elif self.asked is None or now() - self.asked > ASK_AGAIN_S:
            self.asked = now()
            if waited > timeout_s / 2:
                lock.evict()
            else:
                lock.ask()

    def _fail(self, why: Message) -> None:
        self.guardian.send({"op": "failed", **why})
        self.leaving = True


def _catch_signals() -> int:
    """Return a pipe that tells this process's signals; which are caught was set by the guardian already."""
    ours, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    return ours
