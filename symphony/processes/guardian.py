"""The worker's side of its guardian: every subprocess of Symphony starts, is limited and dies through it.

Invariant: no process of a tree outlives its lease's trust, its deadline, its worker or its tree's close, however each of
them went. Three rings see to it, each also for the one inside it:

    worker      subreaper; kills what falls to it when its guardian has died, wakes or kills a guardian that is silent
    guardian    subreaper; kills at trust end, deadline, cancel and when its worker is gone; wakes wardens that were
                stopped, kills those that do not obey, and what falls to it from a warden that was killed
    warden      one for each tree, subreaper; kills its tree when it sees the end of its worker or guardian, on SIGTERM,
                and when an instant passed long ago and the guardian said nothing

Who is stopped (SIGSTOP): a worker is silent, its trees die at their `trust_until`. A guardian is woken by `renew`, by a
warden whose worker is gone or whose trust ended, by the next holder of a lock, and by the kernel when its worker dies:
guardian and wardens are process groups of their own in the worker's session, and an orphaned group that is stopped gets
SIGHUP (ignored) and SIGCONT. A warden is woken by its guardian at once (its parent is told of the stop) and by the next
holder. With all three stopped, or guardian and warden stopped in the instant in which their worker dies (the kernel
wakes what stands, not what is about to stop), a tree lives on until the next holder asks; it kills what holds the lock
when asking did not help.
Who is killed (SIGKILL) at once with both others leaves descendants that were daemons to init; they still hold the
lock, and the next holder kills them. What closed even that descriptor needs the sandbox's pid namespace.

PR_SET_PDEATHSIG is used between warden and command only: it fires at the death of the creating thread, and wardens
have one thread. Relied on by: workers (start, renew, lost), stages (tree).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import InvariantViolated, Transient
from symphony.processes import procfs, wire
from symphony.processes.capture import Captured
from symphony.processes.fallen import kill_fallen
from symphony.processes.link import Link, Reader
from symphony.processes.process import Completed, Process
from symphony.processes.tree import ORDER_TIMEOUT_S, Tree, refusal

__all__ = ["Captured", "Completed", "Guardian", "Limits", "Process", "Tree"]

START_TIMEOUT_S = 20.0
UNHEARD_S = 2.0  # how long a guardian may keep silent before it is woken,
DEAF_S = 15.0  # and before it is given up
CLOSE_TIMEOUT_S = 15.0
_NAMES_A_PACKET = 128
_KILLING = frozenset({"kill", "clear", "close"})
_programs: set[int] = set()  # the guardians of this process, which none of them may take for fallen


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tree may use; None means without limit."""

    memory_bytes: int | None = None
    processes: int | None = None


class Guardian:
    """The guardian of this process."""

    def __init__(self, program: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._program = program
        self._owner = os.getpid()
        seen = procfs.stat(program.pid)
        self._began = seen.started if seen else 0
        _programs.add(program.pid)
        self._lost = threading.Event()
        self._hello = threading.Event()
        self._closing = False
        self._lock = threading.Lock()
        self._trees: dict[str, Tree] = {}
        self._swept = threading.Event()
        self._sweeping = threading.Lock()
        self._left: list[int] = []
        self._unheard_since: float | None = None
        self._reader = Reader()
        self._link = Link(sock, self._on_event, self._on_end)
        self._reader.watch(self._link)
        self._reader.start()

    @classmethod
    def start(cls, *, silence_s: float = 5.0, frozen_limit_s: float = 600.0) -> Guardian:
        """Start the guardian of this process.

        A worker that has not called `renew` for `silence_s` is silent; a tree without trust is killed after
        `frozen_limit_s` frozen. Raises: Transient.
        """
        procfs.prctl(procfs.PR_SET_CHILD_SUBREAPER, 1)
        ours, theirs = wire.pair()
        entry = Path(__file__).with_name("guardian_main.py")
        command = [sys.executable, "-I", "-S", str(entry), str(theirs.fileno()), str(os.getpid())]
        with theirs:
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        guardian = cls(program, ours)
        if not guardian._hello.wait(START_TIMEOUT_S) or guardian.lost.is_set():
            guardian.close()
            raise Transient("the guardian process did not start", category="guardian")
        settings = {"op": "configure", "silence_s": silence_s, "frozen_limit_s": frozen_limit_s}
        guardian._link.post(settings)
        return guardian

    @property
    def lost(self) -> threading.Event:
        """Set when the guardian has died: its trees die, this process must give up its leases and exit."""
        return self._lost

    @property
    def pid(self) -> int:
        """The guardian's pid."""
        return self._program.pid

    def tree(
        self,
        name: str,
        *,
        lock: Path | None = None,
        lock_timeout_s: float = 30,
        trust_until: float | None = None,
        deadline_s: float | None = None,
        limits: Limits = Limits(),
    ) -> Tree:
        """Open a tree; with `lock` asks its holder on this node to end and waits for it.

        `trust_until` is an instant of CLOCK_BOOTTIME. Raises: Transient when the lock is not free in time, OSError when
        it cannot be opened.
        """
        self._check_owner()
        ours, theirs = wire.pair()
        message = {
            "op": "open",
            "name": name,
            "lock": None if lock is None else str(lock.absolute()),
            "lock_timeout_s": lock_timeout_s,
            "trust_until": trust_until,
            "deadline_s": deadline_s,
            "memory": limits.memory_bytes,
            "processes": limits.processes,
        }
        with self._lock:
            if name in self._trees:
                raise InvariantViolated(f"a tree named {name} is open already")
            tree = self._trees[name] = Tree(name, ours, self, self._reader)
        try:
            with theirs:
                timeout_s = lock_timeout_s + ORDER_TIMEOUT_S
                answer = self._link.call(message, descriptors=[theirs.fileno()], timeout_s=timeout_s)
            if "warden" not in answer:
                raise refusal(name, answer)
        except BaseException:
            with contextlib.suppress(Transient):
                tree.close()
            raise
        tree.warden = int(answer["warden"])
        return tree

    def renew(self, trust_until: Mapping[str, float], *, database_reachable: bool) -> None:
        """Say that this worker lives, and until when each named tree may trust its lease.

        To be called about every second. Does not raise: a guardian that is gone is told by `lost`.
        """
        self._check_owner()
        if self._is_deaf():
            return
        names = list(trust_until)
        for first in range(0, max(len(names), 1), _NAMES_A_PACKET):
            some = {name: trust_until[name] for name in names[first : first + _NAMES_A_PACKET]}
            with contextlib.suppress(Transient):
                self._link.post({"op": "renew", "trust": some, "reachable": database_reachable})

    def _is_deaf(self) -> bool:
        """Wake, or at last kill, a guardian that does not answer; no more is said to it meanwhile."""
        at = time.monotonic()
        since = self._unheard_since
        if since is None:
            self._unheard_since = at
            return False
        if at - since <= UNHEARD_S:
            return False
        self._program.send_signal(signal.SIGCONT if at - since <= DEAF_S else signal.SIGKILL)
        return True

    def order(self, what: str, name: str) -> wire.Message:
        """Send an order for the tree `name` and return when it is done.

        Raises: Transient.
        """
        self._check_owner()
        try:
            return self._link.call({"op": what, "name": name}, timeout_s=ORDER_TIMEOUT_S)
        except Transient:
            if what not in _KILLING or not self._is_over():
                raise
            self._swept.wait(CLOSE_TIMEOUT_S)
            return {"left": len(self._left)}
        finally:
            if what == "close":
                with self._lock:
                    self._trees.pop(name, None)

    def _is_over(self) -> bool:
        return self._closing or self._lost.wait(UNHEARD_S)

    def close(self) -> None:
        """End all trees and the guardian; returns when both are gone."""
        self._check_owner()
        self._closing = True
        self._link.shut()
        try:
            self._program.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._program.kill()
        self._reader.stop()
        self._sweep()

    def __enter__(self) -> Guardian:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the guardian."""
        self.close()

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise InvariantViolated("a forked process used the guardian of its parent")

    def _on_event(self, message: wire.Message) -> None:
        match message["event"]:
            case "hello":
                self._hello.set()
            case "heard":
                self._unheard_since = None
            case "ended" if tree := self._trees.get(message["name"]):
                tree.note_end(message["reason"])
            case "frozen" if tree := self._trees.get(message["name"]):
                tree.note_frozen(message["since"], message["total"])

    def _on_end(self) -> None:
        if self._closing:
            return
        self._program.kill()
        for tree in list(self._trees.values()):
            tree.note_end("guardian")
        self._lost.set()
        self._hello.set()
        threading.Thread(target=self._sweep, name="guardian-sweep", daemon=True).start()

    def _sweep(self) -> None:
        """Leave nothing of a guardian that is gone or has just been killed."""
        with self._sweeping:
            if self._swept.is_set():
                return
            wardens = {tree.warden for tree in list(self._trees.values())}
            if self._program.wait() != 0:
                self._left = kill_fallen(self._began, wardens=wardens, spared=_programs)
            _programs.discard(self._program.pid)
            self._swept.set()
