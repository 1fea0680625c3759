"""Requests to models in the ledger: counted before they are sent, ended once, summed rightly, pruned without loss."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from symphony.domain.errors import Fenced, InvariantViolated, Transient
from symphony.domain.outcome import Cancel, Continue, Interrupted
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.domain.usage import Spent, Usage
from symphony.engine.execute import Claim
from symphony.engine.sweep import prune
from symphony.ledger import conversations, usage
from symphony.ledger.conversations import NewItem, NewMessage
from symphony.ledger.usage import Used
from tests.integration.board import Board, fresh_id

GUESS = Usage(input_tokens=1_000, output_tokens=500)
REAL = Usage(input_tokens=1_000, cached_tokens=800, cache_write_tokens=100, output_tokens=50, reasoning_tokens=20)


def said() -> NewItem:
    """Make an item of an answer."""
    return NewItem("model", {"type": "message", "content": "hello"})


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board whose run A-1 is queued for its agent."""
    board = Board(database_url, tmp_path)
    board.bring("A-1", Stage.AGENT)
    return board


@pytest.fixture
def held(board: Board) -> Claim:
    """The claim of A-1's agent stage."""
    return board.claim("A-1")


def begin(board: Board, held: Claim, cost: str = "0.25", model: str = "m", request_id: UUID | None = None) -> UUID:
    """Begin a request with an estimate."""
    chosen = request_id or fresh_id()
    board.fenced(
        held,
        lambda t: usage.begin_request(t, chosen, model=model, kind="turn", estimate=GUESS, cost_usd=Decimal(cost)),
    )
    return chosen


def finish(board: Board, held: Claim, request_id: UUID, cost: str = "0.10", *items: NewItem) -> Any:
    """Finish a request."""
    return board.fenced(held, lambda t: usage.finish_request(t, request_id, REAL, Decimal(cost), items))


def discard(board: Board, held: Claim, request_id: UUID, cost: str = "0", **told: Any) -> None:
    """Discard a request."""
    kinds = {"error": "cut", "usage": None, "is_estimated": False, **told}
    board.fenced(held, lambda t: usage.discard_request(t, request_id, cost_usd=Decimal(cost), **kinds))


def pay(board: Board, held: Claim, cost: str = "0.10", model: str = "m") -> UUID:
    """Make a request that is answered."""
    request_id = begin(board, held, model=model)
    finish(board, held, request_id, cost)
    return request_id


def spent(board: Board, run_id: UUID) -> Spent:
    """Read what a run has spent."""
    return board.database.transact(lambda t: usage.spent_by_run(t, run_id))


def today(board: Board) -> Decimal:
    """Read what was spent today."""
    return board.database.transact(usage.spent_today)


def assert_days_are_right(board: Board) -> None:
    """The sums by run, day and model are those of the requests."""
    counted = board.sql(
        """
        SELECT run_id, (started_at AT TIME ZONE 'UTC')::date, model, count(*) FILTER (WHERE state <> 'refused'),
          sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
          sum(cost_usd), coalesce(sum(cost_usd) FILTER (WHERE is_estimated), 0)
        FROM model_requests GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """
    )
    assert [tuple(row) for row in board.sql("SELECT * FROM usage_days ORDER BY 1, 2, 3")] == [tuple(row) for row in counted]


def test_a_request_counts_from_before_it_is_sent(board: Board, held: Claim) -> None:
    """Rule: the estimate counts while nothing is known, then what was used; budgets see both."""
    run_id = held.run.id
    assert spent(board, run_id).tokens == 0
    assert today(board) == 0
    request_id = begin(board, held)
    assert (spent(board, run_id).tokens, spent(board, run_id).cost_usd) == (1_500, Decimal("0.25"))
    assert today(board) == Decimal("0.25")
    (item,) = finish(board, held, request_id, "0.10", said())
    assert (item.request_id, item.kind) == (request_id, "model")
    assert (spent(board, run_id).tokens, spent(board, run_id).cost_usd) == (250, Decimal("0.10"))
    assert today(board) == Decimal("0.10")
    (row,) = board.sql("SELECT * FROM model_requests")
    assert (row.state, row.is_estimated, row.attempt_id, row.token, row.cached_tokens) == (
        "done", False, held.run.attempt_id, held.run.token, 800,
    )  # fmt: skip
    assert_days_are_right(board)


def test_an_answer_and_its_items_are_one_transaction(board: Board, held: Claim) -> None:
    """Rule: an answer that cannot be used leaves nothing; the request can still be discarded."""
    call = NewItem("model", {"type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"})
    first = begin(board, held)
    finish(board, held, first, "0.10", call)
    second = begin(board, held)
    with pytest.raises(Transient):
        finish(board, held, second, "0.10", said(), NewItem("model", dict(call.payload)))
    assert spent(board, held.run.id).cost_usd == Decimal("0.35")
    assert len(board.database.transact(lambda t: conversations.open_items(t, held.run.id))) == 1
    discard(board, held, second, "0.20", usage=REAL, error="two calls alike")
    assert spent(board, held.run.id).cost_usd == Decimal("0.30")
    assert_days_are_right(board)


def test_requests_run_again_after_a_commit_of_unknown_end(board: Board, held: Claim) -> None:
    """Rule: each step run again finds what it wrote and counts nothing twice."""
    request_id = begin(board, held)
    begin(board, held, request_id=request_id)
    answer = said()
    first = finish(board, held, request_id, "0.10", answer)
    assert finish(board, held, request_id, "0.10", answer) == first
    other = begin(board, held)
    discard(board, held, other)
    discard(board, held, other)
    assert spent(board, held.run.id).cost_usd == Decimal("0.10")
    assert board.sql("SELECT count(*) FROM conversation_items")[0][0] == 1
    assert_days_are_right(board)


def test_requests_without_an_answer(board: Board, held: Claim) -> None:
    """Rule: a cut one costs what it was estimated at, or what it says; a refused one nothing."""
    cut, told, refused = begin(board, held), begin(board, held), begin(board, held)
    discard(board, held, cut, "0.25", is_estimated=True)
    discard(board, held, told, "0.07", usage=REAL)
    discard(board, held, refused, error="429")
    rows = board.sql("SELECT id, state, input_tokens, output_tokens, cost_usd FROM model_requests")
    assert {row[0]: tuple(row[1:]) for row in rows} == {
        cut: ("discarded", 1_000, 500, Decimal("0.25")),
        told: ("discarded", 1_000, 50, Decimal("0.07")),
        refused: ("refused", 0, 0, Decimal(0)),
    }
    found = board.database.transact(lambda t: usage.usage_by_run(t, [held.run.id]))[held.run.id]
    assert (found.requests, found.cost_usd, found.estimated_usd) == (2, Decimal("0.32"), Decimal("0.25"))
    assert_days_are_right(board)


def test_a_request_ends_once(board: Board, held: Claim) -> None:
    """Rule: what was answered is not discarded, what was discarded not answered, and a refusal costs nothing."""
    done, cut = pay(board, held), begin(board, held)
    discard(board, held, cut, "0.25", is_estimated=True)
    with pytest.raises(InvariantViolated):
        discard(board, held, done)
    with pytest.raises(InvariantViolated):
        finish(board, held, cut, "0.10", said())
    with pytest.raises(InvariantViolated):
        finish(board, held, fresh_id())
    with pytest.raises(InvariantViolated):
        discard(board, held, begin(board, held), "0.01")
    assert board.sql("SELECT count(*) FROM conversation_items")[0][0] == 0


def test_at_most_one_request_is_paid_twice(board: Board, held: Claim) -> None:
    """Rule: what a lost holder left under way counts as it was estimated; its late answer is fenced."""
    pay(board, held)
    lost = begin(board, held)
    board.expire("A-1", process_died=False)
    board.swept()
    board.due("A-1")
    new = board.claim("A-1")
    mine = begin(board, new, "0.50")
    with pytest.raises(Fenced):
        finish(board, held, lost, "0.10", said())
    states = {row.id: row.state for row in board.sql("SELECT id, state FROM model_requests")}
    assert (states[lost], states[mine]) == ("discarded", "started")
    assert spent(board, new.run.id).cost_usd == Decimal("0.85")
    assert_days_are_right(board)


def test_a_run_is_charged_over_attempts_and_nodes(board: Board, held: Claim) -> None:
    """Rule: budgets hold over attempts; the seconds are those of the agent stage, the open attempt included."""
    pay(board, held)
    board.sql("UPDATE attempts SET started_at = started_at - interval '60 s'")
    board.settle(held, Continue())
    board.due("A-1")
    new = board.claim("A-1")
    pay(board, new)
    board.sql("UPDATE attempts SET started_at = started_at - interval '30 s' WHERE finished_at IS NULL")
    found = spent(board, held.run.id)
    assert (found.tokens, found.cost_usd) == (500, Decimal("0.20"))
    assert 90 <= found.seconds < 150, "provision does not count"


def test_sums_by_run_issue_workflow_day_and_model(board: Board, held: Claim) -> None:
    """Rule: usage and cost by run, issue, workflow and day; the day is that of UTC."""
    pay(board, held, "0.10")
    pay(board, held, "0.0000031", model="n")
    board.settle(held, Cancel("enough"))
    board.bring("A-2", Stage.AGENT)
    other = board.claim("A-2")
    yesterday = pay(board, other, "5")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    board.sql("DELETE FROM usage_days WHERE run_id = %(id)s", id=other.run.id)
    board.sql(
        "UPDATE model_requests SET started_at = %(at)s WHERE id = %(id)s",
        at=midnight - timedelta(microseconds=1), id=yesterday,
    )  # fmt: skip
    late = begin(board, other, "7")
    board.sql("UPDATE model_requests SET started_at = %(at)s WHERE id = %(id)s", at=midnight, id=late)
    finish(board, other, late, "3")
    board.fenced(other, lambda t: usage._count_day_of(t, yesterday))
    assert_days_are_right(board)
    read = board.database.transact
    runs = read(lambda t: usage.usage_by_run(t, [held.run.id, other.run.id, fresh_id()]))
    assert {run_id: used.cost_usd for run_id, used in runs.items()} == {
        held.run.id: Decimal("0.1000031"), other.run.id: Decimal(8),
    }  # fmt: skip
    assert runs[held.run.id] == Used(2, 2_000, 1_600, 200, 100, 40, Decimal("0.1000031"), Decimal(0))
    issues = read(lambda t: usage.usage_by_issue(t, [held.run.issue_id]))
    assert issues == {held.run.issue_id: runs[held.run.id]}
    assert read(usage.usage_by_workflow)[board.id].cost_usd == Decimal("8.1000031")
    assert read(lambda t: usage.usage_by_workflow(t, days=1))[board.id].cost_usd == today(board) == Decimal("3.1000031")
    days = read(lambda t: usage.usage_by_day(t, days=2))
    assert [(day, used.cost_usd) for day, used in days.items()] == [
        (midnight.date(), Decimal("3.1000031")), (midnight.date() - timedelta(days=1), Decimal(5)),
    ]  # fmt: skip
    models = read(lambda t: usage.usage_by_model(t, held.run.id))
    assert {model: used.requests for model, used in models.items()} == {"m": 1, "n": 1}


def test_pruning_takes_what_was_said_and_leaves_what_it_cost(board: Board, held: Claim) -> None:
    """Rule: conversations go 30 days after a run's end, requests 90; sums by run and day stay right; live runs keep all."""
    board.bring("A-2", Stage.AGENT)
    other = board.claim("A-2")
    for claim in (held, other):
        finish(board, claim, begin(board, claim), "0.10", said())
        begin(board, claim, "0.25")
        news = [NewMessage("1", "ann", "hi")]
        board.database.transact(lambda t, c=claim, n=news: conversations.add_messages(t, c.run.id, n))
    board.settle(held, Cancel("enough"))
    before = spent(board, held.run.id), today(board), board.sql("SELECT * FROM usage_days ORDER BY run_id")

    def counts(days: int) -> list[Any]:
        board.sql(f"UPDATE runs SET finished_at = now() - interval '{days} days' WHERE finished_at IS NOT NULL")
        prune(board.deployment)
        tables = ("conversation_items", "run_messages", "model_requests")
        return [
            board.sql(f"SELECT count(*) FROM {table} WHERE run_id = %(id)s", id=claim.run.id)[0][0]
            for claim in (held, other)
            for table in tables
        ]

    assert counts(29) == [1, 1, 2, 1, 1, 2]
    states = board.sql("SELECT r.state, m.state FROM model_requests m JOIN runs r ON r.id = m.run_id ORDER BY 1, 2")
    assert [tuple(row) for row in states] == [
        ("cancelled", "discarded"), ("cancelled", "done"), ("running", "done"), ("running", "started"),
    ]  # fmt: skip
    assert counts(31) == [0, 0, 2, 1, 1, 2]
    assert counts(91) == [0, 0, 0, 1, 1, 2]
    assert (spent(board, held.run.id), today(board)) == before[:2]
    assert board.sql("SELECT * FROM usage_days ORDER BY run_id") == before[2]
    assert board.run("A-2").state is RunState.RUNNING


IMPOSSIBLE = [
    ("cached_tokens = 9000", "cached_input_is_input"),
    ("reasoning_tokens = 9000", "reasoning_is_output"),
    ("state = 'done'", "ended_request_has_an_end"),
    ("finished_at = now()", "ended_request_has_an_end"),
    ("is_estimated = false", "started_request_is_estimated"),
    ("state = 'discarded', finished_at = now()", "failed_request_says_why"),
    ("error = 'x'", "failed_request_says_why"),
    ("state = 'refused', error = 'x', finished_at = now()", "refused_request_is_free"),
    ("cost_usd = -1", "model_requests_cost_usd_check"),
    ("cost_usd = 'NaN'", "model_requests_cost_usd_check"),
    ("cost_usd = 'Infinity'", "model_requests_cost_usd_check"),
    ("reasoning_tokens = -1", "model_requests_reasoning_tokens_check"),
    ("state = 'lost', finished_at = now()", "model_requests_state_check"),
    ("kind = 'chat'", "model_requests_kind_check"),
]


def test_impossible_requests_are_refused(board: Board, held: Claim) -> None:
    """Rule: CHECKs make impossible rows impossible."""
    begin(board, held)
    for sets, constraint in IMPOSSIBLE:
        with psycopg.connect(board.url) as connection, pytest.raises(errors.CheckViolation) as refusal:
            connection.execute(f"UPDATE model_requests SET {sets}".encode())
        assert refusal.value.diag.constraint_name == constraint, sets


def test_a_stale_holder_counts_nothing(board: Board, held: Claim) -> None:
    """Rule: every run-bound write goes through the token."""
    request_id = begin(board, held)
    board.settle(held, Interrupted("lost"))
    board.claim("A-1")
    before = board.sql("SELECT * FROM model_requests"), board.sql("SELECT * FROM usage_days")
    for write in (
        lambda: begin(board, held),
        lambda: finish(board, held, request_id),
        lambda: discard(board, held, request_id),
    ):
        with pytest.raises(Fenced):
            write()
    assert (board.sql("SELECT * FROM model_requests"), board.sql("SELECT * FROM usage_days")) == before
