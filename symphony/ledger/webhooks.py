"""Statements on webhooks: which deliveries have been heard, and the ring that each of them is.

Invariant: a delivery rings once, however often it comes; rings coalesce, so that a storm of them is no storm of polls.
Relied on by `engine/ring.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from symphony.ledger.database import Transaction


def note_if_new(transaction: Transaction, source: str, delivery: str) -> bool:
    """Remember a delivery; False when it has been heard before."""
    return bool(
        transaction.run(
            "INSERT INTO webhook_deliveries (source, delivery) VALUES (:source, :delivery) ON CONFLICT DO NOTHING",
            source=source,
            delivery=delivery,
        )
    )


def ring(transaction: Transaction, workflow_ids: Collection[UUID]) -> int:
    """Ask for a poll of these workflows, as soon as polls may follow each other."""
    return transaction.run(
        """
        UPDATE workflows SET poll_due_at = greatest(now(), quiet_until)
        WHERE id = ANY(:ids) AND poll_due_at > greatest(now(), quiet_until)
        """,
        ids=sorted(workflow_ids),
    )


def prune(transaction: Transaction, batch: int = 1000) -> int:
    """Forget deliveries after a day, at most a batch."""
    return transaction.run(
        "DELETE FROM webhook_deliveries WHERE (source, delivery) IN (SELECT source, delivery FROM webhook_deliveries "
        "WHERE at < now() - interval '1 day' LIMIT :batch)",
        batch=batch,
    )
