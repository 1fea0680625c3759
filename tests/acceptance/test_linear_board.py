"""A Linear board worked by a fleet: people move cards at every stage, the API fails, workers die, and each issue ends right.

The server is ours, over real HTTP, and holds every request against Linear's own schema where this machine has it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.linear_people import STATES, People
from tests.chaos.verdicts import check_history, check_slots
from tests.fakes import linear_faults as faults
from tests.fakes.linear_server import LinearServer
from tests.integration.fleet import Board, Fleet, Member

MOVED = "started: In Progress, review: Human Review, rework: Rework, merging: Merging, blocked: Blocked, done: Done"
ACTIVE = "[Todo, In Progress, Rework, Merging]"
BLOCKED_BY = {4: (1, 2), 5: (4,), 9: (3,), 12: (11,)}
WISHES = {
    1: "approve", 2: "rework", 3: "reply", 4: "approve", 5: "move", 6: "cancel", 7: "detour", 8: "rework",
    9: "approve", 10: "approve", 11: "approve", 12: "approve",
}  # fmt: skip
ASKING = ("ENG-3", "ENG-5")


@pytest.fixture
def linear() -> Iterator[LinearServer]:
    """A workspace of Linear's."""
    with LinearServer(states=STATES) as server:
        yield server


def fleet_of(linear: LinearServer, folder: Path, database_url: str, broker_url: str) -> Fleet:
    """Give a fleet whose processes have the credential of the workspace."""
    return Fleet(folder, database_url, broker_url, settings={"LINEAR_API_KEY": linear.key})


def board_of(linear: LinearServer, fleet: Fleet, *, mode: str = "review", **more: Any) -> Board:
    """Give a board on the workspace's project."""
    provider = f"{{endpoint: {linear.url}, project_slug: {linear.project.slug_id}}}"
    tracker = f"kind: linear\n  active_states: {ACTIVE}\n  provider: {provider}"
    return fleet.board(issues=0, tracker=tracker, states=MOVED, extra=f"land: {{mode: {mode}}}", **more)


def check_effects(linear: LinearServer, board: Board) -> None:
    """What the ledger says to be applied was applied, and nothing was applied twice."""
    applied = board.fleet.sql(
        "SELECT e.*, i.tracker_id FROM effects e JOIN issues i ON i.id = e.issue_id WHERE e.state = 'applied'"
    )
    assert not board.fleet.sql("SELECT 1 FROM effects WHERE state = 'pending'")
    comments = Counter(write.entity_id for write in linear.written("Comment.create"))
    assert not [one for one, count in comments.items() if count > 1], "a comment was made twice"
    by_issue = Counter(comment.issue_id for one in comments for comment in _comments(linear, one))
    for tracker_id in {row.tracker_id for row in applied}:
        wanted = sum(row.tracker_id == tracker_id and row.kind == "comment" for row in applied)
        told = any(row.tracker_id == tracker_id and row.kind == "progress" for row in applied)
        assert by_issue[tracker_id] == wanted + told, "a comment of an effect is missing, or there is one too many"
    attached = Counter(write.entity_id for write in linear.written("Attachment.create"))
    assert not [one for one, count in attached.items() if count > 1], "an attachment was made twice"
    wanted_moves = board.fleet.sql(  # of one that was not recorded as applied the answer, or its deliverer, may be lost
        "SELECT i.tracker_id FROM effects e JOIN issues i ON i.id = e.issue_id WHERE e.kind = 'move' "
        "AND e.state IN ('applied', 'overruled', 'superseded')"
    )
    moves = Counter(row.tracker_id for row in wanted_moves)
    for tracker_id, count in Counter(write.entity_id for write in linear.written("Issue.update")).items():
        assert count <= moves[tracker_id], "an issue was moved more often than anything wanted"


def _comments(linear: LinearServer, comment_id: str) -> list[Any]:
    found = [comment for name in WISHES for comment in linear.comments(f"ENG-{name}")]
    return [comment for comment in found if comment.id == comment_id]


def check_dependencies(board: Board) -> None:
    """No agent of an issue worked before everything that blocks it had landed."""
    landed = {run.identifier: run.finished_at.timestamp() for run in board.runs() if run.state == "landed"}
    began: dict[str, float] = {}
    for life in board.lives():
        began[life.issue] = min(life.since, began.get(life.issue, life.since))
    for issue, blockers in BLOCKED_BY.items():
        for blocker in blockers:
            assert landed[f"ENG-{blocker}"] < began[f"ENG-{issue}"], f"ENG-{issue} began before ENG-{blocker} had landed"


def twelve(linear: LinearServer) -> None:
    """Fill the board."""
    for number in WISHES:
        linear.create_issue(f"Thing {number}", priority=float(number % 4 + 1))
    for issue, blockers in BLOCKED_BY.items():
        for blocker in blockers:
            linear.block(f"ENG-{issue}", by=f"ENG-{blocker}")


def ended(linear: LinearServer) -> bool:
    """Tell whether every issue stands where it should in the end."""
    return all(linear.state_of(f"ENG-{n}") == ("Canceled" if wish == "cancel" else "Done") for n, wish in WISHES.items())


def untold(linear: LinearServer, board: Board) -> str:
    """Tell what was wanted of the issues that have not ended, and what came of it."""
    lines = []
    for run in board.runs():
        wanted = "Canceled" if WISHES[int(run.identifier.removeprefix("ENG-"))] == "cancel" else "Done"
        if (state := linear.state_of(run.identifier)) != wanted:
            lines.append(
                f"{run.identifier} stands in {state}; the ledger has {run.issue_state}, run {run.state} in {run.stage}"
            )
            for row in board.fleet.sql("SELECT * FROM effects WHERE issue_id = %s ORDER BY seq", run.issue_id):
                lines.append(
                    f"  {row.created_at:%T} {row.kind} {row.state} {row.settled_at or ''} {str(row.payload)[:150]} {row.error or ''}"
                )
            for row in board.fleet.sql("SELECT * FROM run_events WHERE run_id = %s ORDER BY id", run.id):
                lines.append(f"  {row.at:%T} {row.kind}: {row.before} -> {row.after} in {row.stage} {str(row.data)[:100]}")
            lines += [
                f"  {one.at} {one.kind} {one.values} by {one.key or 'a person'}"
                for one in linear.writes
                if one.entity_id == linear.issue(run.identifier).id
            ]
    return "\n".join(lines)


def story(linear: LinearServer, fleet: Fleet, seed: int, *, kills: int) -> None:
    """Let twelve issues be worked by three workers, with kills and faults, until all have ended; then hold court."""
    dice = random.Random(seed)
    twelve(linear)
    ways = f"asks={','.join(ASKING)}"
    board = board_of(linear, fleet, slots=4, seconds=1.0, poll_ms=500, ways=ways)
    workers = [fleet.worker(node=f"node-{number}") for number in (1, 2, 3)]
    control = [fleet.control(), fleet.control(node="node-2")]
    fleet.start(*control, fleet.beat(), *workers)
    people = People(linear, {f"ENG-{number}": wish for number, wish in WISHES.items()}, seed)
    people.start()
    for _ in range(kills):
        fleet.pause(dice.uniform(0.5, 4.0))
        victim: Member = dice.choice([*workers, *control])
        victim.kill()
        victim.start()
    try:
        fleet.until(lambda: ended(linear) or people.failure, timeout_s=180, what="twelve issues ended")
    except AssertionError as error:
        error.add_note(untold(linear, board))
        raise
    people.stop()
    nothing_waits = "SELECT 1 FROM effects WHERE state = 'pending'"
    fleet.until(lambda: not fleet.sql(nothing_waits), timeout_s=60, what="all effects delivered")

    done = {f"ENG-{n}" for n, wish in WISHES.items() if wish != "cancel"}
    assert sorted(board.landed()) == sorted(done)
    assert {run.identifier for run in board.runs() if run.state == "landed"} == done
    assert Counter(run.state for run in board.runs() if run.identifier == "ENG-6")["landed"] == 0
    board.issues = [f"ENG-{number}" for number in WISHES]
    check_history(board)
    check_slots(board)
    check_dependencies(board)
    check_effects(linear, board)
    assert linear.violations == []
    assert linear.impatient == 0
    for name in ("ENG-2", "ENG-8"):
        events = fleet.sql("SELECT data FROM run_events e JOIN runs r ON r.id = e.run_id JOIN issues i ON i.id = r.issue_id "
                           "WHERE i.identifier = %s AND e.kind = 'reworked'", name)  # fmt: skip
        assert any(event.data.get("by_person") for event in events), f"{name} was not sent back"


def test_twelve_issues_with_people_faults_and_kills(
    linear: LinearServer, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    """Rule: every issue ends right, each effect is applied once, no request breaks the schema."""
    linear.faults.chaos = faults.Chaos(seed=4, rate=0.06)
    with fleet_of(linear, tmp_path, database_url, broker_url) as fleet:
        story(linear, fleet, seed=4, kills=3)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(10))
def test_twelve_issues_again_and_again(
    linear: LinearServer, tmp_path: Path, database_url: str, broker_url: str, seed: int
) -> None:
    """Rule: the same, whatever the dice say."""
    linear.faults.chaos = faults.Chaos(seed=seed, rate=0.12)
    with fleet_of(linear, tmp_path, database_url, broker_url) as fleet:
        story(linear, fleet, seed=seed, kills=10)


def test_three_machines_on_one_board(linear: LinearServer, tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Rule: three homes with an `up` of their own, on one database and broker, run no issue twice."""
    for number in range(6):
        linear.create_issue(f"Thing {number}")
    with fleet_of(linear, tmp_path, database_url, broker_url) as fleet:
        board = board_of(linear, fleet, mode="auto", slots=3, seconds=0.3, poll_ms=500)
        words = ["up", str(board.folder / "WORKFLOW.md"), "--no-view", "--workers", "1", "--slots", "2"]
        ups = [fleet._member(f"up-{n}", words, node=f"node-{n}", via=(), env=None) for n in (1, 2, 3)]
        for member in ups:
            member.start()
        board.issues = [f"ENG-{number}" for number in range(1, 7)]
        board.until_landed(timeout_s=120)
        polls = len(linear.asked("issues"))
        fleet.until(lambda: len(linear.asked("issues")) > polls + 6, what="further polls")
        fleet.check(board)
        assert [run.number for run in board.runs()] == [1] * 6, "an issue was run twice"
        assert Counter(linear.state_of(name) for name in board.issues) == {"Done": 6}
        assert len({run.node for run in board.runs()}) > 1, "one machine did everything"
        assert linear.violations == []
        comments = [one.body for name in board.issues for one in linear.comments(name)]
        assert sum(bool(re.match(r"\*\*Symphony\*\* · Landed", body)) for body in comments) == 6
