"""Killed at every labelled point: nothing is lost and nothing happens twice.

Invariant: `POINTS` says which labels each task passes; a recorded run must pass exactly these, with a label between any
two things that others can see, so a stage that gains a commit, a push or a ring without a label fails here. A few points
are in the suite, all of them under the marker `chaos`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from symphony.telemetry.labels import Label
from tests.integration.fleet import ROOT, Board, Fleet, Member

TRAP = str(ROOT / "tests" / "chaos" / "kill_at.py")
FAST = {
    "SYMPHONY_LEASE_TTL": "3", "SYMPHONY_LEASE_RENEWAL": "0.8", "SYMPHONY_NODE_SILENCE": "3",
}  # fmt: skip
EVERYTHING = "control,provision,agent.node-1,proof,land"

_CLAIM = (Label.CLAIMING, Label.CLAIMED)
_SETTLE = (Label.SETTLING, Label.SETTLED)
_RING = (Label.RINGING, Label.RUNG)
_ADMIT = (Label.ADMITTING, Label.ADMITTED)
POINTS: dict[str, tuple[Label, ...]] = {
    "provision": (*_CLAIM, Label.PROVISIONING, Label.PROVISIONED, *_SETTLE, *_RING),
    "agent": (*_CLAIM, Label.SNAPSHOT_PUSHING, Label.SNAPSHOT_PUSHED, Label.SNAPSHOT_RECORDED, *_SETTLE, *_RING),
    "proof": (
        *_CLAIM, Label.PROOF_RECORDING, Label.PROOF_RECORDED, Label.PUBLISHING, Label.PUBLISHED, *_SETTLE, *_RING,
    ),
    "land": (
        *_CLAIM, Label.LANDING_INTENDING, Label.LANDING_INTENDED, Label.LANDING_PUSHING, Label.LANDING_PUSHED,
        *_SETTLE,
    ),
    "poll": (Label.POLL_RECORDING, Label.POLL_RECORDED, *_ADMIT),
    "dispatch": _RING,
    "deliver": (Label.EFFECT_WRITING, Label.EFFECT_WRITTEN, Label.EFFECT_RECORDED),
}  # fmt: skip
STAGES = ("provision", "agent", "proof", "land")
IN_SUITE = {
    ("agent", Label.SNAPSHOT_PUSHED), ("agent", Label.SETTLED), ("proof", Label.PUBLISHED), ("land", Label.LANDING_INTENDED),
    ("land", Label.LANDING_PUSHED), ("dispatch", Label.RUNG), ("deliver", Label.EFFECT_WRITTEN),
}  # fmt: skip
CASES = [
    pytest.param(task, label, id=f"{task}-{label}", marks=() if (task, label) in IN_SUITE else pytest.mark.chaos)
    for task, labels in POINTS.items()
    for label in labels
]
SEEN_BY_OTHERS = {"commit", "push", "ring"}


def everything(fleet: Fleet, name: str, via: tuple[str, ...] = ()) -> Member:
    """Prepare one worker process that does all there is to do."""
    return fleet.worker(name, queues=EVERYTHING, slots=8, via=via)


def comments(board: Board, identifier: str) -> list[str]:
    """List the keys of the comments that Symphony wrote on an issue, with repetitions."""
    return re.findall(r"<!-- symphony:(\S+) -->", board.issue_file(identifier).read_text())


def approve(board: Board, identifier: str) -> None:
    """Let a person move an issue that waits for review on to merging."""
    file = board.issue_file(identifier)
    board.fleet.until(lambda: "state: Review" in file.read_text(), timeout_s=90, what="the move to review")
    file.write_text(file.read_text().replace("state: Review", "state: Merging"))


def check_effects(board: Board) -> None:
    """Each effect was applied, each comment stands once, and each issue is done."""
    rows = board.fleet.sql("SELECT e.*, i.identifier FROM effects e JOIN issues i ON i.id = e.issue_id ORDER BY e.seq")
    assert {row.state for row in rows} <= {"applied", "superseded"}, rows
    for identifier in board.issues:
        wanted = [str(row.id) for row in rows if row.kind == "comment" and row.identifier == identifier]
        assert wanted
        assert comments(board, identifier) == wanted
        assert "state: Done" in board.issue_file(identifier).read_text()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("task", "label"), CASES)
def test_a_worker_that_dies_there_loses_nothing(
    task: str, label: Label, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    is_reviewed = label in {Label.PUBLISHING, Label.PUBLISHED}
    with Fleet(tmp_path, database_url, broker_url, FAST) as fleet:
        board = _board(fleet, is_reviewed=is_reviewed)
        doomed = everything(fleet, "doomed", (TRAP, "kill", str(label), "1", task))
        fleet.start(fleet.beat(), doomed, wait=False)
        fleet.until(lambda: not doomed.runs, timeout_s=90, what=f"death at {label} in {task}")
        assert doomed.wait() == -9, doomed.text[-3000:]
        fleet.start(everything(fleet, "heir"), wait=False)
        if is_reviewed:
            approve(board, board.issues[0])
        board.until_landed(timeout_s=120)
        fleet.check()
        check_effects(board)
        lost = [attempt for attempt in board.attempts() if attempt.outcome == "lost"]
        assert len(lost) <= 1
        assert all(run.failures == 0 and run.crashes <= 1 for run in board.runs())


@pytest.mark.timeout(240)
def test_labels_stand_around_all_that_others_can_see(tmp_path: Path, database_url: str, broker_url: str) -> None:
    record = tmp_path / "record"
    with Fleet(tmp_path, database_url, broker_url, FAST) as fleet:
        board, reviewed = _board(fleet, is_reviewed=False), _board(fleet, is_reviewed=True)
        fleet.start(fleet.beat(), everything(fleet, "told", (TRAP, "record", str(record))))
        approve(reviewed, reviewed.issues[0])
        board.until_landed(timeout_s=120)
        reviewed.until_landed(timeout_s=120)
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in record.read_text().splitlines():
        _, request, task, word = line.split()
        told[task, request].append(word)
    passed = {task: {word for (name, _), words in told.items() if name == task for word in words} for task in POINTS}
    for task, labels in POINTS.items():
        assert {str(label) for label in labels} <= passed[task], task
    assert {label for labels in POINTS.values() for label in labels} == set(Label)
    for (task, _), words in told.items():  # a task's words come from its own thread, in their order
        if task in STAGES and "commit" in words:
            assert words[0] not in SEEN_BY_OTHERS, (task, words)
            assert words[-1] not in SEEN_BY_OTHERS, (task, words)
            assert not [pair for pair in pairwise(words) if set(pair) <= SEEN_BY_OTHERS], (task, words)


def _board(fleet: Fleet, *, is_reviewed: bool) -> Board:
    states = "started: In Progress, done: Done, blocked: Blocked"
    if is_reviewed:
        states += ", review: Review, merging: Merging"
    return fleet.board(
        "reviewed" if is_reviewed else "fleet", issues=1, seconds=0.2, agent="max_retry_backoff_ms: 1000", states=states,
        extra="land: {mode: review}" if is_reviewed else "",
    )  # fmt: skip
