"""The guardian's program: one for each worker process, single-threaded, knows when each tree must freeze or die.

Invariant: no tree outlives its worker, its trust or its deadline. The worker's death is seen as the end of its socket and
by its pidfd (a copy of the socket in some fork cannot hide it); its silence counts at a tree's `trust_until`. A warden
that is stopped is woken at once, one that does not kill in time is killed itself, and what falls to the guardian then
is killed. Should the guardian fail, the wardens see its end and kill their trees. Standard library only.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys

from symphony.processes import child, procfs
from symphony.processes.ward import ASKED, TRUST, Ward, Worker
from symphony.processes.warden import Warden
from symphony.processes.wire import Channel, Garbled, close_all, now, pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from symphony.processes.wire import Message

TICK_S = 0.25
KILL_PATIENCE_S = 10.0  # for a warden that was told to kill
LEAVE_PATIENCE_S = 1.0  # the same when the worker is gone
FALLEN_PATIENCE_S = 5.0  # before a request is answered with what could not be killed
EXIT_PATIENCE_S = 30.0
WAKES = 100  # a warden that was stopped more often than this is given up
OPEN_FILES = 65536
MANY_FORKS = 100
UNLIMITED = 1e18  # frozen until somebody says otherwise


class Guardian:
    """The trees of one worker process."""

    def __init__(self, sock: socket.socket, worker_pid: int, files: tuple[int, int]) -> None:
        self.client = Channel(sock)
        self.files = files
        self.worker = Worker(silence_s=5.0, frozen_limit_s=600.0, heard_at=now())
        self.wards: dict[str, Ward] = {}
        self.wardens: dict[int, Ward] = {}
        self.by_socket: dict[int, Ward] = {}
        self.leaving = False
        self.threads = 0
        self.wake, self.wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.poll = select.poll()
        self.poll.register(self.wake, select.POLLIN)
        self.worker_pidfd = _watch(worker_pid)
        if self.worker_pidfd is not None:
            self.poll.register(self.worker_pidfd, select.POLLIN)

    def run(self) -> None:
        """Serve until the worker is gone, then leave nothing behind."""
        signal.set_wakeup_fd(self.wake_end, warn_on_full_buffer=False)
        procfs.prctl(procfs.PR_SET_CHILD_SUBREAPER, 1)
        self.client.send({"event": "hello"})
        while not self.leaving:
            self._listen()
            self._reap()
            at = now()
            for ward in list(self.wards.values()):
                self._judge(ward, at)
            self._bury(at)
            self._watch_forks()
        self._leave()

    def _listen(self) -> None:
        more = select.POLLOUT if self.client.unsent else 0
        self.poll.register(self.client.fileno(), select.POLLIN | more)
        timeout = TICK_S * 1000 if self.wardens or self.wards else None
        for descriptor, event in self.poll.poll(timeout):
            if descriptor == self.client.fileno():
                self.client.flush()
                if event != select.POLLOUT:
                    self._hear_client()
            elif descriptor == self.wake:
                self.leaving = self.leaving or signal.SIGTERM in os.read(self.wake, 4096)
            elif descriptor == self.worker_pidfd:
                self.leaving = True
            elif descriptor in self.by_socket:
                self._hear_warden(self.by_socket[descriptor])

    def _hear_client(self) -> None:
        descriptors: list[int] = []
        try:
            message, descriptors = self.client.receive()
            self._obey(message, descriptors)
        except BlockingIOError:
            return
        except EOFError:
            self.leaving = True
        except (Garbled, KeyError, TypeError, ValueError) as error:
            close_all(descriptors)
            print(f"symphony guardian: its worker sent no sense, all trees end: {error!r}", file=sys.stderr)
            self.leaving = True

    def _obey(self, message: Message, descriptors: list[int]) -> None:
        match message["op"]:
            case "open":
                self._open(message, descriptors)
            case "renew":
                self._renew(message)
            case "configure":
                self.worker.silence_s = float(message["silence_s"])
                self.worker.frozen_limit_s = float(message["frozen_limit_s"])
            case "freeze" | "thaw" | "kill" | "clear" | "close" as what:
                self._order(what, message["name"], int(message["re"]))
            case unknown:
                raise ValueError(unknown)

    def _renew(self, message: Message) -> None:
        self.worker.heard_at = now()
        self.worker.reachable = bool(message["reachable"])
        for name, until in message["trust"].items():
            ward = self.wards.get(name)
            if ward is not None and ward.trust_until != until:
                ward.trust_until = float(until)
                ward.channel.send({"op": "trust", "until": ward.trust_until})
        self.client.send({"event": "heard"})

    def _open(self, message: Message, descriptors: list[int]) -> None:
        name, request = str(message["name"]), int(message["re"])
        (theirs,) = descriptors
        if name in self.wards:
            close_all(descriptors)
            self.client.send({"re": request, "error": f"a tree named {name} is open already"})
            return
        clients = socket.socket(fileno=theirs)
        try:
            ours, wardens = pair()
            pid = os.fork()
        except OSError as error:
            clients.close()
            self.client.send({"re": request, "errno": error.errno, "file": "fork"})
            return
        if pid == 0:
            self._become_warden(clients, wardens, message)
        clients.close()
        wardens.close()
        ward = Ward(name, pid, Channel(ours), message, now())
        self.wards[name] = self.wardens[pid] = self.by_socket[ours.fileno()] = ward
        self.poll.register(ours.fileno(), select.POLLIN)

    def _become_warden(self, client: socket.socket, guardian: socket.socket, order: Message) -> NoReturn:
        status = 1
        try:
            os.setpgid(0, 0)
            _close_all_but(client.fileno(), guardian.fileno())
            Warden(client, guardian, order, self.files).run()
            status = 0
        except BaseException:  # noqa: BLE001 -- its tree falls to the guardian, which kills it
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _order(self, what: str, name: str, request: int) -> None:
        ward = self.wards.get(name)
        if ward is None or (ward.gone_at is not None and what != "close"):
            self.client.send({"re": request, "left": 0})
            return
        ward.waiting.add(request)
        at = now()
        if what == "close":
            ward.closing = True
        if what in {"kill", "clear", "close"}:
            self._kill(ward, what, request)
        elif what == "freeze":
            ward.freeze(at, ASKED)
            self._send_freeze(ward, request)
        elif ward.thaw(at, ASKED):
            ward.channel.send({"op": "thaw", "re": request})
            self._tell_frozen(ward)
        else:
            self._answer(ward, request, left=0)

    def _hear_warden(self, ward: Ward) -> bool:
        try:
            message, _ = ward.channel.receive()
        except BlockingIOError:
            return False
        except (EOFError, Garbled):
            self._forget_socket(ward)
            return False
        match message["op"]:
            case "ready":
                ward.opened = now()
                self._opened(ward, {"warden": ward.pid})
            case "failed":
                del self.wards[ward.name]
                self._opened(ward, {key: value for key, value in message.items() if key != "op"})
            case "done":
                if message["empty"]:
                    ward.killing_since = None
                self._answer(ward, message["re"], left=message["left"])
            case "ended":
                self._note_end(ward, message["reason"])
        return True

    def _opened(self, ward: Ward, result: Message) -> None:
        if ward.opening is not None:
            self.client.send({"re": ward.opening, **result})
            ward.opening = None

    def _answer(self, ward: Ward, request: int, *, left: int) -> None:
        # A tree is closed when its warden has ended and its lock is free, not when it is empty.
        if request in ward.waiting and not ward.closing:
            ward.waiting.discard(request)
            self.client.send({"re": request, "left": left})

    def _note_end(self, ward: Ward, reason: str) -> None:
        if ward.ended is None:
            ward.ended = reason
            self.client.send({"event": "ended", "name": ward.name, "reason": reason})

    def _judge(self, ward: Ward, at: float) -> None:
        if ward.gone_at is not None:
            return
        if ward.killing_since is not None and at - ward.killing_since > KILL_PATIENCE_S:
            procfs.send(ward.pid, signal.SIGKILL)
        if ward.ended is not None or ward.closing:
            return
        match ward.verdict(at, self.worker):
            case "freeze":
                ward.freeze(at, TRUST)
                self._send_freeze(ward, 0)
            case "thaw" if ward.thaw(at, TRUST):
                ward.channel.send({"op": "thaw", "re": 0})
                self._tell_frozen(ward)
            case "trust" | "deadline" as reason:
                self._kill(ward, "kill", 0, reason)
            case _:
                return

    def _send_freeze(self, ward: Ward, request: int) -> None:
        until = ward.trust_frozen_since + self.worker.frozen_limit_s if TRUST in ward.freezers else UNLIMITED
        ward.channel.send({"op": "freeze", "re": request, "until": until})
        self._tell_frozen(ward)

    def _tell_frozen(self, ward: Ward) -> None:
        event = {"event": "frozen", "name": ward.name, "since": ward.frozen_since, "total": ward.frozen_s}
        self.client.send(event)

    def _kill(self, ward: Ward, how: str, request: int, reason: str = "cancel") -> None:
        at = now()
        ward.killing_since = ward.killing_since or at
        if ward.freezers:
            ward.freezers = {TRUST} if TRUST in ward.freezers else set()
            ward.thaw(at, TRUST)
            self._tell_frozen(ward)
        if how == "kill":
            self._note_end(ward, reason)
        ward.channel.send({"op": how, "re": request, "reason": ward.ended})

    def _watch_forks(self) -> None:
        """Let all wardens count at once when this machine has many more threads than a moment ago: a fork bomb."""
        threads = int(procfs.read("/proc/loadavg").split()[3].partition(b"/")[2])
        if threads - self.threads > MANY_FORKS:
            for ward in self.by_socket.values():
                ward.channel.send({"op": "look"})
        self.threads = threads

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self._wake_up(pid)
            elif pid in self.wardens:
                ward = self.wardens.pop(pid)
                while self._hear_warden(ward):
                    pass
                self._forget_socket(ward)
                ward.gone_at = now()

    def _wake_up(self, pid: int) -> None:
        if pid in self.wardens:
            self.wardens[pid].wakes += 1
            procfs.send(pid, signal.SIGCONT if self.wardens[pid].wakes < WAKES else signal.SIGKILL)

    def _forget_socket(self, ward: Ward) -> None:
        if self.by_socket.pop(ward.channel.fileno(), None) is not None:
            self.poll.unregister(ward.channel.fileno())
            ward.channel.close()

    def _sweep(self) -> list[int]:
        fallen = [pid for pid in procfs.own() if pid not in self.wardens]
        procfs.kill(fallen)
        self._reap()
        return procfs.living(fallen)

    def _bury(self, at: float) -> None:
        """Kill what wardens that died have left, then answer those who wait for them."""
        gone = [ward for ward in self.wards.values() if ward.gone_at is not None and (ward.waiting or ward.ended is None)]
        if not gone:
            return
        left = self._sweep()
        for ward in gone:
            if left and at - (ward.gone_at or at) < FALLEN_PATIENCE_S:
                continue
            if not ward.closing:
                self._note_end(ward, "warden")
            self._opened(ward, {"ended": ward.ended})
            for request in ward.waiting:
                self.client.send({"re": request, "left": len(left)})
            ward.waiting.clear()
            if ward.closing:
                del self.wards[ward.name]

    def _leave(self) -> None:
        began = now()
        for ward in self.wardens.values():
            ward.channel.close()
            procfs.send(ward.pid, signal.SIGCONT)
        self.by_socket.clear()
        while procfs.own() and now() - began < EXIT_PATIENCE_S:
            if select.select([self.wake], [], [], 0.05)[0]:
                os.read(self.wake, 4096)
            if now() - began > LEAVE_PATIENCE_S:
                for pid in self.wardens:
                    procfs.send(pid, signal.SIGKILL)
            self._sweep()


def _watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when `pid` has died, None where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _close_all_but(*kept: int) -> None:
    """Close what belongs to the guardian and to other trees, without touching their objects and so their memory."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def serve(descriptor: int, worker_pid: int) -> None:
    """Be the guardian of the worker behind `descriptor`."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    for ignored in child.IGNORED_ABOVE:
        signal.signal(ignored, signal.SIG_IGN)
    for caught in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(caught, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir("/")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        enough = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))
    if os.getppid() != worker_pid:
        return
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    guardian = Guardian(sock, worker_pid, (soft, hard))
    gc.freeze()
    guardian.run()
