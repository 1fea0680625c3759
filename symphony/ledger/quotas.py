"""Statements on what trackers still allow a key: shared by all workers of a deployment, so that they slow down together.

Invariant: a refusal closes the key for everybody until the instant that the tracker named, and is never shortened by a
later one. Times are by the database's clock; losing the last note in a crash costs nothing, so it waits for no disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from symphony.domain.allowance import Allowance
from symphony.ledger.database import Transaction


def note(transaction: Transaction, key: str, allowances: Sequence[Allowance]) -> None:
    """Store what an answer said; of two that cross, the one with the later window or the smaller remainder counts."""
    transaction.run("SET LOCAL synchronous_commit = off")
    for one in sorted(allowances, key=lambda allowance: allowance.resource):
        transaction.run(
            """
            INSERT INTO tracker_limits AS l (key, resource, allowed, remaining, reset_at)
            VALUES (:key, :resource, :allowed, :remaining, :reset_at)
            ON CONFLICT (key, resource) DO UPDATE SET allowed = excluded.allowed, remaining = excluded.remaining,
              reset_at = excluded.reset_at, noted_at = now()
            WHERE excluded.reset_at > l.reset_at OR excluded.remaining < l.remaining OR l.reset_at <= now()
            """,
            key=key,
            resource=one.resource,
            allowed=one.limit,
            remaining=one.remaining,
            reset_at=one.reset_at,
        )


def close_until(transaction: Transaction, key: str, instant: datetime) -> None:
    """Let nobody send with a key before this instant."""
    transaction.run(
        """
        INSERT INTO tracker_pauses AS p (key, closed_until) VALUES (:key, :instant)
        ON CONFLICT (key) DO UPDATE SET closed_until = greatest(p.closed_until, excluded.closed_until)
        """,
        key=key,
        instant=instant,
    )


def closed_for(transaction: Transaction, key: str) -> tuple[datetime, timedelta] | None:
    """Give until when, and for how long from now, a key is closed; None: it is open."""
    row = transaction.row(
        "SELECT closed_until, closed_until - clock_timestamp() AS left FROM tracker_pauses "
        "WHERE key = :key AND closed_until > clock_timestamp()",
        key=key,
    )
    return (row.closed_until, row.left) if row is not None else None


def allowances(transaction: Transaction, key: str) -> tuple[datetime, list[Allowance]]:
    """Give the time now, and what is known of a key's budgets."""
    now = transaction.value("SELECT clock_timestamp()")
    rows = transaction.rows("SELECT resource, allowed, remaining, reset_at FROM tracker_limits WHERE key = :key", key=key)
    return now, [Allowance(row.resource, row.allowed, row.remaining, row.reset_at) for row in rows]
