"""Statements on proofs and landings.

A landing's row is the point of no return: it is written by the run's holder before the push and says exactly which
commit may become the target's tip. It is settled forward: landed when the merge is reachable, abandoned when the target
has moved on without it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from symphony.ledger.database import FencedTransaction, Transaction, as_json, new_id
from symphony.ledger.records import Landing, Proof, record


def add_proof(
    transaction: FencedTransaction, *, base_sha: str, head_sha: str, merge_sha: str, tree_sha: str, verdict: str,
    checks: list[dict[str, Any]],
) -> UUID:  # fmt: skip
    """Store the results of the checks on one tree."""
    proof_id = new_id()
    transaction.run(
        """
        INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks)
        VALUES (:id, :run_id, :base_sha, :head_sha, :merge_sha, :tree_sha, :verdict, CAST(:checks AS jsonb))
        """,
        id=proof_id,
        run_id=transaction.run_row.id,
        base_sha=base_sha,
        head_sha=head_sha,
        merge_sha=merge_sha,
        tree_sha=tree_sha,
        verdict=verdict,
        checks=as_json(checks),
    )
    return proof_id


def newest_proof(transaction: Transaction, run_id: UUID) -> Proof | None:
    """Read a run's newest proof."""
    row = transaction.row(
        "SELECT * FROM proofs WHERE run_id = :run_id ORDER BY created_at DESC, id DESC LIMIT 1", run_id=run_id
    )
    return record(Proof, row) if row is not None else None


def published_of_issue(transaction: Transaction, issue_id: UUID) -> set[str]:
    """List the commits at which the runs of an issue left its public branch."""
    rows = transaction.rows(
        "SELECT published_sha FROM runs WHERE issue_id = :issue_id AND published_sha IS NOT NULL", issue_id=issue_id
    )
    return {row.published_sha for row in rows}


def intended(transaction: Transaction, run_id: UUID) -> Landing | None:
    """Read a run's landing whose end is not known yet."""
    row = transaction.row("SELECT * FROM landings WHERE run_id = :run_id AND state = 'intended'", run_id=run_id)
    return record(Landing, row) if row is not None else None


def runs_with_intent(transaction: Transaction, workflow_id: UUID) -> set[UUID]:
    """List the runs of a workflow whose push is intended."""
    rows = transaction.rows(
        "SELECT l.run_id FROM landings l JOIN runs r ON r.id = l.run_id "
        "WHERE l.state = 'intended' AND r.workflow_id = :workflow_id",
        workflow_id=workflow_id,
    )
    return {row.run_id for row in rows}


def intend(transaction: FencedTransaction, proof: Proof) -> Landing | None:
    """Write the row of a landing of exactly what `proof` proved; None while another run's push is intended there."""
    row = transaction.row(
        """
        INSERT INTO landings (id, run_id, proof_id, target, base_sha, head_sha, merge_sha, tree_sha)
        SELECT :id, p.run_id, p.id, r.target, p.base_sha, p.head_sha, p.merge_sha, p.tree_sha
        FROM proofs p JOIN runs r ON r.id = p.run_id
        WHERE p.id = :proof_id AND p.run_id = :run_id AND p.verdict = 'passed'
        ON CONFLICT DO NOTHING RETURNING *
        """,
        id=new_id(),
        proof_id=proof.id,
        run_id=transaction.run_row.id,
    )
    return record(Landing, row) if row is not None else None


def abandon_intended(transaction: FencedTransaction, landing_id: UUID) -> None:
    """End an intended landing without its commit: the target has moved on, or refuses it."""
    transaction.run(
        "UPDATE landings SET state = 'abandoned', settled_at = now() "
        "WHERE id = :id AND run_id = :run_id AND state = 'intended'",
        id=landing_id,
        run_id=transaction.run_row.id,
    )


def land_intended(transaction: Transaction, run_id: UUID) -> str | None:
    """End the intended landing of a run, whose row is locked, as landed; give its commit, None where there is none."""
    commit: str | None = transaction.value(
        "UPDATE landings SET state = 'landed', settled_at = now() "
        "WHERE run_id = :run_id AND state = 'intended' RETURNING merge_sha",
        run_id=run_id,
    )
    return commit
