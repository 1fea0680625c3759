"""Statements on runs and attempts: admission, claim, change of state, sweep, dispatch.

Each function is one guarded step named by its guard. `change` is the only writer of `runs.state`; it looks the
transition up in the domain's table and writes the event row in the same transaction, which the database compares with
its own copy of the table. Every change of owner grows the token.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from symphony.domain.run import CONSUMING, ENDED, RunEvent, RunState, next_state
from symphony.domain.stage import Stage
from symphony.ledger import effects
from symphony.ledger.database import FencedTransaction, Transaction, new_id
from symphony.ledger.records import Run, record

_COLUMNS = frozenset(
    {
        "stage", "node", "due_at", "waiting_for", "failures", "crashes", "crashes_in_row", "rework_rounds", "sessions",
        "handled_entry", "feedback", "question", "error", "approved_at", "target", "branch", "base_sha", "head_sha",
        "published_sha", "landed_sha", "clean_due", "rung_at", "rings", "queued_at", "heard_at",
    }
)  # fmt: skip
_UNTOLD = frozenset({RunEvent.ADMITTED, RunEvent.CAME_DUE, RunEvent.STRANDED})
"""What happens between two things that people want to know of."""


class Now:
    """Stands for the database's clock, shifted by `after`, in the values of `change`."""

    def __init__(self, after: timedelta = timedelta()) -> None:
        self.after = after


def change(transaction: Transaction, run: Run, event: RunEvent, data: dict[str, Any] | None = None, **values: Any) -> Run:
    """Move a run, whose row is locked and equal to `run`, by one event; `values` are further columns.

    Leaving `running` ends the lease; the owner changes there and where a run that nobody holds is moved, so the token
    grows with every change. An end for good consumes the issue's epoch.
    """
    after = next_state(run.state, event)
    columns: dict[str, Any] = {"waiting_for": None, **values}
    unknown = columns.keys() - _COLUMNS
    if unknown:
        raise TypeError(f"no columns of a run: {sorted(unknown)}")
    sets = ["state = :after", "token = token + 1", "request = NULL", "request_reason = NULL", "request_clean = false"]
    if run.state is RunState.RUNNING:
        sets += ["process_id = NULL", "attempt_id = NULL", "lease_until = NULL"]
    if after in ENDED:
        sets.append("finished_at = now()")
    parameters: dict[str, Any] = {}
    for name, value in columns.items():
        sets.append(f"{name} = now() + :{name}" if isinstance(value, Now) else f"{name} = :{name}")
        parameters[name] = value.after if isinstance(value, Now) else value
    row = transaction.row(
        f"UPDATE runs SET {', '.join(sets)} WHERE id = :run_id AND token = :token RETURNING *",
        after=str(after),
        run_id=run.id,
        token=run.token,
        **parameters,
    )
    assert row is not None, "the row of a run was not locked before its change"
    changed = record(Run, row)
    if after in CONSUMING:
        transaction.run(
            "UPDATE issues SET consumed_epoch = greatest(consumed_epoch, :epoch) WHERE id = :issue_id",
            epoch=run.epoch,
            issue_id=run.issue_id,
        )
    add_event(transaction, changed, event, run.state, data)
    return changed


def add_event(
    transaction: Transaction, run: Run, event: RunEvent, before: RunState | None, data: dict[str, Any] | None = None
) -> None:
    """Write the row that tells of a change of state."""
    transaction.run(
        "INSERT INTO run_events (run_id, kind, before, after, stage, token, data) "
        "VALUES (:run_id, :kind, :before, :after, :stage, :token, CAST(:data AS jsonb))",
        run_id=run.id,
        kind=str(event),
        before=str(before) if before else "-",
        after=str(run.state),
        stage=str(run.stage),
        token=run.token,
        data=data or {},
    )
    if event not in _UNTOLD:
        effects.add_progress_if_told(transaction, run)


def admit_if_no_live_run(transaction: Transaction, issue_id: UUID) -> Run | None:
    """Begin a run for an issue in its present epoch; None when it has a live run or the epoch is consumed."""
    row = transaction.row(
        """
        WITH numbered AS (
          UPDATE issues i SET last_number = last_number + 1
          WHERE id = :issue_id AND epoch > consumed_epoch
            AND NOT EXISTS (SELECT FROM runs r WHERE r.issue_id = i.id
              AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
          RETURNING id, workflow_id, last_number, epoch, state_entry)
        INSERT INTO runs (id, workflow_id, issue_id, number, epoch, state, stage, handled_entry)
        SELECT :run_id, workflow_id, id, last_number, epoch, 'queued', 'provision', state_entry FROM numbered
        ON CONFLICT DO NOTHING
        RETURNING *
        """,
        issue_id=issue_id,
        run_id=new_id(),
    )
    if row is None:
        return None
    run = record(Run, row)
    add_event(transaction, run, RunEvent.ADMITTED, None)
    return run


def lock(transaction: Transaction, run_id: UUID) -> Run | None:
    """Lock a run's row whoever holds it; for those who act on the holder's behalf or ask something of it."""
    row = transaction.row("SELECT * FROM runs WHERE id = :run_id FOR NO KEY UPDATE", run_id=run_id)
    return record(Run, row) if row is not None else None


def lock_live(transaction: Transaction, workflow_id: UUID) -> list[Run]:
    """Lock every live run of a workflow in the order of their ids."""
    rows = transaction.rows(
        """
        SELECT * FROM runs WHERE workflow_id = :workflow_id
          AND state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')
        ORDER BY id FOR NO KEY UPDATE
        """,
        workflow_id=workflow_id,
    )
    return [record(Run, row) for row in rows]


def get(transaction: Transaction, run_id: UUID) -> Run | None:
    """Read a run."""
    row = transaction.row("SELECT * FROM runs WHERE id = :run_id", run_id=run_id)
    return record(Run, row) if row is not None else None


_NOTED = frozenset({"target", "branch", "base_sha", "head_sha", "published_sha"})


def note(transaction: FencedTransaction, **columns: Any) -> Run:
    """Write what a stage found out; the run's state and owner stay."""
    unknown = columns.keys() - _NOTED
    if unknown:
        raise TypeError(f"a stage does not write {sorted(unknown)}")
    sets = ", ".join(f"{name} = :{name}" for name in columns)
    row = transaction.row(
        f"UPDATE runs SET {sets} WHERE id = :run_id RETURNING *", run_id=transaction.run_row.id, **columns
    )
    assert row is not None
    return record(Run, row)


def request(transaction: Transaction, run: Run, wish: str, reason: str, *, clean: bool = False) -> None:
    """Ask the holder of a running run to stop or turn; a stronger wish replaces a weaker one, never the reverse."""
    transaction.run(
        """
        UPDATE runs SET request = :wish, request_reason = :reason, request_clean = request_clean OR :clean
        WHERE id = :run_id AND state = 'running'
          AND (request IS NULL OR array_position(:strengths, request) <= array_position(:strengths, :wish))
        """,
        wish=wish,
        reason=reason,
        clean=clean,
        run_id=run.id,
        strengths=["hand_over", "rework", "release", "cancel"],
    )


def set_handled_entry(transaction: Transaction, run_id: UUID, entry: int) -> None:
    """Remember that the run has acted on this entry of its issue."""
    transaction.run("UPDATE runs SET handled_entry = :entry WHERE id = :run_id", entry=entry, run_id=run_id)


def note_approved(transaction: Transaction, run_id: UUID) -> None:
    """Remember that a person wants this run to land."""
    transaction.run("UPDATE runs SET approved_at = coalesce(approved_at, now()) WHERE id = :run_id", run_id=run_id)


def make_due_if_waiting(transaction: Transaction, run_id: UUID) -> None:
    """Let a waiting run wait no longer than for a slot."""
    transaction.run("UPDATE runs SET due_at = now() WHERE id = :run_id AND state = 'waiting'", run_id=run_id)


def due_waiting(transaction: Transaction, workflow_id: UUID) -> list[tuple[Run, str]]:
    """Lock the waiting runs that are due, longest due first, each with its issue's state."""
    rows = transaction.rows(
        """
        SELECT r.*, i.state AS issue_state FROM runs r JOIN issues i ON i.id = r.issue_id
        WHERE r.workflow_id = :workflow_id AND r.state = 'waiting' AND r.due_at <= now()
        ORDER BY r.due_at, r.id FOR NO KEY UPDATE OF r
        """,
        workflow_id=workflow_id,
    )
    return [(record(Run, row), row.issue_state) for row in rows]


def slot_holders(transaction: Transaction, workflow_id: UUID) -> list[str]:
    """List the issue states of the runs that have an agent slot."""
    rows = transaction.rows(
        """
        SELECT i.state FROM runs r JOIN issues i ON i.id = r.issue_id
        WHERE r.workflow_id = :workflow_id AND r.state IN ('queued', 'running') AND r.stage IN ('provision', 'agent')
        """,
        workflow_id=workflow_id,
    )
    return [row.state for row in rows]


def note_slot_refused(transaction: Transaction, run_ids: list[UUID], reason: str) -> None:
    """Say on waiting runs why they still wait (specification 8.4)."""
    transaction.run(
        "UPDATE runs SET error = :reason WHERE id = ANY(:run_ids) AND error IS DISTINCT FROM :reason",
        run_ids=run_ids,
        reason=reason,
    )


def claim_if_due(
    transaction: Transaction,
    run_id: UUID,
    stage: Stage,
    *,
    process_id: UUID,
    node: str,
    attempt_id: UUID,
    ttl: timedelta,
) -> Run | None:
    """Take a queued run for this process; None when there is nothing to claim.

    The agent stage is claimed on the run's node only. Landing is claimed by the oldest of the target's queue and never
    beside another run whose push is intended. A repetition after a commit of unknown end finds its own attempt.
    """
    row = transaction.row(
        """
        UPDATE runs r SET state = 'running', token = token + 1, process_id = :process_id, attempt_id = :attempt_id,
          lease_until = now() + :ttl, rings = 0, rung_at = NULL,
          node = CASE WHEN stage = 'provision' THEN :node ELSE node END, last_event_at = NULL, last_event = NULL,
          turns = 0, input_tokens = 0, output_tokens = 0
        WHERE id = :run_id AND stage = :stage AND state = 'queued' AND due_at <= now() AND request IS NULL
          AND (stage <> 'agent' OR node = :node)
          AND (stage <> 'land' OR (
            NOT EXISTS (SELECT FROM runs o WHERE o.target = r.target AND o.stage = 'land' AND o.state = 'queued'
              AND (o.queued_at, o.id) < (r.queued_at, r.id))
            AND NOT EXISTS (SELECT FROM landings l WHERE l.target = r.target AND l.state = 'intended' AND l.run_id <> r.id)
            OR EXISTS (SELECT FROM landings l WHERE l.run_id = r.id AND l.state = 'intended')))
          AND NOT EXISTS (SELECT FROM runs o WHERE r.stage = 'land' AND o.target = r.target AND o.stage = 'land'
            AND o.state = 'running')
        RETURNING *
        """,
        run_id=run_id,
        stage=str(stage),
        process_id=process_id,
        node=node,
        attempt_id=attempt_id,
        ttl=ttl,
    )
    if row is None:
        own = transaction.row(
            "SELECT * FROM runs WHERE id = :run_id AND attempt_id = :attempt_id", run_id=run_id, attempt_id=attempt_id
        )
        return record(Run, own) if own is not None else None
    run = record(Run, row)
    add_event(transaction, run, RunEvent.CLAIMED, RunState.QUEUED, {"node": node, "process": str(process_id)})
    return run


def restart_provision_of_lost_nodes(transaction: Transaction, silence: timedelta) -> list[UUID]:
    """Send queued agent runs of nodes without a live process back to provision, from their newest snapshot."""
    rows = transaction.rows(
        """
        SELECT r.* FROM runs r WHERE r.state = 'queued' AND r.stage = 'agent' AND r.node IS NOT NULL
          AND NOT EXISTS (SELECT FROM processes p WHERE p.node = r.node AND p.stopped_at IS NULL AND p.slots > 0
            AND p.heartbeat_at > now() - :silence)
        FOR NO KEY UPDATE SKIP LOCKED
        """,
        silence=silence,
    )
    stranded = [record(Run, row) for row in rows]
    for run in stranded:
        change(
            transaction, run, RunEvent.STRANDED, {"node": run.node}, stage=str(Stage.PROVISION), node=None, rung_at=None,
            rings=0,
        )  # fmt: skip
    return [run.id for run in stranded]


def live_with_snapshots(transaction: Transaction, workflow_id: UUID) -> list[tuple[Run, dict[str, Any]]]:
    """List the live runs of a workflow with the last snapshots of their issues."""
    rows = transaction.rows(
        """
        SELECT r.*, i.snapshot FROM runs r JOIN issues i ON i.id = r.issue_id WHERE r.workflow_id = :workflow_id
          AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')
        """,
        workflow_id=workflow_id,
    )
    return [(record(Run, row), row.snapshot) for row in rows]


def lock_live_of_issue(transaction: Transaction, issue_id: UUID) -> Run | None:
    """Lock the live run of an issue, if it has one."""
    row = transaction.row(
        """
        SELECT * FROM runs WHERE issue_id = :issue_id
          AND state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing') FOR NO KEY UPDATE
        """,
        issue_id=issue_id,
    )
    return record(Run, row) if row is not None else None


def clean_ended(transaction: Transaction, issue_ids: list[UUID]) -> None:
    """Have the workspaces of these issues' ended runs removed: the issues are terminal."""
    transaction.run(
        "UPDATE runs SET clean_due = true "
        "WHERE issue_id = ANY(:issue_ids) AND finished_at IS NOT NULL AND node IS NOT NULL",
        issue_ids=issue_ids,
    )


def nodes_with_clean_due(transaction: Transaction, silence: timedelta) -> list[str]:
    """List the nodes that live and have workspaces to remove."""
    rows = transaction.rows(
        """
        SELECT DISTINCT r.node FROM runs r JOIN processes p ON p.node = r.node
        WHERE r.clean_due AND p.stopped_at IS NULL AND p.slots > 0 AND p.heartbeat_at > now() - :silence
          AND NOT EXISTS (SELECT FROM runs o WHERE o.issue_id = r.issue_id
            AND o.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
        """,
        silence=silence,
    )
    return [row.node for row in rows]


def clean_due(transaction: Transaction, node: str) -> list[tuple[UUID, str, UUID, UUID]]:
    """List the workspaces of a node to remove: run, identifier, issue, workflow; none whose issue has a live run."""
    rows = transaction.rows(
        """
        SELECT DISTINCT ON (r.issue_id) r.id, i.identifier, r.issue_id, r.workflow_id
        FROM runs r JOIN issues i ON i.id = r.issue_id
        WHERE r.clean_due AND r.node = :node AND NOT EXISTS (SELECT FROM runs o WHERE o.issue_id = r.issue_id
          AND o.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
        ORDER BY r.issue_id, r.number DESC LIMIT 50
        """,
        node=node,
    )
    return [(row.id, row.identifier, row.issue_id, row.workflow_id) for row in rows]


def note_cleaned(transaction: Transaction, issue_id: UUID, node: str) -> None:
    """Say that the workspace of an issue is gone from a node, or is a new run's."""
    transaction.run(
        "UPDATE runs SET clean_due = false WHERE issue_id = :issue_id AND node = :node AND clean_due",
        issue_id=issue_id,
        node=node,
    )


def ring_next_lander(transaction: Transaction, target: str) -> None:
    """Owe the oldest run of a target's landing queue its doorbell now: the target has become free."""
    transaction.run(
        """
        UPDATE runs SET rung_at = NULL, rings = 0 WHERE id = (
          SELECT id FROM runs WHERE target = :target AND state = 'queued' AND stage = 'land'
          ORDER BY queued_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
        """,
        target=target,
    )
