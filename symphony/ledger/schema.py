"""The schema's version: upgrading it, and refusing to work on a foreign one.

Only `up` and `db upgrade` migrate, under an advisory lock, so that two that start together do it once. Everyone else
calls `require_current` and stops with a sentence when the database is older or newer than this build. Only who migrates
pays for Alembic: every worker reads the version at its start, from the table and the names of the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from symphony.domain.errors import ConfigError, Transient
from symphony.ledger.database import driver_url

if TYPE_CHECKING:
    from alembic.config import Config

_ADVISORY_LOCK = 0x53796D70
_OLDEST_SERVER = 15
_MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def known_revisions() -> tuple[str, ...]:
    """Name this build's revisions, newest first; each is what its file's name begins with."""
    names = sorted(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    return tuple(name.partition("_")[0] for name in reversed(names))


def current_revision(connection: Connection) -> str | None:
    """Read the revision of a database; None before the first migration."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(database_url: str) -> None:
    """Bring the database to this build's schema.

    Raises:
        ConfigError: the server is too old, or the database was made by a newer Symphony.
        Transient: the server cannot be reached.
    """
    engine = create_engine(driver_url(database_url), poolclass=NullPool, connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as connection:
            _refuse_old_server(connection)
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
            revision = current_revision(connection)
            connection.commit()
            _refuse_newer(revision)
            if revision != known_revisions()[0]:
                from alembic import command

                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
    except OperationalError as error:
        raise Transient(f"the database cannot be reached: {error.orig}") from error
    finally:
        engine.dispose()


def require_current(connection: Connection) -> None:
    """Refuse a database whose schema is not this build's.

    Raises:
        ConfigError: it is older (with the cure) or newer.
    """
    revision = current_revision(connection)
    _refuse_newer(revision)
    if revision != known_revisions()[0]:
        raise ConfigError(
            f"the database has schema {revision or 'none'}, this build needs {known_revisions()[0]}",
            cure="run `symphony db upgrade`",
        )


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in known_revisions():
        raise ConfigError(
            f"the database has schema {revision}, which this build does not know",
            cure="it was made by a newer Symphony: use that version, or another SYMPHONY_HOME or database",
        )


def _refuse_old_server(connection: Connection) -> None:
    major = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10000
    connection.commit()
    if major < _OLDEST_SERVER:
        raise ConfigError(
            f"the database server is PostgreSQL {major}, Symphony needs {_OLDEST_SERVER} or newer",
            cure="upgrade the server, or unset SYMPHONY_DATABASE_URL to use the embedded one",
        )
