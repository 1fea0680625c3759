"""SIGTERM: a worker hands back what it holds, and the run goes on elsewhere from what was kept.

An interruption counts for nothing; a second signal only makes it quicker.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.integration.fleet import Board, Fleet

DRAIN_S = 2.0
LAST_GRACE_S = 15.0
HALF = (
    "cat > /dev/null; if test -f half; then echo done by $SYMPHONY_ISSUE > $SYMPHONY_ISSUE.txt; "
    "else echo 1 > half; sleep 300; fi"
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("drain_s", "signals"), [(DRAIN_S, 1), (300.0, 2)])
def test_a_stopped_worker_hands_its_run_on(
    drain_s: float, signals: int, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    settings = {"SYMPHONY_DRAIN": f"{drain_s}", "SYMPHONY_LEASE_TTL": "15", "SYMPHONY_LEASE_RENEWAL": "2"}
    with Fleet(tmp_path, database_url, broker_url, settings) as fleet:
        board = fleet.board(issues=1, command=HALF)
        leaving, staying = fleet.worker("leaving", node="node-1"), fleet.worker("staying", node="node-2")
        fleet.start(fleet.control(), fleet.beat(), leaving)
        half = tmp_path / "home-node-1" / "workspaces" / board.name / board.issues[0] / "half"
        fleet.until(half.exists, timeout_s=60, what="the agent's first half")
        fleet.start(staying)
        began = time.monotonic()
        leaving.signal(signal.SIGTERM)
        if signals == 2:
            fleet.until(lambda: "draining" in leaving.text, timeout_s=30, what="the drain")
            leaving.signal(signal.SIGTERM)
        leaving.wait(60)
        took = time.monotonic() - began
        assert took < (DRAIN_S if signals == 1 else 0) + LAST_GRACE_S, took
        board.until_landed(timeout_s=90)
        fleet.check()
        run = board.runs()[0]
        assert (run.failures, run.crashes) == (0, 0)
        agents = [attempt for attempt in board.attempts() if attempt.stage == "agent"]
        assert [(attempt.node, attempt.outcome) for attempt in agents] == [("node-1", "interrupted"), ("node-2", "advance")]
        assert agents[0].finished_at.timestamp() <= agents[1].started_at.timestamp()
        assert head_holds(board, "half")


def head_holds(board: Board, name: str) -> bool:
    """Tell whether the target's tree holds a file."""
    return name in board.git("ls-tree", "--name-only", "main").splitlines()
