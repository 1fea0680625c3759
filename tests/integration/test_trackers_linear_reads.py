"""Reads of Linear: whole pages or an error, and no fault reads as an issue gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from symphony.domain.errors import SymphonyError, Transient
from symphony.trackers.linear.adapter import LinearTracker
from tests.fakes import linear_faults as faults
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import ACTIVE, linear, listed, poll


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server, patience_s=2.0)


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
    tracker = linear(server, patience_s=0.7 if fault.kind == "silent" else 10)
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
