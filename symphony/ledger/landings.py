"""Statements on proofs and landings.

A landing's row is the point of no return: it is written by the run's holder before the push and says exactly which
commit may become the target's tip. It is settled forward: landed when the merge is reachable, abandoned when the target
has moved on without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from symphony.ledger.database import FencedTransaction, Transaction, as_json, new_id
from symphony.ledger.records import Landing, Proof, record


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof shows beside its checks, each as it is stored; None is unknown or not asked for."""

    key: str | None = None
    flaky: tuple[str, ...] = ()
    protected: dict[str, Any] | None = None
    lost_tests: dict[str, Any] | None = None
    complexity: dict[str, Any] | None = None
    walkthrough: dict[str, Any] | None = None
    cases: dict[str, list[str]] | None = None


NOTHING_MORE = Evidence()


def add_proof(
    transaction: FencedTransaction, *, base_sha: str, head_sha: str, merge_sha: str, tree_sha: str, verdict: str,
    checks: list[dict[str, Any]], evidence: Evidence = NOTHING_MORE,
) -> UUID:  # fmt: skip
    """Store the results of the checks on one tree."""
    proof_id = new_id()
    documents = {
        name: as_json(document) if (document := getattr(evidence, name)) is not None else None
        for name in ("protected", "lost_tests", "complexity", "walkthrough", "cases")
    }
    transaction.run(
        """
        INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks, key, flaky, protected,
          lost_tests, complexity, walkthrough, cases)
        VALUES (:id, :run_id, :base_sha, :head_sha, :merge_sha, :tree_sha, :verdict, CAST(:checks AS jsonb), :key,
          CAST(:flaky AS text[]), CAST(:protected AS jsonb), CAST(:lost_tests AS jsonb), CAST(:complexity AS jsonb),
          CAST(:walkthrough AS jsonb), CAST(:cases AS jsonb))
        """,
        id=proof_id,
        run_id=transaction.run_row.id,
        base_sha=base_sha,
        head_sha=head_sha,
        merge_sha=merge_sha,
        tree_sha=tree_sha,
        verdict=verdict,
        checks=as_json(checks),
        key=evidence.key,
        flaky=list(evidence.flaky),
        **documents,
    )
    return proof_id


def proof_of(transaction: Transaction, landing: Landing) -> Proof:
    """Read the proof that a landing rests on."""
    row = transaction.row("SELECT * FROM proofs WHERE id = :id", id=landing.proof_id)
    assert row is not None
    return record(Proof, row)


def failed_on_tree(transaction: Transaction, tree_sha: str) -> set[tuple[str, str]]:
    """Name the checks, with their commands, that were red in an earlier proof of the same tree."""
    rows = transaction.rows(
        """
        SELECT DISTINCT c ->> 'name' AS name, c ->> 'command' AS command
        FROM proofs p CROSS JOIN jsonb_array_elements(p.checks) c
        WHERE p.tree_sha = :tree_sha AND c ->> 'verdict' <> 'passed'
        """,
        tree_sha=tree_sha,
    )
    return {(row.name, row.command) for row in rows}


def cases_of_tree(transaction: Transaction, tree_sha: str) -> dict[str, list[str]] | None:
    """Give the tests of a proved tree by outcome; None where no reports told them."""
    found: dict[str, list[str]] | None = transaction.value(
        "SELECT cases FROM proofs WHERE tree_sha = :tree_sha AND cases IS NOT NULL ORDER BY created_at DESC LIMIT 1",
        tree_sha=tree_sha,
    )
    return found


def is_decided(transaction: Transaction, proof: Proof) -> bool:
    """Tell whether a person let the run's present head land after having been shown what its protected files hide."""
    return bool(
        transaction.value(
            """
            SELECT EXISTS (SELECT FROM proofs p JOIN runs r ON r.id = p.run_id
              WHERE p.run_id = :run_id AND p.head_sha = :head_sha AND p.protected ->> 'verdict' = 'failed'
                AND p.created_at < r.approved_at)
            """,
            run_id=proof.run_id,
            head_sha=proof.head_sha,
        )
    )


def newest_proof(transaction: Transaction, run_id: UUID) -> Proof | None:
    """Read a run's newest proof."""
    row = transaction.row(
        "SELECT * FROM proofs WHERE run_id = :run_id ORDER BY created_at DESC, id DESC LIMIT 1", run_id=run_id
    )
    return record(Proof, row) if row is not None else None


def proof_of_newest_attempt(transaction: Transaction, run_id: UUID) -> Proof | None:
    """Read the proof that a run's newest attempt made, if it made one."""
    row = transaction.row(
        """
        SELECT p.* FROM proofs p WHERE p.run_id = :run_id
          AND p.created_at >= (SELECT max(started_at) FROM attempts WHERE run_id = :run_id)
        ORDER BY p.created_at DESC, p.id DESC LIMIT 1
        """,
        run_id=run_id,
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
