"""Statements on sessions: conversations that a tracker opened with the agent of an issue.

A session is `opened` by a webhook, `greeted` once its workflow is known and we have said something, `closed` when its run
ended for good or nobody serves its issue. Whoever speaks in one takes it first, by its due time, for the length of a lease.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from symphony.ledger.database import Transaction
from symphony.ledger.records import record

_LIVE = "('queued', 'running', 'waiting', 'blocked', 'reviewing')"
# A run of the session's issue that lives.
_HAS_LIVE_RUN = f"""
EXISTS (SELECT FROM issues i JOIN runs r ON r.issue_id = i.id
  WHERE i.workflow_id = s.workflow_id AND i.tracker_id = s.tracker_id AND r.state IN {_LIVE})
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A row of `agent_sessions`."""

    id: str
    tracker_id: str
    candidates: list[UUID]
    workflow_id: UUID | None
    state: str
    tries: int
    opened_at: datetime
    spoken_at: datetime | None


def open_unless_known(transaction: Transaction, session_id: str, *, tracker_id: str, candidates: Collection[UUID]) -> bool:
    """Begin a session; False when it is known already."""
    return bool(
        transaction.run(
            "INSERT INTO agent_sessions (id, tracker_id, candidates) "
            "VALUES (:id, :tracker_id, CAST(:candidates AS uuid[])) ON CONFLICT DO NOTHING",
            id=session_id,
            tracker_id=tracker_id,
            candidates=sorted(candidates),
        )
    )


def reopen_if_unheard(transaction: Transaction, session_id: str, *, candidates: Collection[UUID]) -> bool:
    """Have a session greeted again in which a person spoke while its issue has no live run that would hear it."""
    return bool(
        transaction.run(
            f"""
            UPDATE agent_sessions s SET state = 'opened', workflow_id = NULL, candidates = CAST(:candidates AS uuid[]),
              tries = 0, due_at = now(), opened_at = now(), error = NULL
            WHERE id = :id AND state <> 'opened' AND (state = 'closed' OR NOT {_HAS_LIVE_RUN})
            """,
            id=session_id,
            candidates=sorted(candidates),
        )
    )


def take_opened(transaction: Transaction, *, lease: timedelta, limit: int) -> list[Session]:
    """Take sessions that are to be greeted, the oldest first; one that is a day old is nobody's concern any more."""
    return _taken(transaction, "s.state = 'opened' AND s.opened_at > now() - interval '1 day'", lease, limit)


def take_silent(transaction: Transaction, *, silence: timedelta, lease: timedelta, limit: int) -> list[Session]:
    """Take greeted sessions in which nothing was said for so long although a run of their issue is at work."""
    at_work = _HAS_LIVE_RUN.replace(_LIVE, "('queued', 'running', 'waiting')")
    since = f"s.state = 'greeted' AND s.spoken_at < now() - CAST(:silence AS interval) AND {at_work}"
    return _taken(transaction, since, lease, limit, silence=silence)


def _taken(transaction: Transaction, which: str, lease: timedelta, limit: int, **parameters: timedelta) -> list[Session]:
    rows = transaction.rows(
        f"""
        WITH due AS (SELECT s.id FROM agent_sessions s WHERE {which} AND s.due_at <= now()
          ORDER BY s.opened_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE agent_sessions s SET due_at = now() + :lease, tries = tries + 1 FROM due WHERE s.id = due.id RETURNING s.*
        """,
        lease=lease,
        limit=limit,
        **parameters,
    )
    return sorted((record(Session, row) for row in rows), key=lambda session: session.opened_at)


def greet_if_opened(transaction: Transaction, session: Session, workflow_id: UUID) -> bool:
    """Say that a session was greeted, for the workflow in whose scope its issue is; False when it was opened anew since."""
    return bool(
        transaction.run(
            "UPDATE agent_sessions SET state = 'greeted', workflow_id = :workflow_id, spoken_at = now(), due_at = now(), "
            "tries = 0, error = NULL WHERE id = :id AND state = 'opened' AND opened_at = :opened_at",
            id=session.id,
            opened_at=session.opened_at,
            workflow_id=workflow_id,
        )
    )


def close_if_opened(transaction: Transaction, session: Session, reason: str) -> bool:
    """End a session in which there is nothing to do; False when it was opened anew since."""
    return bool(
        transaction.run(
            "UPDATE agent_sessions SET state = 'closed', error = :reason "
            "WHERE id = :id AND state = 'opened' AND opened_at = :opened_at",
            id=session.id,
            opened_at=session.opened_at,
            reason=reason,
        )
    )


def put_off(transaction: Transaction, session_id: str, error: str, delay: timedelta) -> None:
    """Let a session that was taken be taken again after `delay`."""
    transaction.run(
        "UPDATE agent_sessions SET due_at = now() + :delay, error = :error WHERE id = :id",
        id=session_id,
        error=error,
        delay=delay,
    )


def note_spoken(transaction: Transaction, session_id: str) -> None:
    """Remember that something was said in a session just now."""
    transaction.run(
        "UPDATE agent_sessions SET spoken_at = now(), due_at = now(), tries = 0 WHERE id = :id AND state = 'greeted'",
        id=session_id,
    )


def greeted_of(transaction: Transaction, issue_id: UUID) -> list[str]:
    """List the sessions of an issue in which its run is spoken of."""
    rows = transaction.rows(
        """
        SELECT s.id FROM agent_sessions s JOIN issues i ON i.workflow_id = s.workflow_id AND i.tracker_id = s.tracker_id
        WHERE i.id = :issue_id AND s.state = 'greeted' ORDER BY s.opened_at, s.id
        """,
        issue_id=issue_id,
    )
    return [row.id for row in rows]


def close(transaction: Transaction, session_ids: list[str]) -> None:
    """End sessions whose run has ended for good."""
    transaction.run("UPDATE agent_sessions SET state = 'closed' WHERE id = ANY(:ids)", ids=session_ids)


def heard_by_live_runs(transaction: Transaction, workflow_id: UUID) -> list[tuple[str, UUID]]:
    """List the greeted sessions of a workflow whose issues have live runs: session and run."""
    rows = transaction.rows(
        f"""
        SELECT s.id, r.id AS run_id FROM agent_sessions s
        JOIN issues i ON i.workflow_id = s.workflow_id AND i.tracker_id = s.tracker_id JOIN runs r ON r.issue_id = i.id
        WHERE s.workflow_id = :workflow_id AND s.state = 'greeted' AND r.state IN {_LIVE} ORDER BY s.opened_at, s.id
        """,
        workflow_id=workflow_id,
    )
    return [(row.id, row.run_id) for row in rows]


def prune(transaction: Transaction, batch: int = 1000) -> int:
    """Forget sessions after 30 days of silence, at most a batch; none whose issue has a live run."""
    return transaction.run(
        f"""
        DELETE FROM agent_sessions WHERE id IN (SELECT s.id FROM agent_sessions s
          WHERE greatest(s.opened_at, s.spoken_at) < now() - interval '30 days' AND NOT {_HAS_LIVE_RUN} LIMIT :batch)
        """,
        batch=batch,
    )
