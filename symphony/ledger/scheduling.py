"""What scheduling knows of issues and their live runs, read without a lock: for `plan` and `why`.

Invariant: nothing here decides anything; admission reads its own rows under the workflow's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from symphony.ledger.database import Transaction
from symphony.ledger.issues import COLUMNS
from symphony.ledger.records import IssueRow, record


@dataclass(frozen=True, slots=True)
class LiveRun:
    """The live run of an issue as far as scheduling cares."""

    id: UUID
    number: int
    state: str
    stage: str
    due_at: datetime
    is_due: bool
    waiting_for: str | None


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An issue with what stands against a new run of it, or for one."""

    issue: IssueRow
    is_listed: bool
    """Whether the newest whole poll showed it."""
    pending_move: str | None
    last_run: tuple[int, str] | None
    """Number and state of its newest run."""
    live: LiveRun | None


_SCHEDULED = f"""
SELECT {COLUMNS}, i.listed_seq = w.listed_seq AS is_listed,
  (SELECT e.payload ->> 'to' FROM effects e WHERE e.issue_id = i.id AND e.kind = 'move' AND e.state = 'pending'
    ORDER BY e.seq DESC LIMIT 1) AS pending_move,
  last.number AS last_number, last.state AS last_state,
  r.id AS run_id, r.number AS run_number, r.state AS run_state, r.stage AS run_stage, r.due_at, r.due_at <= now() AS is_due,
  r.waiting_for
FROM issues i JOIN workflows w ON w.id = i.workflow_id
LEFT JOIN runs r ON r.issue_id = i.id AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')
LEFT JOIN LATERAL (SELECT number, state FROM runs o WHERE o.issue_id = i.id ORDER BY number DESC LIMIT 1) last ON true
"""


def of_workflow(transaction: Transaction, workflow_id: UUID) -> list[Scheduled]:
    """List the issues of a workflow that are active, listed, or have a live run; due runs first, longest due first."""
    rows = transaction.rows(
        f"""{_SCHEDULED} WHERE i.workflow_id = :workflow_id AND (i.active OR r.id IS NOT NULL
          OR i.listed_seq = w.listed_seq) ORDER BY r.due_at NULLS LAST, r.id, i.identifier""",
        workflow_id=workflow_id,
    )
    return [_scheduled(row) for row in rows]


def of_issue(transaction: Transaction, issue_id: UUID) -> Scheduled | None:
    """Read one issue the same way."""
    row = transaction.row(f"{_SCHEDULED} WHERE i.id = :issue_id", issue_id=issue_id)
    return _scheduled(row) if row is not None else None


def _scheduled(row: object) -> Scheduled:
    values = row._mapping  # type: ignore[attr-defined]
    live = None
    if values["run_id"] is not None:
        live = LiveRun(
            values["run_id"], values["run_number"], values["run_state"], values["run_stage"], values["due_at"],
            values["is_due"], values["waiting_for"],
        )  # fmt: skip
    last = (values["last_number"], values["last_state"]) if values["last_number"] is not None else None
    return Scheduled(record(IssueRow, row), values["is_listed"], values["pending_move"], last, live)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is before a queued run."""

    in_landing_queue: list[str]
    """Names of the runs that land on the same target before it."""
    landing_now: str | None
    free_slots: int
    live_processes: int
    node_lives: bool


def ahead_of(transaction: Transaction, run_id: UUID, *, silence_s: float) -> Ahead:
    """Say what a queued run waits for: runs that land before it, and workers with a free slot."""
    queue = transaction.rows(
        """
        SELECT i.identifier || '#' || o.number AS name, o.state FROM runs r JOIN runs o ON o.target = r.target
          AND o.stage = 'land' AND o.id <> r.id JOIN issues i ON i.id = o.issue_id
        WHERE r.id = :run_id AND r.stage = 'land' AND (o.state = 'running' OR o.state = 'queued'
          AND (o.queued_at, o.id) < (r.queued_at, r.id)) ORDER BY o.queued_at, o.id
        """,
        run_id=run_id,
    )
    row = transaction.row(
        """
        WITH live AS (SELECT p.*, (SELECT count(*) FROM runs h WHERE h.process_id = p.id AND h.state = 'running') AS held
          FROM processes p WHERE p.stopped_at IS NULL AND p.slots > 0
            AND p.heartbeat_at > now() - make_interval(secs => :silence_s))
        SELECT count(*) AS processes,
          coalesce(sum(greatest(slots - held, 0)) FILTER (WHERE draining_at IS NULL), 0) AS free,
          EXISTS (SELECT FROM live l JOIN runs r ON r.id = :run_id AND r.node = l.node) AS node_lives FROM live
        """,
        run_id=run_id,
        silence_s=silence_s,
    )
    assert row is not None
    landing = next((one.name for one in queue if one.state == "running"), None)
    waiting = [one.name for one in queue if one.state == "queued"]
    return Ahead(waiting, landing, int(row.free), int(row.processes), bool(row.node_lives))
