"""Statements on what an agent said of its work and left for people when it finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from symphony.ledger.database import FencedTransaction, Transaction, as_json


def note_account(transaction: FencedTransaction, account: Mapping[str, Any]) -> None:
    """Write down what the run's agent says of its work, in place of what it said before."""
    transaction.run(
        "UPDATE runs SET account = CAST(:account AS jsonb) WHERE id = :run_id",
        run_id=transaction.run_row.id,
        account=as_json(dict(account)),
    )


def note_artifacts(transaction: FencedTransaction, collected: Mapping[str, Any], *, node: str) -> None:
    """Add what was collected on a node to what is known of the run's artifacts; the newest of a name counts."""
    known = artifacts_of(transaction, transaction.run_row.id) or {"kept": []}
    new = [{**artifact, "node": node} for artifact in collected["kept"]]
    kept = {artifact["name"]: artifact for artifact in (*known["kept"], *new)}
    transaction.run(
        "UPDATE runs SET artifacts = CAST(:artifacts AS jsonb) WHERE id = :run_id",
        run_id=transaction.run_row.id,
        artifacts=as_json({"kept": list(kept.values()), "refused": list(collected["refused"])}),
    )


def account_of(transaction: Transaction, run_id: UUID) -> dict[str, Any] | None:
    """Read what a run's agent said of its work."""
    found: dict[str, Any] | None = transaction.value("SELECT account FROM runs WHERE id = :run_id", run_id=run_id)
    return found


def artifacts_of(transaction: Transaction, run_id: UUID) -> dict[str, Any] | None:
    """Read what is kept of what a run's agent left."""
    found: dict[str, Any] | None = transaction.value("SELECT artifacts FROM runs WHERE id = :run_id", run_id=run_id)
    return found
