"""The fixtures themselves: databases and brokers that show nothing of the tests before."""

from typing import Any

import psycopg
import pytest
import redis

from tests.conftest import execute, with_database
from tests.fakes.databases import Databases

_TRACES = """
INSERT INTO workflows (id, name, source_kind, source) VALUES (gen_random_uuid(), 'w', 'file', '/w');
INSERT INTO workflow_versions (id, workflow_id, digest, base_dir, content)
  SELECT gen_random_uuid(), id, 'd', '/', 'c' FROM workflows;
UPDATE workflows SET version_id = (SELECT id FROM workflow_versions);
INSERT INTO issues (id, workflow_id, tracker_id, identifier, state, snapshot, poll_seq, listed_seq, active, eligible,
    priority_rank, epoch)
  SELECT gen_random_uuid(), id, '1', 'A-1', 'Todo', '{}', 1, 1, true, true, 5, 2 FROM workflows;
INSERT INTO runs (id, workflow_id, issue_id, number, epoch, state, stage)
  SELECT gen_random_uuid(), workflow_id, id, 1, 1, 'queued', 'provision' FROM issues;
INSERT INTO run_events (run_id, kind, before, after, stage, token)
  SELECT id, 'admitted', '-', 'queued', 'provision', 0 FROM runs;
UPDATE sweeps SET swept_at = now();
INSERT INTO run_transitions VALUES ('waiting', 'forgotten', 'waiting');
UPDATE alembic_version SET version_num = '9999'
"""


def contents(url: str) -> dict[str, Any]:
    """Give every row of every table, and where the sequences stand."""
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        rows = {
            name: connection.execute(f"SELECT to_jsonb(t) FROM {name} t ORDER BY 1".encode()).fetchall() for name in names
        }
        return {**rows, "sequences": connection.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall()}


def number_of(url: str) -> int:
    """Give what a database keeps however it is renamed."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchall()[0][0]


def test_a_database_that_is_used_again_shows_no_trace(database_url: str, databases: Databases) -> None:
    pristine = contents(database_url)
    name = databases.take()
    url = with_database(database_url, name)
    number = number_of(url)
    execute(url, _TRACES)
    assert contents(url) != pristine
    with psycopg.connect(url) as forgotten:
        databases.give_back(name)
        with pytest.raises(psycopg.OperationalError):
            forgotten.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        execute(url, "SELECT 1")
    name = databases.take()
    url = with_database(database_url, name)
    assert number_of(url) == number
    assert contents(url) == pristine
    databases.give_back(name)


def test_a_database_whose_schema_was_changed_is_not_used_again(database_url: str, databases: Databases) -> None:
    for change in (
        "CREATE TABLE only_mine (n int)",
        "DROP TABLE ticks",
        "ALTER TABLE runs RENAME COLUMN error TO mistake",
        "ALTER TABLE runs ALTER COLUMN error SET DEFAULT 'x'",
        "DROP INDEX one_live_run_per_issue",
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    ):
        name = databases.take()
        url = with_database(database_url, name)
        number = number_of(url)
        execute(url, change)
        databases.give_back(name)
        with psycopg.connect(database_url) as connection:
            assert not connection.execute("SELECT 1 FROM pg_database WHERE oid = %s", [number]).fetchall(), change


@pytest.mark.parametrize("time", [1, 2, 3])
def test_each_test_has_a_database_of_its_own(database_url: str, time: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE only_mine (n int)")


@pytest.mark.parametrize("time", [1, 2])
def test_each_test_has_an_empty_broker(broker_url: str, time: int) -> None:
    with redis.Redis.from_url(broker_url) as client:
        assert client.keys() == []
        client.set("mine", "1")
