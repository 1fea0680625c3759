"""Statements on workflows and their versions: registering, serving, and the poll's turn.

One poller a workflow: `begin_poll_if_due` gives a number, and snapshots are written only while that number is still the
newest. A poller whose process has died, or that hangs, is replaced.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from symphony.domain.errors import ConfigError
from symphony.ledger.database import Transaction, new_id
from symphony.ledger.records import WorkflowRow, record

_WITH_VERSION = """
SELECT w.*, v.base_dir, v.content FROM workflows w JOIN workflow_versions v ON v.id = w.version_id
"""
_SERVED = "(w.served_until IS NULL OR w.served_until > now())"


def register(
    transaction: Transaction, *, name: str, source_kind: str, source: str, content: str, digest: str, base_dir: str,
    serve_for: timedelta | None,
) -> UUID:  # fmt: skip
    """Store a valid version of a workflow, unless it is the newest already, and serve it (None: for ever).

    Raises:
        ConfigError: the name belongs to another source.
    """
    row = transaction.row(
        """
        INSERT INTO workflows (id, name, source_kind, source) VALUES (:id, :name, :source_kind, :source)
        ON CONFLICT (name) DO UPDATE SET load_error = NULL
          WHERE workflows.source = excluded.source AND workflows.source_kind = excluded.source_kind
        RETURNING id, version_id, served_until IS NULL AND version_id IS NOT NULL AS permanent
        """,
        id=new_id(),
        name=name,
        source_kind=source_kind,
        source=source,
    )
    if row is None:
        taken = transaction.value("SELECT source FROM workflows WHERE name = :name", name=name)
        raise ConfigError(
            f"the workflow name {name!r} belongs to {taken}",
            place=source,
            cure="give this one another `name`, or remove the other with `symphony workflow remove`",
        )
    same = transaction.value(
        "SELECT true FROM workflow_versions WHERE id = :id AND digest = :digest AND base_dir = :base_dir",
        id=row.version_id,
        digest=digest,
        base_dir=base_dir,
    )
    if not same:
        transaction.run(
            """
            WITH version AS (
              INSERT INTO workflow_versions (id, workflow_id, digest, base_dir, content)
              VALUES (:version_id, :workflow_id, :digest, :base_dir, :content) RETURNING id)
            UPDATE workflows SET version_id = version.id, poll_due_at = now() FROM version WHERE workflows.id = :workflow_id
            """,
            version_id=new_id(),
            workflow_id=row.id,
            digest=digest,
            base_dir=base_dir,
            content=content,
        )
    if not row.permanent:
        serve(transaction, row.id, serve_for)
    workflow_id: UUID = row.id
    return workflow_id


def serve(transaction: Transaction, workflow_id: UUID, serve_for: timedelta | None) -> None:
    """Move the end of a workflow's service; None serves it for ever."""
    transaction.run(
        "UPDATE workflows SET served_until = now() + CAST(:serve_for AS interval) WHERE id = :workflow_id",
        serve_for=serve_for,
        workflow_id=workflow_id,
    )


def note_load_error(transaction: Transaction, workflow_id: UUID, error: str | None) -> None:
    """Say that the newest text of a workflow is not valid, or that it is again; the last good version stays."""
    transaction.run(
        "UPDATE workflows SET load_error = :error WHERE id = :workflow_id", error=error, workflow_id=workflow_id
    )


def served(transaction: Transaction) -> list[WorkflowRow]:
    """List the workflows that are served now, with their newest valid versions."""
    rows = transaction.rows(f"{_WITH_VERSION} WHERE {_SERVED} ORDER BY w.id")
    return [record(WorkflowRow, row) for row in rows]


def every(transaction: Transaction) -> list[WorkflowRow]:
    """List all workflows, served or not."""
    return [record(WorkflowRow, row) for row in transaction.rows(f"{_WITH_VERSION} ORDER BY w.name")]


def get(transaction: Transaction, workflow_id: UUID) -> WorkflowRow | None:
    """Read a workflow with its newest valid version."""
    row = transaction.row(f"{_WITH_VERSION} WHERE w.id = :workflow_id", workflow_id=workflow_id)
    return record(WorkflowRow, row) if row is not None else None


def lock(transaction: Transaction, workflow_id: UUID) -> WorkflowRow | None:
    """Lock a workflow: the lock under which slots are given out and live runs are reconciled."""
    row = transaction.row(f"{_WITH_VERSION} WHERE w.id = :workflow_id FOR NO KEY UPDATE OF w", workflow_id=workflow_id)
    return record(WorkflowRow, row) if row is not None else None


def set_paused(transaction: Transaction, workflow_id: UUID | None, *, paused: bool) -> int:
    """Stop or resume admission, of one workflow or of all."""
    return transaction.run(
        """
        UPDATE workflows SET paused_at = CASE WHEN :paused THEN coalesce(paused_at, now()) END
        WHERE CAST(:workflow_id AS uuid) IS NULL OR id = :workflow_id
        """,
        paused=paused,
        workflow_id=workflow_id,
    )


def begin_poll_if_due(
    transaction: Transaction, workflow_id: UUID, *, process_id: UUID, interval: timedelta, silence: timedelta,
    apart: timedelta = timedelta(), given_up: int = 0,
) -> int | None:  # fmt: skip
    """Begin a poll and give its number; None when it is not due or somebody polls.

    `apart` is the time before which no webhook brings the next one, `given_up` a poll of this very process whose end could
    not be written.
    """
    seq = transaction.value(
        f"""
        UPDATE workflows w SET poll_seq = poll_seq + 1, poll_started_at = clock_timestamp(), poll_process_id = :process_id,
          poll_due_at = now() + :interval, quiet_until = now() + :apart
        WHERE w.id = :workflow_id AND {_SERVED} AND w.poll_due_at <= now()
          AND (w.poll_process_id IS NULL OR w.poll_started_at < now() - interval '5 minutes'
            OR w.poll_process_id = :process_id AND w.poll_seq = :given_up
            OR NOT EXISTS (SELECT FROM processes p WHERE p.id = w.poll_process_id AND p.stopped_at IS NULL
              AND p.heartbeat_at > now() - :silence))
        RETURNING poll_seq
        """,
        workflow_id=workflow_id,
        process_id=process_id,
        interval=interval,
        apart=apart,
        silence=silence,
        given_up=given_up,
    )
    return int(seq) if seq is not None else None


def end_poll_if_newest(transaction: Transaction, workflow_id: UUID, seq: int, error: str | None) -> bool:
    """End a poll; False when a newer one has begun, whose snapshots alone count then."""
    ended = transaction.run(
        """
        UPDATE workflows SET poll_process_id = NULL, poll_error = :error,
          polled_at = CASE WHEN CAST(:error AS text) IS NULL THEN now() ELSE polled_at END,
          listed_seq = CASE WHEN CAST(:error AS text) IS NULL THEN :seq ELSE listed_seq END
        WHERE id = :workflow_id AND poll_seq = :seq
        """,
        workflow_id=workflow_id,
        seq=seq,
        error=error,
    )
    return ended == 1


def note_tells_progress(transaction: Transaction, workflow_id: UUID, *, tells: bool) -> None:
    """Say whether the issues of a workflow carry a comment on how their run is getting on."""
    transaction.run(
        "UPDATE workflows SET tells_progress = :tells WHERE id = :workflow_id AND tells_progress <> :tells",
        workflow_id=workflow_id,
        tells=tells,
    )


def poll_soon(transaction: Transaction, workflow_id: UUID | None = None) -> int:
    """Ask for a poll at once, of one workflow or of all."""
    return transaction.run(
        "UPDATE workflows SET poll_due_at = least(poll_due_at, now()) WHERE CAST(:id AS uuid) IS NULL OR id = :id",
        id=workflow_id,
    )


def remove(transaction: Transaction, workflow_id: UUID) -> None:
    """Stop serving a workflow; its runs and proofs stay."""
    transaction.run("UPDATE workflows SET served_until = to_timestamp(0) WHERE id = :workflow_id", workflow_id=workflow_id)


def due_polls(transaction: Transaction) -> list[UUID]:
    """List the served workflows whose poll is due."""
    return [row.id for row in transaction.rows(f"SELECT w.id FROM workflows w WHERE {_SERVED} AND w.poll_due_at <= now()")]


def keep_served(transaction: Transaction, workflow_id: UUID, serve_for: timedelta) -> None:
    """Go on serving a workflow that is not served for ever."""
    transaction.run(
        "UPDATE workflows SET served_until = greatest(served_until, now() + :serve_for) "
        "WHERE id = :workflow_id AND served_until IS NOT NULL",
        serve_for=serve_for,
        workflow_id=workflow_id,
    )
