"""What the ledger keeps of landings, for those who compare it with a repository. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from symphony.ledger.database import Transaction
from symphony.ledger.records import record


@dataclass(frozen=True, slots=True)
class StoredLanding:
    """A landing with its run's name, its proof, and the version of the workflow by which it was proved, if known."""

    run_id: UUID
    run: str
    workflow: str
    target: str
    state: str
    base_sha: str
    head_sha: str
    merge_sha: str
    tree_sha: str
    proof_id: UUID
    proof_run_id: UUID
    proof_tree_sha: str
    proof_merge_sha: str
    verdict: str
    checks: list[dict[str, Any]]
    content: str | None
    base_dir: str | None


def landings_of(transaction: Transaction, target: str, commits: Sequence[str]) -> list[StoredLanding]:
    """List the landings on a target that were not abandoned, and every landing of one of `commits`, oldest first.

    The version is that of the attempt which the proof was made in: the last to prove or land that began before it.
    """
    rows = transaction.rows(
        """
        SELECT l.run_id, i.identifier || '#' || r.number AS run, w.name AS workflow, l.target, l.state, l.base_sha,
          l.head_sha, l.merge_sha, l.tree_sha, p.id AS proof_id, p.run_id AS proof_run_id, p.tree_sha AS proof_tree_sha,
          p.merge_sha AS proof_merge_sha, p.verdict, p.checks, v.content, v.base_dir
        FROM landings l JOIN proofs p ON p.id = l.proof_id JOIN runs r ON r.id = l.run_id
        JOIN issues i ON i.id = r.issue_id JOIN workflows w ON w.id = r.workflow_id
        LEFT JOIN LATERAL (SELECT a.version_id FROM attempts a WHERE a.run_id = p.run_id AND a.stage IN ('proof', 'land')
          AND a.started_at <= p.created_at ORDER BY a.started_at DESC LIMIT 1) made ON true
        LEFT JOIN workflow_versions v ON v.id = made.version_id
        WHERE (l.target = :target AND l.state <> 'abandoned') OR l.merge_sha = ANY(CAST(:commits AS text[]))
        ORDER BY l.intended_at, l.id
        """,
        target=target,
        commits=list(commits),
    )
    return [record(StoredLanding, row) for row in rows]
