"""Reads of Linear: whole pages or an error, one request a poll, nothing that leaves stays and nothing that stays leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from symphony.domain.errors import SymphonyError, Transient
from symphony.trackers.linear import board as board_module
from symphony.trackers.linear import documents
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.protocol import Board
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import linear

ACTIVE = ("Todo", "In Progress")


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server, patience_s=2.0)


def listed(board: Board) -> set[str]:
    return {issue.id for issue in board.listed.issues}


def poll(tracker: LinearTracker, *watched: str) -> Board:
    return tracker.fetch_board(ACTIVE, watched=watched)


def asked(server: LinearServer, of: Callable[[], Any]) -> int:
    """Count the requests that something costs."""
    before = len(server.requests)
    of()
    return len(server.requests) - before


def of_old(server: LinearServer, count: int, **values: Any) -> list[Issue]:
    """Create issues that have not changed for an hour: no news, but for the sweep."""
    then = server.world.clock.now() - 3_600_000
    return server.create_issues(count, created_at=then, updated_at=then, **values)


def swept(tracker: LinearTracker, *watched: str) -> Board:
    """Poll with a sweep of all of the board."""
    tracker.board.sweep_every_s = 0.0
    board = poll(tracker, *watched)
    tracker.board.sweep_every_s = board_module.SWEEP_EVERY_S
    return board


def test_a_list_goes_on_to_its_last_page(server: LinearServer, tracker: LinearTracker) -> None:
    ids = [issue.id for issue in server.create_issues(120)]
    found = tracker.fetch_issues_by_states(["Todo"]).issues
    assert sorted(issue.id for issue in found) == sorted(ids)
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [faults.lost_cursor(), faults.repeated_cursor()])
@pytest.mark.parametrize("is_lasting", [True, False])
def test_pages_that_lead_nowhere_are_an_error(
    server: LinearServer, tracker: LinearTracker, fault: faults.Fault, is_lasting: bool
) -> None:
    server.create_issues(120)
    for _ in range(3):
        if is_lasting:
            server.faults.always("SymphonyIssuesByStates", fault)
        else:
            server.fail("SymphonyIssuesByStates", fault)
        for read in (lambda: tracker.fetch_issues_by_states(["Todo"]), lambda: poll(tracker)):
            with pytest.raises(Transient) as error:
                read()
            assert error.value.category == "tracker_pagination"
            if not is_lasting:
                server.fail("SymphonyIssuesByStates", fault)
    server.faults.always("SymphonyIssuesByStates", None)


def test_labels_and_blockers_beyond_the_first_page_are_read(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue(labels=[f"label {number}" for number in range(45)])
    for number in range(25):
        server.block(issue, by=server.create_issue(f"Blocker {number}", state="Done" if number else "Backlog"))
    (by_id,) = tracker.fetch_issues_by_ids([issue.id])
    (in_list,) = [one for one in tracker.fetch_issues_by_states(["Todo"]).issues if one.id == issue.id]
    for found in (by_id, in_list, *(one for one in poll(tracker).listed.issues if one.id == issue.id)):
        assert len(found.labels) == 45
        assert len(found.blocked_by) == 25
        assert not found.dispatchable


def test_issues_of_other_projects_are_not_there(server: LinearServer, tracker: LinearTracker) -> None:
    elsewhere = server.create_issue(project_id=server.add_project("Beta").id)
    nowhere = server.create_issue(project_id=None)
    assert tracker.fetch_issues_by_states(["Todo"]).issues == ()
    assert tracker.fetch_issues_by_ids([elsewhere.id, nowhere.id]) == ()
    assert listed(poll(tracker, elsewhere.id)) == set()


def test_many_ids_are_asked_for_fifty_at_a_time(server: LinearServer, tracker: LinearTracker) -> None:
    ids = [issue.id for issue in server.create_issues(120, state="Done")]
    assert {issue.id for issue in tracker.fetch_issues_by_ids(ids)} == set(ids)
    assert [len(request.variables["ids"]) for request in server.requests] == [50, 50, 20]


def test_an_issue_is_found_by_what_people_call_it(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    assert [one.id for one in tracker.fetch_issues_by_ids([issue.identifier])] == [issue.id]


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


FAULTS = {
    "500": faults.status(500),
    "503": faults.status(503),
    "404": faults.status(404),
    "401": faults.status(401),
    "a proxy's page": faults.html(502),
    "a login page": faults.html(200),
    "cut": faults.cut(applied=True),
    "silent": faults.silent(),
    "reset": faults.reset(),
    "partial": faults.partial(),
    "null nodes": faults.null_nodes(),
    "no cursor": faults.lost_cursor(),
    "a circle": faults.repeated_cursor(),
    "refused": faults.refused("no"),
    "rate limited": faults.rate_limited(30),
}
READS: dict[str, Callable[[LinearTracker, str], set[str]]] = {
    "by states": lambda tracker, _: {issue.id for issue in tracker.fetch_issues_by_states(ACTIVE).issues},
    "by ids": lambda tracker, issue_id: {issue.id for issue in tracker.fetch_issues_by_ids([issue_id])},
    "board": lambda tracker, issue_id: listed(poll(tracker, issue_id)),
    "watched": lambda tracker, issue_id: {
        issue.id for issue in tracker.fetch_board(["Backlog"], watched=[issue_id]).watched
    },
    "comments": lambda tracker, issue_id: set(
        tracker.fetch_new_comments(
            [(issue, datetime.now(UTC) - timedelta(hours=1)) for issue in tracker.fetch_issues_by_ids([issue_id])]
        )
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_no_fault_reads_as_gone(
    server: LinearServer, read: Callable[[LinearTracker, str], set[str]], fault: faults.Fault, is_first: bool
) -> None:
    tracker = linear(server, patience_s=0.2)
    issue = server.create_issue()
    if not is_first:
        assert read(tracker, issue.id) == {issue.id}
    for operation in ("SymphonyIssuesByStates", "SymphonyIssuesByIds", "SymphonyBoard", "SymphonyNewComments"):
        server.fail(operation, fault)
    errors = 0
    for _ in range(8):
        try:
            assert read(tracker, issue.id) == {issue.id}
        except SymphonyError as error:
            errors += 1
            assert error.category != "issue_not_found"
            assert server.key not in str(error)
            if error.category == "tracker_rate_limited":
                time.sleep(0.04)
    assert errors >= (0 if fault.kind in ("lost_cursor", "repeated_cursor") else 1)
    assert read(tracker, issue.id) == {issue.id}


def test_who_is_me_is_asked_once(server: LinearServer) -> None:
    tracker = linear(server, assignee="me")
    mine, theirs = server.create_issue(assignee_id=server.viewer.id), server.create_issue(assignee_id=server.person.id)
    for _ in range(3):
        board = poll(tracker)
        assert {one.id: one.dispatchable for one in board.listed.issues} == {mine.id: True, theirs.id: False}
    assert len(server.asked("SymphonyViewer")) == 1


def test_a_state_is_started_where_linear_calls_it_so(server: LinearServer, tracker: LinearTracker) -> None:
    server.create_issue(state="Backlog")
    issue = server.create_issue(state="In Review")
    assert tracker.state_kind("In Review") == "other"
    poll(tracker, issue.id)
    assert [tracker.state_kind(state) for state in (" in review", "Todo", "DONE", "Backlog")] == [
        "started",
        "active",
        "terminal",
        "other",
    ]
