"""The one artefact of a run, made of what the ledger keeps: for comments, `show --md`, `show --json` and the page.

Invariant: it is made anew from rows whenever it is asked for, so it never says more than they do.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from symphony.domain.run import RunState
from symphony.ledger.database import Transaction
from symphony.ledger.evidence import RunEvidence, evidence_of_run
from symphony.proof.artefact import Facts


def facts_of_run(transaction: Transaction, run_id: UUID) -> Facts | None:
    """Gather what is known of a run; None where there is none of this id."""
    found = evidence_of_run(transaction, run_id)
    return facts_of(found) if found is not None else None


def facts_of(found: RunEvidence) -> Facts:
    """Bring what the ledger keeps of a run into the artefact's form."""
    proof: dict[str, Any] = found.proof or {}
    return Facts(
        state=found.state,
        commit=found.landed_sha or (found.head_sha if found.state == RunState.REVIEWING else None),
        branch=found.branch,
        reason=_reason(found),
        rework=found.rework_rounds,
        seconds=found.seconds,
        cost_usd=found.cost_usd,
        verdict=proof.get("verdict"),
        tree_sha=proof.get("tree_sha"),
        checks=proof.get("checks", ()),
        walkthrough=proof.get("walkthrough"),
        lost_tests=proof.get("lost_tests"),
        protected=proof.get("protected"),
        complexity=proof.get("complexity"),
        artifacts=found.artifacts,
    )


def _reason(found: RunEvidence) -> str | None:
    """Say what a run asks now, or why it is not well; a landed one has no reason."""
    match found.state:
        case RunState.LANDED:
            return None
        case RunState.REVIEWING:
            return found.review
        case RunState.BLOCKED:
            return found.question
        case _:
            return found.error
