"""The specification's test matrix, 17.4: dispatch, reconciliation and retry; one test a bullet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Continue, Retry
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.admit import NO_SLOT
from symphony.ledger import views
from tests.fakes.scripted_tracker import ScriptedTracker
from tests.integration.board import Board

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board in compatible mode: no repository, no agent kind, one slot for each of ten agents."""
    return Board(database_url, tmp_path, repository=False, states="", agent="{max_concurrent_agents: 10}")


@pytest.fixture
def tracker(board: Board) -> ScriptedTracker:
    """The board's tracker."""
    assert board.tracker is not None
    return board.tracker


def one_slot(database_url: str, tmp_path: Path, extra: str = "") -> Board:
    """Make a board with one slot."""
    return Board(database_url, tmp_path, repository=False, states="", agent=f"{{max_concurrent_agents: 1{extra}}}")


@pytest.mark.conformance("17.4", "dispatch goes by priority, then by age")
def test_dispatch_sort_order(database_url: str, tmp_path: Path) -> None:
    """The only slot goes to the most urgent, then oldest issue, one after the other."""
    board = one_slot(database_url, tmp_path)
    tracker = board.tracker
    assert tracker is not None
    old, new = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    tracker.put("A", priority=None, created_at=old)
    tracker.put("B", priority=3, created_at=new)
    tracker.put("C", priority=3, created_at=old)
    tracker.put("D", priority=1, created_at=new)
    tracker.put("E", priority=9, created_at=old)
    tracker.put("F", priority=3)
    started = []
    for _ in range(6):
        board.poll()
        name = board.sql("SELECT i.identifier FROM runs r JOIN issues i ON i.id = r.issue_id WHERE r.state = 'queued'")[0][
            0
        ]
        started.append(name)
        tracker.person_moves(name, "Done")
        board.poll()
        if board.run(name).finished_at is None:
            pytest.fail("a terminal issue kept its slot")
    assert started == ["D", "C", "B", "F", "A", "E"]


@pytest.mark.conformance("17.4", "an issue that is not dispatchable does not start")
def test_dispatchable_false_is_not_eligible(board: Board, tracker: ScriptedTracker) -> None:
    """It starts when the adapter says so."""
    tracker.put("A-1", dispatchable=False)
    board.poll()
    assert not board.runs("A-1")
    tracker.put("A-1")
    board.poll()
    assert board.runs("A-1")


@pytest.mark.conformance("17.4", "required labels match in any case, after normalisation")
def test_required_labels(database_url: str, tmp_path: Path) -> None:
    """All of them must be there."""
    board = Board(database_url, tmp_path, repository=False, states="  required_labels: [Agent, ' Ready ']", agent="{}")
    assert board.tracker is not None
    board.tracker.put("A-1", labels=("AGENT", "ready"))
    board.tracker.put("A-2", labels=("agent",))
    board.poll()
    assert board.runs("A-1")
    assert not board.runs("A-2")


@pytest.mark.conformance("17.4", "an active issue's refresh updates what is known of it")
def test_active_refresh_updates_the_snapshot(board: Board, tracker: ScriptedTracker) -> None:
    """The run goes on with the new snapshot."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    tracker.put("A-1", "In Progress", title="a better title")
    board.poll()
    run = board.run("A-1")
    assert (run.state, run.token, run.request) == (RunState.RUNNING, held.run.token, None)
    assert (board.issue("A-1").state, board.issue("A-1").snapshot["title"]) == ("In Progress", "a better title")


@pytest.mark.conformance("17.4", "an inactive state stops the agent and keeps the workspace")
def test_non_active_state_stops_without_cleanup(board: Board, tracker: ScriptedTracker) -> None:
    """The holder is asked; its end is a release."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    tracker.person_moves("A-1", "Backlog")
    board.poll()
    assert board.run("A-1").request == "release"
    run = board.settle(held, Retry("killed"))
    assert (run.state, run.clean_due) == (RunState.RELEASED, False)


@pytest.mark.conformance("17.4", "a terminal state stops the agent and removes the workspace")
def test_terminal_state_stops_and_cleans(board: Board, tracker: ScriptedTracker) -> None:
    """The holder is asked; its end is a cancel that cleans."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    tracker.person_moves("A-1", "Done")
    board.poll()
    assert board.run("A-1").request == "cancel"
    run = board.settle(held, Retry("killed"))
    assert (run.state, run.clean_due) == (RunState.CANCELLED, True)


@pytest.mark.conformance("17.4", "reconciliation without live runs does nothing")
def test_reconciliation_with_nothing_running(board: Board, tracker: ScriptedTracker) -> None:
    """No issue is asked for by id, nothing is written."""
    asked: list[bool] = []
    tracker.on_ids = lambda: asked.append(True)
    tracker.put("A-1", "Backlog")
    board.poll()
    assert not asked
    assert not board.sql("SELECT 1 FROM run_events")
    assert board.row.poll_error is None


@pytest.mark.conformance("17.4", "a normal end schedules a short continuation")
@pytest.mark.parametrize("outcome", [Continue(), Advance()], ids=["turns used up", "done"])
def test_normal_exit_schedules_a_continuation(board: Board, outcome: Continue | Advance) -> None:
    """One second later, and not as a failure."""
    board.bring("A-1", Stage.AGENT)
    run = board.step("A-1", outcome)
    wait = board.sql("SELECT extract(epoch FROM due_at - now()) FROM runs")[0][0]
    assert (run.state, run.waiting_for, run.failures, run.sessions) == (RunState.WAITING, "continuation", 0, 1)
    assert -5 < wait <= 1
    assert board.due("A-1").stage is Stage.AGENT


@pytest.mark.conformance("17.4", "an abnormal end backs off from ten seconds, doubling")
def test_abnormal_exit_backs_off(board: Board) -> None:
    """10, 20, 40, … seconds."""
    board.bring("A-1", Stage.AGENT)
    for number, seconds in enumerate((10, 20, 40, 80, 160), 1):
        run = board.step("A-1", Retry("it broke"))
        assert (run.state, run.failures, run.error) == (RunState.WAITING, number, "it broke")
        told = board.sql("SELECT data->>'delay_s' FROM run_events WHERE kind = 'retried' ORDER BY id DESC LIMIT 1")[0][0]
        assert float(told) == seconds
        wait = board.sql("SELECT extract(epoch FROM due_at - now()) FROM runs")[0][0]
        assert seconds - 5 < wait <= seconds
        board.due("A-1")


@pytest.mark.conformance("17.4", "the backoff's cap is agent.max_retry_backoff_ms")
def test_backoff_cap(database_url: str, tmp_path: Path) -> None:
    """No wait is longer."""
    board = one_slot(database_url, tmp_path, ", max_retry_backoff_ms: 15000")
    board.bring("A-1", Stage.AGENT)
    for seconds in (10, 15, 15):
        board.step("A-1", Retry("x"))
        assert board.sql("SELECT data->>'delay_s' FROM run_events ORDER BY id DESC LIMIT 1")[0][0] == f"{seconds}.0"
        board.due("A-1")


@pytest.mark.conformance("17.4", "a retry knows its attempt, due time, identifier and error")
def test_retry_entries(board: Board) -> None:
    """All four are in the row that status pages read."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Retry("it broke"))
    row = board.database.transact(lambda t: views.runs_of(t, live=True))[0]
    assert (row["failures"], row["identifier"], row["error"]) == (1, "A-1", "it broke")
    assert row["due_at"] > datetime.now(UTC) - timedelta(seconds=1)


@pytest.mark.conformance("17.4", "without a free slot a retry waits on and says why")
def test_slot_exhaustion_requeues_with_the_reason(database_url: str, tmp_path: Path) -> None:
    """It stays waiting with the specification's words, and goes on when a slot is free."""
    board = one_slot(database_url, tmp_path)
    assert board.tracker is not None
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Retry("it broke"))
    board.tracker.put("A-2")
    board.poll()
    assert board.run("A-2").state is RunState.QUEUED
    run = board.due("A-1")
    assert (run.state, run.error) == (RunState.WAITING, NO_SLOT)
    board.tracker.person_moves("A-2", "Backlog")
    board.poll()
    assert board.run("A-1").state is RunState.QUEUED


@pytest.mark.conformance("17.4", "a snapshot has running rows, retry rows and totals")
def test_snapshot(board: Board) -> None:
    """The views that the status API is made of."""
    board.bring("A-1", Stage.AGENT)
    board.claim("A-1")
    board.sql("UPDATE runs SET input_tokens = 5, output_tokens = 2")
    board.bring("A-2", Stage.AGENT)
    board.step("A-2", Retry("x"))
    rows = board.database.transact(lambda t: views.runs_of(t, live=True))
    assert {(row["identifier"], row["state"]) for row in rows} == {("A-1", "running"), ("A-2", "waiting")}
    totals = board.database.transact(views.totals)
    assert (totals["input_tokens"], totals["output_tokens"]) == (5, 2)
    assert totals["seconds_running"] >= 0
