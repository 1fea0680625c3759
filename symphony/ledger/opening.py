"""Opening the ledger for a command or the status API: one try, one clear answer.

Invariant: who gets a `Database` here talks to a server that answered just now and has exactly this build's schema. The
command line and the status API rely on it; workers wait for a database instead.
"""

from __future__ import annotations

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
    try:
        database = Database(database_url, pool_size=pool_size, application=application)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "the database URL cannot be read", place=_PLACE, cure="use postgresql://user:password@host:port/database"
        ) from error
    try:
        with database.connection() as connection:
            require_current(connection)
    except DBAPIError as error:
        database.close()
        reason = " ".join(str(error.orig).split())
        raise Transient(f"the database at {database.host} does not answer: {reason}", category=UNREACHABLE) from error
    except BaseException:
        database.close()
        raise
    return database
