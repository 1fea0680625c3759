"""Connections and transactions: the only door to PostgreSQL.

Invariants: no session outlives its time-outs; a transaction is retried as a whole only after a serialisation failure,
a deadlock or a lost connection, so its body must read before it writes; whoever changes a run that a worker holds does
it through `fenced`, which locks the run's row by its token first (a token tested any later lets a stale writer
through under READ COMMITTED). Everyone above the ledger relies on this.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Row, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from uuid_utils.compat import uuid7

from symphony.domain.errors import ConfigError, Fenced, Transient

T = TypeVar("T")
Params = Any

_RETRIED_SQLSTATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03"})
_TRIES = 4
UNREACHABLE = "database_unreachable"
"""The category of the errors that end when the database comes back."""
_SESSION = (
    "-c statement_timeout=5000 -c lock_timeout=4000 -c idle_in_transaction_session_timeout=5000 "
    "-c default_transaction_isolation=read\\ committed -c timezone=UTC"
)
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10000,
    "connect_timeout": 5,
}

logger = logging.getLogger(__name__)


def driver_url(database_url: str) -> str:
    """Give the URL with the driver that this build uses.

    Raises:
        ConfigError: it is no PostgreSQL URL.
    """
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ConfigError(
            "the database URL does not name PostgreSQL",
            place="SYMPHONY_DATABASE_URL",
            cure="use postgresql://USER@HOST:PORT/DATABASE",
        )
    return f"postgresql+psycopg://{rest}"


def new_id() -> UUID:
    """Make a time-ordered id (UUIDv7, RFC 9562)."""
    return uuid7()


class Transaction:
    """One open transaction; statements are text with named parameters, dicts and lists of dicts go as JSON."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, **parameters: Params) -> list[Row[Any]]:
        """Run a statement and give all rows."""
        return list(self._connection.execute(text(statement), _encoded(parameters)))

    def row(self, statement: str, **parameters: Params) -> Row[Any] | None:
        """Run a statement and give its first row, or None."""
        return self._connection.execute(text(statement), _encoded(parameters)).first()

    def value(self, statement: str, **parameters: Params) -> Any:
        """Run a statement and give the first value of its first row, or None."""
        return self._connection.execute(text(statement), _encoded(parameters)).scalar()

    def run(self, statement: str, **parameters: Params) -> int:
        """Run a statement and give the number of rows that it touched."""
        return self._connection.execute(text(statement), _encoded(parameters)).rowcount


class FencedTransaction(Transaction):
    """A transaction that holds the lock of a run's row under the token of its holder; `run_row` is that row."""

    def __init__(self, connection: Connection, run_row: Row[Any]) -> None:
        super().__init__(connection)
        self.run_row = run_row


@dataclass(frozen=True, slots=True)
class Held:
    """A run and the token under which its holder may write."""

    run_id: UUID
    token: int


def as_json(value: Params) -> str:
    """Give a value as JSON that PostgreSQL can keep; for lists that may be empty, which else go as arrays."""
    return json.dumps(_storable(value))


def _encoded(parameters: dict[str, Params]) -> dict[str, Params]:
    return {
        name: as_json(value) if isinstance(value, dict) or _is_records(value) else _storable(value)
        for name, value in parameters.items()
    }


def _is_records(value: Params) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _storable(value: Params) -> Params:
    """Replace what no text of PostgreSQL can hold: an agent's odd byte must not keep a run from being settled."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(name): _storable(item) for name, item in value.items()}
        case _:
            return value


def is_worth_another_try(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when it is run again."""
    if not isinstance(error, DBAPIError):
        return False
    sqlstate = getattr(error.orig, "sqlstate", None)
    unspoken = sqlstate is None and isinstance(error, OperationalError | InterfaceError)
    return error.connection_invalidated or sqlstate in _RETRIED_SQLSTATES or unspoken


class Database:
    """A pool of connections; one in each process."""

    def __init__(self, database_url: str, *, pool_size: int = 5, application: str = "symphony") -> None:
        self._engine = create_engine(
            driver_url(database_url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            pool_recycle=1800,
            connect_args={"options": _SESSION, "application_name": application, **_KEEPALIVE},
        )
        self.host = make_url(driver_url(database_url)).host or "localhost"

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run `body` in one transaction, again as a whole when that can help.

        Raises:
            Transient: the database cannot be reached or stays contended.
        """
        return self._again(lambda: self._once(body))

    def fenced(self, held: Held, body: Callable[[FencedTransaction], T]) -> T:
        """Run `body` holding the lock of the run's row under `held.token`: the one way a stage writes.

        Raises:
            Fenced: the run has another owner; nothing was written.
            Transient: the database cannot be reached or stays contended.
        """

        def locked(transaction: Transaction) -> T:
            row = transaction.row(
                "SELECT * FROM runs WHERE id = :run_id AND token = :token FOR NO KEY UPDATE",
                run_id=held.run_id,
                token=held.token,
            )
            if row is None:
                raise Fenced(f"run {held.run_id} no longer has token {held.token}")
            return body(FencedTransaction(transaction._connection, row))

        return self.transact(locked)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection, for schema checks and the renewal of leases."""
        with self._engine.connect() as connection:
            yield connection

    def _once(self, body: Callable[[Transaction], T]) -> T:
        with self._engine.begin() as connection:
            return body(Transaction(connection))

    @staticmethod
    def _again(attempt: Callable[[], T]) -> T:
        retrying = Retrying(
            retry=retry_if_exception(is_worth_another_try),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            stop=stop_after_attempt(_TRIES),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except (DBAPIError, PoolTimeout) as error:
            if not (isinstance(error, OperationalError | InterfaceError | PoolTimeout) or is_worth_another_try(error)):
                raise
            raise Transient(f"the database does not answer: {error}", category=UNREACHABLE) from error
