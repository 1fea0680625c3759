"""The one artefact of a run, made of what the ledger keeps: for comments, `show --md`, `show --json` and the page.

Invariant: it is made anew from rows whenever it is asked for, so it never says more than they do; a link or a path is
told only to those who can open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from symphony.domain.run import RunState
from symphony.ledger.database import Transaction
from symphony.ledger.evidence import RunEvidence, evidence_of_run
from symphony.proof.artefact import Facts
from symphony.proof.artifacts import kept_at


@dataclass(frozen=True, slots=True)
class Reach:
    """What those who are shown a run can open: the status API at `public_url`, and files of `home`; None: they cannot."""

    public_url: str | None = None
    home: Path | None = None

    def link(self, run_id: UUID, stored: str) -> str | None:
        """Give the address at which the status API serves an artifact of a run."""
        return f"{self.public_url}/api/v1/runs/{run_id}/artifacts/{quote(stored, safe='')}" if self.public_url else None

    def path(self, run_id: UUID, stored: str) -> str | None:
        """Give the file in which an artifact of a run is kept, where it is kept here."""
        found = kept_at(self.home, run_id, stored) if self.home is not None else None
        return str(found) if found is not None else None


NO_REACH = Reach()


def facts_of_run(transaction: Transaction, run_id: UUID, reach: Reach) -> Facts | None:
    """Gather what is known of a run; None where there is none of this id."""
    found = evidence_of_run(transaction, run_id)
    return facts_of(found, reach) if found is not None else None


def facts_of(found: RunEvidence, reach: Reach) -> Facts:
    """Bring what the ledger keeps of a run into the artefact's form."""
    proof: dict[str, Any] = found.proof or {}
    stored = [artifact["stored"] for artifact in (found.artifacts or {}).get("kept", ())]
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
        links={name: link for name in stored if (link := reach.link(found.id, name)) is not None},
        paths={name: path for name in stored if (path := reach.path(found.id, name)) is not None},
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
