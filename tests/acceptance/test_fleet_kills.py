"""Many issues, many processes, SIGKILLs at random instants: each issue lands exactly once.

Invariant: the driver does what a supervisor does, it starts again what has died, and nothing else; the verdict comes
from the bare repository, the ledger's history and the agents' own log. The suite has a short history, whose dice kill each
of the seven processes and first the three stage workers; `make chaos` has the long one.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.acceptance.test_fleet_labels import check_effects
from tests.integration.fleet import Fleet

SHORT = 10, 8, 96
LONG = 30, 20, 20_26


@pytest.mark.timeout(420)
@pytest.mark.parametrize(("issues", "kills", "seed"), [SHORT, pytest.param(*LONG, marks=pytest.mark.chaos)])
def test_random_kills_lose_nothing_and_double_nothing(
    issues: int, kills: int, seed: int, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    dice = random.Random(seed)
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(
            issues=issues, slots=6, seconds=1.0, ways="daemon", agent="max_attempts: 50\n  max_retry_backoff_ms: 1000"
        )
        members = [
            *(fleet.worker(node=node, slots=6) for node in ("node-1", "node-1", "node-2")),
            *(fleet.control(node=node) for node in ("node-1", "node-2")),
            *(fleet.beat() for _ in range(2)),
        ]
        fleet.start(*members)
        fleet.until(lambda: len(board.lives()) >= 3, timeout_s=60, what="agents at work")
        for _ in range(kills):
            victim = dice.choice(members)
            fleet.pause(dice.uniform(0.2, 1.0))
            if victim.runs:
                victim.kill()
            fleet.pause(dice.uniform(0.0, 0.5))
            victim.start()
        board.until_landed(timeout_s=240)
        fleet.check()
        check_effects(board)
        assert any(attempt.outcome == "lost" for attempt in board.attempts()), "no kill has hit an attempt"
        assert len(board.runs()) == len(board.issues)


@pytest.mark.timeout(240)
def test_a_run_that_takes_its_worker_down_each_time_fails_with_a_sentence(
    tmp_path: Path, database_url: str, broker_url: str
) -> None:
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        poison = fleet.board("poison", issues=1, seconds=60, agent="max_retry_backoff_ms: 1000")
        others = fleet.board("others", issues=2, seconds=0.3)
        worker = fleet.worker("struck")
        fleet.start(fleet.control(), fleet.beat(), worker)
        fleet.until(lambda: others.states() == {"landed": 2}, timeout_s=90, what="the others' landing")
        for number in range(1, 6):
            fleet.until(lambda n=number: len(poison.lives()) == n, timeout_s=90, what=f"agent {number}")  # type: ignore[misc]
            if number == 3:
                others.add_issue("OTHERS-3")
            worker.kill()
            worker.start()
        fleet.until(lambda: poison.states() == {"failed": 1}, timeout_s=90, what="the failure")
        others.until_landed(timeout_s=90)
        fleet.check(others)
        run = poison.runs()[0]
        assert run.crashes == 5
        assert run.error == "the worker died, 5 crashes"
        file = poison.issue_file("POISON-1")
        fleet.until(lambda: "the worker died" in file.read_text(), timeout_s=30, what="the comment")
        assert not poison.agents()
