"""Commands that may outlive the call that started them: their output is read all the time, whoever asks for it.

Invariant: a command is never blocked by its reader, whatever it writes and however long nobody asks; memory a command
stays within the bounds of its capture; its end is its exit, and not the end of a pipe that its daemons may keep open.
Relied on by the tool `shell` and by whoever closes a desk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import signal
import threading
import time

from symphony.domain.errors import Transient
from symphony.processes.capture import Capture, Captured
from symphony.processes.process import Process
from symphony.processes.wire import now

HEAD, TAIL = 12_288, 20_480  # of what is told at once: some eight thousand tokens
MOST_COMMANDS = 16
MOST_UNSENT = 1 << 20
_CHUNK = 65_536
_BREATH_S = 0.001  # after a full read: who writes without end is slowed to some 60 MB/s and not the whole worker
_QUIET_S = 0.05
_DRAIN_S = 0.5
_GRACE_S = 2.0


class Command:
    """One command with the thread that feeds and reads it."""

    def __init__(self, process: Process) -> None:
        self.finished = threading.Event()
        self.received = 0
        self.began = now()
        self._process = process
        self._lock = threading.Lock()
        self._unread = Capture(HEAD, TAIL)
        self._unsent = bytearray()
        self._ends_input = False
        self._closing = False
        self._bell: int | None = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            threading.Thread(target=self._serve, args=(self._bell,), name="command-reader", daemon=True).start()
        except RuntimeError:
            os.close(self._bell)
            raise

    @property
    def pid(self) -> int:
        """The command's pid, which is the id of its session and its process group, too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.returncode if self.finished.is_set() else None

    @property
    def is_closed(self) -> bool:
        """Whether nothing is read of it any more."""
        with self._lock:
            return self._bell is None

    @property
    def takes_input(self) -> bool:
        """Whether its standard input is open."""
        with self._lock:
            return self._process.stdin is not None and not self._process.stdin.closed and not self._ends_input

    def take(self) -> Captured:
        """Give what it has written since the last time."""
        with self._lock:
            taken, self._unread = self._unread.result(), Capture(HEAD, TAIL)
        return taken

    def send(self, data: bytes) -> bool:
        """Put `data` in line for its standard input; False when it does not read what it was sent before."""
        with self._lock:
            if len(self._unsent) + len(data) > MOST_UNSENT:
                return False
            self._unsent += data
        self._ring()
        return True

    def end_input(self) -> None:
        """Close its standard input after what is in line."""
        with self._lock:
            self._ends_input = True
        self._ring()

    def signal(self, number: signal.Signals) -> None:
        """Signal its process group. Raises: Transient when the guardian has died."""
        self._process.signal(number)

    def close(self) -> None:
        """Let go of it; what still runs finds its pipes closed."""
        with self._lock:
            self._closing = True
        self._ring()

    def _ring(self) -> None:
        with self._lock:
            if self._bell is not None:
                os.eventfd_write(self._bell, 1)

    def _serve(self, bell: int) -> None:
        try:
            with self._process:
                self._talk(bell)
        finally:
            self._process.ring_at_exit(None)
            with self._lock:
                self._bell = None
                os.close(bell)
            self.finished.set()

    def _talk(self, bell: int) -> None:
        poller = select.poll()
        poller.register(bell, select.POLLIN)
        pipe = self._process.stdout.fileno()
        os.set_blocking(pipe, False)
        poller.register(pipe, select.POLLIN)
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
            poller.register(self._process.stdin.fileno(), 0)
        self._process.ring_at_exit(bell)
        is_open = True
        while not self._closing and (is_open or not self.finished.is_set()):
            ready = dict(poller.poll())
            if bell in ready:
                os.eventfd_read(bell)
            if pipe in ready and not self._read(pipe):
                poller.unregister(pipe)
                is_open = False
            self._feed(poller, ready)
            if self._process.returncode is not None and not self.finished.is_set():
                is_open = is_open and self._read_last_words(pipe)
                self.finished.set()

    def _read(self, pipe: int) -> bool:
        """Take what is there; False at the end. After the exit it is for nobody: only daemons write then."""
        try:
            chunk = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return True
        if not self.finished.is_set():
            with self._lock:
                self._unread.add(chunk)
                self.received += len(chunk)
        if len(chunk) == _CHUNK:
            time.sleep(_BREATH_S)
        return bool(chunk)

    def _read_last_words(self, pipe: int) -> bool:
        """Take what the command left in the pipe, which is no more than the pipe holds; False at the end."""
        poller = select.poll()
        poller.register(pipe, select.POLLIN)
        most = self.received + fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        until = time.monotonic() + _DRAIN_S
        while self.received < most and time.monotonic() < until and poller.poll(_QUIET_S * 1000):
            if not self._read(pipe):
                return False
        return True

    def _feed(self, poller: select.poll, ready: dict[int, int]) -> None:
        """Send what is in line as far as the command reads it; close its input when that is wanted or nobody reads it."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        number = stdin.fileno()
        is_read = not ready.get(number, 0) & (select.POLLERR | select.POLLHUP)
        with self._lock:
            try:
                while self._unsent and is_read:
                    del self._unsent[: os.write(number, self._unsent[:_CHUNK])]
            except BlockingIOError:
                pass
            except OSError:
                is_read = False
            if is_read and (self._unsent or not self._ends_input):
                poller.modify(number, select.POLLOUT if self._unsent else 0)
            else:
                self._unsent.clear()
                poller.unregister(number)
                stdin.close()


class Sessions:
    """The commands of one desk; those that outlived their call have a name that no other desk's command has."""

    def __init__(self) -> None:
        self._served: list[Command] = []
        self._named: dict[str, Command] = {}

    def has_room(self) -> bool:
        """Tell whether one more can be kept; one that has ended and was never asked again gives way."""
        if len(self._named) >= MOST_COMMANDS:
            ended = [name for name, command in self._named.items() if command.finished.is_set()]
            for name in ended[:1]:
                self.forget(name)
        return len(self._named) < MOST_COMMANDS

    def serve(self, process: Process) -> Command:
        """Begin to read what `process` writes. Raises: RuntimeError when this process can have no more threads."""
        self._served = [command for command in self._served if not command.is_closed]
        command = Command(process)
        self._served.append(command)
        return command

    def keep(self, command: Command) -> str:
        """Give a command that outlives its call a name."""
        name = secrets.token_hex(3)
        self._named[name] = command
        return name

    def get(self, name: str) -> Command | None:
        """Give the command of that name."""
        return self._named.get(name)

    def names(self) -> list[str]:
        """Give the names, oldest first."""
        return list(self._named)

    def forget(self, name: str) -> None:
        """Drop the name of a command that has ended; what its daemons write is still read, for nobody."""
        self._named.pop(name)

    def close(self) -> None:
        """Ask what still runs to end, kill what does not within two seconds, and let go of everything."""
        running = [command for command in self._served if not command.finished.is_set()]
        self._signal(running, signal.SIGTERM)
        until = time.monotonic() + _GRACE_S
        stubborn = [command for command in running if not command.finished.wait(max(0.0, until - time.monotonic()))]
        self._signal(stubborn, signal.SIGKILL)
        for command in self._served:
            command.close()
        self._served.clear()
        self._named.clear()

    def _signal(self, commands: list[Command], number: signal.Signals) -> None:
        for command in commands:
            with contextlib.suppress(Transient):
                command.signal(number)
