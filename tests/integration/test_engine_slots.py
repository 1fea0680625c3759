"""Slots (docs/failure-model.md): queued and running agents never exceed the limits, however many processes admit."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Continue, Outcome, Release, Retry
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.admit import NO_SLOT
from symphony.engine.dispatch import dispatch
from symphony.engine.execute import claim
from symphony.ledger import workflows
from tests.integration.board import Board, at_once

SEVEN = "{kind: command, command: 'true', max_concurrent_agents: 7, max_concurrent_agents_by_state: {todo: 4, rework: 2}}"
BY_STATE = {"Todo": 4, "Rework": 2, "In Progress": 7}
HOLDS = {("queued", "provision"), ("queued", "agent"), ("running", "provision"), ("running", "agent")}


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board with 7 slots, 4 for Todo and 2 for Rework; Symphony moves nothing."""
    return Board(database_url, tmp_path, agent=SEVEN, states="", repository=False)


def most_at_once(board: Board) -> tuple[int, Counter[str]]:
    """Replay the history and give the greatest number of slots taken at once, over all and by state."""
    held: dict[object, str] = {}
    most, by_state = 0, Counter[str]()
    rows = board.sql(
        "SELECT e.run_id, e.after, e.stage, i.state FROM run_events e JOIN runs r ON r.id = e.run_id "
        "JOIN issues i ON i.id = r.issue_id ORDER BY e.at, e.id"
    )
    for run_id, after, stage, state in rows:
        if (after, stage) in HOLDS:
            held[run_id] = state
        else:
            held.pop(run_id, None)
        most = max(most, len(held))
        by_state |= Counter(held.values())
    return most, by_state


def test_eight_admitting_processes_never_exceed_the_slots(board: Board) -> None:
    """Rule: any number of pollers never exceed max_concurrent_agents, in all and by state."""
    assert board.tracker is not None
    for number in range(50):
        board.tracker.put(f"A-{number:02}", ("Todo", "Rework", "In Progress")[number % 3])
    board.sql("UPDATE workflows SET paused_at = now()")
    board.poll()
    board.sql("UPDATE workflows SET paused_at = NULL")
    colleagues = [board.colleague() for _ in range(8)]
    outcomes: list[Outcome] = [Advance(), Advance(), Continue(), Retry("x"), Release("enough")]

    def work(seed: int) -> None:
        dice = random.Random(seed)
        me = colleagues[seed]
        for _ in range(12):
            board.admit(me)
            queued = board.sql("SELECT id, stage FROM runs WHERE state = 'queued' ORDER BY random() LIMIT 2")
            for run_id, stage in queued:
                claimed = claim(me, run_id, Stage(stage))
                if claimed is not None:
                    board.settle(claimed, dice.choice(outcomes))
            board.sql(
                "UPDATE runs SET due_at = now() WHERE id IN (SELECT id FROM runs WHERE state = 'waiting' LIMIT 9 FOR NO KEY UPDATE SKIP LOCKED)"
            )

    answers = at_once([lambda n=n: work(n) for n in range(8)])  # type: ignore[misc]
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    board.assert_consistent()
    most, by_state = most_at_once(board)
    assert most == 7, "the limit is reached and never exceeded"
    assert all(by_state[state] <= limit for state, limit in BY_STATE.items()), by_state


def test_due_runs_come_before_new_issues(database_url: str, tmp_path: Path) -> None:
    """Rule: due waiting runs come before new issues."""
    board = Board(database_url, tmp_path, agent="{kind: command, command: 'true', max_concurrent_agents: 1}")
    assert board.tracker is not None
    board.tracker.put("B-1")
    board.poll()
    board.step("B-1", Retry("x"))
    board.tracker.put("A-1", priority=1)
    board.sql("UPDATE runs SET due_at = now()")
    board.poll()
    assert board.run("B-1").state is RunState.QUEUED
    assert not board.runs("A-1")
    board.step("B-1", Retry("x"))
    board.admit()
    assert board.run("A-1").state is RunState.QUEUED, "a run that waits has no slot"
    assert board.due("B-1").error == NO_SLOT


def test_proof_and_land_take_no_slot(database_url: str, tmp_path: Path) -> None:
    """Rule: only provision and agent count."""
    board = Board(database_url, tmp_path, agent="{kind: command, command: 'true', max_concurrent_agents: 1}")
    board.bring("A-1", Stage.PROOF)
    board.bring("A-2", Stage.PROOF)
    assert board.bring("A-3", Stage.PROVISION).state is RunState.QUEUED


def test_a_full_state_does_not_hold_up_the_others(board: Board) -> None:
    """Rule: a state without room is passed over."""
    assert board.tracker is not None
    for number in range(9):
        board.tracker.put(f"A-{number}", "Rework", priority=1)
    board.tracker.put("B-1", "In Progress", priority=4)
    board.poll()
    assert len(board.sql("SELECT 1 FROM runs")) == 3
    assert board.run("B-1").state is RunState.QUEUED


def test_doorbells_are_no_more_than_free_slots(board: Board) -> None:
    """Rule: at most as many doorbells as live nodes have free slots; a dead node has none."""
    assert board.tracker is not None
    for number in range(6):
        board.tracker.put(f"A-{number}", "In Progress")
    board.poll()
    board.sql("UPDATE processes SET slots = 2")
    assert len(dispatch(board.deployment)) == 2
    assert dispatch(board.deployment) == [], "rung already"
    board.sql("UPDATE processes SET slots = 50, heartbeat_at = now() - interval '1 hour'")
    assert dispatch(board.deployment) == []
    board.sql("UPDATE processes SET heartbeat_at = now()")
    assert len(dispatch(board.deployment)) == 4
    board.sql("UPDATE runs SET rung_at = now() - interval '3 seconds'")
    assert len(dispatch(board.deployment)) == 6, "again for unclaimed rows after two seconds"


def test_a_workflow_that_is_not_served_admits_nothing(board: Board) -> None:
    """Rule: a workflow is served while an `up` lives or for ever, else not."""
    assert board.tracker is not None
    board.tracker.put("A-1")
    board.database.transact(lambda t: workflows.remove(t, board.id))
    assert board.poll() is False
    assert dispatch(board.deployment) == []
    assert not board.sql("SELECT 1 FROM runs")


def test_a_removed_workflows_runs_are_still_swept(board: Board) -> None:
    """Rule: removing stops admission; what was under way is looked after, and holds up nobody's sweep."""
    board.bring("A-1", Stage.AGENT)
    board.claim("A-1")
    board.database.transact(lambda t: workflows.remove(t, board.id))
    board.expire("A-1", process_died=True)
    board.swept()
    assert board.run("A-1").state is RunState.WAITING


def test_runs_of_a_full_node_do_not_keep_others_from_being_rung(database_url: str, tmp_path: Path) -> None:
    """Rule: again for unclaimed rows after 2, 5, then every 10 s, and everybody in turn."""
    board = Board(database_url, tmp_path)
    assert board.tracker is not None
    for number in range(20):
        board.bring(f"A-{number:02}", Stage.AGENT)
    board.colleague("node-2")
    board.tracker.put("B-1")
    board.poll()
    board.sql("UPDATE processes SET slots = CASE node WHEN 'node-2' THEN 1 ELSE 0 END")
    board.sql("UPDATE runs SET rung_at = NULL, rings = 0")
    rung: list[str] = []
    for _ in range(60):
        rung += [doorbell.identifier for doorbell in dispatch(board.deployment)]
        board.sql("UPDATE runs SET rung_at = rung_at - interval '1 second'")
    assert "B-1" in rung, rung


def test_a_workflow_that_cannot_be_read_does_not_hold_up_the_others(database_url: str, tmp_path: Path) -> None:
    """Rule: one workflow's trouble is its own: the others are admitted and rung."""
    (tmp_path / "first").mkdir()
    first = Board(database_url, tmp_path / "first", name="first")
    first.bring("A-1", Stage.PROVISION)
    board = Board(database_url, tmp_path)
    board.bring("B-1", Stage.PROVISION)
    board.step("B-1", Retry("x"))
    board.sql("UPDATE runs SET due_at = now(), rung_at = NULL")
    board.sql("UPDATE workflow_versions SET content = '---' WHERE workflow_id = %(id)s", id=first.id)
    board.deployment._rules.clear()
    assert [doorbell.identifier for doorbell in dispatch(board.deployment)] == ["B-1"]


def test_a_run_in_a_stage_that_its_workflow_no_longer_has_is_rung(database_url: str, tmp_path: Path) -> None:
    """Rule: the next attempt uses the newest version; that it has fewer stages holds up nobody."""
    board = Board(database_url, tmp_path)
    board.bring("A-1", Stage.PROOF)
    board.bring("A-2", Stage.PROVISION)
    row = board.row
    text = "\n".join(line for line in row.content.splitlines() if not line.startswith("repository:"))
    board.database.transact(
        lambda t: workflows.register(
            t, name=row.name, source_kind=row.source_kind, source=row.source, content=text, digest="another",
            base_dir=row.base_dir, serve_for=None,
        )
    )  # fmt: skip
    board.sql("UPDATE runs SET rung_at = NULL")
    rung = {doorbell.identifier: doorbell.stages for doorbell in dispatch(board.deployment)}
    assert rung == {"A-1": (Stage.PROOF,), "A-2": (Stage.PROVISION, Stage.AGENT)}
