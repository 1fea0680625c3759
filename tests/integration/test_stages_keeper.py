"""Leases as a working stage lives with them: a database that hangs, a token that moves, a wish, a guardian that dies."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.dispatch import dispatch
from symphony.engine.keeper import LeaseKeeper
from symphony.ledger import leases
from symphony.ledger.database import Database
from symphony.local.postgres import PostgresServer
from symphony.processes.guardian import Guardian
from tests.conftest import wait_until
from tests.fakes.repositories import Repository
from tests.fakes.seen_processes import alive, mark, sleeper, states
from tests.integration.stage_bench import Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

SCALED = {"lease_ttl": timedelta(seconds=3), "lease_renewal": timedelta(seconds=1)}
SILENCE_S = 5.0
"""The guardian takes a worker for dead after so long."""


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board with leases of three seconds."""
    with bench(database_url, tmp_path, guardian, settings=SCALED) as made:
        yield made


def working(work: Bench) -> tuple[threading.Thread, str]:
    """Have an agent at work that goes on when `go` is there; give its thread and the mark of its child."""
    word = mark()
    work.agent(
        f"{shlex.join(sleeper(word))} & touch ../ready; until test -e ../go; do sleep 0.02; done; echo changed > new.txt"
    )
    work.bring(Stage.AGENT)
    thread, _ = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists() and alive(word))
    return thread, word


def beaten(work: Bench, since: datetime) -> bool:
    """Tell whether the worker's heart has beaten: its leases are renewed in the same statement's transaction."""
    return bool(work.board.sql("SELECT 1 FROM processes WHERE heartbeat_at > %(at)s", at=since))


@contextmanager
def hanging(server: PostgresServer, url: str) -> Iterator[None]:
    """Stop the server and every one of its processes that serves this database."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        told = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s", [url.rpartition("/")[2]]
        ).fetchall()
    postmaster = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    stopped = [postmaster, *(pid for (pid,) in told)]
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_a_database_that_hangs_freezes_the_work_and_costs_nothing(work: Bench, postgres_server: PostgresServer) -> None:
    thread, word = working(work)
    (lease,) = work.leases()
    tree = work.guardian._trees[lease.tree_name]
    with hanging(postgres_server, work.board.url):
        wait_until(lambda: states(word) == {"T"}, what="frozen")
        wait_until(lambda: tree.frozen_s > SILENCE_S + 2, what="longer than a silent worker is given")
        assert states(word) == {"T"} and tree.ended is None
    wait_until(lambda: states(word) == {"S"}, what="going on")
    (work.root / "go").touch()
    thread.join(30)
    assert (work.run.stage, work.run.failures, work.run.crashes) == (Stage.PROOF, 0, 0)
    assert work.attempts()[-1][:2] == ("agent", "advance")


def test_a_moved_token_kills_the_work_and_nothing_more_is_written(work: Bench, repository: Repository) -> None:
    thread, word = working(work)
    work.board.sql("UPDATE runs SET token = token + 1")
    thread.join(30)
    assert not thread.is_alive()
    wait_until(lambda: not alive(word))
    run = work.run
    assert (run.state, run.stage, run.head_sha) == (RunState.RUNNING, Stage.AGENT, None)
    assert not [ref for ref in repository.refs() if ref.startswith("refs/symphony/")]
    assert work.leases() == []


@pytest.mark.parametrize("wish", ["hand_over", "rework", "release", "cancel"])
def test_a_wish_reaches_the_lease_with_its_reason(work: Bench, wish: str) -> None:
    thread, word = working(work)
    (lease,) = work.leases()
    work.board.sql("UPDATE runs SET request = %(wish)s, request_reason = 'because'", wish=wish)
    wait_until(lambda: lease.request == wish)
    assert (lease.request_reason, lease.is_stopped) == ("because", wish in {"release", "cancel"})
    thread.join(30)
    wait_until(lambda: not alive(word))
    expected = {"hand_over": RunState.QUEUED, "rework": RunState.WAITING, "release": RunState.RELEASED}
    assert work.run.state is expected.get(wish, RunState.CANCELLED)


def test_a_row_that_somebody_has_locked_is_not_lost(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    settings = {"lease_ttl": timedelta(seconds=12), "lease_renewal": timedelta(seconds=0.3)}
    with bench(database_url, tmp_path, guardian, settings=settings) as work:
        thread, word = working(work)
        (lease,) = work.leases()
        with psycopg.connect(work.board.url) as connection:
            connection.execute("SELECT * FROM runs FOR UPDATE")
            at = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
            wait_until(lambda moment=at: beaten(work, moment))
            trusted = lease.trust_until
            at = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
            wait_until(lambda moment=at: beaten(work, moment))
            assert not lease.is_lost and lease.trust_until == trusted, "other rows are renewed beside it"
            connection.rollback()
        wait_until(lambda: lease.trust_until > trusted)
        (work.root / "go").touch()
        thread.join(30)
        assert work.run.stage is Stage.PROOF and not alive(word)


def test_a_row_that_was_locked_is_renewed_before_the_next_beat(work: Bench, database_url: str) -> None:
    """Rule: who writes into its own run's row while the leases are renewed has no shorter trust for it."""
    thread, _ = working(work)
    (lease,) = work.leases()
    work.keeper._every_s = 3600.0
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT 1 FROM runs FOR NO KEY UPDATE")
        work.keeper.renew_now()
        at = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
        wait_until(lambda: beaten(work, at), what="a renewal that misses the row")
        missed = lease.trust_until
    wait_until(lambda: lease.trust_until > missed, timeout_s=5, what="the renewal after it")
    (work.root / "go").touch()
    thread.join(20)
    assert work.outcomes[-1] == "advance"


def test_a_guardian_that_dies_takes_the_leases_with_it(database_url: str, tmp_path: Path, repository: Repository) -> None:
    with Guardian.start() as own, bench(database_url, tmp_path, own, settings=SCALED) as work:
        lost = threading.Event()
        database = Database(database_url, pool_size=1)
        keeper = LeaseKeeper(database, own, work.deployment.settings, work.deployment.process_id, lost.set)
        keeper.start()
        thread, word = working(work)
        os.kill(own.pid, signal.SIGKILL)
        assert lost.wait(15)
        thread.join(30)
        assert not thread.is_alive()
        wait_until(lambda: not alive(word))
        assert work.run.state is RunState.RUNNING, "the sweeper ends it"
        keeper.stop()
        database.close()


def test_the_agents_life_reaches_the_row(work: Bench) -> None:
    thread, _ = working(work)
    told = work.board.sql("SELECT last_event, last_event_at FROM runs")
    wait_until(lambda: work.board.sql("SELECT last_event FROM runs") == [("started",)], what=f"an event, not {told}")
    (work.root / "go").touch()
    thread.join(30)


def test_a_renewal_that_fails_in_an_odd_way_is_repeated(work: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: nothing ends the keeper but its stop: a standby that refuses writes costs what one that is away costs."""
    failed = threading.Event()
    renew = leases.renew_if_token_matches

    def refused(*arguments: Any) -> list[leases.Renewed]:
        if not failed.is_set():
            failed.set()
            arguments[0].run("SET TRANSACTION READ ONLY")
            arguments[0].run("UPDATE runs SET turns = turns")
        return renew(*arguments)

    thread, _ = working(work)
    monkeypatch.setattr(leases, "renew_if_token_matches", refused)
    assert failed.wait(10)
    (lease,) = work.leases()
    trusted = lease.trust_until
    wait_until(lambda: lease.trust_until > trusted, what="the next renewal")
    (work.root / "go").touch()
    thread.join(30)
    assert (work.run.stage, work.run.failures) == (Stage.PROOF, 0)


def test_what_is_claimed_just_before_a_drain_has_no_more_time_than_the_others(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, settings=SCALED | {"drain": timedelta(seconds=1)}) as work:
        work.agent("sleep 300")
        work.bring(Stage.AGENT)
        work.keeper.drain()
        assert work.keeper.is_draining
        thread, answers = work.step_aside()
        thread.join(20)
        assert [answer and answer.state for answer in answers] == [RunState.QUEUED]
        assert work.attempts()[-1][:2] == ("agent", "interrupted")
        wait_until(lambda: work.board.sql("SELECT draining_at FROM processes")[0][0], what="the row says so")
        assert dispatch(work.deployment) == [], "a process that drains has no free slots"
