"""What people are shown of a run: how it stands, its newest proof, what it cost, what its agent left. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from symphony.ledger import usage
from symphony.ledger.database import Transaction
from symphony.ledger.usage import Used


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """A run for people; `seconds` is its whole time so far, `proof` its newest proof's row.

    `used` is what its requests to models used, None without any; `review` says why it was handed to a person last.
    """

    id: UUID
    state: str
    landed_sha: str | None
    head_sha: str | None
    branch: str | None
    question: str | None
    error: str | None
    review: str | None
    rework_rounds: int
    seconds: float
    account: dict[str, Any] | None
    artifacts: dict[str, Any] | None
    proof: dict[str, Any] | None
    used: Used | None
    used_by_model: dict[str, Used]

    @property
    def cost_usd(self) -> Decimal | None:
        """What the run's requests to models cost; None where it made none."""
        return self.used.cost_usd if self.used is not None and self.used.requests else None


def evidence_of_run(transaction: Transaction, run_id: UUID) -> RunEvidence | None:
    """Read what is shown of a run; None where there is none of this id."""
    row = transaction.row(
        """
        SELECT id, state, landed_sha, head_sha, branch, question, error, rework_rounds, account, artifacts,
          extract(epoch FROM coalesce(finished_at, now()) - created_at) AS seconds,
          (SELECT e.data ->> 'reason' FROM run_events e WHERE e.run_id = r.id AND e.kind = 'handed_over'
            ORDER BY e.id DESC LIMIT 1) AS review
        FROM runs r WHERE id = :run_id
        """,
        run_id=run_id,
    )
    if row is None:
        return None
    proof = transaction.row(
        """
        SELECT verdict, tree_sha, base_sha, head_sha, merge_sha, checks, key, flaky, protected, lost_tests, complexity,
          walkthrough, created_at
        FROM proofs WHERE run_id = :run_id ORDER BY created_at DESC, id DESC LIMIT 1
        """,
        run_id=run_id,
    )
    values = dict(row._mapping) | {"seconds": float(row.seconds)}
    return RunEvidence(
        **values,
        proof=dict(proof._mapping) if proof is not None else None,
        used=usage.usage_by_run(transaction, [run_id]).get(run_id),
        used_by_model=usage.usage_by_model(transaction, run_id),
    )
