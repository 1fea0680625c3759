"""Statements on issues: snapshots by a poll, epochs and entries, candidates.

A snapshot is written only by a newer poll, never by one that began before our last applied move, and never when the
tracker itself says that it is older than what is stored: a stale read must not look like a new entry into the active
states, or a finished issue would be run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from symphony.ledger.database import Transaction, new_id
from symphony.ledger.records import IssueRow, record

COLUMNS = """
i.id, i.workflow_id, i.tracker_id, i.identifier, i.state, i.snapshot, i.active, i.eligible, i.epoch, i.consumed_epoch,
i.state_entry
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An issue as a poll saw it, with what the rules of this workflow make of it."""

    tracker_id: str
    identifier: str
    state: str
    snapshot: dict[str, Any]
    active: bool
    eligible: bool
    priority_rank: int
    opened_at: datetime | None
    changed_at: datetime | None


def _records(sightings: list[Sighting]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(new_id()), "tracker_id": s.tracker_id, "identifier": s.identifier, "state": s.state,
            "snapshot": s.snapshot, "active": s.active, "eligible": s.eligible, "priority_rank": s.priority_rank,
            "opened_at": s.opened_at.isoformat() if s.opened_at else None,
            "changed_at": s.changed_at.isoformat() if s.changed_at else None,
        }
        for s in sightings
    ]  # fmt: skip


_SIGHTED = """
SELECT * FROM jsonb_to_recordset(CAST(:sightings AS jsonb)) AS s(id uuid, tracker_id text, identifier text,
  state text, snapshot jsonb, active boolean, eligible boolean, priority_rank smallint,
  opened_at timestamptz, changed_at timestamptz)
"""


def write_if_newer(
    transaction: Transaction, workflow_id: UUID, seq: int, sightings: list[Sighting], *, listed: bool
) -> None:
    """Store what poll `seq` saw; `listed` sightings come from the board's list, the others were asked for by id.

    An epoch grows when an issue enters the active states, and the tracker's own time of change does not say that this
    is an old sight of it.
    """
    transaction.run(
        f"""
        WITH poll AS (SELECT poll_started_at FROM workflows WHERE id = :workflow_id), sighted AS ({_SIGHTED})
        INSERT INTO issues AS i (id, workflow_id, tracker_id, identifier, state, snapshot, poll_seq, listed_seq, active,
          eligible, priority_rank, opened_at, changed_at, epoch)
        SELECT s.id, :workflow_id, s.tracker_id, s.identifier, s.state, s.snapshot, :seq,
          CASE WHEN :listed THEN :seq ELSE 0 END, s.active, s.eligible, s.priority_rank, s.opened_at, s.changed_at,
          s.active::int
        FROM sighted s ORDER BY s.tracker_id
        ON CONFLICT (workflow_id, tracker_id) DO UPDATE SET
          identifier = excluded.identifier, state = excluded.state, snapshot = excluded.snapshot,
          poll_seq = excluded.poll_seq, listed_seq = greatest(i.listed_seq, excluded.listed_seq),
          active = excluded.active, eligible = excluded.eligible, priority_rank = excluded.priority_rank,
          opened_at = excluded.opened_at, changed_at = coalesce(excluded.changed_at, i.changed_at),
          epoch = i.epoch + (excluded.active AND NOT i.active
            AND (excluded.changed_at IS NULL OR i.changed_at IS NULL OR excluded.changed_at > i.changed_at))::int,
          state_entry = i.state_entry + (lower(trim(excluded.state)) <> lower(trim(i.state)))::int
        WHERE i.poll_seq < excluded.poll_seq
          AND (i.moved_at IS NULL OR i.moved_at < (SELECT poll_started_at FROM poll))
          AND (excluded.changed_at IS NULL OR i.changed_at IS NULL OR excluded.changed_at >= i.changed_at)
        """,
        workflow_id=workflow_id,
        seq=seq,
        sightings=_records(sightings),
        listed=listed,
    )


def keep_listed_if_untouched(
    transaction: Transaction, workflow_id: UUID, seq: int, tracker_ids: list[str], *, since_seq: int
) -> frozenset[str]:
    """Note that poll `seq` saw these issues as poll `since_seq` had written them, and give those for which that is all.

    The others have been written by somebody else since, or moved by us: their rows must be compared with the sight.
    """
    rows = transaction.rows(
        """
        UPDATE issues SET poll_seq = :seq, listed_seq = :seq
        WHERE workflow_id = :workflow_id AND tracker_id = ANY(:tracker_ids)
          AND poll_seq = :since_seq AND listed_seq = :since_seq
        RETURNING tracker_id
        """,
        workflow_id=workflow_id,
        seq=seq,
        tracker_ids=tracker_ids,
        since_seq=since_seq,
    )
    return frozenset(row.tracker_id for row in rows)


def deactivate_unlisted(transaction: Transaction, workflow_id: UUID, seq: int, listed_ids: list[str]) -> None:
    """Take issues that a whole list no longer shows out of the active ones; the next sight is an entry."""
    transaction.run(
        """
        UPDATE issues SET active = false, eligible = false
        WHERE workflow_id = :workflow_id AND active AND NOT tracker_id = ANY(:listed_ids) AND poll_seq <= :seq
          AND (moved_at IS NULL OR moved_at < (SELECT poll_started_at FROM workflows WHERE id = :workflow_id))
        """,
        workflow_id=workflow_id,
        seq=seq,
        listed_ids=listed_ids,
    )


def give_entries_to_live_runs(transaction: Transaction, workflow_id: UUID) -> None:
    """Let the live run of an issue that entered the active states anew answer for that entry, too.

    Else the entry by which a person lets a parked run go on would start a second one when the first has ended. A run
    that is being cancelled takes none: what is opened again after that wants a new run.
    """
    transaction.run(
        """
        UPDATE runs r SET epoch = i.epoch FROM issues i
        WHERE i.id = r.issue_id AND r.workflow_id = :workflow_id AND i.active AND r.epoch < i.epoch
          AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing') AND r.request IS DISTINCT FROM 'cancel'
        """,
        workflow_id=workflow_id,
    )


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a poll knows of an issue with a live run."""

    issue: IssueRow
    is_fresh: bool
    """Written by this very poll: else the sight was refused as stale, or the issue was not seen."""
    has_pending_move: bool
    moved_since_poll_began: bool


def freshness(transaction: Transaction, workflow_id: UUID, seq: int) -> list[Fresh]:
    """Say of each issue with a live run whether this poll's word on it counts."""
    rows = transaction.rows(
        f"""
        SELECT {COLUMNS}, i.poll_seq = :seq AS is_fresh,
          EXISTS (SELECT FROM effects e WHERE e.issue_id = i.id AND e.kind = 'move' AND e.state = 'pending') AS pending,
          coalesce(i.moved_at >= w.poll_started_at, false) AS moved
        FROM issues i JOIN runs r ON r.issue_id = i.id JOIN workflows w ON w.id = i.workflow_id
        WHERE r.workflow_id = :workflow_id AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')
        """,
        workflow_id=workflow_id,
        seq=seq,
    )
    return [Fresh(record(IssueRow, row), row.is_fresh, row.pending, row.moved) for row in rows]


def candidates(transaction: Transaction, workflow_id: UUID, limit: int) -> list[IssueRow]:
    """List the issues that may start now, in dispatch order.

    An issue with a live run, a consumed epoch or an undelivered move is none, nor one that the newest whole poll did
    not show.
    """
    rows = transaction.rows(
        f"""
        SELECT {COLUMNS} FROM issues i JOIN workflows w ON w.id = i.workflow_id
        WHERE i.workflow_id = :workflow_id AND i.eligible AND i.epoch > i.consumed_epoch AND i.listed_seq = w.listed_seq
          AND NOT EXISTS (SELECT FROM runs r WHERE r.issue_id = i.id
            AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
          AND NOT EXISTS (SELECT FROM effects e WHERE e.issue_id = i.id AND e.kind = 'move' AND e.state = 'pending')
        ORDER BY i.priority_rank, i.opened_at NULLS LAST, i.identifier LIMIT :limit
        """,
        workflow_id=workflow_id,
        limit=limit,
    )
    return [record(IssueRow, row) for row in rows]


def with_left_workspaces(
    transaction: Transaction, workflow_id: UUID, *, terminal: list[str], seen: list[str], limit: int
) -> list[str]:
    """List issues that are not known to be over and whose runs have ended and left workspaces, longest unseen first."""
    rows = transaction.rows(
        """
        SELECT i.tracker_id FROM issues i WHERE i.workflow_id = :workflow_id
          AND NOT lower(trim(i.state)) = ANY(:terminal) AND NOT i.tracker_id = ANY(:seen)
          AND EXISTS (SELECT FROM runs r WHERE r.issue_id = i.id AND r.finished_at IS NOT NULL AND r.node IS NOT NULL)
          AND NOT EXISTS (SELECT FROM runs r WHERE r.issue_id = i.id
            AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing'))
        ORDER BY i.poll_seq, i.id LIMIT :limit
        """,
        workflow_id=workflow_id,
        terminal=terminal,
        seen=seen,
        limit=limit,
    )
    return [row.tracker_id for row in rows]


def written_by(transaction: Transaction, workflow_id: UUID, seq: int, tracker_ids: list[str]) -> list[UUID]:
    """Give those of these issues of which poll `seq` wrote what it saw."""
    rows = transaction.rows(
        "SELECT id FROM issues WHERE workflow_id = :workflow_id AND tracker_id = ANY(:tracker_ids) AND poll_seq = :seq",
        workflow_id=workflow_id,
        seq=seq,
        tracker_ids=tracker_ids,
    )
    return [row.id for row in rows]


def note_looked_for(transaction: Transaction, workflow_id: UUID, seq: int, tracker_ids: list[str]) -> None:
    """Remember that poll `seq` asked for these issues, whatever it was told."""
    transaction.run(
        "UPDATE issues SET poll_seq = :seq "
        "WHERE workflow_id = :workflow_id AND tracker_id = ANY(:tracker_ids) AND poll_seq < :seq",
        workflow_id=workflow_id,
        seq=seq,
        tracker_ids=tracker_ids,
    )


def get(transaction: Transaction, issue_id: UUID) -> IssueRow | None:
    """Read an issue."""
    row = transaction.row(f"SELECT {COLUMNS} FROM issues i WHERE i.id = :issue_id", issue_id=issue_id)
    return record(IssueRow, row) if row is not None else None


def with_tracker_id(transaction: Transaction, workflow_id: UUID, tracker_id: str) -> IssueRow | None:
    """Read an issue of a workflow by the tracker's own id; None: no poll has seen it yet."""
    row = transaction.row(
        f"SELECT {COLUMNS} FROM issues i WHERE i.workflow_id = :workflow_id AND i.tracker_id = :tracker_id",
        workflow_id=workflow_id,
        tracker_id=tracker_id,
    )
    return record(IssueRow, row) if row is not None else None


def find(transaction: Transaction, identifier: str) -> list[IssueRow]:
    """Find issues by what people call them, in any workflow and any case."""
    rows = transaction.rows(
        f"SELECT {COLUMNS} FROM issues i WHERE lower(i.identifier) = lower(:identifier) ORDER BY i.id",
        identifier=identifier,
    )
    return [record(IssueRow, row) for row in rows]


def note_moved(transaction: Transaction, issue_id: UUID, sighting: Sighting) -> None:
    """Store how an issue looks after a move of ours: an entry that no run needs to act on, in a list only from now on."""
    transaction.run(
        f"""
        WITH sighted AS ({_SIGHTED}), moved AS (
          UPDATE issues i SET state = s.state, snapshot = s.snapshot, active = s.active, eligible = s.eligible,
            changed_at = greatest(i.changed_at, s.changed_at), moved_at = clock_timestamp(), listed_seq = 0,
            state_entry = i.state_entry + 1
          FROM sighted s WHERE i.id = :issue_id RETURNING i.id, i.state_entry)
        UPDATE runs r SET handled_entry = m.state_entry FROM moved m WHERE r.issue_id = m.id
          AND r.state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing')
        """,
        issue_id=issue_id,
        sightings=_records([sighting]),
    )


def begin_epoch(transaction: Transaction, issue_id: UUID) -> None:
    """Let a finished issue be run again, as a person asked."""
    transaction.run("UPDATE issues SET epoch = greatest(epoch, consumed_epoch) + 1 WHERE id = :issue_id", issue_id=issue_id)
