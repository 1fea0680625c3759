"""The pace of a key in the ledger: shared by threads and processes, by the database's clock, kept in one small row."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from symphony.domain.pace import START_PER_SECOND
from symphony.ledger import pacing
from symphony.ledger.database import Database, Transaction
from tests.conftest import wait_until
from tests.fakes.paced_server import PacedServer, play
from tests.integration.board import at_once

KEY = pacing.key_of("https://model.test/v1", "secret", "gpt")
SCALE = 3
"""How much faster than the rule of 20 a second the short real run is."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The ledger."""
    database = Database(database_url, pool_size=8)
    yield database
    database.close()


def test_the_key_is_a_digest(database: Database) -> None:
    """Rule: the secret is never written down; the database refuses what is no digest."""
    assert (
        len({KEY, pacing.key_of("https://model.test/v1", "secret"), pacing.key_of("https://model.test/v1secret", "gpt")})
        == 3
    )
    assert "secret" not in KEY
    with pytest.raises(Exception, match="model_limits_key_check"):
        database.transact(lambda t: pacing.reserve(t, "sk-secret"))


def test_reservations_of_threads_are_apart(database: Database) -> None:
    """Rule: turns are 1 / pace apart, whoever asks, and no two are alike."""
    turns = at_once([lambda: database.transact(lambda t: pacing.reserve(t, KEY)) for _ in range(24)])
    tickets = sorted(turn.ticket for turn in turns)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tickets)]
    assert all(gap >= 1 - 1e-6 for gap in gaps)
    waited = max(turn.wait for turn in turns)
    assert waited <= timedelta(seconds=24 / START_PER_SECOND)


def test_a_pause_reaches_those_who_wait(database: Database, database_url: str) -> None:
    """Rule: Retry-After holds everybody, also who has a turn; and the pace is halved, once."""
    turns = [database.transact(lambda t: pacing.reserve(t, KEY)) for _ in range(30)]
    for _ in range(3):
        database.transact(lambda t: pacing.note_limited(t, KEY, timedelta(seconds=40)))
    later = database.transact(lambda t: pacing.look_again(t, KEY, turns[-1]))
    assert timedelta(seconds=39) < later.wait < timedelta(seconds=44)
    pace = database.transact(pacing.paces)[KEY]
    assert pace.per_second == START_PER_SECOND / 2
    database.transact(lambda t: pacing.note_limited(t, pacing.key_of("other"), None, sent_ago=timedelta(seconds=9)))
    assert database.transact(pacing.paces)[KEY] == pace
    assert database.transact(lambda t: pacing.look_again(t, pacing.key_of("never seen"), turns[0])).wait == timedelta()


def test_whoever_gives_up_leaves_the_queue_as_it_is(database: Database) -> None:
    """Rule: what `wait` raises comes through; the others' turns come as before."""
    database.transact(lambda t: pacing.note_limited(t, KEY, timedelta(hours=3)))
    waits = []

    def give_up(wait: timedelta) -> None:
        waits.append(wait)
        if len(waits) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pacing.wait_for_turn(database, KEY, give_up)
    assert all(pacing.LOOK_AGAIN / 2 <= wait <= pacing.LOOK_AGAIN for wait in waits)
    database.transact(lambda t: t.run("UPDATE model_limits SET paused_until = now(), served = issued"))
    assert database.transact(lambda t: pacing.reserve(t, KEY)).wait <= timedelta(seconds=0.2)


def test_acceptance_writes_nothing_where_nobody_waits(database: Database) -> None:
    """Rule: it is cheap."""

    def version(transaction: Transaction) -> Any:
        return transaction.value("SELECT xmin || '/' || ctid FROM model_limits")

    database.transact(lambda t: pacing.note_accepted(t, KEY))
    assert database.transact(version) is None
    database.transact(lambda t: pacing.reserve(t, KEY))
    before = database.transact(version)
    wait_until(lambda: database.transact(lambda t: _queue_is_empty(t)), what="the turn")
    database.transact(lambda t: pacing.note_accepted(t, KEY))
    assert database.transact(version) == before
    for _ in range(5):
        database.transact(lambda t: pacing.reserve(t, KEY))
    database.transact(lambda t: pacing.note_accepted(t, KEY))
    assert database.transact(pacing.paces)[KEY].per_second > START_PER_SECOND


def _queue_is_empty(transaction: Transaction) -> bool:
    pace = pacing.paces(transaction)[KEY]
    return pace.issued <= pace.served_by(transaction.value("SELECT CAST(extract(epoch FROM now()) AS float8)"))


def test_commits_of_the_pace_wait_for_no_disk(database: Database) -> None:
    """Rule: everybody's row is locked as shortly as can be; what a crash loses of it costs nothing."""

    setting = "SELECT setting, source FROM pg_settings WHERE name = 'synchronous_commit'"

    def body(transaction: Transaction) -> Any:
        pacing.reserve(transaction, KEY)
        return transaction.row(setting)

    assert tuple(database.transact(body)) == ("off", "session")
    assert database.transact(lambda t: t.row(setting)).source != "session", "in that transaction only"


def test_impossible_paces_are_refused(database_url: str) -> None:
    """Rule: CHECKs make impossible rows impossible."""
    for value in ("0", "-1", "'NaN'", "'Infinity'"):
        with psycopg.connect(database_url) as connection, pytest.raises(errors.CheckViolation):
            connection.execute(f"INSERT INTO model_limits (key, per_second) VALUES ('{KEY}', {value})".encode())


def test_two_hundred_agents_of_several_processes_do_not_stampede(database_url: str) -> None:
    """Rule: 200 agents at once against a server that allows so many requests a second: no stampede, all get through."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        server = PacedServer(20 * SCALE, manager.list(), manager.list(), manager.Lock())
        workers = [context.Process(target=play, args=(database_url, KEY, server, 100)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        let_through, refused = list(server.let_through), list(server.refused)
    assert len(let_through) == 200
    assert len(refused) <= 60
    sent = sorted([*let_through, *refused])
    most = max(sum(1 for other in sent[n:] if other < at + 1) for n, at in enumerate(sent))
    assert most <= 2 * server.rate
