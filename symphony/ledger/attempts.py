"""Statements on attempts: one row for each time that a stage was begun."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from symphony.ledger import usage
from symphony.ledger.database import Transaction
from symphony.ledger.records import Run


def begin(transaction: Transaction, run: Run, *, version_id: UUID, node: str, sandbox: str) -> int:
    """Write the row of the attempt that a claim began and give its number within the stage (1-based)."""
    number = transaction.value(
        """
        INSERT INTO attempts (id, run_id, stage, number, token, node, process_id, version_id, sandbox)
        SELECT :id, :run_id, :stage, coalesce(max(number), 0) + 1, :token, :node, :process_id, :version_id, :sandbox
        FROM attempts WHERE run_id = :run_id AND stage = :stage
        ON CONFLICT (id) DO UPDATE SET node = excluded.node
        RETURNING number
        """,
        id=run.attempt_id,
        run_id=run.id,
        stage=str(run.stage),
        token=run.token,
        node=node,
        process_id=run.process_id,
        version_id=version_id,
        sandbox=sandbox,
    )
    return int(number)


def end(transaction: Transaction, attempt_id: UUID | None, outcome: str, error: str | None) -> None:
    """End an attempt and what it asked a model; its turns and tokens are what its lease brought to the run's row."""
    if attempt_id is None:
        return
    usage.end_with_attempt(transaction, attempt_id)
    transaction.run(
        """
        UPDATE attempts a SET finished_at = now(), outcome = :outcome, error = :error, turns = r.turns,
          input_tokens = r.input_tokens, output_tokens = r.output_tokens
        FROM runs r WHERE a.id = :attempt_id AND r.id = a.run_id AND a.finished_at IS NULL
        """,
        attempt_id=attempt_id,
        outcome=outcome,
        error=error,
    )


def round_began_at(transaction: Transaction, run_id: UUID) -> datetime | None:
    """Say when an agent of the run last ended its work, which begins the present round; None in the first one."""
    found: datetime | None = transaction.value(
        """
        SELECT max(finished_at) FROM attempts
        WHERE run_id = :run_id AND stage = 'agent' AND outcome NOT IN ('retry', 'interrupted', 'lost', 'park')
        """,
        run_id=run_id,
    )
    return found


def still_open(transaction: Transaction, attempt_ids: Iterable[UUID]) -> set[UUID]:
    """Give those of these attempts that have not ended."""
    rows = transaction.rows("SELECT id FROM attempts WHERE id = ANY(:ids) AND finished_at IS NULL", ids=list(attempt_ids))
    return {row.id for row in rows}
