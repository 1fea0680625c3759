"""The plumbing of a server of models on loopback: one thread a connection, and an exchange that can also go wrong.

Invariant: when the server is closed, every connection is, and no thread waits any more. What is answered is decided by
the callable that the server is given; the replay server and the tests' model server are two of them.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_LARGEST_BODY = 64 << 20
_NOBODY: tuple[type[OSError], ...] = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError)


class Exchange:
    """One request, and the connection on which it is answered."""

    def __init__(self, handler: _Handler, body: bytes) -> None:
        self.method = handler.command
        self.path = handler.path.partition("?")[0]
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body
        self._handler = handler

    def send(self, status: int, body: bytes, *, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a whole body of a content type."""
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
        self._handler.wfile.write(body)

    def send_json(self, status: int, payload: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a JSON document."""
        body = json.dumps(payload, ensure_ascii=False).encode()
        self.send(status, body, kind="application/json", headers=headers)

    def send_error(self, status: int, message: str, code: str | None = None, **error: Any) -> None:
        """Answer with an error in the shape of the API."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.send_json(status, {"error": {"message": message, "type": kind, "param": None, "code": code} | error})

    def begin(self, *, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Begin an answer in pieces."""
        self._head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked", **(headers or {})})

    def write(self, piece: bytes) -> None:
        """Send a piece."""
        self._handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    def play(self, frames: Sequence[bytes], *, kind: str, seconds: float = 0.0) -> bool:
        """Send frames within so many seconds; tell whether the other side stayed. The end is still due."""
        self.begin(kind=kind)
        for frame in frames:
            self.write(frame)
            if seconds and not self.wait(seconds / len(frames)):
                return False
        return True

    def end(self) -> None:
        """End an answer in pieces as it should."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection, whatever is missing."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Break the connection off so that the other side sees a reset."""
        self._handler.close_connection = True
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.endpoint.forget(self._handler.connection)
        os.close(self._handler.connection.detach())

    def wait(self, seconds: float) -> bool:
        """Be silent so long; tell whether the other side is still there."""
        poller = select.poll()
        poller.register(self._handler.connection, select.POLLIN | select.POLLRDHUP)
        return not poller.poll(seconds * 1000)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()


class Endpoint(ThreadingHTTPServer):
    """A server on a port of loopback (0: a free one) that asks `answer`; it serves while its context is open."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, answer: Callable[[Exchange], None], *, port: int = 0) -> None:
        self.answer = answer
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """The address under which a client of the API finds it."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), name="model-endpoint", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def remember(self, connection: socket.socket) -> None:
        """Know a connection, to be closed with the server."""
        with self._lock:
            self._connections.add(connection)

    def forget(self, connection: socket.socket) -> None:
        """Know a connection no more."""
        with self._lock:
            self._connections.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may go at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 0

    @property
    def endpoint(self) -> Endpoint:
        assert isinstance(self.server, Endpoint)
        return self.server

    def setup(self) -> None:
        super().setup()
        self.endpoint.remember(self.connection)

    def finish(self) -> None:
        self.endpoint.forget(self.connection)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            Exchange(self, b"").send_error(413 if length.isdigit() else 411, "The request has no usable length.")
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        try:
            self.endpoint.answer(Exchange(self, body))
        except _NOBODY:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to the terminal."""
