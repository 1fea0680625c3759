"""What people and programs ask the ledger: status, runs, one run in full, idleness. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from symphony.ledger.database import Transaction
from symphony.ledger.evidence import evidence_of_run


@dataclass(frozen=True, slots=True)
class Idleness:
    """Whether anything is left to do, and whether people are needed for what changed since a start."""

    is_idle: bool
    needs_people: bool


def idleness(transaction: Transaction, since: str) -> Idleness:
    """Tell whether every served workflow is idle: polled well after the last change, nothing live but for people."""
    row = transaction.row(
        """
        WITH last AS (SELECT greatest((SELECT max(at) FROM run_events), (SELECT max(settled_at) FROM effects)) AS at),
        served AS (SELECT * FROM workflows w WHERE w.served_until IS NULL OR w.served_until > now())
        SELECT
          EXISTS (SELECT FROM served)
          AND NOT EXISTS (SELECT FROM served w, last WHERE w.poll_error IS NOT NULL OR w.poll_process_id IS NOT NULL
            OR w.poll_started_at IS NULL OR w.listed_seq <> w.poll_seq
            OR w.poll_started_at <= greatest(coalesce(last.at, '-infinity'), CAST(:since AS timestamptz)))
          AND NOT EXISTS (SELECT FROM runs WHERE state IN ('queued', 'running', 'waiting'))
          AND NOT EXISTS (SELECT FROM effects WHERE state = 'pending')
          AND NOT EXISTS (SELECT FROM issues i JOIN served w ON w.id = i.workflow_id
            WHERE i.eligible AND i.epoch > i.consumed_epoch AND i.listed_seq = w.listed_seq AND w.paused_at IS NULL
            AND NOT EXISTS (SELECT FROM runs r WHERE r.issue_id = i.id
              AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))) AS is_idle,
          EXISTS (SELECT FROM runs r WHERE r.state IN ('failed', 'blocked', 'reviewing')
            AND EXISTS (SELECT FROM run_events e WHERE e.run_id = r.id AND e.at > CAST(:since AS timestamptz))) AS people
        """,
        since=since,
    )
    assert row is not None
    return Idleness(bool(row.is_idle), bool(row.people))


# A run's row counts the attempt that runs now; those that have ended keep their own.
_USED = """coalesce((SELECT sum(c.{0}) FROM attempts c WHERE c.run_id = r.id), 0)
  + CASE WHEN r.state = 'running' THEN r.{0} ELSE 0 END AS {0}"""

_SUMMARY = f"""
SELECT r.id, r.number, r.state, r.stage, r.node, r.due_at, r.waiting_for, r.error, r.question, r.failures, r.crashes,
  r.rework_rounds, r.turns,
  {_USED.format("input_tokens")}, {_USED.format("output_tokens")}, r.last_event,
  r.last_event_at, r.session_id, r.landed_sha,
  r.branch, r.base_sha, r.head_sha, r.created_at, r.finished_at, r.sessions, r.request, r.attempt_id,
  r.issue_id, r.workflow_id, i.identifier, i.tracker_id, i.state AS issue_state, i.snapshot, w.name AS workflow,
  a.started_at, now() - a.started_at AS held_for,
  coalesce((SELECT max(c.number) FROM attempts c WHERE c.run_id = r.id AND c.stage = r.stage), 0) AS attempt
FROM runs r JOIN issues i ON i.id = r.issue_id JOIN workflows w ON w.id = r.workflow_id
LEFT JOIN attempts a ON a.id = r.attempt_id
"""


def runs_of(
    transaction: Transaction, *, issue_id: UUID | None = None, live: bool = False, limit: int = 200
) -> list[dict[str, Any]]:
    """List runs, newest first; of one issue, or only the live ones."""
    rows = transaction.rows(
        f"""{_SUMMARY} WHERE (CAST(:issue_id AS uuid) IS NULL OR r.issue_id = :issue_id)
        AND (NOT :live OR r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
        ORDER BY r.created_at DESC, r.id DESC LIMIT :limit""",
        issue_id=issue_id,
        live=live,
        limit=limit,
    )
    return [dict(row._mapping) for row in rows]


def runs_changed_since(transaction: Transaction, since: str) -> list[dict[str, Any]]:
    """List the runs that live, and those that changed after an instant, oldest first."""
    rows = transaction.rows(
        f"""{_SUMMARY} WHERE r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')
        OR EXISTS (SELECT FROM run_events e WHERE e.run_id = r.id AND e.at > CAST(:since AS timestamptz))
        ORDER BY r.created_at, r.id""",
        since=since,
    )
    return [dict(row._mapping) for row in rows]


def run_in_full(transaction: Transaction, run_id: UUID) -> dict[str, Any] | None:
    """Read one run with its attempts, events, proofs, landings, effects and evidence."""
    row = transaction.row(f"{_SUMMARY} WHERE r.id = :run_id", run_id=run_id)
    if row is None:
        return None

    def of_run(statement: str) -> list[dict[str, Any]]:
        return [dict(found._mapping) for found in transaction.rows(statement, run_id=run_id)]

    return dict(row._mapping) | {
        "attempts": of_run("SELECT * FROM attempts WHERE run_id = :run_id ORDER BY started_at, id"),
        "events": of_run("SELECT * FROM run_events WHERE run_id = :run_id ORDER BY id"),
        "proofs": of_run("SELECT * FROM proofs WHERE run_id = :run_id ORDER BY created_at, id"),
        "landings": of_run("SELECT * FROM landings WHERE run_id = :run_id ORDER BY intended_at, id"),
        "effects": of_run("SELECT * FROM effects WHERE run_id = :run_id ORDER BY seq"),
        "evidence": evidence_of_run(transaction, run_id),
    }


def newest_events(transaction: Transaction, issue_id: UUID, limit: int) -> tuple[UUID, list[dict[str, Any]]] | None:
    """Give an issue's newest run and its last events, oldest first; None where it had no run."""
    run_id = run_numbered(transaction, issue_id, None)
    if run_id is None:
        return None
    rows = transaction.rows(
        "SELECT * FROM (SELECT * FROM run_events WHERE run_id = :run_id ORDER BY id DESC LIMIT :limit) e ORDER BY id",
        run_id=run_id,
        limit=limit,
    )
    return run_id, [dict(row._mapping) for row in rows]


def totals(transaction: Transaction) -> dict[str, Any]:
    """Sum tokens and seconds of agents, those that run now included."""
    row = transaction.row(
        """
        WITH used AS (SELECT input_tokens, output_tokens FROM attempts WHERE input_tokens > 0 OR output_tokens > 0
          UNION ALL SELECT input_tokens, output_tokens FROM runs WHERE state = 'running')
        SELECT coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens,
          (SELECT coalesce(sum(extract(epoch FROM coalesce(finished_at, now()) - started_at)), 0)
            FROM attempts WHERE stage = 'agent') AS seconds_running
        FROM used
        """
    )
    assert row is not None
    return dict(row._mapping)


def processes(transaction: Transaction) -> list[dict[str, Any]]:
    """List the worker processes that have not stopped, with what each holds."""
    rows = transaction.rows(
        """
        SELECT p.*, now() - p.heartbeat_at AS silent,
          (SELECT count(*) FROM runs r WHERE r.process_id = p.id AND r.state = 'running') AS held
        FROM processes p WHERE p.stopped_at IS NULL AND p.heartbeat_at > now() - interval '1 hour' ORDER BY p.started_at
        """
    )
    return [dict(row._mapping) for row in rows]


def generated_at(transaction: Transaction) -> Any:
    """Read the instant of this view."""
    return transaction.value("SELECT now()")


def workflows_now(transaction: Transaction) -> list[dict[str, Any]]:
    """List all workflows with their newest versions, how their polls went, and the agent slots that are taken."""
    rows = transaction.rows(
        """
        SELECT w.id, w.name, w.source_kind, w.source, w.paused_at, w.load_error, w.polled_at, w.poll_error, w.poll_due_at,
          w.version_id, v.content, v.digest, w.served_until IS NULL AS is_permanent,
          w.served_until IS NULL OR w.served_until > now() AS is_served, w.poll_due_at <= now() AS poll_is_due,
          (SELECT count(*) FROM runs r WHERE r.workflow_id = w.id AND r.state IN ('queued', 'running')
            AND r.stage IN ('provision', 'agent')) AS slots_taken,
          (SELECT count(*) FROM runs r WHERE r.workflow_id = w.id
            AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')) AS live_runs
        FROM workflows w JOIN workflow_versions v ON v.id = w.version_id ORDER BY w.name
        """
    )
    return [dict(row._mapping) for row in rows]


def run_numbered(transaction: Transaction, issue_id: UUID, number: int | None) -> UUID | None:
    """Find a run of an issue by its number; without one, the newest."""
    run_id: UUID | None = transaction.value(
        "SELECT id FROM runs WHERE issue_id = :issue_id AND (CAST(:number AS int) IS NULL OR number = :number) "
        "ORDER BY number DESC LIMIT 1",
        issue_id=issue_id,
        number=number,
    )
    return run_id


def identifiers(transaction: Transaction, limit: int = 5000) -> list[str]:
    """List what people call the issues that were changed last."""
    rows = transaction.rows(
        "SELECT identifier FROM issues ORDER BY changed_at DESC NULLS LAST, id DESC LIMIT :limit", limit=limit
    )
    return [row.identifier for row in rows]


def pending_effects(transaction: Transaction) -> dict[str, Any]:
    """Count the writes that the tracker has not got yet, and give the last reason of one that was put off."""
    row = transaction.row(
        """
        SELECT count(*) AS pending, (SELECT error FROM effects WHERE state = 'pending' AND error IS NOT NULL
          ORDER BY due_at DESC LIMIT 1) AS error FROM effects WHERE state = 'pending'
        """
    )
    assert row is not None
    return dict(row._mapping)
