"""A board on Linear whose answers are late, old or torn: no run ends and none begins for what only an answer lacks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.outcome import Advance, Block, Cancel
from symphony.domain.run import RunState
from symphony.engine.deliver import deliver
from symphony.ledger import issues
from symphony.trackers.linear import board as board_module
from symphony.trackers.linear.adapter import LinearTracker
from tests.fakes import linear_faults as faults
from tests.fakes.linear_server import LinearServer
from tests.integration.board import Board
from tests.integration.linear_board import linear


@pytest.fixture
def server() -> Iterator[LinearServer]:
    """A played Linear."""
    with LinearServer() as one:
        yield one


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    """An adapter on it."""
    return linear(server)


@pytest.fixture
def board(database_url: str, tmp_path: Path, tracker: LinearTracker) -> Board:
    """A workflow that polls it."""
    played: Any = tracker
    return Board(database_url, tmp_path, tracker=played)


def test_an_issue_that_was_spoken_on_while_it_ran_can_be_run_again(
    server: LinearServer, board: Board, tracker: LinearTracker
) -> None:
    """Rule: a comment changes no issue on Linear, so its time never makes a later sight of the issue look old."""
    issue = server.create_issue("Work", state="In Progress")
    board.poll()
    claimed = board.claim(issue.identifier)
    tracker.comment(issue.id, key="progress", body="It works.")
    board.poll()
    board.settle(claimed, Cancel("as asked"))
    board.sql("UPDATE effects SET state = 'refused', settled_at = now() WHERE state = 'pending'")
    row = board.issue(issue.identifier)
    board.database.transact(lambda t: issues.begin_epoch(t, row.id))
    board.poll()
    board.poll()
    assert board.run(issue.identifier).state is RunState.QUEUED


def test_a_stale_answer_ends_no_run(server: LinearServer, board: Board) -> None:
    """Rule: an answer from before an issue was made tells nothing of it."""
    board.poll()
    issue = server.create_issue("Work", state="Todo")
    board.poll()
    assert board.run(issue.identifier).state is RunState.QUEUED
    server.fail("SymphonyBoard", faults.stale(5000))
    board.poll()
    assert board.run(issue.identifier).state is RunState.QUEUED


def test_a_stale_sweep_ends_no_run(server: LinearServer, board: Board, tracker: LinearTracker) -> None:
    """Rule: what a sweep lacks while the request for watched issues tells of it has not left."""
    board.poll()
    issue = server.create_issue("Work", state="Todo")
    server.create_issues(60)
    board.poll()
    board.poll()
    tracker.board.sweep_every_s = 0
    server.faults.script("SymphonyBoard", faults.slow(0), faults.stale(30000))
    for _ in range(4):
        board.poll()
        assert [one.state for one in board.runs(issue.identifier)] == [RunState.QUEUED]


def test_a_comment_that_is_edited_is_heard_anew(server: LinearServer, tracker: LinearTracker) -> None:
    """Rule: what a person said last before work comes back to the agent is what it hears."""
    issue = server.create_issue("Work", state="In Progress")
    said = server.comment(issue, "Please fix this.")
    since = datetime.now(UTC) - timedelta(minutes=5)

    def heard() -> list[str]:
        board = tracker.fetch_board(["Todo", "In Progress"], watched=[issue.id])
        (seen,) = board.listed.issues
        return [one.body for one in tracker.fetch_new_comments([(seen, since)])[issue.id]]

    heard()
    assert heard() == heard() == ["Please fix this."]
    server.edit_comment(said, "Please fix this and that.")
    assert heard() == ["Please fix this and that."]
    server.comment(issue, "And more.")
    assert heard()[-1] == "And more."
    server.edit_comment(said, "Please fix that.")
    assert heard() == ["Please fix that.", "And more."]


def test_a_comment_that_an_answer_lacks_is_asked_for_again(server: LinearServer, tracker: LinearTracker) -> None:
    """Rule: an answer that is older than the sign of a comment is not taken for all that was said."""
    issue = server.create_issue("Work", state="In Progress", created_at=server.world.clock.now() - 60_000)
    since = datetime.now(UTC) - timedelta(minutes=5)

    def heard() -> list[str]:
        board = tracker.fetch_board(["Todo", "In Progress"], watched=[issue.id])
        (seen,) = board.listed.issues
        return [one.body for one in tracker.fetch_new_comments([(seen, since)]).get(issue.id, ())]

    heard()
    server.world.clock.skew_ms += 60_000
    server.comment(issue, "Please fix this.")
    server.fail("SymphonyNewComments", faults.stale(30_000))
    assert heard() == []
    assert heard() == ["Please fix this."]


def test_an_answer_counts_though_its_question_was_deleted(
    server: LinearServer, board: Board, tracker: LinearTracker
) -> None:
    """Rule: who tidies our question away and answers it has answered it."""
    issue = server.create_issue("Work", state="Todo")
    server.comment(issue, "Said before.")
    board.poll()
    board.step(issue.identifier, Advance())
    board.step(issue.identifier, Block("Which colour?"))
    deliver(board.deployment)
    board.poll()
    (question,) = [one for one in server.comments(issue) if "Which colour?" in one.body]
    server.delete_comment(question)
    board.poll()
    assert board.run(issue.identifier).state is RunState.BLOCKED
    server.comment(issue, "Blue.")
    board.poll()
    assert "Blue." in (board.run(issue.identifier).feedback or "")
    assert "Said before." not in (board.run(issue.identifier).feedback or "")


def test_a_memory_that_is_old_tells_of_nothing_that_left(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: a process that polls again after another one has polled for hours holds what it knows against all of the board."""
    monkeypatch.setattr(board_module, "_LONG_ENOUGH_S", 0.0)
    then = server.world.clock.now() - 3_600_000
    issues = server.create_issues(800, state="Todo", created_at=then, updated_at=then)
    assert len(tracker.fetch_board(["Todo"], watched=[]).listed.issues) == 800
    server.change_project(issues[0], server.add_project("Beta"))
    tracker.board.clock = lambda: time.monotonic() + 7200
    assert len(tracker.fetch_board(["Todo"], watched=[]).listed.issues) == 799
