"""A tree of processes as its worker sees it: start, run, freeze, kill.

Invariant: `kill` and `close` return when no process of the tree is left; nothing starts in a tree that has ended.
Who was frozen or ended, and why, is what the guardian says; this is only its mirror. Relied on by everything that runs
a command: git, hooks, agents, checks.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

from symphony.domain.errors import Cancelled, Fenced, InvariantViolated, SymphonyError, Transient
from symphony.processes import wire
from symphony.processes.link import Discard, Link, Reader
from symphony.processes.output import Collector
from symphony.processes.process import Completed, Process

ORDER_TIMEOUT_S = 30.0


class Orders(Protocol):
    """How a tree reaches its guardian."""

    def order(self, what: str, name: str) -> wire.Message:
        """Send an order for the tree `name` and return when it is done."""


class Tree:
    """One tree; made by `Guardian.tree`."""

    def __init__(self, name: str, sock: socket.socket, orders: Orders, reader: Reader) -> None:
        self.name = name
        self.warden = 0
        self._orders = orders
        self._reader = reader
        self._link = Link(sock, self._on_event, self._on_end)
        self._processes: dict[int, Process] = {}
        self._ended: str | None = None
        self._frozen: tuple[float | None, float] = (None, 0.0)
        self._freezer: int | None = None
        self._cut_off = False
        self._closed = False
        reader.watch(self._link)

    @property
    def ended(self) -> str | None:
        """None, or why the guardian killed the tree.

        deadline, trust, cancel, memory, processes, handover (the next holder asked), warden or guardian (it died).
        """
        return self._ended or ("warden" if self._cut_off and not self._closed else None)

    @property
    def frozen_s(self) -> float:
        """How many seconds the tree was frozen so far."""
        since, total = self._frozen
        return total if since is None else total + wire.now() - since

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes | None = None,
        merge_stderr: bool = False,
    ) -> Process:
        """Start a command; without `stdin` bytes its standard input is the pipe `Process.stdin`.

        Raises: OSError as its class says (FileNotFoundError names the command or the folder); when the tree has ended
        Cancelled, Fenced or Transient; InvariantViolated in the thread that froze the tree.
        """
        if self._freezer == threading.get_ident():
            raise InvariantViolated(f"a command was started in the frozen tree {self.name}")
        number = self._link.number()
        payload = {"argv": [*argv], "cwd": str(cwd.absolute()), "env": {**env}}
        with ExitStack() as theirs, ExitStack() as ours:
            process, streams = _streams(theirs, ours, stdin, merge_stderr=merge_stderr)
            described = _file(theirs, json.dumps(payload).encode())
            self._processes[number] = process
            try:
                self._start(process, number, [described, *streams])
            except BaseException:
                self._processes.pop(number, None)
                raise
            ours.pop_all()
        return process

    def _start(self, process: Process, number: int, descriptors: list[int]) -> None:
        try:
            answer = self._link.call({"op": "start"}, descriptors=descriptors, number=number, timeout_s=None)
        except Transient:
            if self.ended is None:
                raise
            answer = {"ended": self.ended}
        if "pid" not in answer:
            raise refusal(self.name, answer)
        process.note_start(answer["pid"], lambda what: self._tell("signal", number, what))

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes = b"",
        timeout_s: float | None = None,
        head: int = 65536,
        tail: int = 65536,
    ) -> Completed:
        """Run a command to its end and keep the head and the tail of what it writes.

        After `timeout_s`, not counting frozen time, the command with its session and descendants is killed. What it
        left in the background lives on. Raises: as `start`.
        """
        process = self.start(argv, cwd=cwd, env=env, stdin=stdin)
        with process:
            collector = Collector(process, head, tail)
            try:
                timed_out = not collector.read_until_exit(self._countdown(timeout_s))
                if timed_out:
                    self._tell("end", self._number(process))
                    collector.read_until_exit(self._countdown(ORDER_TIMEOUT_S))
                collector.drain(time.monotonic)
            except BaseException:
                with suppress(SymphonyError):
                    self._tell("end", self._number(process))
                raise
            finally:
                for descriptor in collector.close():
                    self._reader.watch(Discard(descriptor))
            stdout, stderr = collector.results()
        code = -signal.SIGKILL if process.returncode is None else process.returncode
        return Completed(code, stdout, stderr, timed_out, self.ended)

    def _countdown(self, timeout_s: float | None) -> Callable[[], float]:
        if timeout_s is None:
            return lambda: math.inf
        began, frozen = wire.now(), self.frozen_s
        return lambda: timeout_s - (wire.now() - began) + (self.frozen_s - frozen)

    def freeze(self) -> None:
        """Stop every process of the tree and return when none moves; what others start meanwhile waits.

        Raises: Transient when one could not be stopped; the tree goes on then.
        """
        left = self._orders.order("freeze", self.name)["left"]
        self._freezer = threading.get_ident()
        if left:
            self.thaw()
            raise Transient(f"{left} processes of {self.name} could not be stopped", category="freeze")

    def thaw(self) -> None:
        """Let the tree go on, unless it is frozen because its lease is not trusted."""
        self._freezer = None
        self._orders.order("thaw", self.name)

    def clear(self) -> None:
        """Kill every process of the tree and return when none is left; the tree can be used again."""
        self._all_gone(self._orders.order("clear", self.name))

    def kill(self) -> None:
        """Kill every process of the tree and return when none is left; the tree has ended.

        Raises: Transient when a process cannot be killed.
        """
        self._all_gone(self._orders.order("kill", self.name))

    def close(self) -> None:
        """Kill what is left and release the lock.

        Raises: Transient when a process cannot be killed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._all_gone(self._orders.order("close", self.name))
        finally:
            self._link.shut()

    def __enter__(self) -> Tree:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the tree."""
        self.close()

    def note_end(self, reason: str) -> None:
        """Take why the guardian ended the tree; the first reason counts."""
        self._ended = self._ended or reason

    def note_frozen(self, since: float | None, total: float) -> None:
        """Take since when the tree is frozen and how long it was before."""
        self._frozen = (since, total)

    def _all_gone(self, answer: wire.Message) -> None:
        if answer.get("left"):
            raise Transient(f"{answer['left']} processes of {self.name} cannot be killed", category="unkillable")

    def _number(self, process: Process) -> int:
        return next((number for number, known in list(self._processes.items()) if known is process), 0)

    def _tell(self, what: str, number: int, signal_number: int = 0) -> None:
        self._link.post({"op": what, "number": number, "signal": int(signal_number)})

    def _on_event(self, message: wire.Message) -> None:
        if message["ended"]:
            self.note_end(message["ended"])
        process = self._processes.pop(message["exit"], None)
        if process is not None:
            process.note_exit(message["code"])

    def _on_end(self) -> None:
        self._cut_off = True
        for number in list(self._processes):
            process = self._processes.pop(number, None)
            if process is not None:
                process.note_exit(-signal.SIGKILL)


def refusal(name: str, answer: wire.Message) -> Exception:
    """Return the error that says why a tree or a command was refused."""
    match answer:
        case {"errno": int(number), "file": str(place)}:
            return OSError(number, os.strerror(number), place)
        case {"held": list(holders)}:
            who = f"process {holders[0]}" if holders else "a process that cannot be seen from here"
            return Transient(f"the lock of {name} is still held by {who}", category="locked")
        case {"ended": "cancel"}:
            return Cancelled(f"{name} was cancelled")
        case {"ended": "trust" | "handover" as reason}:
            return Fenced(f"{name} was ended by its guardian: {reason}")
        case {"ended": str(reason)}:
            return Transient(f"{name} was ended by its guardian: {reason}", category=reason)
        case _:
            return InvariantViolated(f"{name}: {answer.get('error', answer)}")


def _file(theirs: ExitStack, content: bytes) -> int:
    """Return a file in memory, which unlike a pipe takes any amount without a thread that feeds it."""
    descriptor = os.memfd_create("symphony", os.MFD_CLOEXEC)
    theirs.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[io.BufferedReader, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    theirs.callback(os.close, writing)
    return ours.enter_context(io.BufferedReader(io.FileIO(reading))), writing


def _streams(theirs: ExitStack, ours: ExitStack, stdin: bytes | None, *, merge_stderr: bool) -> tuple[Process, list[int]]:
    """Return a process with our ends of its streams, and the ends to pass on."""
    writer: io.FileIO | None = None
    if stdin is None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        theirs.callback(os.close, reading)
        writer = ours.enter_context(io.FileIO(writing, "wb"))
    elif stdin:
        reading = _file(theirs, stdin)
    else:
        reading = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        theirs.callback(os.close, reading)
    stdout, out = _pipe(ours, theirs)
    stderr, err = (None, out) if merge_stderr else _pipe(ours, theirs)
    return Process(writer, stdout, stderr), [reading, out, err]
