"""Statements on worker processes, the doorbells that they are owed, ticks, and what is kept no longer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from symphony.domain.stage import Stage
from symphony.ledger.database import Transaction


def register(transaction: Transaction, *, process_id: UUID, node: str, pid: int, queues: list[str], slots: int) -> None:
    """Write the row of a worker process that begins."""
    transaction.run(
        "INSERT INTO processes (id, node, pid, queues, slots) VALUES (:id, :node, :pid, :queues, :slots) "
        "ON CONFLICT (id) DO NOTHING",
        id=process_id,
        node=node,
        pid=pid,
        queues=queues,
        slots=slots,
    )


def beat(transaction: Transaction, process_id: UUID, busy: int) -> None:
    """Say that a process lives and how many of its slots are taken."""
    transaction.run(
        "UPDATE processes SET heartbeat_at = now(), busy = :busy WHERE id = :id AND stopped_at IS NULL",
        id=process_id,
        busy=busy,
    )


def drain(transaction: Transaction, process_id: UUID) -> None:
    """Say that a process takes no more work."""
    transaction.run("UPDATE processes SET draining_at = coalesce(draining_at, now()) WHERE id = :id", id=process_id)


def stop(transaction: Transaction, process_id: UUID) -> None:
    """Say that a process has ended."""
    transaction.run("UPDATE processes SET stopped_at = coalesce(stopped_at, now()) WHERE id = :id", id=process_id)


@dataclass(frozen=True, slots=True)
class Ring:
    """A doorbell that is owed: which run, which stage, where."""

    run_id: UUID
    workflow_id: UUID
    identifier: str
    stage: Stage
    node: str | None


_FREE_SLOTS = """
SELECT coalesce(sum(greatest(p.slots - held.count, 0)), 0) FROM processes p
CROSS JOIN LATERAL (SELECT count(*) FROM runs r WHERE r.process_id = p.id AND r.state = 'running') held
WHERE p.stopped_at IS NULL AND p.draining_at IS NULL AND p.heartbeat_at > now() - :silence AND p.slots > 0
"""

_OWED = """
WITH free AS (SELECT (SELECT {free}) - (SELECT count(*) FROM runs
    WHERE state = 'queued' AND rung_at > now() - interval '2 seconds') AS slots),
owed AS (
  SELECT id FROM runs r WHERE state = 'queued' AND due_at <= now()
    AND (rung_at IS NULL OR rung_at < now() - CASE rings WHEN 1 THEN interval '2 seconds'
      WHEN 2 THEN interval '5 seconds' ELSE interval '10 seconds' END)
    AND (stage <> 'land' OR EXISTS (SELECT FROM landings l WHERE l.run_id = r.id AND l.state = 'intended')
      OR NOT EXISTS (SELECT FROM runs o WHERE o.target = r.target AND o.stage = 'land'
        AND (o.state = 'running' OR o.state = 'queued' AND (o.queued_at, o.id) < (r.queued_at, r.id))))
  ORDER BY rung_at NULLS FIRST, queued_at, id LIMIT greatest((SELECT slots FROM free), 0) FOR NO KEY UPDATE SKIP LOCKED)
UPDATE runs r SET rung_at = now(), rings = rings + 1 FROM owed, issues i
WHERE r.id = owed.id AND i.id = r.issue_id
RETURNING r.id AS run_id, r.workflow_id, i.identifier, r.stage, r.node
"""


def take_owed_rings(transaction: Transaction, silence: timedelta) -> list[Ring]:
    """Take the doorbells that are owed: at most one for each free slot of live processes, again after 2, 5, then 10 s.

    Who was rung the longest ago comes first: runs that wait for a full node must not take every turn of the others.
    """
    rows = transaction.rows(_OWED.format(free=f"({_FREE_SLOTS})"), silence=silence)
    return [Ring(row.run_id, row.workflow_id, row.identifier, Stage(row.stage), row.node) for row in rows]


def take_tick(transaction: Transaction, name: str, every: timedelta, *, queue: str, silence: timedelta) -> bool:
    """Take the tick of the present interval by the database's clock; False when another beat was first.

    False, too, while no live process serves `queue`: ticks that pile up would have to be thrown away one by one before
    the first fresh one is seen.
    """
    return bool(
        transaction.run(
            """
            INSERT INTO ticks (name, slot)
            SELECT :name, floor(extract(epoch FROM now()) / extract(epoch FROM CAST(:every AS interval)))
            WHERE EXISTS (SELECT FROM processes WHERE :queue = ANY(queues) AND stopped_at IS NULL
              AND heartbeat_at > now() - :silence)
            ON CONFLICT DO NOTHING
            """,
            name=name,
            every=every,
            queue=queue,
            silence=silence,
        )
    )


def prune(transaction: Transaction, batch: int = 1000) -> int:
    """Delete what is kept no longer, at most a batch of each kind: what belongs to a run some time after its end."""
    ticks = transaction.run(
        "DELETE FROM ticks WHERE (name, slot) IN "
        "(SELECT name, slot FROM ticks WHERE at < now() - interval '1 hour' LIMIT :batch)",
        batch=batch,
    )
    processes = transaction.run(
        """
        DELETE FROM processes p WHERE p.heartbeat_at < now() - interval '7 days'
          AND NOT EXISTS (SELECT FROM runs r WHERE r.process_id = p.id)
        """
    )
    events = transaction.run(
        """
        DELETE FROM run_events WHERE id IN (SELECT e.id FROM run_events e JOIN runs r ON r.id = e.run_id
          WHERE r.finished_at < now() - interval '90 days' ORDER BY e.id LIMIT :batch)
        """,
        batch=batch,
    )
    effects = transaction.run(
        """
        DELETE FROM effects WHERE id IN (SELECT e.id FROM effects e LEFT JOIN runs r ON r.id = e.run_id
          WHERE e.settled_at < now() - interval '30 days'
            AND (r.id IS NULL OR r.finished_at < now() - interval '30 days') LIMIT :batch)
        """,
        batch=batch,
    )
    return ticks + processes + events + effects + _prune_conversations(transaction, batch)


def _prune_conversations(transaction: Transaction, batch: int) -> int:
    """Delete what was said in runs that ended 30 days ago, and the requests of those that ended 90 days ago.

    `usage_days` stays, so what runs and days have cost does, too.
    """
    items = transaction.run(
        """
        DELETE FROM conversation_items WHERE (run_id, seq) IN (
          SELECT c.run_id, c.seq FROM runs r JOIN conversation_items c ON c.run_id = r.id
          WHERE r.finished_at < now() - interval '30 days' LIMIT :batch)
        """,
        batch=batch,
    )
    messages = transaction.run(
        """
        DELETE FROM run_messages WHERE id IN (SELECT m.id FROM runs r JOIN run_messages m ON m.run_id = r.id
          WHERE r.finished_at < now() - interval '30 days' LIMIT :batch)
        """,
        batch=batch,
    )
    requests = transaction.run(
        """
        DELETE FROM model_requests WHERE id IN (SELECT m.id FROM runs r JOIN model_requests m ON m.run_id = r.id
          WHERE r.finished_at < now() - interval '90 days'
            AND NOT EXISTS (SELECT FROM conversation_items c WHERE c.request_id = m.id) LIMIT :batch)
        """,
        batch=batch,
    )
    limits = transaction.run("DELETE FROM model_limits WHERE updated_at < now() - interval '30 days'")
    return items + messages + requests + limits
