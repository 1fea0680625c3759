"""The promises with their real figures: nothing is scaled, each case prints what it measured.

Started by `make chaos` only: minutes each.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from symphony.local.home import Home
from symphony.local.valkey import ValkeyServer
from tests.acceptance.test_fleet_outages import away, longest_wait, own_postgres, restart
from tests.conftest import running
from tests.integration.fleet import Board, Fleet

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

AS_SHIPPED = {
    "SYMPHONY_LEASE_TTL": "30", "SYMPHONY_LEASE_RENEWAL": "10", "SYMPHONY_TICK": "1",
    "SYMPHONY_DRAIN": "30", "SYMPHONY_NODE_SILENCE": "30",
}  # fmt: skip
DEAD_WORKER_S, REDIS_S, POSTGRES_S, CANCEL_S, POLL_S = 45.0, 15.0, 90.0, 15.0, 5.0


def measured(what: str, seconds: float, bound: float) -> None:
    """Print a figure beside its bound, and demand the bound."""
    print(f"\n{what}: {seconds:.1f} s (at most {bound:.0f} s)")
    assert seconds <= bound, what


@pytest.mark.parametrize("has_other_node", [True, False], ids=["other node", "same node"])
def test_a_dead_workers_stage_restarts(has_other_node: bool, tmp_path: Path, database_url: str, broker_url: str) -> None:
    with Fleet(tmp_path, database_url, broker_url, AS_SHIPPED) as fleet:
        board = fleet.board(issues=6, slots=6, seconds=25)
        doomed = fleet.worker("doomed", node="node-1", slots=8)
        fleet.start(fleet.control(), fleet.beat(), doomed)
        fleet.until(lambda: len(board.lives()) == 6, timeout_s=90, what="six agents at work")
        fleet.start(fleet.worker("heir", node="node-2" if has_other_node else "node-1", slots=8))
        fleet.pause(12)  # the worst instant: a renewal may have just gone out
        died = time.time()
        doomed.kill()
        fleet.until(lambda: all(_since(board, died).values()), timeout_s=120, what="six agents at work again")
        measured("dead worker: the slowest agent again", max(_since(board, died).values()) - died, DEAD_WORKER_S)
        board.until_landed(timeout_s=120)
        fleet.check()


def test_an_emptied_broker_costs_seconds(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path / "vk")
    server = ValkeyServer(home, durable=False)
    with running(server, home) as process, Fleet(tmp_path, database_url, server.url, AS_SHIPPED) as fleet:
        board = fleet.board(issues=16, slots=4, seconds=3)
        fleet.start(fleet.control(), fleet.beat(), fleet.worker(slots=8))
        fleet.until(lambda: len(board.lives()) >= 4, timeout_s=90, what="agents at work")
        with redis.Redis.from_url(server.url) as client:
            for _ in range(5):
                client.flushall()
                fleet.pause(1)
        process.kill()
        process.wait()
        restart(server, home)
        board.until_landed(timeout_s=240)
        fleet.check()
        assert {attempt.outcome for attempt in board.attempts()} == {"advance"}
        measured("FLUSHALL and kill -9 of the broker: the longest wait for a doorbell", longest_wait(board), REDIS_S)


def test_postgresql_away_for_ninety_seconds_loses_no_attempt(tmp_path: Path, broker_url: str) -> None:
    with own_postgres(tmp_path / "pg") as (server, home), Fleet(tmp_path, server.url, broker_url, AS_SHIPPED) as fleet:
        board = fleet.board(issues=20, slots=20, seconds=40)
        fleet.start(fleet.control(), fleet.beat(), fleet.worker(slots=24))
        fleet.until(lambda: len(board.lives()) == 20, timeout_s=120, what="twenty agents at work")
        with away(server, home, "restarted"):
            fleet.pause(POSTGRES_S)
        back = time.time()
        fleet.until(lambda: all(life.ended for life in board.lives()), timeout_s=120, what="all agents thawed and done")
        measured("PostgreSQL away for 90 s: the last agent was done after its return", time.time() - back, POSTGRES_S)
        board.until_landed(timeout_s=240)
        fleet.check()
        assert {attempt.outcome for attempt in board.attempts()} == {"advance"}
        assert min(life.longest_silence for life in board.lives()) > POSTGRES_S / 3


def test_a_cancel_in_the_tracker_ends_the_agents_tree(tmp_path: Path, database_url: str, broker_url: str) -> None:
    with Fleet(tmp_path, database_url, broker_url, AS_SHIPPED) as fleet:
        board = fleet.board(issues=1, seconds=300, ways="daemon deaf", poll_ms=int(POLL_S * 1000))
        fleet.start(fleet.control(), fleet.beat(), fleet.worker())
        file = board.issue_file(board.issues[0])
        fleet.until(lambda: "state: In Progress" in file.read_text() and board.lives(), timeout_s=90, what="the agent")
        fleet.pause(2)
        file.write_text(file.read_text().replace("state: In Progress", "state: Cancelled"))
        took = fleet.until(lambda: not board.agents(), timeout_s=120, what="the end of the agent's tree")
        measured("cancel in the tracker: the whole tree gone", took, POLL_S + CANCEL_S)
        fleet.until(lambda: board.states() == {"cancelled": 1}, what="the cancelled run")


def _since(board: Board, instant: float) -> dict[str, float]:
    """Give for each issue when its agent began again after an instant; 0.0 where it has not."""
    begun = {life.issue: life.since for life in board.lives() if life.since > instant}
    return {identifier: begun.get(identifier, 0.0) for identifier in board.issues}
