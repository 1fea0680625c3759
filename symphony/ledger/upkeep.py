"""What a node may throw away: issues whose runs are over, runs that have ended, and for how long.

Invariant: ages are by the database's clock; what has a live run is never said to be over. `symphony clean` relies on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from symphony.ledger.database import Transaction
from symphony.ledger.records import record


@dataclass(frozen=True, slots=True)
class Worked:
    """An issue that has had a run; `over_for` is since its newest run's end, None while one lives."""

    issue_id: UUID
    workflow_id: UUID
    workflow: str
    identifier: str
    issue_state: str
    run_number: int
    run_state: str
    over_for: timedelta | None
    was_here: bool
    """Whether a run of it had its workspace on this node."""


def worked_issues(transaction: Transaction, node: str) -> list[Worked]:
    """List every issue that has had a run."""
    rows = transaction.rows(
        """
        SELECT i.id AS issue_id, i.workflow_id, w.name AS workflow, i.identifier, i.state AS issue_state,
          last.number AS run_number, last.state AS run_state,
          CASE WHEN NOT EXISTS (SELECT FROM runs l WHERE l.issue_id = i.id
            AND l.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')) THEN now() - last.finished_at END
            AS over_for,
          EXISTS (SELECT FROM runs n WHERE n.issue_id = i.id AND n.node = :node) AS was_here
        FROM issues i JOIN workflows w ON w.id = i.workflow_id
        JOIN LATERAL (SELECT * FROM runs r WHERE r.issue_id = i.id ORDER BY r.number DESC LIMIT 1) last ON true
        ORDER BY i.identifier, i.id
        """,
        node=node,
    )
    return [record(Worked, row) for row in rows]


def mark_for_cleaning_if_over(transaction: Transaction, issue_id: UUID, node: str) -> bool:
    """Have the workspace of an issue removed from a node; False when the issue has a live run."""
    return bool(
        transaction.run(
            """
            UPDATE runs SET clean_due = true WHERE issue_id = :issue_id AND node = :node AND finished_at IS NOT NULL
              AND NOT EXISTS (SELECT FROM runs l WHERE l.issue_id = :issue_id
                AND l.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
            """,
            issue_id=issue_id,
            node=node,
        )
    )


def ended_runs(transaction: Transaction, run_ids: Iterable[UUID]) -> dict[UUID, tuple[str, timedelta]]:
    """Give state and age of those of these runs that have ended; unknown ones are left out."""
    rows = transaction.rows(
        "SELECT id, state, now() - finished_at AS over_for FROM runs WHERE id = ANY(:ids) AND finished_at IS NOT NULL",
        ids=list(run_ids),
    )
    return {row.id: (row.state, row.over_for) for row in rows}
