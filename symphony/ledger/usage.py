"""Statements on requests to models: what was asked, what it used, and what that cost by run, issue, workflow and day.

Invariant: a request is a row, with an estimate of its cost, before it is sent, and its answer's items are written in
the transaction that ends it; so money that may have been spent is counted whoever dies when. `usage_days` is counted
again from the requests with each of their changes, under the lock of the run's row, and outlives them: sums of runs and
days stay right when requests are pruned. Budgets rely on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal
from uuid import UUID

from symphony.domain.errors import InvariantViolated
from symphony.domain.usage import Spent, Usage
from symphony.ledger import conversations
from symphony.ledger.conversations import NewItem
from symphony.ledger.database import FencedTransaction, Transaction
from symphony.ledger.records import Item, record

UNANSWERED = "the attempt ended before it was answered"


def begin_request(
    transaction: FencedTransaction, request_id: UUID, *, model: str, kind: Literal["turn", "compaction"], estimate: Usage,
    cost_usd: Decimal,
) -> None:  # fmt: skip
    """Write the row of a request that is about to be sent, with what it may use."""
    transaction.run(
        """
        INSERT INTO model_requests (id, run_id, attempt_id, token, model, kind, input_tokens, cached_tokens,
          cache_write_tokens, output_tokens, reasoning_tokens, cost_usd)
        VALUES (:id, :run_id, :attempt_id, :writer, :model, :kind, :input_tokens, :cached_tokens,
          :cache_write_tokens, :output_tokens, :reasoning_tokens, :cost_usd)
        ON CONFLICT (id) DO NOTHING
        """,
        id=request_id,
        run_id=transaction.run_row.id,
        attempt_id=transaction.run_row.attempt_id,
        writer=transaction.run_row.token,
        model=model,
        kind=kind,
        cost_usd=cost_usd,
        **asdict(estimate),
    )
    _count_day_of(transaction, request_id)


def finish_request(
    transaction: FencedTransaction, request_id: UUID, usage: Usage, cost_usd: Decimal, items: Sequence[NewItem], *,
    is_estimated: bool = False,
) -> list[Item]:  # fmt: skip
    """End a request that was answered, write the items of its answer, and give them as they were stored.

    Raises:
        InvariantViolated: there is no such request, or it has ended otherwise.
        Transient: the answer cannot be used (`conversations.append`).
    """
    if _state(transaction, request_id) == "done":
        return conversations.of_request(transaction, request_id)
    _end(transaction, request_id, "done", usage, cost_usd, is_estimated=is_estimated)
    return conversations.append(transaction, *(replace(item, request_id=request_id) for item in items))


def discard_request(
    transaction: FencedTransaction, request_id: UUID, *, error: str, usage: Usage | None, cost_usd: Decimal,
    is_estimated: bool,
) -> None:  # fmt: skip
    """End a request without a usable answer.

    With `usage` None and `is_estimated` it was perhaps paid: the tokens of its estimate stay. With `usage` None and a cost
    that is not estimated it was refused, which costs nothing.

    Raises:
        InvariantViolated: there is no such request, or it was answered.
    """
    state = _state(transaction, request_id)
    if state == "done":
        raise InvariantViolated(f"the request {request_id} was answered")
    if state != "started":
        return
    refused = usage is None and not is_estimated
    if refused and cost_usd:
        raise InvariantViolated(f"the request {request_id} was refused and yet is said to cost {cost_usd}")
    _end(
        transaction, request_id, "refused" if refused else "discarded", Usage() if refused else usage, cost_usd,
        is_estimated=is_estimated, error=error,
    )  # fmt: skip


def end_with_attempt(transaction: Transaction, attempt_id: UUID) -> None:
    """End the requests that an attempt leaves under way at its end: each may have been paid, so its estimate counts."""
    transaction.run(
        """
        UPDATE model_requests SET state = 'discarded', error = :error, finished_at = clock_timestamp()
        WHERE run_id = (SELECT run_id FROM attempts WHERE id = :attempt_id) AND state = 'started'
        """,
        attempt_id=attempt_id,
        error=UNANSWERED,
    )


def spent_by_run(transaction: Transaction, run_id: UUID) -> Spent:
    """Sum what a run has used over all of its attempts; requests under way count with their estimates."""
    row = transaction.row(
        """
        SELECT coalesce(sum(input_tokens - cached_tokens + output_tokens), 0) AS tokens,
          coalesce(sum(cost_usd), 0) AS cost_usd,
          (SELECT coalesce(sum(extract(epoch FROM coalesce(finished_at, now()) - started_at)), 0)
            FROM attempts WHERE run_id = :run_id AND stage = 'agent') AS seconds
        FROM usage_days WHERE run_id = :run_id
        """,
        run_id=run_id,
    )
    assert row is not None
    return Spent(int(row.tokens), Decimal(row.cost_usd), float(row.seconds))


def spent_today(transaction: Transaction) -> Decimal:
    """Sum what all requests that began on the present UTC day cost, those under way with their estimates."""
    return Decimal(
        transaction.value(
            "SELECT coalesce(sum(cost_usd), 0) FROM usage_days WHERE day = CAST(now() AT TIME ZONE 'UTC' AS date)"
        )
    )


@dataclass(frozen=True, slots=True)
class Used:
    """Requests that were or may have been paid, their tokens and their cost, of which `estimated_usd` is estimated."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    estimated_usd: Decimal = Decimal(0)


_SUMS = """CAST(sum(u.requests) AS bigint) AS requests, CAST(sum(u.input_tokens) AS bigint) AS input_tokens,
  CAST(sum(u.cached_tokens) AS bigint) AS cached_tokens, CAST(sum(u.cache_write_tokens) AS bigint) AS cache_write_tokens,
  CAST(sum(u.output_tokens) AS bigint) AS output_tokens, CAST(sum(u.reasoning_tokens) AS bigint) AS reasoning_tokens,
  sum(u.cost_usd) AS cost_usd, sum(u.estimated_usd) AS estimated_usd"""


def usage_by_run(transaction: Transaction, run_ids: Sequence[UUID]) -> dict[UUID, Used]:
    """Sum by run; one that made no request is missing."""
    rows = transaction.rows(
        f"SELECT u.run_id AS owner, {_SUMS} FROM usage_days u WHERE u.run_id = ANY(:ids) GROUP BY u.run_id",
        ids=list(run_ids),
    )
    return {row.owner: record(Used, row) for row in rows}


def usage_by_issue(transaction: Transaction, issue_ids: Sequence[UUID]) -> dict[UUID, Used]:
    """Sum by issue over all of its runs."""
    rows = transaction.rows(
        f"SELECT r.issue_id AS owner, {_SUMS} FROM usage_days u JOIN runs r ON r.id = u.run_id "
        "WHERE r.issue_id = ANY(:ids) GROUP BY r.issue_id",
        ids=list(issue_ids),
    )
    return {row.owner: record(Used, row) for row in rows}


def usage_by_workflow(transaction: Transaction, *, days: int | None = None) -> dict[UUID, Used]:
    """Sum by workflow over the last `days` UTC days, the present one included, or over all."""
    rows = transaction.rows(
        f"""
        SELECT r.workflow_id AS owner, {_SUMS} FROM usage_days u JOIN runs r ON r.id = u.run_id
        WHERE CAST(:days AS int) IS NULL OR u.day > CAST(now() AT TIME ZONE 'UTC' AS date) - CAST(:days AS int)
        GROUP BY r.workflow_id
        """,
        days=days,
    )
    return {row.owner: record(Used, row) for row in rows}


def usage_by_day(transaction: Transaction, *, days: int = 30) -> dict[date, Used]:
    """Sum by UTC day over the last `days`, newest first; a day without requests is missing."""
    rows = transaction.rows(
        f"SELECT u.day AS owner, {_SUMS} FROM usage_days u "
        "WHERE u.day > CAST(now() AT TIME ZONE 'UTC' AS date) - CAST(:days AS int) GROUP BY u.day ORDER BY u.day DESC",
        days=days,
    )
    return {row.owner: record(Used, row) for row in rows}


def usage_by_model(transaction: Transaction, run_id: UUID) -> dict[str, Used]:
    """Sum a run's usage by model."""
    rows = transaction.rows(
        f"SELECT u.model AS owner, {_SUMS} FROM usage_days u WHERE u.run_id = :run_id GROUP BY u.model ORDER BY u.model",
        run_id=run_id,
    )
    return {row.owner: record(Used, row) for row in rows}


def _state(transaction: FencedTransaction, request_id: UUID) -> str:
    state: str | None = transaction.value(
        "SELECT state FROM model_requests WHERE id = :id AND run_id = :run_id",
        id=request_id,
        run_id=transaction.run_row.id,
    )
    if state is None:
        raise InvariantViolated(f"the run has no request {request_id}")
    return state


def _end(
    transaction: FencedTransaction, request_id: UUID, state: str, usage: Usage | None, cost_usd: Decimal, *,
    is_estimated: bool, error: str | None = None,
) -> None:  # fmt: skip
    """End a started request; with `usage` None its tokens stay as they were estimated."""
    tokens = asdict(usage) if usage is not None else {}
    sets = "".join(f"{name} = :{name}, " for name in tokens)
    ended = transaction.run(
        f"""
        UPDATE model_requests SET {sets} state = :state, cost_usd = :cost_usd, is_estimated = :is_estimated,
          error = :error, finished_at = clock_timestamp()
        WHERE id = :id AND state = 'started'
        """,
        id=request_id,
        state=state,
        cost_usd=cost_usd,
        is_estimated=is_estimated,
        error=error,
        **tokens,
    )
    if not ended:
        raise InvariantViolated(f"the request {request_id} has ended and cannot become {state}")
    _count_day_of(transaction, request_id)


def _count_day_of(transaction: FencedTransaction, request_id: UUID) -> None:
    """Count the run's day again to which a request belongs."""
    transaction.run(
        """
        INSERT INTO usage_days (run_id, day, model, requests, input_tokens, cached_tokens, cache_write_tokens,
          output_tokens, reasoning_tokens, cost_usd, estimated_usd)
        SELECT m.run_id, d.day, m.model, count(*) FILTER (WHERE m.state <> 'refused'), sum(m.input_tokens),
          sum(m.cached_tokens), sum(m.cache_write_tokens), sum(m.output_tokens), sum(m.reasoning_tokens), sum(m.cost_usd),
          coalesce(sum(m.cost_usd) FILTER (WHERE m.is_estimated), 0)
        FROM (SELECT run_id, model, CAST(started_at AT TIME ZONE 'UTC' AS date) AS day
          FROM model_requests WHERE id = :id) d
        JOIN model_requests m ON m.run_id = d.run_id AND m.model = d.model
          AND m.started_at >= d.day AT TIME ZONE 'UTC' AND m.started_at < (d.day + 1) AT TIME ZONE 'UTC'
        GROUP BY m.run_id, d.day, m.model
        ON CONFLICT (run_id, day, model) DO UPDATE SET requests = excluded.requests,
          input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens,
          cache_write_tokens = excluded.cache_write_tokens, output_tokens = excluded.output_tokens,
          reasoning_tokens = excluded.reasoning_tokens, cost_usd = excluded.cost_usd,
          estimated_usd = excluded.estimated_usd
        """,
        id=request_id,
    )
