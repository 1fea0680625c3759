"""Live run × what the tracker says (docs/failure-model.md), through polls of the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Block, Continue, Interrupted, Retry, Review, Rework
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.engine.execute import claim
from symphony.ledger import landings, runs
from tests.fakes.scripted_tracker import ScriptedTracker
from tests.integration.board import Board


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board."""
    return Board(database_url, tmp_path)


@pytest.fixture
def tracker(board: Board) -> ScriptedTracker:
    """The board's tracker."""
    assert board.tracker is not None
    return board.tracker


def blocked(board: Board) -> None:
    """Let A-1 ask a question, delivered."""
    board.bring("A-1", Stage.AGENT)
    board.step("A-1", Block("which one?"))
    deliver(board.deployment)
    board.poll()
    assert board.run("A-1").state is RunState.BLOCKED


@pytest.mark.parametrize("stage", [Stage.PROVISION, Stage.AGENT, Stage.PROOF, Stage.LAND])
@pytest.mark.parametrize(("to", "state", "clean"), [("Done", "cancelled", True), ("Backlog", "released", False)])
def test_a_run_that_nobody_holds_ends_at_once(
    board: Board, tracker: ScriptedTracker, stage: Stage, to: str, state: str, clean: bool
) -> None:
    """Rule: terminal: cancel, clean; not active: release, keep the workspace; in every stage."""
    board.bring("A-1", stage)
    tracker.person_moves("A-1", to)
    board.poll()
    run = board.run("A-1")
    assert (str(run.state), run.clean_due) == (state, clean)
    board.assert_consistent()


@pytest.mark.parametrize(
    ("to", "wish", "state", "clean"), [("Done", "cancel", "cancelled", True), ("Backlog", "release", "released", False)]
)
def test_a_run_that_is_held_is_asked(
    board: Board, tracker: ScriptedTracker, to: str, wish: str, state: str, clean: bool
) -> None:
    """Rule: cancelling a held run sets the request; its holder settles it, whatever it had to say."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    tracker.person_moves("A-1", to)
    board.poll()
    assert board.run("A-1").state is RunState.RUNNING
    assert (board.run("A-1").request, board.run("A-1").token) == (wish, held.run.token)
    run = board.settle(held, Advance())
    assert (str(run.state), run.clean_due) == (state, clean)
    board.assert_consistent()


@pytest.mark.parametrize("change", ["dispatchable", "labels"])
def test_an_issue_that_is_no_longer_routable_releases_its_run(database_url: str, tmp_path: Path, change: str) -> None:
    """Rule: not routable: release, keep the workspace."""
    board = Board(database_url, tmp_path, states="  required_labels: [agent]")
    assert board.tracker is not None
    board.tracker.put("A-1", labels=("agent",))
    board.bring("A-1", Stage.AGENT)
    board.tracker.put(
        "A-1", **({"dispatchable": False, "labels": ("agent",)} if change == "dispatchable" else {"labels": ()})
    )
    board.poll()
    assert (board.run("A-1").state, board.run("A-1").clean_due) == (RunState.RELEASED, False)


def test_another_started_state_releases_an_agent_and_leaves_a_proof(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: another started-like state: release in provision and agent, go on after."""
    tracker.started_states = frozenset({"QA"})
    board.bring("A-1", Stage.AGENT)
    board.bring("A-2", Stage.PROOF)
    for name in ("A-1", "A-2"):
        tracker.person_moves(name, "QA")
    board.poll()
    assert board.run("A-1").state is RunState.RELEASED
    assert board.run("A-2").state is RunState.QUEUED


def test_rework_fires_once_per_entry(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: rework: agent with feedback, a person's round, not counted, once per entry."""
    board.bring("A-1", Stage.PROOF)
    board.step("A-1", Review("look"))
    deliver(board.deployment)
    assert tracker.issues["A-1"].state == "Review"
    for entry in range(1, 4):
        tracker.person_comments("A-1", f"change {entry}")
        tracker.person_moves("A-1", "Rework")
        for _ in range(3):
            board.poll()
        run = board.run("A-1")
        assert (run.state, run.stage, run.rework_rounds) == (RunState.QUEUED, Stage.AGENT, 0)
        assert run.feedback
        board.step("A-1", Advance())
        board.poll()
        assert board.run("A-1").stage is Stage.PROOF, "the same entry does not fire again"
        board.step("A-1", Review("look again"))
        deliver(board.deployment)
        board.poll()
    assert board.sql("SELECT count(*) FROM run_events WHERE kind = 'reworked'")[0][0] == 3
    board.assert_consistent()


def test_merging_lands_a_reviewed_run_once(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: merging: land, once per entry; the issue is not moved by us again."""
    board.bring("A-1", Stage.PROOF)
    held = board.claim("A-1")
    board.prove(held)
    board.settle(held, Review("look"))
    deliver(board.deployment)
    tracker.person_moves("A-1", "Merging")
    for _ in range(3):
        board.poll()
    run = board.run("A-1")
    assert (run.state, run.stage) == (RunState.QUEUED, Stage.LAND)
    assert run.approved_at is not None
    assert board.sql("SELECT count(*) FROM run_events WHERE kind = 'approved'")[0][0] == 1
    assert not [payload for kind, _, payload in board.effects("A-1") if kind == "move" and payload["to"] == "Merging"]


def test_merging_ends_an_agents_session(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: merging: proof and land, no more agent, where the agent has something to prove."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.fenced(held, lambda t: runs.note(t, base_sha="b", head_sha="h", target="origin main"))
    deliver(board.deployment)
    tracker.person_moves("A-1", "Merging")
    board.poll()
    assert board.run("A-1").request == "hand_over"
    assert board.settle(held, Interrupted("asked")).stage is Stage.PROOF


def test_a_persons_comment_resumes_a_blocked_run(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a blocked run resumes by a new comment, which becomes its feedback."""
    blocked(board)
    tracker.person_comments("A-1", "the red one")
    for _ in range(3):
        board.poll()
    run = board.run("A-1")
    assert (run.state, run.stage) == (RunState.QUEUED, Stage.AGENT)
    assert run.feedback is not None
    assert "the red one" in run.feedback
    assert board.sql("SELECT count(*) FROM run_events WHERE kind = 'resumed'")[0][0] == 1
    deliver(board.deployment)
    assert tracker.issues["A-1"].state == "In Progress", "as after `symphony answer`: it is no longer parked"


def test_neither_our_comment_nor_our_move_nor_an_old_comment_resumes(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: only a person's word after the question does."""
    tracker.put("A-1")
    tracker.person_comments("A-1", "an old remark")
    blocked(board)
    for _ in range(4):
        deliver(board.deployment)
        board.poll()
    assert board.run("A-1").state is RunState.BLOCKED


def test_moving_a_blocked_issue_back_resumes_its_run_once(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: active: blocked resumes, once per entry."""
    blocked(board)
    tracker.person_moves("A-1", "Todo")
    for _ in range(2):
        board.poll()
    assert board.run("A-1").state is RunState.QUEUED
    assert len(board.runs("A-1")) == 1, "the same run goes on"
    board.sql("UPDATE issues SET state = 'In Progress'")
    held = board.claim("A-1")
    board.settle(held, Block("and now?"))
    board.sql("UPDATE effects SET state = 'refused', settled_at = now() WHERE state = 'pending'")
    board.sql("UPDATE issues SET state = 'Todo'")
    for _ in range(2):
        board.poll()
    assert board.run("A-1").state is RunState.BLOCKED


def test_nothing_fires_while_a_move_of_ours_is_undelivered(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: an entry counts with no move of ours undelivered; then it fires after all."""
    board.bring("A-1", Stage.PROOF)
    board.step("A-1", Review("look"))
    tracker.person_moves("A-1", "Rework")
    board.poll()
    assert board.run("A-1").state is RunState.REVIEWING
    board.sql("UPDATE effects SET state = 'overruled', settled_at = now() WHERE state = 'pending'")
    board.poll()
    assert board.run("A-1").stage is Stage.AGENT


def test_an_intended_landing_is_kept(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: terminal: a landing whose push is intended is resolved first."""
    board.bring("A-1", Stage.LAND)
    held = board.claim("A-1")
    proof = board.prove(held)
    board.fenced(held, lambda t: landings.intend(t, proof))
    tracker.person_moves("A-1", "Done")
    board.poll()
    assert board.run("A-1").request is None
    board.settle(held, Retry("the network"))
    board.poll()
    assert board.run("A-1").state is RunState.WAITING
    board.due("A-1")
    held = board.claim("A-1")
    landing = board.database.transact(lambda t: landings.intended(t, held.run.id))
    assert landing is not None
    assert board.settle(held, Advance()).state is RunState.LANDED


@pytest.mark.parametrize("outcome", [Retry("x"), Block("?")], ids=["waiting", "blocked"])
def test_rework_of_a_run_that_was_never_provisioned_is_provisioned(
    board: Board, tracker: ScriptedTracker, outcome: Retry | Block
) -> None:
    """Rule: an agent is never sent where no workspace is: such a run could not be claimed, or would fail."""
    board.bring("A-1", Stage.PROVISION)
    board.step("A-1", outcome)
    deliver(board.deployment)
    board.poll()
    tracker.person_moves("A-1", "Rework")
    board.poll()
    board.sql("UPDATE runs SET due_at = now()")
    board.admit()
    run = board.run("A-1")
    assert (run.state, run.stage) == (RunState.QUEUED, Stage.PROVISION)
    assert claim(board.deployment, run.id, Stage.PROVISION) is not None


def test_rework_of_a_run_whose_node_was_lost_can_be_claimed(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: a lost node's run is provisioned elsewhere, also when a person sends it back meanwhile."""
    board.bring("A-1", Stage.PROOF)
    board.step("A-1", Rework("tests fail"))
    board.due("A-1")
    board.sql("UPDATE processes SET stopped_at = now()")
    board.swept()
    assert board.run("A-1").node is None
    tracker.person_moves("A-1", "Rework")
    board.poll()
    board.admit()
    elsewhere = board.colleague("node-2")
    assert board.claim("A-1", elsewhere).run.stage is Stage.PROVISION


def test_an_agent_that_moves_its_issue_and_asks_is_not_its_own_answer(database_url: str, tmp_path: Path) -> None:
    """Rule: where no `blocked` state is configured, a blocked run resumes by an answer, a comment or a command only."""
    board = Board(database_url, tmp_path, states="", repository=False)
    assert board.tracker is not None
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.tracker.person_moves("A-1", "In Progress")
    board.settle(held, Block("which one?"))
    for _ in range(2):
        board.poll()
    assert board.run("A-1").state is RunState.BLOCKED


def test_rework_that_is_asked_of_a_landing_run_is_done_when_that_is_resolved(
    board: Board, tracker: ScriptedTracker
) -> None:
    """Rule: a landing whose push is intended is resolved first; the entry is not forgotten by that."""
    board.bring("A-1", Stage.LAND)
    held = board.claim("A-1")
    proof = board.prove(held)
    landing = board.fenced(held, lambda t: landings.intend(t, proof))
    deliver(board.deployment)
    tracker.person_moves("A-1", "Rework")
    board.poll()
    assert board.run("A-1").request is None
    board.fenced(held, lambda t: landings.abandon_intended(t, landing.id))
    board.poll()
    assert board.run("A-1").request == "rework"
    assert board.settle(held, Retry("the target had moved")).stage is Stage.AGENT


@pytest.mark.parametrize("is_held", [True, False])
def test_where_nothing_lands_merging_lands_nothing(database_url: str, tmp_path: Path, is_held: bool) -> None:
    """Rule: land.mode off ends at review."""
    board = Board(database_url, tmp_path, extra="land: {mode: off}")
    assert board.tracker is not None
    board.bring("A-1", Stage.PROOF)
    held = board.claim("A-1")
    board.prove(held)
    if not is_held:
        board.settle(held, Advance())
    deliver(board.deployment)
    board.tracker.person_moves("A-1", "Merging")
    board.poll()
    if is_held:
        board.settle(held, Advance())
    assert (board.run("A-1").state, board.run("A-1").approved_at) == (RunState.REVIEWING, None)


def test_what_an_agent_makes_after_an_approval_is_reviewed_again(database_url: str, tmp_path: Path) -> None:
    """Rule: land.mode review: parked in review until a person approves what is to land."""
    board = Board(database_url, tmp_path, extra="land: {mode: review}")
    assert board.tracker is not None
    board.bring("A-1", Stage.PROOF)
    held = board.claim("A-1")
    board.prove(held)
    board.settle(held, Advance())
    deliver(board.deployment)
    board.tracker.person_moves("A-1", "Merging")
    board.poll()
    board.step("A-1", Block("The repository refuses the landing"))
    deliver(board.deployment)
    board.poll()
    board.tracker.person_moves("A-1", "In Progress")
    board.poll()
    assert board.run("A-1").stage is Stage.AGENT
    board.step("A-1", Advance())
    assert board.step("A-1", Advance()).state is RunState.REVIEWING


def test_an_answer_is_told_to_one_session(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: each session hears what is new; an answer that was heard is not put again."""
    blocked(board)
    tracker.person_comments("A-1", "the red one")
    board.poll()
    run = board.step("A-1", Continue())
    assert (run.feedback, run.question) == (None, None)


def test_merging_before_a_workspace_is_there_again_goes_on_to_proof(board: Board, tracker: ScriptedTracker) -> None:
    """Rule: merging: proof and land, no more agent, also where a change is being provisioned elsewhere."""
    board.bring("A-1", Stage.PROOF)
    board.step("A-1", Rework("tests fail"))
    deliver(board.deployment)
    board.due("A-1")
    board.sql("UPDATE runs SET stage = 'provision', node = NULL")
    held = board.claim("A-1")
    tracker.person_moves("A-1", "Merging")
    board.poll()
    assert board.run("A-1").request == "hand_over"
    assert board.settle(held, Advance()).stage is Stage.PROOF


def test_a_reply_below_the_question_resumes_whatever_its_tracker_says_of_time(database_url: str, tmp_path: Path) -> None:
    """Rule: a new comment resumes a blocked run: also where the question is written in the second in which it is put."""
    board = Board(database_url, tmp_path, tracker=None)
    path = tmp_path / "issues" / "A-1.md"
    path.write_text("---\ntitle: One\nstate: Todo\n---\nDo it.\n\n## Comments\n\nAn old remark.\n")
    board.poll()
    board.settle(board.claim("A-1"), Advance())
    for answer in ("the red one", "the blue one"):
        board.settle(board.claim("A-1"), Block("which one?"))
        deliver(board.deployment)
        board.sql("UPDATE runs SET heard_at = date_trunc('second', heard_at) + interval '1 second'")
        for _ in range(2):
            board.poll()
        assert board.run("A-1").state is RunState.BLOCKED
        path.write_text(f"{path.read_text()}\n{answer}\n")
        board.poll()
        board.poll()
        run = board.run("A-1")
        assert run.state is RunState.QUEUED
        assert run.feedback is not None and answer in run.feedback and "remark" not in run.feedback
        deliver(board.deployment)
