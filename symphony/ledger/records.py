"""Rows as values: what the ledger hands to the rest of the house."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row

from symphony.domain.run import RunState
from symphony.domain.stage import Stage

R = TypeVar("R")


def record(kind: type[R], row: Row[Any]) -> R:
    """Build a record from the columns of a row that bear its fields' names."""
    values = row._mapping
    return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `runs`."""

    id: UUID
    workflow_id: UUID
    issue_id: UUID
    number: int
    epoch: int
    state: RunState
    stage: Stage
    token: int
    process_id: UUID | None
    attempt_id: UUID | None
    lease_until: datetime | None
    node: str | None
    due_at: datetime
    waiting_for: str | None
    request: str | None
    request_reason: str | None
    request_clean: bool
    failures: int
    crashes: int
    crashes_in_row: int
    rework_rounds: int
    sessions: int
    handled_entry: int
    feedback: str | None
    question: str | None
    error: str | None
    approved_at: datetime | None
    heard_at: datetime | None
    target: str | None
    branch: str | None
    base_sha: str | None
    head_sha: str | None
    published_sha: str | None
    landed_sha: str | None
    clean_due: bool
    created_at: datetime
    finished_at: datetime | None

    def __post_init__(self) -> None:
        """Turn the words of the row into the domain's."""
        object.__setattr__(self, "state", RunState(self.state))
        object.__setattr__(self, "stage", Stage(self.stage))


@dataclass(frozen=True, slots=True)
class IssueRow:
    """A row of `issues`: the last snapshot and what scheduling remembers of the issue."""

    id: UUID
    workflow_id: UUID
    tracker_id: str
    identifier: str
    state: str
    snapshot: dict[str, Any]
    active: bool
    eligible: bool
    epoch: int
    consumed_epoch: int
    state_entry: int


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A row of `workflows` with its newest valid version."""

    id: UUID
    name: str
    source_kind: str
    source: str
    paused_at: datetime | None
    load_error: str | None
    poll_seq: int
    poll_due_at: datetime
    polled_at: datetime | None
    poll_error: str | None
    version_id: UUID
    base_dir: str
    content: str


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of `effects`."""

    id: UUID
    issue_id: UUID
    run_id: UUID | None
    seq: int
    kind: str
    payload: dict[str, Any]
    tries: int


@dataclass(frozen=True, slots=True)
class Proof:
    """A row of `proofs`: check results for exactly one tree."""

    id: UUID
    run_id: UUID
    base_sha: str
    head_sha: str
    merge_sha: str
    tree_sha: str
    verdict: str
    checks: list[dict[str, Any]]
    created_at: datetime
    key: str | None = None
    protected: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Landing:
    """A row of `landings`."""

    id: UUID
    run_id: UUID
    proof_id: UUID
    target: str
    base_sha: str
    head_sha: str
    merge_sha: str
    tree_sha: str
    state: str


@dataclass(frozen=True, slots=True)
class Item:
    """A row of `conversation_items`."""

    run_id: UUID
    seq: int
    id: UUID
    ordinal: int
    kind: str
    payload: dict[str, Any]
    request_id: UUID | None
    call_id: str | None
    changes: bool
    started_at: datetime | None
    tree_sha: str | None
    head_sha: str | None
    token: int
    dropped_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A row of `run_messages`."""

    id: UUID
    run_id: UUID
    source_id: str
    author: str
    body: str
    at: datetime
    seen_seq: int | None
