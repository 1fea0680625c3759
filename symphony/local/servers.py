"""The two servers that Symphony needs: those that the settings name, else embedded ones.

Invariant: where a url is set, nothing is started for it. `up` and `demo` rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from symphony.domain.errors import ConfigError, Transient
from symphony.ledger.opening import ensure_answers
from symphony.local.binaries import server_environment
from symphony.local.broker import ensure_broker_answers
from symphony.local.child import Child
from symphony.local.home import Home
from symphony.local.postgres import PostgresServer
from symphony.local.supervisor import Supervisor
from symphony.local.valkey import ValkeyServer
from symphony.settings import Settings

_START = timedelta(seconds=120)  # a crash recovery replays the log first
_STOP_RANKS = {"valkey": 1, "postgres": 2}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the database and the broker are."""

    database_url: str
    broker_url: str

    def environment(self) -> dict[str, str]:
        """Return what children need in their environment to find both."""
        return {"SYMPHONY_DATABASE_URL": self.database_url, "SYMPHONY_BROKER_URL": self.broker_url}


def ensure_given_answer(settings: Settings) -> None:
    """Ask the servers that the settings name, before anything is made for them.

    Raises:
        ConfigError: one does not answer, or its url names none.
    """
    if settings.database_url is not None:
        try:
            ensure_answers(settings.database_url)
        except Transient as error:
            raise ConfigError(
                error.message,
                place="SYMPHONY_DATABASE_URL",
                cure="start it, correct the URL, or unset it to use an embedded one",
            ) from error
    if settings.broker_url is not None:
        ensure_broker_answers(settings.broker_url)


def serve(supervisor: Supervisor, home: Home, settings: Settings) -> Endpoints:
    """Start a server for each url that the settings leave open, and return both urls when both are ready.

    Raises: ConfigError when one cannot start.
    """
    postgres, valkey = PostgresServer(home), ValkeyServer(home)
    embedded: list[PostgresServer | ValkeyServer] = []
    embedded += [] if settings.database_url else [postgres]
    embedded += [] if settings.broker_url else [valkey]
    for server in embedded:
        server.prepare()
        supervisor.add(
            Child(
                name=server.name,
                command=server.command,
                env=server_environment(),
                cwd=home.path,
                ready=server.ready,
                stop_signal=server.stop_signal,
                grace=server.grace,
                stop_rank=_STOP_RANKS[server.name],
            )
        )
    for server in embedded:
        supervisor.wait_ready(server.name, _START)
    return Endpoints(settings.database_url or postgres.url, settings.broker_url or valkey.url)
