"""Statements on the pace of requests to models: one row for each key, shared by all workers of a deployment.

Invariant: who changes a pace (`domain.pace`) holds the lock of its row, by the database's clock; nothing else may be
done in that transaction, for the row is everybody's. Losing the last instant of it in a crash costs nothing, so these
commits wait for no disk. Agents rely on it not to stampede.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Row

from symphony.domain.pace import START_PER_SECOND, Pace
from symphony.ledger.database import Database, Transaction
from symphony.ledger.records import record

LOOK_AGAIN = timedelta(seconds=1)
"""The longest that anybody waits without looking whether the pace has changed; most look earlier, not all at once."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in the queue of a key: `wait` is how long until it comes, as things stand now; zero: send."""

    ticket: float
    wait: timedelta


def key_of(*parts: str) -> str:
    """Give the key of a limit from what it belongs to (endpoint, secret, model), without keeping any of it."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def reserve(transaction: Transaction, key: str) -> Turn:
    """Queue up for one request."""
    pace, now = _lock(transaction, key)
    pace = pace.reserved(now)
    _store(transaction, key, pace)
    return Turn(pace.issued, timedelta(seconds=pace.wait_s(pace.issued, now)))


def look_again(transaction: Transaction, key: str, turn: Turn) -> Turn:
    """Say how long a turn is away now."""
    found = transaction.row(f"{_READ} WHERE key = :key", key=key)
    if found is None:
        return Turn(turn.ticket, timedelta())
    pace, now = _pace(found)
    return Turn(turn.ticket, timedelta(seconds=pace.wait_s(turn.ticket, now)))


def wait_for_turn(database: Database, key: str, wait: Callable[[timedelta], None]) -> None:
    """Queue up and return when the request may be sent; `wait` waits so long, and raises to give up."""
    turn = database.transact(lambda transaction: reserve(transaction, key))
    while turn.wait:
        wait(min(turn.wait, LOOK_AGAIN * random.uniform(0.5, 1)))  # noqa: S311
        turn = _looked_again(database, key, turn)


def note_limited(
    transaction: Transaction, key: str, retry_after: timedelta | None, *, sent_ago: timedelta = timedelta(seconds=1)
) -> None:
    """Slow everybody down: the provider refused for its rate what was sent `sent_ago`."""
    pace, now = _lock(transaction, key)
    pause_s = retry_after.total_seconds() if retry_after is not None else None
    _store(transaction, key, pace.limited(now, sent_at=now - sent_ago.total_seconds(), pause_s=pause_s))


def note_accepted(transaction: Transaction, key: str) -> None:
    """Take in that a request was let through; writes nothing unless somebody waits for a turn."""
    found = transaction.row(f"{_READ} WHERE key = :key", key=key)
    if found is None:
        return
    pace, now = _pace(found)
    if pace.accepted(now) == pace:
        return
    pace, now = _lock(transaction, key)
    _store(transaction, key, pace.accepted(now))


def paces(transaction: Transaction) -> dict[str, Pace]:
    """Read all paces, for those who ask why agents wait; instants are seconds since 1970."""
    return {row.key: _pace(row)[0] for row in transaction.rows(f"{_READ} ORDER BY key")}


_COLUMNS = """key, per_second, served, issued, CAST(extract(epoch FROM served_at) AS float8) AS served_at,
  CAST(extract(epoch FROM paused_until) AS float8) AS paused_until,
  CAST(extract(epoch FROM limited_at) AS float8) AS limited_at,
  CAST(extract(epoch FROM clock_timestamp()) AS float8) AS now"""
_READ = f"SELECT {_COLUMNS} FROM model_limits"


def _pace(row: Row[tuple[object, ...]]) -> tuple[Pace, float]:
    return record(Pace, row), float(row.now)


def _lock(transaction: Transaction, key: str) -> tuple[Pace, float]:
    """Lock the row of a key, new where there is none, and read it with the clock."""
    transaction.run("SET LOCAL synchronous_commit = off")
    locking = f"{_READ} WHERE key = :key FOR NO KEY UPDATE"
    row = transaction.row(locking, key=key)
    if row is None:
        transaction.run(
            "INSERT INTO model_limits (key, per_second) VALUES (:key, :pace) ON CONFLICT (key) DO NOTHING",
            key=key,
            pace=START_PER_SECOND,
        )
        row = transaction.row(locking, key=key)
    assert row is not None
    return _pace(row)


def _store(transaction: Transaction, key: str, pace: Pace) -> None:
    transaction.run(
        """
        UPDATE model_limits SET per_second = :per_second, served = :served, served_at = to_timestamp(:served_at),
          issued = :issued, paused_until = to_timestamp(:paused_until), limited_at = to_timestamp(:limited_at),
          updated_at = clock_timestamp()
        WHERE key = :key
        """,
        key=key,
        per_second=pace.per_second,
        served=pace.served,
        served_at=pace.served_at,
        issued=pace.issued,
        paused_until=pace.paused_until,
        limited_at=pace.limited_at,
    )


def _looked_again(database: Database, key: str, turn: Turn) -> Turn:
    return database.transact(lambda transaction: look_again(transaction, key, turn))
