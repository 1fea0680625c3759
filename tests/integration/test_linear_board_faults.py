"""A board on Linear whose answers are late, old or torn: no run ends and none begins for what only an answer lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.outcome import Cancel
from symphony.domain.run import RunState
from symphony.ledger import issues
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
