"""The worker's ends of the sockets to its guardian and its wardens, and the one thread that reads them all.

Invariant: every call is answered or refused with `Transient`, also when the other side dies or talks nonsense; a
descriptor is closed by nobody but the reader, so that no other thread finds another file behind its number.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import Protocol

from symphony.domain.errors import Transient
from symphony.processes import wire

log = logging.getLogger(__name__)

SEND_TIMEOUT_S = 10.0


class Readable(Protocol):
    """Something that the reader watches."""

    def fileno(self) -> int:
        """Return the descriptor to watch."""

    def take(self) -> bool:
        """Read what is there; False when nothing more will come."""

    def close(self) -> None:
        """Close the descriptor."""


class Reader:
    """The thread that waits for all descriptors of one Guardian."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Readable] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._wake, self._wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="guardian-reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def watch(self, readable: Readable) -> None:
        """Read from `readable` until its end; the reader closes it then, at once when it has stopped."""
        with self._lock:
            if not self._stopped:
                self._watched[readable.fileno()] = readable
                self._epoll.register(readable.fileno(), select.EPOLLIN)
                return
        readable.close()

    def stop(self) -> None:
        """Close everything that is watched and end the thread."""
        if self._thread.is_alive():
            os.write(self._wake_end, b"x")
            self._thread.join()

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._wake:
                    self._finish()
                    return
                readable = self._watched.get(descriptor)
                if readable is not None and not _take(readable):
                    self._drop(readable)

    def _drop(self, readable: Readable) -> None:
        self._watched.pop(readable.fileno(), None)
        self._epoll.unregister(readable.fileno())
        readable.close()

    def _finish(self) -> None:
        with self._lock:
            self._stopped = True
        for readable in list(self._watched.values()):
            self._drop(readable)
        self._epoll.close()
        wire.close_all([self._wake, self._wake_end])


def _take(readable: Readable) -> bool:
    try:
        return readable.take()
    except Exception:
        log.exception("a guardian sent no sense and is given up")
        return False


class Link:
    """One socket: calls with an answer, posts without, and events that come unasked."""

    def __init__(self, sock: socket.socket, on_event: Callable[[wire.Message], None], on_end: Callable[[], None]) -> None:
        sock.settimeout(SEND_TIMEOUT_S)
        self._sock = sock
        self._on_event = on_event
        self._on_end = on_end
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[wire.Message]] = {}
        self._ended = False

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._sock.fileno()

    def number(self) -> int:
        """Return a number for a call that nobody else has."""
        return next(self._numbers)

    def call(
        self,
        message: wire.Message,
        *,
        timeout_s: float | None,
        descriptors: Sequence[int] = (),
        number: int | None = None,
    ) -> wire.Message:
        """Send `message` and return its answer.

        Raises: Transient when the other side is gone or does not answer in time.
        """
        number = self.number() if number is None else number
        answer: Future[wire.Message] = Future()
        self._waiting[number] = answer
        try:
            self.post({**message, "re": number}, descriptors)
            return answer.result(timeout_s)
        except NoAnswer:
            raise Transient("the guardian of this process does not answer", category="guardian") from None
        finally:
            self._waiting.pop(number, None)

    def post(self, message: wire.Message, descriptors: Sequence[int] = ()) -> None:
        """Send `message` without waiting for an answer.

        Raises: Transient.
        """
        packet = wire.encode(message)
        with self._lock:
            if self._ended:
                raise gone()
            try:
                socket.send_fds(self._sock, [packet], list(descriptors))
            except OSError as error:
                raise gone() from error

    def take(self) -> bool:
        """Read one message; False at the end."""
        try:
            message, descriptors = wire.receive(self._sock)
            wire.close_all(descriptors)
        except (BlockingIOError, TimeoutError):
            return True
        except EOFError:
            return False
        self._deliver(message)
        return True

    def _deliver(self, message: wire.Message) -> None:
        if "re" not in message:
            self._on_event(message)
            return
        answer = self._waiting.pop(message["re"], None)
        if answer is not None:
            answer.set_result(message)

    def shut(self) -> None:
        """End the talk: the other side and the reader see the end."""
        with self._lock:
            if not self._ended:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Refuse all who wait and close the socket; called by the reader."""
        with self._lock:
            self._ended = True
            self._sock.close()
        for number in list(self._waiting):
            answer = self._waiting.pop(number, None)
            if answer is not None:
                answer.set_exception(gone())
        self._on_end()


class Discard:
    """A pipe whose reader has what it wants while a background process still writes into it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._descriptor

    def take(self) -> bool:
        """Read and forget; False at the end."""
        try:
            return bool(os.read(self._descriptor, 65536))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._descriptor)


def gone() -> Transient:
    """Return the error of a talk whose other side has died."""
    return Transient("the guardian of this process has died", category="guardian")
