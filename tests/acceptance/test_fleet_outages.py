"""The servers go away under a working fleet: nothing is lost, nothing happens twice, and delays stay within bounds.

Each test has servers of its own, which it stops, kills or empties while agents are at work.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from symphony.local import leftovers
from symphony.local.home import Home
from symphony.local.postgres import PostgresServer
from symphony.local.valkey import ValkeyServer
from tests.conftest import migrate, running, wait_until
from tests.integration.fleet import Board, Fleet

TTL_S = 9.0
AGENTS = 10
REDIS_DELAY_S = 15.0


def restart(server: PostgresServer | ValkeyServer, home: Home) -> subprocess.Popen[bytes]:
    """Start a server again on what it left; `running` ends it by its data."""
    with (home.logs / f"{server.name}.log").open("ab") as output:
        process = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    wait_until(lambda: server.ready(process.pid), timeout_s=60, what=f"{server.name} again")
    return process


@contextmanager
def own_postgres(folder: Path) -> Iterator[tuple[PostgresServer, Home]]:
    """Run a migrated PostgreSQL that keeps what it has committed."""
    home = Home(folder)
    server = PostgresServer(home, durable=True)
    with running(server, home):
        migrate(server.url)
        yield server, home


@contextmanager
def away(server: PostgresServer, home: Home, way: str) -> Iterator[None]:
    """Have PostgreSQL away: down for good, or there and silent, which no time-out of a socket notices."""
    processes = leftovers.serving(server.data)
    if way == "restarted":
        leftovers.end(processes, server.stop_signal, grace_s=20)
        yield
        restart(server, home)
        return
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["restarted", pytest.param("frozen", marks=pytest.mark.chaos)])
def test_postgresql_away_for_three_ttl_loses_no_attempt(way: str, tmp_path: Path, broker_url: str) -> None:
    settings = {
        "SYMPHONY_LEASE_TTL": f"{TTL_S}", "SYMPHONY_LEASE_RENEWAL": "1.5", "SYMPHONY_NODE_SILENCE": f"{TTL_S}",
    }  # fmt: skip
    with own_postgres(tmp_path / "pg") as (server, home), Fleet(tmp_path, server.url, broker_url, settings) as fleet:
        board = fleet.board(issues=AGENTS, slots=AGENTS, seconds=12)
        fleet.start(fleet.control(), fleet.beat(), fleet.worker(slots=AGENTS + 4))
        fleet.until(lambda: len(board.lives()) == AGENTS, timeout_s=90, what="all agents at work")
        assert all(not life.ended for life in board.lives())
        with away(server, home, way):
            fleet.pause(3 * TTL_S)
        board.until_landed(timeout_s=150)
        fleet.check()
        assert {attempt.outcome for attempt in board.attempts()} == {"advance"}
        assert all(run.failures == run.crashes == 0 for run in board.runs())
        silences = [life.longest_silence for life in board.lives()]
        assert len(silences) == AGENTS
        assert min(silences) > TTL_S, "an agent went on without a trusted lease"


@pytest.mark.timeout(300)
def test_an_emptied_and_a_killed_broker_cost_seconds_only(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path / "vk")
    server = ValkeyServer(home, durable=False)
    with running(server, home) as process, Fleet(tmp_path, database_url, server.url) as fleet:
        board = fleet.board(issues=8, slots=3, seconds=1)
        fleet.start(fleet.control(), fleet.beat(), fleet.worker(slots=8), fleet.worker(slots=8))
        fleet.until(lambda: len(board.lives()) >= 3, timeout_s=60, what="agents at work")
        for _ in range(3):
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
            fleet.pause(0.5)
        fleet.until(lambda: len(board.lives()) >= 6, timeout_s=60, what="more agents at work")
        process.kill()
        process.wait()
        fleet.pause(1)
        restart(server, home)
        board.until_landed(timeout_s=150)
        fleet.check()
        assert {attempt.outcome for attempt in board.attempts()} == {"advance"}
        assert len(board.attempts()) == 4 * len(board.issues)
        assert longest_wait(board) <= REDIS_DELAY_S


def longest_wait(board: Board) -> float:
    """Give the longest time that a run stood queued with nothing but a doorbell missing; landing has a queue of its own."""
    events = sorted(board.events(), key=lambda event: (event.run_id, event.id))
    return max(
        (after.at - before.at).total_seconds()
        for before, after in itertools.pairwise(events)
        if before.run_id == after.run_id and before.after == "queued" and after.kind == "claimed" and before.stage != "land"
    )
