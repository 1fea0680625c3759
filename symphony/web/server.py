"""The process of the status API, or of webhooks alone: uvicorn on one address, ended by a signal without a complaint."""

from __future__ import annotations

import signal
import socket

import uvicorn
from starlette.applications import Starlette

from symphony.domain.errors import ConfigError
from symphony.ledger.database import Database
from symphony.settings import Settings
from symphony.web.api import LOOPBACK_NAMES, create_app

_GOING_AWAY_S = 2


def listen(host: str, port: int, *, place: str = "status API") -> socket.socket:
    """Take the address; port 0 is a free one, `place` what it is for.

    Raises:
        ConfigError: it is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Asked for by its number, so that asyncio knows a TCP socket and lets no answer wait for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"port {port} on {host} cannot be used: {reason.lower()}",
            place=place,
            cure="choose another with --port, or 0 for a free one",
            category="port_taken",
        ) from error
    return listening


def serve(database: Database, settings: Settings, listening: socket.socket, *, host: str) -> None:
    """Answer with the status API until a signal comes."""
    run(create_app(database, settings, loopback_only=host in LOOPBACK_NAMES), listening)


def run(app: Starlette, listening: socket.socket) -> None:
    """Answer with an application until a signal comes."""
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has ended
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GOING_AWAY_S)
    uvicorn.Server(config).run(sockets=[listening])
