"""Choose loopback ports, and remember them beside the data that they serve.

Invariant: a port stays the same between starts unless somebody else has taken it. `postgres.py` and `valkey.py`
rely on it.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from symphony.domain.errors import ConfigError
from symphony.local.home import write_private

LOOPBACK = "127.0.0.1"
# Below the range from which kernels take ports for outgoing connections: one could hold ours while a server restarts
_LOWEST, _HIGHEST = 15000, 32000


def remembered_port(file: Path) -> int:
    """Return the port that `file` names when it is free, else a new one, which is then remembered there.

    Raises: ConfigError when no port is free.
    """
    try:
        port = int(file.read_text())
    except (FileNotFoundError, ValueError):
        port = 0
    if _LOWEST <= port <= _HIGHEST and is_free(port):
        return port
    for port in random.sample(range(_LOWEST, _HIGHEST), 200):
        if is_free(port):
            write_private(file, f"{port}\n")
            return port
    raise ConfigError("no free port on 127.0.0.1", place="embedded servers", cure="close other servers")


def free_port(preferred: int) -> int:
    """Return `preferred`, or the next free port after it.

    Raises: ConfigError when none of a hundred is free.
    """
    for port in range(preferred, min(preferred + 100, 65536)):
        if is_free(port):
            return port
    raise ConfigError(f"no port from {preferred} on is free on {LOOPBACK}", place="port", cure="close other servers")


def any_free_port() -> int:
    """Return a port that the kernel calls free."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether a port of loopback can be taken now."""
    return refusal(LOOPBACK, port) is None


def refusal(host: str, port: int) -> str | None:
    """Say why nobody could listen at an address now; None where one could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is not "taken"
        try:
            probe.bind((host, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None
