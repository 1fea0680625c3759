"""Statements on effects: what Symphony wants written to the tracker.

Rows are written with the change that wants them, in order for each issue; one deliverer an issue holds a short lease
on it. A newer move supersedes undelivered older ones. The effect's id is the key by which the tracker's adapter recognises
a write that it has already made; the progress of an issue has one key for ever, and is worded when it is delivered. It
may be late, so that it is not written too often: it neither waits for the other effects nor keeps them waiting. Evidence
waits for what was wanted before it and keeps nothing waiting: a storage that takes no file must not hold up a move.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from symphony.ledger.database import Transaction, new_id
from symphony.ledger.records import Effect, Run, record

PROGRESS_EVERY = timedelta(seconds=10)


def add(
    transaction: Transaction, *, issue_id: UUID, run_id: UUID | None, kind: str, payload: dict[str, Any],
    effect_id: UUID | None = None,
) -> None:  # fmt: skip
    """Want something written; a move supersedes the moves of the same issue that are still pending.

    A move remembers how far the issue's own history was known when it was wanted: `since`, by the tracker's clock.
    `effect_id` is given where a transaction that is run again would else want the same twice.
    """
    known = transaction.value("SELECT changed_at FROM issues WHERE id = :issue_id FOR NO KEY UPDATE", issue_id=issue_id)
    if kind == "move":
        origins = set(payload["from"]).union(*_superseded_origins(transaction, issue_id))
        payload = payload | {"from": sorted(origins), "since": known.isoformat() if known is not None else None}
    transaction.run(
        """
        INSERT INTO effects (id, issue_id, run_id, seq, kind, payload)
        SELECT :id, :issue_id, :run_id, coalesce(max(seq), 0) + 1, :kind, CAST(:payload AS jsonb)
        FROM effects WHERE issue_id = :issue_id
        ON CONFLICT (id) DO NOTHING
        """,
        id=effect_id or new_id(),
        issue_id=issue_id,
        run_id=run_id,
        kind=kind,
        payload=payload,
    )


def _superseded_origins(transaction: Transaction, issue_id: UUID) -> list[list[str]]:
    """End an issue's pending moves, and give out of which states each would have moved it on the way to the next one."""
    rows = transaction.rows(
        "UPDATE effects SET state = 'superseded', settled_at = now() "
        "WHERE issue_id = :issue_id AND kind = 'move' AND state = 'pending' RETURNING payload -> 'from' AS origins",
        issue_id=issue_id,
    )
    return [row.origins for row in rows]


def add_progress_if_told(transaction: Transaction, run: Run) -> None:
    """Want a run's progress written where its workflow tells it, unless that is wanted already."""
    if not transaction.value("SELECT tells_progress FROM workflows WHERE id = :id", id=run.workflow_id):
        return
    transaction.run("SELECT id FROM issues WHERE id = :issue_id FOR NO KEY UPDATE", issue_id=run.issue_id)
    transaction.run(
        """
        INSERT INTO effects (id, issue_id, run_id, seq, kind, payload, due_at)
        SELECT :id, :issue_id, :run_id, coalesce(max(seq), 0) + 1, 'progress', '{}',
          greatest(now(), max(settled_at) FILTER (WHERE kind = 'progress' AND state = 'applied') + :every)
        FROM effects WHERE issue_id = :issue_id HAVING NOT bool_or(kind = 'progress' AND state = 'pending') IS TRUE
        """,
        id=new_id(),
        issue_id=run.issue_id,
        run_id=run.id,
        every=PROGRESS_EVERY,
    )


# An effect's turn: it is due, and no older one of its issue is pending; progress stands beside that order, and nothing
# waits for evidence.
_TURN = """
e.state = 'pending' AND e.due_at <= now() AND (e.kind = 'progress' OR NOT EXISTS (SELECT FROM effects o
  WHERE o.issue_id = e.issue_id AND o.state = 'pending' AND o.kind NOT IN ('progress', 'attach') AND o.seq < e.seq))
"""


def take_issues(transaction: Transaction, *, deliverer: UUID, lease: timedelta, limit: int) -> list[UUID]:
    """Become the one deliverer of issues that have an effect whose turn it is."""
    rows = transaction.rows(
        f"""
        WITH due AS (
          SELECT i.id FROM issues i WHERE i.id IN (SELECT e.issue_id FROM effects e WHERE {_TURN})
            AND (i.deliver_until IS NULL OR i.deliver_until < now())
          ORDER BY i.id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE issues i SET deliverer = :deliverer, deliver_until = now() + :lease FROM due WHERE i.id = due.id
        RETURNING i.id
        """,
        deliverer=deliverer,
        lease=lease,
        limit=limit,
    )
    return [row.id for row in rows]


def next_if_deliverer(transaction: Transaction, issue_id: UUID, deliverer: UUID, lease: timedelta) -> Effect | None:
    """Give the oldest effect whose turn it is, if this is still the issue's deliverer; extends the lease."""
    mine = transaction.run(
        "UPDATE issues SET deliver_until = now() + :lease "
        "WHERE id = :issue_id AND deliverer = :deliverer AND deliver_until > now()",
        issue_id=issue_id,
        deliverer=deliverer,
        lease=lease,
    )
    if not mine:
        return None
    row = transaction.row(
        f"SELECT e.* FROM effects e WHERE e.issue_id = :issue_id AND {_TURN} ORDER BY e.seq LIMIT 1", issue_id=issue_id
    )
    return record(Effect, row) if row is not None else None


def settle_if_pending(transaction: Transaction, effect_id: UUID, state: str, error: str | None = None) -> bool:
    """End an effect as applied, overruled or refused."""
    return bool(
        transaction.run(
            "UPDATE effects SET state = :state, error = :error, settled_at = now(), tries = tries + 1 "
            "WHERE id = :id AND state = 'pending'",
            id=effect_id,
            state=state,
            error=error,
        )
    )


def put_off(transaction: Transaction, effect_id: UUID, error: str, delay: timedelta) -> None:
    """Try an effect again after `delay`; later ones of its issue wait for it."""
    transaction.run(
        "UPDATE effects SET tries = tries + 1, error = :error, due_at = now() + :delay "
        "WHERE id = :id AND state = 'pending'",
        id=effect_id,
        error=error,
        delay=delay,
    )


def release_issue(transaction: Transaction, issue_id: UUID, deliverer: UUID) -> None:
    """Stop being an issue's deliverer."""
    transaction.run(
        "UPDATE issues SET deliverer = NULL, deliver_until = NULL WHERE id = :issue_id AND deliverer = :deliverer",
        issue_id=issue_id,
        deliverer=deliverer,
    )


def newest_comments(transaction: Transaction, run_ids: list[UUID]) -> dict[UUID, tuple[UUID, bool]]:
    """Give the last comment that each of these runs wanted written, and whether it was: of a blocked one, its question."""
    rows = transaction.rows(
        """
        SELECT DISTINCT ON (run_id) run_id, id, state FROM effects
        WHERE run_id = ANY(:run_ids) AND kind = 'comment' ORDER BY run_id, seq DESC
        """,
        run_ids=run_ids,
    )
    return {row.run_id: (row.id, row.state == "applied") for row in rows}
