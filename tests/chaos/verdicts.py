"""What must hold at the end of every story, whatever was killed on the way.

Invariant: nothing is sampled: intervals come from the ledger's events and from what the agents wrote, landings from the
bare repository itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from symphony.domain.run import TRANSITIONS, RunEvent
from tests.chaos.board import Board


def check_landed_once(board: Board) -> None:
    """Each issue is on the target once, with the right content, and its landing stands once in the ledger."""
    assert sorted(board.landed()) == sorted(board.issues), board.fleet.report()
    for identifier in board.issues:
        assert board.git("show", f"main:{identifier}.txt") == f"done by {identifier}"
    rows = board.fleet.sql(
        "SELECT i.identifier, l.merge_sha FROM landings l JOIN runs r ON r.id = l.run_id "
        "JOIN issues i ON i.id = r.issue_id WHERE l.state = 'landed' AND r.workflow_id = %s",
        board.id,
    )
    assert Counter(row.identifier for row in rows) == Counter(board.issues)
    assert {row.merge_sha for row in rows} == set(board.git("rev-list", "--first-parent", "main").splitlines()[:-1])
    assert not board.fleet.sql("SELECT 1 FROM landings WHERE state = 'intended'")


def check_history(board: Board) -> None:
    """Every run's events chain by the table of transitions to the row's state; every attempt has an end."""
    events: dict[Any, list[Any]] = defaultdict(list)
    for event in sorted(board.events(), key=lambda event: event.id):
        events[event.run_id].append(event)
    for run in board.runs():
        at, token = "-", -1
        for event in events[run.id]:
            assert event.before == at, events[run.id]
            assert TRANSITIONS[RunEvent(event.kind)][None if at == "-" else at] == event.after  # type: ignore[index]
            assert event.token > token, events[run.id]
            at, token = event.after, event.token
        assert at == run.state, events[run.id]
    claims = Counter(event.run_id for event in board.events() if event.kind == "claimed")
    assert claims == Counter(attempt.run_id for attempt in board.attempts())
    ended = {run.id for run in board.runs() if run.finished_at is not None}
    assert all(attempt.finished_at for attempt in board.attempts() if attempt.run_id in ended)


def check_slots(board: Board) -> None:
    """Slots were never exceeded, by the ledger's history and by the agents' own log; no issue had two agents at once."""
    lives = board.lives()
    assert most_at_once((life.since, life.until) for life in lives) <= board.slots
    for issue in board.issues:
        assert most_at_once((life.since, life.until) for life in lives if life.issue == issue) <= 1, issue
    assert most_at_once(slot_intervals(board)) <= board.slots


def slot_intervals(board: Board) -> list[tuple[float, float]]:
    """Give the intervals in which runs held agent slots, from their events."""
    found: list[tuple[float, float]] = []
    since: dict[Any, float] = {}
    for event in board.events():
        holds = event.after in {"queued", "running"} and event.stage in {"provision", "agent"}
        if holds and event.run_id not in since:
            since[event.run_id] = event.at.timestamp()
        elif not holds and event.run_id in since:
            found.append((since.pop(event.run_id), event.at.timestamp()))
    return found + [(begun, float("inf")) for begun in since.values()]


def most_at_once(intervals: Iterable[tuple[float, float]]) -> int:
    """Count how many intervals overlap at most; one that ends as another begins does not."""
    edges = sorted(edge for since, until in intervals for edge in ((since, 1), (until, -1)))
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most
