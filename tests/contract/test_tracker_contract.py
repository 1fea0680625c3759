"""What every tracker adapter does, whoever made it: one suite, run over each board."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient
from symphony.domain.issue import Issue
from symphony.trackers import Tracker, is_ours, open_tracker
from symphony.trackers.protocol import ISSUE_NOT_FOUND
from tests.contract.tracker_boards import BOARDS, Board


@pytest.fixture(params=sorted(BOARDS))
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Board]:
    board = BOARDS[request.param](tmp_path)
    yield board
    board.close()


@pytest.fixture
def tracker(board: Board) -> Tracker:
    return board.open()


def one(tracker: Tracker, issue_id: str) -> Issue:
    (issue,) = tracker.fetch_issues_by_ids([issue_id])
    return issue


def test_states_and_secrets_are_told(tracker: Tracker) -> None:
    assert tracker.active_states == ("Todo", "In Progress")
    assert tracker.terminal_states == ("Done",)
    assert isinstance(tracker.secret_environment_names, frozenset)
    assert [tracker.state_kind(state) for state in (" todo", "DONE", "Backlog")] == ["active", "terminal", "other"]


def test_states_are_compared_without_case_and_kept_as_written(board: Board, tracker: Tracker) -> None:
    board.create("A-1", "todo")
    board.create("A-2", "In Progress")
    board.create("A-3", "Done")
    fetched = tracker.fetch_issues_by_states(["  TODO ", "in progress"])
    assert {issue.identifier: issue.state for issue in fetched.issues} == {"A-1": "todo", "A-2": "In Progress"}
    assert not fetched.omitted


def test_an_issue_that_may_not_be_dispatched_is_listed_with_the_reason(board: Board, tracker: Tracker) -> None:
    board.create("A-1", "Todo")
    blocked = board.create("A-2", "Todo", blocked_by=["A-1"])
    fetched = tracker.fetch_issues_by_states(["Todo"])
    assert {issue.identifier: issue.dispatchable for issue in fetched.issues} == {"A-1": True, "A-2": False}
    assert "A-1" in fetched.held[blocked]
    board.person_moves("A-1", "Done")
    assert one(tracker, blocked).dispatchable
    assert not tracker.fetch_issues_by_states(["Todo"]).held


def test_ids_are_a_set_and_unknown_ones_are_left_out(board: Board, tracker: Tracker) -> None:
    known = board.create("A-1", "Todo")
    assert [issue.id for issue in tracker.fetch_issues_by_ids([known, known, "nothing-like-it"])] == [known]
    board.person_deletes(known)
    assert tracker.fetch_issues_by_ids([known]) == ()


def test_a_board_has_what_is_listed_and_what_is_watched(board: Board, tracker: Tracker) -> None:
    todo, review = board.create("A-1", "Todo"), board.create("A-2", "Review")
    seen = tracker.fetch_board(["todo", "In Progress"], watched=[todo, review, "nothing-like-it"])
    assert [issue.id for issue in seen.listed.issues] == [todo]
    assert [issue.id for issue in seen.watched if issue.id != todo] == [review]
    nothing = tracker.fetch_board([], watched=[])
    assert (nothing.listed.issues, nothing.watched) == ((), ())


def test_the_next_board_shows_what_people_did_meanwhile(board: Board, tracker: Tracker) -> None:
    moved, deleted, left = (board.create(f"A-{number}", "Todo") for number in (1, 2, 3))
    blocked = board.create("A-4", "Todo", blocked_by=["A-1"])
    first = tracker.fetch_board(["Todo"], watched=[])
    assert {issue.id for issue in first.listed.issues} == {moved, deleted, left, blocked}
    assert set(first.listed.held) == {blocked}
    board.person_moves(moved, "Done")
    board.person_deletes(deleted)
    created = board.create("A-5", "Todo")
    second = tracker.fetch_board(["Todo"], watched=[moved, deleted])
    assert {issue.id for issue in second.listed.issues} == {left, blocked, created}
    assert [(issue.id, issue.state) for issue in second.watched] == [(moved, "Done")]
    assert not second.listed.held
    board.person_moves(moved, "Todo")
    assert moved in {issue.id for issue in tracker.fetch_board(["Todo"], watched=[]).listed.issues}


def test_a_board_leaves_a_malformed_issue_out_unless_it_is_watched(board: Board, tracker: Tracker) -> None:
    good, bad = board.create("A-1", "Todo"), board.create("A-2", "Todo")
    tracker.fetch_board(["Todo"], watched=[])
    board.person_breaks(bad)
    seen = tracker.fetch_board(["Todo"], watched=[good])
    assert [issue.id for issue in seen.listed.issues] == [good]
    assert ["A-2" in sentence for sentence in seen.listed.omitted] == [True]
    with pytest.raises(Transient, match="A-2") as fault:
        tracker.fetch_board(["Todo"], watched=[good, bad])
    assert fault.value.category == "tracker_response"


def test_new_comments_of_several_issues_come_at_once(board: Board, tracker: Tracker) -> None:
    first, second, gone = (one(tracker, board.create(f"A-{number}", "Todo")) for number in (1, 2, 3))
    began = datetime.now(UTC) - timedelta(minutes=1)
    tracker.comment(first.id, key="0190-a", body="a question?")
    board.person_comments(first.id, "the answer")
    board.person_deletes(gone.id)
    found = tracker.fetch_new_comments([(first, began), (second, began), (gone, began)])
    assert [comment.body for comment in found[first.id]] == ["a question?", "the answer"]
    assert [comment.id == tracker.comment_id("0190-a") for comment in found[first.id]] == [True, False]
    assert found[second.id] == ()
    assert gone.id not in found
    later = tracker.fetch_new_comments([(first, began), (second, datetime.now(UTC) + timedelta(hours=1))])
    assert len(later[first.id]) == 2
    assert tracker.fetch_new_comments([]) == {}


def test_the_interval_between_polls_grows_by_no_less_than_nothing(tracker: Tracker) -> None:
    assert tracker.poll_factor() == 1.0


def test_a_move_is_applied_once(board: Board, tracker: Tracker) -> None:
    issue_id = board.create("A-1", "Todo")
    moved = tracker.move(issue_id, "In Progress", allowed_from=["todo"])
    assert (moved.outcome, moved.issue.state) == ("applied", "In Progress")
    again = tracker.move(issue_id, "In Progress", allowed_from=["todo"])
    assert (again.outcome, again.issue.state) == ("already", "In Progress")
    assert one(tracker, issue_id).state == "In Progress"


def test_a_person_who_moved_the_issue_elsewhere_overrules_a_move(board: Board, tracker: Tracker) -> None:
    issue_id = board.create("A-1", "Todo")
    board.person_moves(issue_id, "Backlog")
    moved = tracker.move(issue_id, "In Progress", allowed_from=["Todo"])
    assert (moved.outcome, moved.issue.state) == ("overruled", "Backlog")
    assert one(tracker, issue_id).state == "Backlog"


def test_a_comment_is_written_once_and_edited_in_place(board: Board, tracker: Tracker) -> None:
    issue = one(tracker, board.create("A-1", "Todo"))
    for text in ("first", "first", "second\n\n## Comments\n\nwith a heading"):
        tracker.comment(issue.id, key="0190-a", body=text)
    tracker.comment(issue.id, key="0190-b", body="other")
    comments = tracker.fetch_comments(issue)
    assert [comment.body for comment in comments] == ["second\n\n## Comments\n\nwith a heading", "other"]
    assert all(is_ours(comment) for comment in comments)
    assert [comment.id for comment in comments] == [tracker.comment_id("0190-a"), tracker.comment_id("0190-b")]


def test_what_people_say_is_told_apart_from_ours_and_keeps_its_id(board: Board, tracker: Tracker) -> None:
    issue = one(tracker, board.create("A-1", "Todo"))
    tracker.comment(issue.id, key="0190-a", body="a question?")
    board.person_comments(issue.id, "the answer")
    question, answer = tracker.fetch_comments(issue)
    assert (question.body, answer.body, is_ours(question), is_ours(answer)) == ("a question?", "the answer", True, False)
    board.person_comments(issue.id, "another thing")
    tracker.comment(issue.id, key="0190-b", body="thanks")
    assert answer in tracker.fetch_comments(issue)
    assert one(tracker, issue.id).description == "What to do."


def test_since_leaves_out_what_is_certainly_older_only(board: Board, tracker: Tracker) -> None:
    issue = one(tracker, board.create("A-1", "Todo"))
    tracker.comment(issue.id, key="0190-a", body="ours, with a time")
    board.person_comments(issue.id, "theirs")
    later = tracker.fetch_comments(issue, since=datetime.now(UTC) + timedelta(hours=1))
    assert all(comment.created_at is None for comment in later)
    assert len(tracker.fetch_comments(issue, since=datetime.now(UTC) - timedelta(hours=1))) == 2


def test_writes_to_an_issue_that_is_gone_are_rejected(board: Board, tracker: Tracker) -> None:
    issue = one(tracker, board.create("A-1", "Todo"))
    board.person_deletes(issue.id)
    for write in (
        lambda: tracker.move(issue.id, "Done", allowed_from=["Todo"]),
        lambda: tracker.comment(issue.id, key="0190-a", body="x"),
        lambda: tracker.fetch_comments(issue),
    ):
        with pytest.raises(Rejected) as refusal:
            write()
        assert refusal.value.category == ISSUE_NOT_FOUND


def test_a_malformed_issue_is_an_error_for_whoever_names_it(board: Board, tracker: Tracker) -> None:
    issue = one(tracker, board.create("A-1", "Todo"))
    board.person_breaks(issue.id)
    for call in (
        lambda: tracker.fetch_issues_by_ids([issue.id]),
        lambda: tracker.move(issue.id, "Done", allowed_from=["Todo"]),
        lambda: tracker.fetch_comments(issue),
        lambda: tracker.fetch_board(["Todo"], watched=[issue.id]),
    ):
        with pytest.raises(SymphonyError) as fault:
            call()
        assert fault.value.category == "tracker_response"
        assert "A-1" in fault.value.message


def test_a_tracker_that_is_away_never_reads_as_an_issue_gone(board: Board, tracker: Tracker) -> None:
    issue = one(tracker, board.create("A-1", "Todo"))
    board.goes_away()
    for call in (
        lambda: tracker.fetch_issues_by_states(["Todo"]),
        lambda: tracker.fetch_issues_by_ids([issue.id]),
        lambda: tracker.fetch_board(["Todo"], watched=[issue.id]),
        lambda: tracker.fetch_board(["Todo"], watched=[]),
        lambda: tracker.fetch_new_comments([(issue, datetime.now(UTC))]),
        lambda: tracker.fetch_comments(issue),
        lambda: tracker.move(issue.id, "Done", allowed_from=["Todo"]),
        lambda: tracker.comment(issue.id, key="0190-a", body="x"),
    ):
        with pytest.raises(Transient) as fault:
            call()
        assert fault.value.category == "tracker_request"
    assert [finding.level for finding in tracker.check()] == ["error"]


def test_a_board_that_works_has_no_error_found(board: Board, tracker: Tracker) -> None:
    board.create("A-1", "Todo")
    assert [finding for finding in tracker.check(named_states=["Review"]) if finding.level == "error"] == []


def test_an_unknown_kind_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="files") as fault:
        open_tracker("abacus", {}, active_states=None, terminal_states=None, base_dir=tmp_path, environ={})
    assert fault.value.category == "unsupported_tracker_kind"
