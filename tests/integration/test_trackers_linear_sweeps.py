"""Sweeps of a board on Linear find what no change tells of, a few pages a poll, and lose nothing when they fail."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from symphony.trackers.linear import board as board_module
from symphony.trackers.linear import documents
from symphony.trackers.linear.adapter import LinearTracker
from tests.fakes import linear_faults as faults
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import asked, linear, listed, of_old, poll, swept


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server, patience_s=2.0)


def test_a_relation_is_seen_by_the_next_sweep(server: LinearServer, tracker: LinearTracker) -> None:
    (issue,), blocker = of_old(server, 1), server.create_issue(state="Backlog")
    poll(tracker)
    server.block(issue, by=blocker)
    assert set(swept(tracker).listed.held) == {issue.id}
    server.unblock(issue, by=blocker)
    assert not swept(tracker).listed.held


def test_more_relations_than_a_sweep_sees_are_read_each_time(server: LinearServer, tracker: LinearTracker) -> None:
    (issue,) = of_old(server, 1)
    blockers = server.create_issues(8, state="Done")
    for blocker in blockers:
        server.block(issue, by=blocker)
    poll(tracker)
    server.move(blockers[0], "Backlog")
    assert set(poll(tracker).listed.held) == {issue.id}
    server.unblock(issue, by=blockers[0])
    assert not swept(tracker).listed.held


def test_an_issue_that_leaves_the_project_goes_at_once_or_with_the_sweep(
    server: LinearServer, tracker: LinearTracker
) -> None:
    watched, other, vanished, stays = server.create_issues(4)
    poll(tracker, watched.id)
    beta = server.add_project("Beta")
    server.change_project(watched, beta)
    server.change_project(other, beta)
    server.vanish(vanished)
    board = poll(tracker, watched.id)
    assert watched.id not in listed(board) | {issue.id for issue in board.watched}
    assert stays.id in listed(board)
    assert asked(server, lambda: swept(tracker)) == 1
    assert listed(poll(tracker)) == {stays.id}


def test_a_sweep_comes_by_itself(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    poll(tracker)
    server.change_project(issue, None)
    later = time.monotonic() + board_module.SWEEP_EVERY_S
    assert listed(poll(tracker)) == {issue.id}
    tracker.board.clock = lambda: later
    assert listed(poll(tracker)) == set()


def test_a_sweep_of_a_big_board_goes_on_for_several_polls(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LIGHT_PAGE", 20)
    monkeypatch.setattr(board_module, "_LONG_ENOUGH_S", 0.0)
    issues = of_old(server, 130)
    gone, late, early = issues[3], issues[100], issues[126]
    poll(tracker)
    server.change_project(gone, None)
    tracker.board.sweep_every_s = 0.0
    assert asked(server, lambda: poll(tracker)) == 2
    tracker.board.sweep_every_s = board_module.SWEEP_EVERY_S
    server.move(late, "Done")
    server.move(early, "In Progress")
    created = server.create_issue()
    expected = {issue.id for issue in issues} - {late.id} | {created.id}
    counts = []
    for _ in range(4):
        before = len(server.requests)
        board = poll(tracker)
        counts.append(len(server.requests) - before)
        assert expected - {gone.id} <= listed(board) <= expected
    assert counts == [2, 2, 1, 1]
    assert listed(poll(tracker)) == expected - {gone.id}


@pytest.mark.parametrize(
    "fault", [faults.status(500), faults.null_nodes(), faults.lost_cursor(), faults.repeated_cursor(), faults.partial()]
)
def test_a_sweep_that_fails_loses_nothing_and_begins_again(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch, fault: faults.Fault
) -> None:
    monkeypatch.setattr(documents, "LIGHT_PAGE", 50)
    issues = of_old(server, 130)
    poll(tracker)
    server.change_project(issues[0], None)
    tracker.board.sweep_every_s = 0.0
    server.fail("SymphonyBoard", faults.slow(0.0), fault)
    assert listed(poll(tracker)) == {issue.id for issue in issues}
    assert server.faults.left() == 0
    tracker.board.sweep_every_s = board_module.SWEEP_EVERY_S
    assert listed(poll(tracker)) >= {issue.id for issue in issues[1:]}
    assert listed(swept(tracker)) == {issue.id for issue in issues[1:]}
