"""Reading a model's stream so that the reader can be told to stop, and hears silence, whatever the network does.

A thread of its own reads; the loop's thread waits for what it reads, for a change of the lease, and for the end of
patience. An abandoned reader ends with its connection and says nothing any more.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from symphony.agents.openai.failures import of_exception
from symphony.agents.openai.model import Broken, Watch
from symphony.domain.errors import SymphonyError, Transient

TOO_LONG = "turn_timeout"
"""The category of the error for an answer that took longer than a step may."""
_LOOK_EVERY_S = 5.0
_END = object()


class Reader:
    """Reads the events of one stream in a thread of its own."""

    def __init__(self, open_stream: Callable[[], Any], bell: int) -> None:
        self._open_stream = open_stream
        self._bell = bell
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._is_abandoned = False
        threading.Thread(target=self._read, name="model-stream", daemon=True).start()

    def _read(self) -> None:
        end: Any = _END
        try:
            stream = self._open_stream()
            with self._lock:
                self._stream = stream
                if self._is_abandoned:
                    stream.close()
                    return
            for event in stream:
                self._tell(event)
        except Exception as error:  # noqa: BLE001 - the loop's thread raises it as what it means
            end = error
        self._tell(end)

    def _tell(self, event: Any) -> None:
        with self._lock:
            if not self._is_abandoned:
                self._events.put(event)
                os.eventfd_write(self._bell, 1)

    def take(self) -> Iterator[Any]:
        """Give what has come; an exception of the reader's as one, the end as itself."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._events.get_nowait()

    def abandon(self) -> None:
        """Hear nothing more; wakes the thread out of its read."""
        with self._lock:
            self._is_abandoned = True
            stream = self._stream
        if stream is not None:
            _break(stream)


def events(open_stream: Callable[[], Any], watch: Watch) -> Iterator[Any]:
    """Give the events of a stream until its end.

    Raises:
        Broken: the turn was asked to stop.
        Transient and others: the stream was silent or took too long, or what its failure means.
    """
    bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    watch.ring_at_change(bell)
    poller = select.poll()
    poller.register(bell, select.POLLIN)
    reader = Reader(open_stream, bell)
    has_begun, heard_at = False, time.monotonic()
    try:
        while True:
            reason = watch.stop_reason()
            if reason is not None:
                raise Broken(reason)
            if watch.step.is_over:
                raise Transient(f"the model's answer took longer than {watch.step}", category=TOO_LONG)
            if poller.poll(min(_LOOK_EVERY_S, watch.step.left_s) * 1000):
                os.eventfd_read(bell)
            for event in reader.take():
                if event is _END:
                    return
                if isinstance(event, Exception):
                    raise _meaning(event, has_begun=has_begun) from event
                has_begun, heard_at = True, time.monotonic()
                watch.heard("model")
                yield event
                if watch.step.is_over:
                    break
            if time.monotonic() - heard_at > watch.silence.total_seconds():
                raise Transient(f"the model said nothing for {watch.silence.total_seconds():g} s", category="model_silent")
    finally:
        watch.ring_at_change(None)
        reader.abandon()
        os.close(bell)


def _break(stream: Any) -> None:
    """Shut the connection under a reader that is blocked in it."""
    with contextlib.suppress(Exception):
        network = stream.response.extensions["network_stream"].get_extra_info("socket")
        network.shutdown(socket.SHUT_RDWR)


def _meaning(error: Exception, *, has_begun: bool) -> SymphonyError:
    """Tell an answer that broke off, which may be paid for, from one that never came."""
    meaning = of_exception(error)
    if has_begun and meaning.category == "model_unreachable":
        return Transient(f"the model's answer was cut off in mid-stream: {meaning.message}", category="stream_cut")
    return meaning


def pause(seconds: float, watch: Watch) -> str | None:
    """Wait; give the reason at once when the turn is asked to stop meanwhile."""
    bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    watch.ring_at_change(bell)
    poller = select.poll()
    poller.register(bell, select.POLLIN)
    until = time.monotonic() + seconds
    try:
        while (reason := watch.stop_reason()) is None and (left := until - time.monotonic()) > 0:
            if poller.poll(min(left, _LOOK_EVERY_S) * 1000):
                os.eventfd_read(bell)
            watch.heard("waiting")
        return reason
    finally:
        watch.ring_at_change(None)
        os.close(bell)
