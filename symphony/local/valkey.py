"""The embedded Valkey: the broker of a machine that was given none.

Invariant: only this machine reaches it, with a password that never stands on a command line; it evicts nothing and
keeps its data in the home. `up` and the tests' fixtures rely on it.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
from datetime import timedelta

from symphony.domain.errors import ConfigError
from symphony.local import leftovers
from symphony.local.binaries import valkey_server
from symphony.local.home import Home, write_private
from symphony.local.ports import LOOPBACK, remembered_port
from symphony.local.tether import tethered

_SOCKET_PATH_LIMIT = 107
_ANSWER_S = 1.0


class ValkeyServer:
    """One server on one home; `durable=False` is for tests."""

    name = "valkey"
    stop_signal = signal.SIGTERM
    grace = timedelta(seconds=10)

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        self.data = home.valkey / "data"
        self._configuration = home.valkey / "valkey.conf"
        self._password_file = home.valkey / "password"
        self._port_file = home.valkey / "port"
        self._socket = home.run / "valkey.sock"
        self._durable = durable
        self._port = 0
        self._was_ready = False

    @property
    def url(self) -> str:
        """The broker's url; valid once the server is ready."""
        return f"redis://:{self._password()}@{LOOPBACK}:{self._port}/0"

    def prepare(self) -> None:
        """Make the data directory and the password where missing; end a server that a killed `up` left."""
        leftovers.end(leftovers.serving(self.data), self.stop_signal, grace_s=self.grace.total_seconds())
        self.data.mkdir(mode=0o700, exist_ok=True)
        if not self._password_file.exists():
            write_private(self._password_file, secrets.token_urlsafe(24) + "\n")

    def command(self) -> list[str]:
        """Return the command line of the next start, after clearing away what the last one left.

        Raises: ConfigError when no port is free.
        """
        leftovers.end(leftovers.serving(self.data), signal.SIGKILL, grace_s=5)
        self._socket.unlink(missing_ok=True)
        if not self._was_ready:  # later its port stands in the environment of every child
            self._port = remembered_port(self._port_file)
        write_private(self._configuration, "".join(f"{line}\n" for line in self._lines()))
        return tethered([str(valkey_server()), str(self._configuration)], self.stop_signal)

    def ready(self, pid: int) -> bool:
        """Tell whether the process `pid` has loaded its data and answers."""
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=_ANSWER_S) as connection:
                connection.sendall(f"AUTH {self._password()}\r\nPING\r\nINFO server\r\n".encode())
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return False
        is_ready = b"+PONG" in answer and f"process_id:{pid}\r\n".encode() in answer
        self._was_ready |= is_ready
        return is_ready

    def _password(self) -> str:
        password = self._password_file.read_text().strip()
        if not password.isascii() or not password:
            raise ConfigError("holds no password", place=str(self._password_file), cure="remove the file")
        return password

    def _lines(self) -> list[str]:
        keep = ["appendonly yes", "appendfsync everysec"] if self._durable else ["appendonly no"]
        fits = len(os.fsencode(self._socket)) <= _SOCKET_PATH_LIMIT
        return [
            f"bind {LOOPBACK}",
            f"port {self._port}",
            *([f'unixsocket "{self._socket}"', "unixsocketperm 700"] if fits else []),
            f'dir "{self.data}"',
            f"requirepass {self._password()}",
            'save ""',
            *keep,
            "maxmemory-policy noeviction",
            "daemonize no",
            "set-proc-title no",
            'logfile ""',
        ]
