"""Effects (docs/failure-model.md): in order for each issue, by one deliverer, applied once, a person's word wins."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError, Rejected, Transient
from symphony.domain.outcome import Advance, Block, Fail, Review
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.ledger import effects
from tests.fakes.scripted_tracker import ScriptedTracker
from tests.integration.board import Board, at_once, fresh_id


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board."""
    return Board(database_url, tmp_path)


@pytest.fixture
def tracker(board: Board) -> ScriptedTracker:
    """The board's tracker."""
    assert board.tracker is not None
    return board.tracker


def states(board: Board, name: str = "A-1") -> list[tuple[str, str]]:
    """List kind and state of an issue's effects."""
    return [(kind, state) for kind, state, _ in board.effects(name)]


def want(board: Board, name: str, kind: str, **payload: object) -> None:
    """Want an effect."""
    run = board.run(name)
    board.database.transact(
        lambda t: effects.add(t, issue_id=run.issue_id, run_id=run.id, kind=kind, payload=dict(payload))
    )


def test_effects_arrive_in_order(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: ordered by (issue, seq)."""
    for name in ("A-1", "A-2"):
        board.bring(name, Stage.PROVISION)
        for number in range(4):
            want(board, name, "comment", body=str(number))
    assert deliver(board.deployment) == 8
    for name in ("A-1", "A-2"):
        assert [body for _, issue, body in tracker.journal if issue == name] == ["0", "1", "2", "3"]
    assert deliver(board.deployment) == 0


def test_what_a_person_must_mend_is_not_tried_all_the_time(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a key that is not accepted is tried twice a minute, and status says why nothing is written."""
    board.bring("A-1", Stage.PROVISION)
    deliver(board.deployment)
    want(board, "A-1", "comment", body="hello")

    def refuse(_: str) -> None:
        raise ConfigError("the key is not accepted", place="tracker.provider.api_key", cure="make a new one")

    tracker.on_write = refuse
    assert deliver(board.deployment) == 0
    ((left, error),) = board.sql("SELECT due_at - now(), error FROM effects WHERE state = 'pending' AND kind = 'comment'")
    assert timedelta(seconds=20) < left <= timedelta(seconds=30)
    assert "the key is not accepted" in error


def test_two_deliverers_write_each_effect_once(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: one deliverer per issue."""
    for name in (f"A-{n}" for n in range(6)):
        board.bring(name, Stage.PROVISION)
        for number in range(5):
            want(board, name, "comment", body=f"{number}")
    written: list[str] = []
    tracker.on_write = written.append
    answers = at_once([lambda c=c: deliver(c) for c in [board.colleague() for _ in range(4)]])  # type: ignore[misc]
    assert sum(answers) == 30
    assert len(written) == 30, "looked up, not doubled, is not enough: nobody else may write meanwhile"
    for name in (f"A-{n}" for n in range(6)):
        assert [body for _, issue, body in tracker.journal if issue == name] == ["0", "1", "2", "3", "4"]


def test_a_newer_move_supersedes_older_ones(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a newer state move supersedes undelivered older ones; comments stay."""
    board.bring("A-1", Stage.PROVISION)
    want(board, "A-1", "move", to="In Progress", **{"from": ["todo"]})
    want(board, "A-1", "comment", body="between")
    want(board, "A-1", "move", to="Review", **{"from": ["todo", "in progress"]})
    deliver(board.deployment)
    assert states(board) == [("move", "superseded"), ("comment", "applied"), ("move", "applied")]
    assert [entry[0::2] for entry in tracker.journal] == [("comment", "between"), ("move", "Review")]


def test_a_move_that_supersedes_another_starts_from_where_that_would_have(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: nobody overruled anything where the issue merely stands where an undelivered move was to take it from."""
    board.bring("A-1", Stage.PROVISION)
    tracker.person_moves("A-1", "Blocked")
    want(board, "A-1", "move", to="In Progress", **{"from": ["blocked"]})
    want(board, "A-1", "move", to="Review", **{"from": ["in progress"]})
    deliver(board.deployment)
    assert states(board) == [("move", "superseded"), ("move", "applied")]
    assert tracker.issues["A-1"].state == "Review"


def test_a_person_overrules_a_move(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a move names the states that it may move from; a person has moved it elsewhere: dropped."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Block("why?"))
    tracker.person_moves("A-1", "Backlog")
    deliver(board.deployment)
    assert states(board)[-1] == ("move", "overruled")
    assert tracker.issues["A-1"].state == "Backlog"
    board.poll()
    assert board.run("A-1").state is RunState.RELEASED


def test_a_refused_effect_is_dropped_and_told(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: Rejected ends the effect; later ones go on."""
    board.bring("A-1", Stage.PROVISION)
    for body in ("one", "two"):
        want(board, "A-1", "comment", body=body)

    def refuse(_: str) -> None:
        tracker.on_write = None
        raise Rejected("403")

    tracker.on_write = refuse
    deliver(board.deployment)
    assert states(board) == [("comment", "refused"), ("comment", "applied")]
    assert board.sql("SELECT error FROM effects ORDER BY seq")[0][0] == "403"


@pytest.mark.parametrize("error", [Transient("503"), ValueError("an adapter's own mistake")], ids=["transient", "other"])
def test_a_failing_tracker_puts_off_and_never_drops(board: Board, tracker: ScriptedTracker, error: Exception) -> None:
    """Rule: later effects of the issue wait for it; other issues' do not."""
    board.bring("A-1", Stage.PROVISION)
    board.bring("A-2", Stage.PROVISION)
    for name in ("A-1", "A-2"):
        for body in ("one", "two"):
            want(board, name, "comment", body=body)

    def fail(name: str) -> None:
        if name == "A-1":
            raise error

    tracker.on_write = fail
    delays = []
    for _ in range(8):
        deliver(board.deployment)
        delays.append(float(board.sql("SELECT extract(epoch FROM max(due_at) - now()) FROM effects")[0][0]))
        board.sql("UPDATE effects SET due_at = now()")
    assert states(board) == [("comment", "pending")] * 2
    assert states(board, "A-2") == [("comment", "applied")] * 2
    assert delays == sorted(delays) or delays[0] < delays[-1]
    assert max(delays) <= 60
    tracker.on_write = None
    deliver(board.deployment)
    assert [body for _, issue, body in tracker.journal if issue == "A-1"] == ["one", "two"]


def test_a_time_that_the_tracker_names_is_respected(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: not before retry_after."""
    board.bring("A-1", Stage.PROVISION)
    want(board, "A-1", "comment", body="one")

    def limited(_: str) -> None:
        raise Transient("429", retry_after=timedelta(minutes=7))

    tracker.on_write = limited
    deliver(board.deployment)
    assert 400 < float(board.sql("SELECT extract(epoch FROM due_at - now()) FROM effects")[0][0]) <= 420


def test_a_deliverer_that_dies_between_write_and_record_does_no_harm(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: applied once: a client-made key, look up before create."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Block("why?"))

    class Killed(BaseException):
        pass

    def die(_: str) -> None:
        raise Killed

    tracker.after_write = die
    for _ in range(2):
        with pytest.raises(Killed):
            deliver(board.deployment)
        board.sql("UPDATE issues SET deliverer = %(other)s, deliver_until = now() - interval '1 second'", other=fresh_id())
        assert ("comment", "pending") in states(board)
    tracker.after_write = None
    deliver(board.colleague())
    assert states(board)[-2:] == [("comment", "applied"), ("move", "applied")]
    assert [kind for kind, _, _ in tracker.journal] == ["comment", "move"]


def test_a_deliverer_is_waited_for_until_its_lease_ends(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: one deliverer per issue, by a short lease; one that lost it delivers nothing more."""
    board.bring("A-1", Stage.PROVISION)
    for body in ("one", "two"):
        want(board, "A-1", "comment", body=body)
    first, second = fresh_id(), fresh_id()
    lease = timedelta(seconds=30)
    take = effects.take_issues
    issue_id = board.run("A-1").issue_id
    assert board.database.transact(lambda t: take(t, deliverer=first, lease=lease, limit=9)) == [issue_id]
    assert board.database.transact(lambda t: take(t, deliverer=second, lease=lease, limit=9)) == []
    board.sql("UPDATE issues SET deliver_until = now() - interval '1 second'")
    assert board.database.transact(lambda t: take(t, deliverer=second, lease=lease, limit=9)) == [issue_id]
    assert board.database.transact(lambda t: effects.next_if_deliverer(t, issue_id, first, lease)) is None
    assert board.database.transact(lambda t: effects.next_if_deliverer(t, issue_id, second, lease)) is not None


def test_a_person_who_moves_an_issue_right_after_us_is_heard(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: our own move is no entry; a person's move upon it is one, however close behind it comes."""
    board.bring("A-1", Stage.PROOF)
    board.settle(board.claim("A-1"), Review("Look at it."))
    tracker.after_write = lambda name: (
        tracker.person_moves(name, "Merging") if tracker.issues[name].state == "Review" else None
    )
    deliver(board.deployment)
    tracker.after_write = None
    board.poll()
    assert board.run("A-1").state is RunState.QUEUED
    assert board.run("A-1").approved_at is not None


def test_our_own_move_is_no_entry(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: moves applied mark the entry as handled: our Blocked -> nothing resumes by itself."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Block("why?"))
    deliver(board.deployment)
    for _ in range(3):
        board.poll()
    run = board.run("A-1")
    assert run.state is RunState.BLOCKED
    assert run.handled_entry == board.issue("A-1").state_entry


def test_a_failed_run_asks_a_person_once(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a change and the effects that it wants are one transaction."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Fail("no luck\0"))
    for _ in range(3):
        deliver(board.deployment)
        board.poll()
    assert [kind for kind, _, _ in tracker.journal if kind != "move"] == ["comment"]
    assert tracker.issues["A-1"].state == "Blocked"


def test_with_the_files_tracker_a_comment_is_written_once(database_url: str, tmp_path: Path) -> None:
    """Rule: the effect's id is the key under which the adapter finds what it has written."""
    board = Board(database_url, tmp_path, tracker=None)
    path = tmp_path / "issues" / "A-1.md"
    path.write_text("---\ntitle: One\nstate: Todo\n---\nDo it.\n")
    board.poll()
    for stage in (Stage.PROVISION, Stage.AGENT):
        assert board.run("A-1").stage is stage
        claimed = board.claim("A-1")
        run = board.settle(claimed, Block("why?") if stage is Stage.AGENT else Advance())
    assert run.state is RunState.BLOCKED
    deliver(board.deployment)
    board.sql("UPDATE effects SET state = 'pending', settled_at = NULL")
    board.sql("DELETE FROM effects WHERE kind = 'move' AND payload->>'key' = 'started'")
    deliver(board.deployment)
    text = path.read_text()
    assert text.count("why?") == 1
    assert "state: Blocked" in text
