"""Polls, epochs and stale sights (docs/failure-model.md, §9): a finished issue is not run again; an error changes nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.errors import Rejected, Transient
from symphony.domain.outcome import Advance, Block, Cancel, Fail, Outcome, Release
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.engine.dispatch import polls_due
from symphony.ledger import effects, issues, runs, workflows
from tests.fakes.scripted_tracker import ScriptedTracker
from tests.integration.board import Board, at_once


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board with an in-memory tracker."""
    return Board(database_url, tmp_path)


@pytest.fixture
def tracker(board: Board) -> ScriptedTracker:
    """The board's tracker."""
    assert board.tracker is not None
    return board.tracker


def epoch(board: Board, name: str = "A-1") -> int:
    """Give an issue's epoch."""
    return int(board.issue(name).epoch)


def quiet(board: Board) -> None:
    """Let no effect of the end of a run interfere."""
    board.sql("UPDATE effects SET state = 'refused', settled_at = now() WHERE state = 'pending'")


def test_an_empty_board_can_be_polled(board: Board) -> None:
    """Rule: a poll that sees nothing is a good poll."""
    assert board.poll()
    assert board.row.poll_error is None
    assert board.row.polled_at is not None


def test_the_epoch_grows_once_per_entry(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: an epoch grows when a poll sees the issue enter the active states from outside."""
    tracker.put("A-1", "Backlog")
    board.poll()
    tracker.person_moves("A-1", "Todo")
    for _ in range(3):
        board.poll()
    assert epoch(board) == 1
    tracker.person_moves("A-1", "In Progress")
    board.poll()
    assert epoch(board) == 1
    tracker.person_moves("A-1", "Backlog")
    board.poll()
    tracker.person_moves("A-1", "Todo")
    board.poll()
    assert epoch(board) == 2


@pytest.mark.parametrize(
    ("outcome", "consumes"),
    [(Fail("x"), True), (Cancel("x"), True), (Release("x"), False)],
    ids=["fail", "cancel", "release"],
)
def test_which_ends_consume_the_epoch(board: Board, tracker: ScriptedTracker, outcome: Outcome, consumes: bool) -> None:
    """Rule: landed, failed and cancelled consume the epoch, released does not."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", outcome)
    quiet(board)
    for _ in range(3):
        board.poll()
    assert len(board.runs("A-1")) == (1 if consumes else 2)
    tracker.person_moves("A-1", "Backlog")
    board.poll()
    tracker.person_moves("A-1", "Todo")
    board.poll()
    assert len(board.runs("A-1")) == (2 if consumes else 3)
    assert board.run("A-1").state is RunState.QUEUED
    board.assert_consistent()


def test_a_retry_begins_an_epoch(board: Board) -> None:
    """Rule: the epoch grows on `symphony retry`."""
    run = board.bring("A-1", Stage.AGENT)
    board.step("A-1", Fail("x"))
    quiet(board)
    board.poll()
    assert len(board.runs("A-1")) == 1
    board.database.transact(lambda t: issues.begin_epoch(t, run.issue_id))
    board.admit()
    assert [r.state for r in board.runs("A-1")] == [RunState.FAILED, RunState.QUEUED]


def test_an_old_sight_does_not_run_a_finished_issue_again(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a finished issue is not run again, even when a stale replica of the tracker says Todo after our move."""
    old = tracker.put("A-1")
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Fail("x"))
    deliver(board.deployment)
    assert tracker.issues["A-1"].state == "Blocked"
    moved = tracker.issues["A-1"]
    for stale in (old, replace(old, updated_at=old.updated_at and old.updated_at - timedelta(hours=1))):
        tracker.issues["A-1"] = stale
        board.poll()
        tracker.issues["A-1"] = moved
        board.poll()
    tracker.issues["A-1"] = old
    board.poll()
    assert len(board.runs("A-1")) == 1
    assert epoch(board) == 1


def test_a_poll_that_began_before_our_move_is_stale_for_the_issue(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: no admission from a snapshot whose poll began before our last applied move, times unknown or not."""
    tracker.put("A-1", updated_at=None)
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Fail("x"))
    old = tracker.issues["A-1"]

    def meanwhile() -> None:
        tracker.on_list = None
        deliver(board.colleague())
        tracker.issues["A-1"] = replace(old, updated_at=datetime.now(UTC) + timedelta(hours=1))

    tracker.on_list = meanwhile
    board.poll()
    assert board.issue("A-1").state == "Blocked"
    assert not board.issue("A-1").active
    assert len(board.runs("A-1")) == 1
    board.poll()
    assert len(board.runs("A-1")) == 2, "a poll that began later counts"


def test_an_undelivered_move_blocks_admission(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: no admission while the issue has an undelivered state move."""
    run = board.bring("A-1", Stage.AGENT)
    board.step("A-1", Fail("x"))
    board.database.transact(lambda t: issues.begin_epoch(t, run.issue_id))
    board.poll()
    assert len(board.runs("A-1")) == 1
    quiet(board)
    board.poll()
    assert len(board.runs("A-1")) == 2


@pytest.mark.parametrize(
    "error",
    [Transient("503"), Rejected("401"), KeyError("an adapter's own mistake")],
    ids=["transient", "rejected", "other"],
)
@pytest.mark.parametrize("call", ["on_list", "on_ids"])
def test_a_trackers_error_changes_nothing(board: Board, tracker: ScriptedTracker, call: str, error: Exception) -> None:
    """Rule: a tracker error never reads as "issue gone"; it is told of and the next poll is due."""
    tracker.put("A-2", "Backlog")
    board.bring("A-1", Stage.AGENT)
    tracker.person_moves("A-1", "Backlog")
    before = [board.sql(f"SELECT * FROM {table} ORDER BY 1") for table in ("runs", "issues", "run_events", "effects")]

    def fail() -> None:
        raise error

    setattr(tracker, call, fail)
    for _ in range(2):
        assert board.poll()
        after = [board.sql(f"SELECT * FROM {table} ORDER BY 1") for table in ("runs", "issues", "run_events", "effects")]
        assert after == before
        assert board.row.poll_error is not None
    setattr(tracker, call, None)
    board.poll()
    assert board.row.poll_error is None
    assert board.run("A-1").state is RunState.RELEASED


def test_only_the_newest_poll_writes(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: one poller a workflow; a poll whose number is not the newest writes nothing."""
    tracker.put("A-1")

    def overtaken() -> None:
        tracker.on_list = None
        board.sql("UPDATE workflows SET poll_seq = poll_seq + 1")

    tracker.on_list = overtaken
    board.poll()
    assert not board.sql("SELECT 1 FROM issues")
    assert not board.sql("SELECT 1 FROM runs")


def test_two_pollers_at_once_are_one(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: one poller per workflow at a time."""
    tracker.put("A-1")
    colleagues = [board.colleague() for _ in range(4)]
    inside = threading.Semaphore(1)
    doubled: list[bool] = []

    def alone() -> None:
        if not inside.acquire(blocking=False):
            doubled.append(True)
            return
        threading.Event().wait(0.3)
        inside.release()

    tracker.on_list = alone
    answers = at_once([lambda c=c: board.poll(c) for c in colleagues])  # type: ignore[misc]
    assert sorted(map(str, answers)) == ["False", "False", "False", "True"]
    assert not doubled
    board.assert_consistent()


@pytest.mark.parametrize(
    ("sets", "taken"),
    [
        ("stopped_at = now()", True),
        ("heartbeat_at = now() - interval '1 hour'", True),
        ("heartbeat_at = now()", False),
    ],
)
def test_a_dead_pollers_turn_is_taken_over(board: Board, tracker: ScriptedTracker, sets: str, taken: bool) -> None:
    """Rule: a poller whose process has died is replaced; one that lives is waited for."""
    tracker.put("A-1")
    other = board.colleague()
    board.database.transact(
        lambda t: workflows.begin_poll_if_due(
            t, board.id, process_id=other.process_id, interval=timedelta(0), silence=timedelta(seconds=30)
        )
    )
    board.sql(f"UPDATE processes SET {sets} WHERE id = %(id)s", id=other.process_id)
    assert board.poll() is taken


def test_a_hanging_poller_is_replaced(board: Board) -> None:
    """Rule: a poller that hangs for five minutes is replaced though its process lives."""
    other = board.colleague()
    board.sql(
        "UPDATE workflows SET poll_process_id = %(id)s, poll_started_at = now() - interval '6 minutes'", id=other.process_id
    )
    assert board.poll()


def test_a_poll_that_could_not_be_recorded_is_repeated_soon(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: losing the database in a poll costs seconds: the turn of a poll given up here is not waited for."""
    tracker.put("A-1")
    original = board.database.transact
    calls = [0]

    def away(body: Any) -> Any:
        calls[0] += 1
        if calls[0] > 1:
            raise Transient("away", category="database_unreachable")
        return original(body)

    board.sql("UPDATE workflows SET poll_due_at = now()")
    from symphony.engine import poll as polling

    board.database.transact = away  # type: ignore[method-assign]
    with pytest.raises(Transient):
        polling.poll(board.deployment, board.id)
    board.database.transact = original  # type: ignore[method-assign]
    assert board.poll()
    assert board.run("A-1").state is RunState.QUEUED


def test_an_issue_that_vanishes_releases_its_run(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: vanished: release, keep the workspace."""
    board.bring("A-1", Stage.AGENT)
    del tracker.issues["A-1"]
    board.poll()
    run = board.run("A-1")
    assert (run.state, run.clean_due) == (RunState.RELEASED, False)


def test_a_run_admitted_during_a_poll_is_not_taken_for_vanished(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: only an issue that was asked for by id is certainly gone."""
    tracker.put("A-1", "Backlog")
    tracker.put("A-2")
    board.poll()
    tracker.person_moves("A-1", "Todo")
    board.sql("UPDATE workflows SET paused_at = now()")
    board.poll()
    board.sql("UPDATE workflows SET paused_at = NULL")
    hidden = tracker.issues["A-1"]

    def meanwhile() -> None:
        tracker.on_list = None
        board.admit()
        del tracker.issues["A-1"]

    tracker.on_list = meanwhile
    board.poll()
    assert board.run("A-1").state is RunState.QUEUED
    tracker.issues["A-1"] = hidden
    board.poll()
    assert len(board.runs("A-1")) == 1
    assert board.run("A-1").state is RunState.QUEUED


def test_an_unlisted_issue_is_no_candidate(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: an issue that the newest whole poll did not show may not start."""
    tracker.put("A-1")
    board.sql("UPDATE workflows SET paused_at = now()")
    board.poll()
    del tracker.issues["A-1"]
    board.poll()
    board.sql("UPDATE workflows SET paused_at = NULL")
    assert board.admit().started == 0


def test_pausing_stops_admission_only(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: pause holds back new issues, not runs under way."""
    board.bring("A-1", Stage.AGENT)
    board.database.transact(lambda t: workflows.set_paused(t, board.id, paused=True))
    tracker.put("A-2")
    board.poll()
    assert not board.runs("A-2")
    assert board.step("A-1", Advance()).stage is Stage.PROOF


def test_polls_come_due(board: Board) -> None:
    """Rule: a served workflow's poll is due at its interval; a removed one's never."""
    assert polls_due(board.deployment) == [board.id]
    board.poll()
    assert polls_due(board.deployment) == []
    board.database.transact(lambda t: workflows.poll_soon(t))
    assert polls_due(board.deployment) == [board.id]
    board.database.transact(lambda t: workflows.remove(t, board.id))
    assert polls_due(board.deployment) == []


def test_one_of_many_admissions_of_an_issue_wins(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a ready issue has exactly one live run."""
    board.bring("A-1", Stage.PROVISION)
    issue_id = board.run("A-1").issue_id
    board.sql("UPDATE runs SET state = 'released', finished_at = now()")
    answers = at_once([lambda: board.database.transact(lambda t: runs.admit_if_no_live_run(t, issue_id)) for _ in range(8)])
    assert sum(answer is not None for answer in answers) == 1, answers


@pytest.mark.parametrize("end", [Cancel("a person"), Fail("x")], ids=["cancelled", "failed"])
def test_the_entry_that_resumes_a_run_does_not_start_a_second_one(database_url: str, tmp_path: Path, end: Outcome) -> None:
    """Rule: an entry while a run lives is that run's; its end consumes it, so a finished issue is not run again."""
    board = Board(database_url, tmp_path, states="  states: {started: In Progress, blocked: Blocked}")
    assert board.tracker is not None
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Block("which one?"))
    deliver(board.deployment)
    board.poll()
    board.tracker.person_moves("A-1", "Todo")
    board.poll()
    assert board.run("A-1").state is RunState.QUEUED
    board.step("A-1", end)
    quiet(board)
    board.poll()
    assert len(board.runs("A-1")) == 1
    board.tracker.person_moves("A-1", "Backlog")
    board.poll()
    board.tracker.person_moves("A-1", "Todo")
    board.poll()
    assert len(board.runs("A-1")) == 2, "an entry after the end is a new one"


def test_an_issue_that_is_opened_again_while_its_run_is_being_cancelled_gets_a_new_run(
    board: Board, tracker: ScriptedTracker
) -> None:
    """Rule: the entry after a cancel is not the cancelled run's."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    deliver(board.deployment)
    tracker.person_moves("A-1", "Done")
    board.poll()
    tracker.person_moves("A-1", "Todo")
    board.poll()
    assert board.settle(held, Advance()).state is RunState.CANCELLED
    board.poll()
    assert [run.state for run in board.runs("A-1")] == [RunState.CANCELLED, RunState.QUEUED]


def _written(board: Board) -> dict[str, str]:
    """Give the title in each issue's row."""
    return {name: title for name, title in board.sql("SELECT identifier, snapshot->>'title' FROM issues")}


def test_what_somebody_else_has_written_since_is_compared_again(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: an issue that is as this process saw it last is not written again, unless its row is another meanwhile."""
    other = board.colleague()
    issue = tracker.put("A-1", "Backlog", title="first")
    tracker.issues["A-1"] = replace(issue, state="Todo")
    board.poll()
    tracker.issues["A-1"] = replace(issue, state="Todo", title="second", updated_at=datetime.now(UTC))
    board.poll(other)
    assert _written(board) == {"A-1": "second"}
    tracker.issues["A-1"] = replace(issue, state="Todo", updated_at=datetime.now(UTC))
    board.poll()
    assert _written(board) == {"A-1": "first"}


def test_a_list_that_lags_behind_our_move_admits_nothing(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: no admission from a snapshot that is older than our last applied move, also where nothing seems to change."""
    tracker.put("A-1")
    board.poll()
    stale = tracker.issues["A-1"]
    board.claim("A-1")
    board.database.transact(
        lambda t: effects.add(
            t, issue_id=board.run("A-1").issue_id, run_id=None, kind="move", payload={"to": "Done", "from": ["todo"]}
        )
    )
    deliver(board.deployment)
    tracker.issues["A-1"] = stale
    board.poll()
    assert board.issue("A-1").state == "Done"
    assert board.issue("A-1").listed_seq == 0, "an old sight is no sight"
    assert board.run("A-1").request is None
    tracker.issues["A-1"] = replace(stale, state="Todo", updated_at=datetime.now(UTC))
    board.poll()
    assert board.issue("A-1").state == "Todo"


def test_an_older_versions_tracker_is_not_kept(database_url: str, tmp_path: Path) -> None:
    """Rule: what an adapter remembers of a board goes when a newer version of the workflow is in force."""
    board = Board(database_url, tmp_path, tracker=None)
    first = board.deployment.tracker(board.row)
    text = board.row.content.replace("interval_ms: 1000", "interval_ms: 2000")
    board.database.transact(
        lambda t: workflows.register(
            t, name=board.name, source_kind="file", source=str(tmp_path / "WORKFLOW.md"), content=text, digest="other",
            base_dir=str(tmp_path), serve_for=None,
        )
    )  # fmt: skip
    assert board.deployment.tracker(board.row) is not first
    assert len(board.deployment._trackers) == 1
