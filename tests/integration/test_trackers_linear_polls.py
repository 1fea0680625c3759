"""Polls of a board on Linear: one request, nothing that leaves stays and nothing that stays leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from symphony.domain.errors import Rejected, Transient
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


def test_a_poll_is_one_request_whatever_it_watches(server: LinearServer, tracker: LinearTracker) -> None:
    todo = of_old(server, 30)
    review = of_old(server, 70, state="In Review")
    for issue in todo[:5]:
        server.block(issue, by=review[0])
    watched = [issue.id for issue in (*todo[:20], *review)]
    poll(tracker, *watched)
    for _ in range(3):
        server.move(todo[6], "In Progress")
        before = len(server.requests)
        board = poll(tracker, *watched)
        assert len(server.requests) == before + 1
        assert len(board.listed.issues) == 30
        assert {issue.id for issue in board.watched} == {issue.id for issue in review}
    gone = [server.delete(review[7]).id, server.change_project(review[8], server.add_project("Beta")).id]
    server.vanish(review[9])
    board = poll(tracker, *watched)
    assert {one.id for one in review} - {one.id for one in board.watched} == {*gone, review[9].id}


def test_watched_issues_that_do_not_fit_are_asked_for_besides(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LIGHT_PAGE", 50)
    watched = [issue.id for issue in of_old(server, 120, state="In Review")]
    poll(tracker, *watched)
    assert asked(server, lambda: poll(tracker, *watched)) == 3
    server.delete(watched[60])
    assert {issue.id for issue in poll(tracker, *watched).watched} == set(watched) - {watched[60]}


def test_what_changed_is_seen_with_the_next_poll(server: LinearServer, tracker: LinearTracker) -> None:
    moved, archived, deleted, edited = server.create_issues(4)
    assert len(listed(poll(tracker))) == 4
    server.move(moved, "Backlog")
    server.archive(archived)
    server.delete(deleted)
    server.edit(edited, title="Another title", priority=1)
    created = server.create_issue()
    board = poll(tracker)
    assert listed(board) == {edited.id, created.id}
    assert {issue.title for issue in board.listed.issues} == {"Another title", "An issue"}
    server.restore(deleted)
    server.move(moved, "In Progress")
    assert listed(poll(tracker)) == {edited.id, created.id, deleted.id, moved.id}


def test_many_changes_are_followed_to_the_last_page(server: LinearServer, tracker: LinearTracker) -> None:
    poll(tracker)
    ids = {issue.id for issue in server.create_issues(130)}
    assert asked(server, lambda: poll(tracker)) == 4
    assert listed(poll(tracker)) == ids


def test_a_board_that_has_changed_all_over_is_read_anew(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "_MOST_PAGES", 2)
    poll(tracker)
    server.create_issues(120, state="Done")
    ids = {issue.id for issue in server.create_issues(5)}
    assert listed(poll(tracker)) == ids
    assert server.requests[-1].operation == "SymphonyIssuesByStates"


def test_a_change_that_linear_shows_late_is_not_missed(server: LinearServer, tracker: LinearTracker) -> None:
    first = server.create_issue()
    poll(tracker)
    second = server.create_issue()
    server.move(first, "Backlog")
    server.world.clock.skew_ms += 30_000
    server.fail("SymphonyBoard", faults.stale(40_000))
    poll(tracker)
    assert listed(poll(tracker)) == {second.id}


def test_an_older_answer_takes_nothing_back(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    poll(tracker)
    time.sleep(0.05)
    server.move(issue, "In Progress")
    poll(tracker)
    server.fail("SymphonyBoard", faults.stale(40))
    (seen,) = poll(tracker).listed.issues
    assert seen.state == "In Progress"


@pytest.mark.parametrize("skew_s", [-900, 900])
def test_linears_clock_decides_what_is_new(skew_s: int) -> None:
    with LinearServer(skew_ms=skew_s * 1000) as server:
        tracker = linear(server)
        issue = server.create_issue()
        poll(tracker)
        server.move(issue, "Backlog")
        assert listed(poll(tracker)) == set()
        assert [request.fields for request in server.requests][-1] == ("issues",)


def test_a_blocker_that_ends_anywhere_frees_the_issue(server: LinearServer, tracker: LinearTracker) -> None:
    (issue,) = of_old(server, 1)
    blocker = server.create_issue(project_id=server.add_project("Beta").id)
    server.block(issue, by=blocker)
    assert poll(tracker).listed.held == {issue.id: f"its blocker {blocker.identifier} is in state Todo"}
    server.move(blocker, "In Progress")
    assert poll(tracker).listed.held == {issue.id: f"its blocker {blocker.identifier} is in state In Progress"}
    server.move(blocker, "Done")
    board = poll(tracker)
    assert not board.listed.held
    assert [one.dispatchable for one in board.listed.issues] == [True]
    server.move(blocker, "Todo")
    assert set(poll(tracker).listed.held) == {issue.id}
    server.move(blocker, "Canceled")
    server.archive(blocker)
    assert not poll(tracker).listed.held
    assert [request.operation for request in server.requests].count("SymphonyBoard") == len(server.requests) - 1


def test_blockers_that_do_not_fit_take_turns(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LIGHT_PAGE", 4)
    blockers = server.create_issues(10, state="Backlog")
    for blocker, issue in zip(blockers, of_old(server, 10), strict=True):
        server.block(issue, by=blocker)
    assert len(poll(tracker).listed.held) == 10
    for blocker in blockers:
        server.move(blocker, "Done")
    held = [len(poll(tracker).listed.held) for _ in range(4)]
    assert held[-1] == 0
    assert held == sorted(held, reverse=True)


def test_other_states_are_another_board(server: LinearServer, tracker: LinearTracker) -> None:
    todo, backlog = server.create_issue(), server.create_issue(state="Backlog")
    assert listed(tracker.fetch_board(["Todo"], watched=[])) == {todo.id}
    assert listed(tracker.fetch_board(["backlog"], watched=[])) == {backlog.id}
    assert listed(tracker.fetch_board(["BACKLOG", "todo"], watched=[])) == {todo.id, backlog.id}
    assert listed(tracker.fetch_board([], watched=[])) == set()


def test_nothing_is_kept_of_what_is_not_active(server: LinearServer, tracker: LinearTracker) -> None:
    issues = server.create_issues(20)
    server.create_issues(40, state="Done")
    poll(tracker, issues[0].id)
    for issue in issues:
        server.move(issue, "Done")
    board = poll(tracker, issues[0].id)
    assert listed(board) == set()
    assert [issue.state for issue in board.watched] == ["Done"]
    assert tracker.board.count() == 1
    poll(tracker)
    assert tracker.board.count() == 0


def test_a_comment_is_news_of_a_watched_issue(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue(state="In Review")
    (before,) = poll(tracker, issue.id).watched
    assert poll(tracker, issue.id).spoken == {}
    time.sleep(0.01)
    server.comment(issue, "What about the tests?")
    after = poll(tracker, issue.id)
    assert before.updated_at is not None
    assert after.spoken[issue.id] > before.updated_at
    assert after.watched == (before,)


def test_a_malformed_record_is_told_of_until_it_is_mended(server: LinearServer, tracker: LinearTracker) -> None:
    good, bad, idle = server.create_issue(), server.create_issue(), server.create_issue(state="Backlog")
    poll(tracker)
    server.break_record(bad, title=None)
    server.break_record(idle, title=None)
    for board in (poll(tracker), poll(tracker), swept(tracker)):
        assert listed(board) == {good.id}
        assert [bad.identifier in sentence for sentence in board.listed.omitted] == [True]
    server.break_record(bad, labels={"nodes": [None], "pageInfo": {"hasNextPage": False}})
    assert "labels" in poll(tracker).listed.omitted[0]
    server.break_record(bad)
    board = poll(tracker)
    assert listed(board) == {good.id, bad.id}
    assert board.listed.omitted == ()
    server.break_record(bad, title=None)
    poll(tracker)
    server.vanish(bad)
    assert swept(tracker).listed.omitted == ()


def test_a_watched_issue_that_cannot_be_told_from_another_is_not_gone(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue(state="In Review")
    poll(tracker, issue.id)
    server.break_record(issue, id=None)
    with pytest.raises(Transient) as fault:
        poll(tracker, issue.id)
    assert fault.value.category == "tracker_response"


def test_after_an_error_that_explains_nothing_the_board_is_read_anew(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    poll(tracker)
    server.fail("SymphonyBoard", faults.refused("no"))
    with pytest.raises(Rejected):
        poll(tracker)
    assert listed(poll(tracker)) == {issue.id}
    assert server.requests[-1].operation == "SymphonyIssuesByStates"
    server.fail("SymphonyBoard", faults.status(503))
    with pytest.raises(Transient):
        poll(tracker)
    assert listed(poll(tracker)) == {issue.id}
    assert server.requests[-1].operation == "SymphonyBoard"
