"""Leases: renewal by the holder, and the sweep of those that ran out.

The token and the lease are columns of `runs`. Renewal extends any lease whose token is unchanged, expired or not: the
lease is only a promise not to be swept, the token alone says who may write. It touches no indexed column, skips rows
that somebody has locked (one stuck row must not stop the rest), and brings back what is asked of each holder. Only the
sweeper ends an expired lease. Time is the database's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from symphony.ledger.database import FencedTransaction, Transaction
from symphony.ledger.records import Run, record


@dataclass(frozen=True, slots=True)
class Progress:
    """What a holder reports with each renewal; `silent_s` = seconds since the agent's last sign of life."""

    run_id: UUID
    token: int
    silent_s: float | None = None
    last_event: str | None = None
    session_id: str | None = None
    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease that goes on, and what is asked of its holder."""

    run_id: UUID
    token: int
    request: str | None
    request_reason: str | None
    request_clean: bool


def renew_if_token_matches(transaction: Transaction, progress: list[Progress], ttl: timedelta) -> list[Renewed]:
    """Extend the leases of one process in one statement; those that are missing from the answer were locked or lost."""
    records = [
        {
            "run_id": str(p.run_id), "token": p.token, "silent_s": p.silent_s, "last_event": p.last_event,
            "session_id": p.session_id, "turns": p.turns, "input_tokens": p.input_tokens,
            "output_tokens": p.output_tokens,
        }
        for p in progress
    ]  # fmt: skip
    rows = transaction.rows(
        """
        WITH held AS (
          SELECT * FROM jsonb_to_recordset(CAST(:held AS jsonb)) AS h(run_id uuid, token bigint, silent_s float8,
            last_event text, session_id text, turns int, input_tokens bigint, output_tokens bigint)),
        mine AS (
          SELECT r.id FROM runs r JOIN held h ON h.run_id = r.id AND h.token = r.token
          WHERE r.state = 'running' FOR NO KEY UPDATE OF r SKIP LOCKED)
        UPDATE runs r SET lease_until = now() + :ttl,
          last_event_at = coalesce(now() - make_interval(secs => h.silent_s), r.last_event_at),
          last_event = coalesce(h.last_event, r.last_event), session_id = coalesce(h.session_id, r.session_id),
          turns = h.turns, input_tokens = greatest(r.input_tokens, h.input_tokens),
          output_tokens = greatest(r.output_tokens, h.output_tokens)
        FROM mine, held h WHERE r.id = mine.id AND h.run_id = r.id AND h.token = r.token
        RETURNING r.id AS run_id, r.token, r.request, r.request_reason, r.request_clean
        """,
        held=records,
        ttl=ttl,
    )
    return [record(Renewed, row) for row in rows]


def note_progress(transaction: FencedTransaction, progress: Progress) -> None:
    """Write the last report of a holder whose attempt ends: what came after the last renewal counts, too."""
    transaction.run(
        """
        UPDATE runs SET turns = :turns, input_tokens = greatest(input_tokens, :input_tokens),
          output_tokens = greatest(output_tokens, :output_tokens), session_id = coalesce(:session_id, session_id)
        WHERE id = :run_id
        """,
        run_id=progress.run_id,
        turns=progress.turns,
        input_tokens=progress.input_tokens,
        output_tokens=progress.output_tokens,
        session_id=progress.session_id,
    )


def tokens_of(transaction: Transaction, run_ids: list[UUID]) -> dict[UUID, int]:
    """Read the present tokens, to tell a locked row from a lost one."""
    rows = transaction.rows("SELECT id, token FROM runs WHERE id = ANY(:run_ids)", run_ids=run_ids)
    return {row.id: row.token for row in rows}


def begin_sweep(transaction: Transaction, ttl: timedelta) -> bool:
    """Note this sweep; False while nobody may be blamed: sweeps were missed, or PostgreSQL itself is young.

    Holders could not renew in a gap of which the sweeper was part, so it waits one TTL after it.
    """
    row = transaction.row(
        """
        UPDATE sweeps SET
          blameless_until = CASE
            WHEN swept_at IS NULL OR swept_at < now() - :ttl / 2 THEN now() + :ttl
            WHEN pg_postmaster_start_time() > now() - :ttl
              THEN greatest(blameless_until, pg_postmaster_start_time() + :ttl)
            ELSE blameless_until END,
          swept_at = now()
        WHERE id = 1 RETURNING blameless_until IS NULL OR blameless_until <= now() AS may_blame
        """,
        ttl=ttl,
    )
    assert row is not None
    return bool(row.may_blame)


@dataclass(frozen=True, slots=True)
class Expired:
    """A run whose lease ran out, locked; `process_died`: its holder's process row is dead, too."""

    run: Run
    process_died: bool


def lock_expired(transaction: Transaction, *, silence: timedelta, limit: int = 100) -> list[Expired]:
    """Lock runs whose lease ran out, leaving those that somebody else has locked."""
    rows = transaction.rows(
        """
        SELECT r.*, p.stopped_at IS NOT NULL OR p.heartbeat_at < now() - :silence AS process_died
        FROM runs r JOIN processes p ON p.id = r.process_id
        WHERE r.state = 'running' AND r.lease_until < now()
        ORDER BY r.lease_until LIMIT :limit FOR NO KEY UPDATE OF r SKIP LOCKED
        """,
        silence=silence,
        limit=limit,
    )
    return [Expired(record(Run, row), bool(row.process_died)) for row in rows]
