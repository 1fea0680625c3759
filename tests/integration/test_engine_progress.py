"""What an issue shows of its run (docs/linear.md): one comment kept up to date, at most every 10 s, late but never in the way."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import Transient
from symphony.domain.outcome import Advance, Block, Review
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.forges.pages import commit_page
from symphony.ledger import effects
from tests.fakes.scripted_tracker import ScriptedTracker
from tests.integration.board import Board


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board of a kind whose issues can carry more than comments."""
    return Board(database_url, tmp_path, kind="linear")


@pytest.fixture
def tracker(board: Board) -> ScriptedTracker:
    """The board's tracker."""
    assert board.tracker is not None
    return board.tracker


def progress(tracker: ScriptedTracker, board: Board, name: str = "A-1") -> str:
    """Give the text of the issue's progress comment, of which there is one."""
    mine = f"symphony:progress:{board.run(name).issue_id}"
    (comment,) = (one for one in tracker.comments.get(name, []) if one.id == mine)
    return comment.body


def later(board: Board) -> None:
    """Let ten seconds pass for what was written."""
    board.sql("UPDATE effects SET settled_at = settled_at - interval '10 seconds', due_at = due_at - interval '10 seconds'")


def test_the_progress_of_a_run_is_one_comment_that_is_kept_up_to_date(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.AGENT)
    deliver(board.deployment)
    first = progress(tracker, board)
    assert "the workspace is ready" in first and "the agent has finished" not in first
    later(board)
    board.step("A-1", Advance())
    deliver(board.deployment)
    assert "the agent has finished" in progress(tracker, board)
    assert [entry for entry in tracker.journal if entry[0] == "mark"][-1] == ("mark", "A-1", "working")


def test_it_is_not_written_again_within_ten_seconds_and_says_what_is_true_then(
    board: Board, tracker: ScriptedTracker
) -> None:
    board.bring("A-1", Stage.AGENT)
    deliver(board.deployment)
    board.step("A-1", Advance())
    board.claim("A-1")
    deliver(board.deployment)
    assert "proved" not in progress(tracker, board), "it was written within ten seconds"
    pending = [state for kind, state, _ in board.effects("A-1") if kind == "progress"]
    assert pending.count("pending") == 1, "one that waits is enough for all that happened"
    later(board)
    deliver(board.deployment)
    assert "the change is being proved" in progress(tracker, board)


def test_what_waits_for_its_ten_seconds_holds_up_no_other_write(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.AGENT)
    deliver(board.deployment)
    board.step("A-1", Block("which colour?"))
    deliver(board.deployment)
    assert tracker.issues["A-1"].state == "Blocked"
    assert ("progress", "pending") in [(kind, state) for kind, state, _ in board.effects("A-1")]


def test_a_write_that_fails_does_not_hold_up_progress(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.AGENT)
    board.database.transact(
        lambda t: effects.add(t, issue_id=board.run("A-1").issue_id, run_id=None, kind="comment", payload={"body": "x"})
    )
    board.sql("UPDATE effects SET due_at = now() + interval '1 hour' WHERE kind = 'comment'")
    deliver(board.deployment)
    assert "Symphony" in progress(tracker, board)


def test_marks_follow_where_the_run_stands(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Review("look"))
    deliver(board.deployment)
    assert [value for kind, _, value in tracker.journal if kind == "mark"] == ["review"]
    later(board)
    tracker.person_moves("A-1", "Cancelled")
    board.poll()
    assert board.run("A-1").state is RunState.CANCELLED
    deliver(board.deployment)
    assert [value for kind, _, value in tracker.journal if kind == "mark"] == ["review", ""]


def test_evidence_is_attached_where_a_change_was_proved(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.PROOF)
    claimed = board.claim("A-1")
    board.prove(claimed)
    board.settle(claimed, Review("look"))
    deliver(board.deployment)
    assert ("attach", "A-1", "Proof: passed") in tracker.journal


def test_evidence_that_is_not_taken_holds_up_no_move_and_is_given_up(
    board: Board, tracker: ScriptedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise Transient("the storage takes no file")

    monkeypatch.setattr(tracker, "attach", full)
    board.bring("A-1", Stage.PROOF)
    claimed = board.claim("A-1")
    board.prove(claimed)
    board.settle(claimed, Review("look"))
    deliver(board.deployment)
    deliver(board.deployment)
    assert tracker.issues["A-1"].state == "Review"
    assert ("attach", "pending") in [(kind, state) for kind, state, _ in board.effects("A-1")]
    for _ in range(40):
        board.sql("UPDATE effects SET due_at = now() WHERE state = 'pending'")
        deliver(board.deployment)
    assert {state for kind, state, _ in board.effects("A-1") if kind == "attach"} == {"refused"}


def test_evidence_comes_after_what_was_wanted_before(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.PROOF)
    claimed = board.claim("A-1")
    board.prove(claimed)
    board.settle(claimed, Review("look"))
    board.sql("UPDATE effects SET due_at = now() + interval '1 hour' WHERE kind IN ('comment', 'move')")
    deliver(board.deployment)
    assert ("attach", "A-1", "Proof: passed") not in tracker.journal


def test_a_board_whose_issues_carry_no_more_than_comments_gets_none(database_url: str, tmp_path: Path) -> None:
    board = Board(database_url, tmp_path)
    board.bring("A-1", Stage.PROOF)
    assert {kind for kind, _, _ in board.effects("A-1")} == {"move"}


def test_comments_made_in_review_come_with_the_rework(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.AGENT)
    tracker.person_comments("A-1", "said before anything was to be seen")
    board.step("A-1", Review("look"))
    deliver(board.deployment)
    tracker.person_comments("A-1", "the title is wrong")
    board.poll()
    assert board.run("A-1").state is RunState.REVIEWING, "a comment alone asks for nothing"
    tracker.person_moves("A-1", "Rework")
    board.poll()
    run = board.run("A-1")
    assert run.state in (RunState.WAITING, RunState.QUEUED)
    assert run.feedback is not None and "the title is wrong" in run.feedback and "before anything" not in run.feedback


def test_a_tracker_that_is_short_of_requests_is_polled_less_often(board: Board, tracker: ScriptedTracker) -> None:
    tracker.factor = 7.0
    board.poll()
    (due,) = board.sql("SELECT poll_due_at - now() FROM workflows")
    assert timedelta(seconds=6) < due[0] <= timedelta(seconds=7)


def test_one_failing_comment_fetch_changes_nothing_but_the_polls_row(board: Board, tracker: ScriptedTracker) -> None:
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Review("look"))
    deliver(board.deployment)
    tracker.person_moves("A-1", "Rework")

    def fail(_: object) -> dict[str, tuple[object, ...]]:
        raise Transient("cut", category="tracker_response")

    tracker.fetch_new_comments = fail  # type: ignore[method-assign,assignment]
    board.poll()
    assert board.run("A-1").state is RunState.REVIEWING


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("git@github.com:acme/shop.git", "https://github.com/acme/shop/commit/abc"),
        ("https://token@github.com/acme/shop", "https://github.com/acme/shop/commit/abc"),
        ("ssh://git@gitlab.com:22/acme/team/shop.git", "https://gitlab.com/acme/team/shop/-/commit/abc"),
        ("https://example.org/acme/shop", None),
        ("/srv/git/shop.git", None),
        ("github.com", None),
    ],
)
def test_commits_have_pages_where_the_host_is_known(url: str, page: str | None) -> None:
    assert commit_page(url, "abc") == page
