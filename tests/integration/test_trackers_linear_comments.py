"""Comments on Linear: whole, in order, and who may steer a run with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from symphony.domain.errors import Rejected, Transient
from symphony.domain.issue import Issue
from symphony.trackers import is_ours
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.protocol import ISSUE_NOT_FOUND
from tests.fakes import linear_changes as changes
from tests.fakes import linear_faults as faults
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_world import Actor
from tests.integration.linear_board import linear

EARLIER = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server)


def issue_of(server: LinearServer, tracker: LinearTracker) -> Issue:
    (issue,) = tracker.fetch_issues_by_ids([server.create_issue().id])
    return issue


def test_all_pages_come_oldest_first(server: LinearServer, tracker: LinearTracker) -> None:
    issue = issue_of(server, tracker)
    for number in range(230):
        server.comment(issue.id, f"{number}")
        time.sleep(0.001)
    assert [comment.body for comment in tracker.fetch_comments(issue)] == [str(number) for number in range(230)]
    found = tracker.fetch_new_comments([(issue, EARLIER)])
    assert [comment.body for comment in found[issue.id]] == [str(number) for number in range(230)]
    assert len(server.asked("SymphonyComments")) == len(server.asked("SymphonyNewComments")) == 3


def test_answers_to_comments_are_comments(server: LinearServer, tracker: LinearTracker) -> None:
    issue = issue_of(server, tracker)
    first = server.comment(issue.id, "first")
    time.sleep(0.002)
    server.reply(first, "second")
    assert [comment.body for comment in tracker.fetch_comments(issue)] == ["first", "second"]
    assert len(tracker.fetch_new_comments([(issue, EARLIER)])[issue.id]) == 2


def test_each_issue_has_its_own_since(server: LinearServer, tracker: LinearTracker) -> None:
    one, other = issue_of(server, tracker), issue_of(server, tracker)
    for issue in (one, other):
        server.comment(issue.id, "early")
    time.sleep(0.01)
    between = datetime.now(UTC)
    time.sleep(0.01)
    for issue in (one, other):
        server.comment(issue.id, "late")
    found = tracker.fetch_new_comments([(one, EARLIER), (other, between)])
    assert [[comment.body for comment in found[issue.id]] for issue in (one, other)] == [["early", "late"], ["late"]]
    assert [comment.body for comment in tracker.fetch_comments(one, since=between)] == ["late"]
    assert len(server.asked("SymphonyNewComments")) == 1


def test_programs_and_outsiders_are_read_but_steer_nothing(server: LinearServer, tracker: LinearTracker) -> None:
    issue = issue_of(server, tracker)
    program = server.add_user("Robo Bot", app=True)
    server.comment(issue.id, "a program", by=program)
    with server.world.lock:
        changes.create_comment(server.world, {"issue_id": issue.id, "body": "an integration"}, by=Actor(None))
    server.comment(issue.id, "a person")
    assert len(tracker.fetch_comments(issue)) == 3
    assert [comment.body for comment in tracker.fetch_new_comments([(issue, EARLIER)])[issue.id]] == ["a person"]


def test_only_authors_steer_where_they_are_named(server: LinearServer) -> None:
    boss = server.add_user("Bo Boss")
    tracker = linear(server, authors={"users": [boss.email.upper()]})
    mine, theirs = server.create_issue(by=boss), server.create_issue(by=server.person)
    issues = {issue.id: issue for issue in tracker.fetch_issues_by_states(["Todo"]).issues}
    assert {issue_id: issue.dispatchable for issue_id, issue in issues.items()} == {mine.id: True, theirs.id: False}
    assert "tracker.authors" in tracker.fetch_issues_by_states(["Todo"]).held[theirs.id]
    tracker.comment(mine.id, key="k", body="ours")
    server.comment(mine.id, "anybody's", by=server.person)
    server.comment(mine.id, "the boss's", by=boss)
    found = tracker.fetch_new_comments([(issues[mine.id], EARLIER)])[mine.id]
    assert [(comment.body, is_ours(comment)) for comment in found] == [("ours", True), ("the boss's", False)]
    assert len(tracker.fetch_comments(issues[mine.id])) == 3


def test_our_comments_are_ours_whoevers_key_wrote_them(server: LinearServer, tracker: LinearTracker) -> None:
    issue = issue_of(server, tracker)
    tracker.comment(issue.id, key="0190-a", body="by the key of a person")
    linear(server, key=server.token).comment(issue.id, key="0190-b", body="by an application")
    server.comment(issue.id, "by that person's own hand", by=server.viewer)
    found = tracker.fetch_new_comments([(issue, EARLIER)])[issue.id]
    assert [is_ours(comment) for comment in found] == [True, True, False]
    assert [comment.id for comment in found[:2]] == [tracker.comment_id("0190-a"), tracker.comment_id("0190-b")]
    assert found == tracker.fetch_comments(issue)


def test_an_issue_that_is_gone_has_no_comments(server: LinearServer, tracker: LinearTracker) -> None:
    trashed, vanished, left, there = (issue_of(server, tracker) for _ in range(4))
    for issue in (trashed, vanished, left, there):
        server.comment(issue.id, "a word")
    server.delete(trashed.id)
    server.vanish(vanished.id)
    server.change_project(left.id, None)
    for issue in (trashed, vanished, left):
        with pytest.raises(Rejected) as fault:
            tracker.fetch_comments(issue)
        assert fault.value.category == ISSUE_NOT_FOUND
    found = tracker.fetch_new_comments([(issue, EARLIER) for issue in (trashed, vanished, left, there)])
    assert set(found) == {there.id}


@pytest.mark.parametrize(
    "fault", [faults.status(500), faults.null_nodes(), faults.lost_cursor(), faults.partial(), faults.cut()]
)
def test_a_fault_is_never_no_comments(server: LinearServer, tracker: LinearTracker, fault: faults.Fault) -> None:
    issue = issue_of(server, tracker)
    server.comment(issue.id, "a word")
    server.fail("SymphonyNewComments", fault)
    with pytest.raises(Transient):
        tracker.fetch_new_comments([(issue, EARLIER)])
    server.fail("SymphonyComments", faults.partial())
    with pytest.raises(Transient):
        tracker.fetch_comments(issue)
    assert len(tracker.fetch_new_comments([(issue, EARLIER)])[issue.id]) == 1


def test_what_a_poll_tells_to_be_known_is_not_asked_for_again(server: LinearServer, tracker: LinearTracker) -> None:
    one, other = issue_of(server, tracker), issue_of(server, tracker)

    def hear(since: datetime = EARLIER, *, polls: bool = True) -> tuple[int, dict[str, list[str]]]:
        if polls:
            tracker.fetch_board(["Todo"], watched=[one.id, other.id])
        before = len(server.asked("SymphonyNewComments"))
        found = tracker.fetch_new_comments([(one, since), (other, since)])
        bodies = {issue_id: [comment.body for comment in said] for issue_id, said in found.items()}
        return len(server.asked("SymphonyNewComments")) - before, bodies

    assert hear() == (1, {one.id: [], other.id: []})
    assert hear() == (0, {one.id: [], other.id: []})
    server.comment(one.id, "first")
    assert hear() == (1, {one.id: ["first"], other.id: []})
    assert server.requests[-1].variables["ids"] == [one.id]
    assert hear() == (0, {one.id: ["first"], other.id: []})
    tracker.comment(one.id, key="k", body="ours")
    assert hear() == (0, {one.id: ["first"], other.id: []})  # what we say ourselves is no news
    assert hear(datetime.now(UTC)) == (1, {one.id: [], other.id: []})
    server.comment(other.id, "without a poll")
    assert hear(polls=False)[1][other.id] == ["without a poll"]
    deleted = server.comment(one.id, "a slip")
    hear()
    server.delete_comment(deleted)
    assert hear()[1][one.id] == ["first", "ours"]
    server.delete(other.id)
    assert set(hear()[1]) == {one.id}


def test_a_poll_that_is_long_ago_tells_nothing(server: LinearServer, tracker: LinearTracker) -> None:
    issue = issue_of(server, tracker)
    for _ in range(2):
        tracker.fetch_board(["Todo"], watched=[issue.id])
        tracker.fetch_new_comments([(issue, EARLIER)])
    began = time.monotonic()
    tracker.fetch_board(["Todo"], watched=[issue.id])
    tracker.board.clock = lambda: began + 60
    server.comment(issue.id, "meanwhile")
    assert len(tracker.fetch_new_comments([(issue, EARLIER)])[issue.id]) == 1
