"""Opening the ledger for a command or the status API: one try, one clear answer.

Invariant: who gets a `Database` here talks to a server that answered just now and has exactly this build's schema. The
command line and the status API rely on it; workers wait for a database instead.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError

from symphony.domain.errors import ConfigError, Transient
from symphony.ledger.database import UNREACHABLE, Database
from symphony.ledger.schema import require_current

_PLACE = "SYMPHONY_DATABASE_URL"


def open_current(database_url: str, *, pool_size: int, application: str) -> Database:
    """Connect once and check the schema.

    Raises:
        ConfigError: the url is none, or the schema is not this build's.
        Transient: the server does not answer, or refuses us.
    """
    return _opened(database_url, require_current, pool_size=pool_size, application=application)


def ensure_answers(database_url: str) -> None:
    """Connect once, whatever the schema: who upgrades it wants to know whether there is a server first.

    Raises:
        ConfigError: the url is none.
        Transient: the server does not answer, or refuses us.
    """
    _opened(database_url, lambda _: None, pool_size=1, application="symphony command").close()


def _opened(database_url: str, demand: Callable[[Connection], None], *, pool_size: int, application: str) -> Database:
    try:
        database = Database(database_url, pool_size=pool_size, application=application)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "the database URL cannot be read", place=_PLACE, cure="use postgresql://USER@HOST:PORT/DATABASE"
        ) from error
    try:
        with database.connection() as connection:
            demand(connection)
    except DBAPIError as error:
        database.close()
        reason = " ".join(str(error.orig).split())
        raise Transient(f"the database at {database.host} does not answer: {reason}", category=UNREACHABLE) from error
    except BaseException:
        database.close()
        raise
    return database
