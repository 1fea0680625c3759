"""The database's own rules (docs/failure-model.md): what is impossible is refused whatever the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import errors

import symphony
from symphony.domain.errors import ConfigError
from symphony.domain.run import TRANSITIONS
from symphony.domain.stage import Stage
from symphony.ledger import schema
from symphony.ledger.database import Database, as_json
from tests.conftest import execute
from tests.integration.board import Board, at_once

PACKAGE = Path(symphony.__file__).parent
SOURCES = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "workers").rglob("*.py"), *(PACKAGE.parent / "beat").rglob("*.py")]


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board with one queued run, A-1."""
    board = Board(database_url, tmp_path)
    board.bring("A-1", Stage.PROVISION)
    return board


def test_the_database_has_the_same_table_of_transitions(board: Board) -> None:
    """Rule: run_transitions equals the domain's table."""
    expected = {(str(b or "-"), str(e), str(a)) for e, moves in TRANSITIONS.items() for b, a in moves.items()}
    assert {tuple(row) for row in board.sql("SELECT before, kind, after FROM run_transitions")} == expected


@pytest.mark.parametrize(
    ("before", "kind", "after"),
    [
        ("queued", "landed", "landed"),
        ("landed", "claimed", "running"),
        ("-", "admitted", "running"),
        ("queued", "claimed", "x"),
    ],
)
def test_an_event_that_cannot_happen_is_refused(board: Board, before: str, kind: str, after: str) -> None:
    """Rule: an event row must stand in the table of transitions."""
    with psycopg.connect(board.url) as connection, pytest.raises(errors.ForeignKeyViolation):
        connection.execute(
            "INSERT INTO run_events (run_id, kind, before, after, stage, token) VALUES (%s, %s, %s, %s, 'agent', 1)",
            (board.run("A-1").id, kind, before, after),
        )


@pytest.mark.parametrize(
    ("sets", "constraint"),
    [
        ("state = 'running'", "running_is_held"),
        ("lease_until = now(), process_id = (SELECT id FROM processes LIMIT 1), attempt_id = id", "running_is_held"),
        ("state = 'failed'", "ended_has_an_end"),
        ("finished_at = now()", "ended_has_an_end"),
        ("state = 'waiting'", "waiting_says_for_what"),
        ("waiting_for = 'x'", "waiting_says_for_what"),
        ("state = 'landed', finished_at = now()", "landed_names_its_commit"),
        ("landed_sha = 'x'", "landed_names_its_commit"),
        ("stage = 'land'", "land_has_a_target"),
        ("state = 'failed', finished_at = now(), request = 'cancel'", "ended_has_no_request"),
        ("state = 'sleeping'", "runs_state_check"),
        ("stage = 'lunch'", "runs_stage_check"),
        ("request = 'please'", "runs_request_check"),
    ],
)
def test_impossible_runs_are_refused(board: Board, sets: str, constraint: str) -> None:
    """Rule: CHECKs make impossible rows impossible."""
    with psycopg.connect(board.url) as connection, pytest.raises(errors.CheckViolation) as refusal:
        connection.execute(f"UPDATE runs SET {sets}".encode())
    assert refusal.value.diag.constraint_name == constraint


def test_an_issue_has_one_live_run_and_one_end_per_epoch(board: Board) -> None:
    """Rule: the partial unique indexes are the concurrency rules."""
    copy = (
        "INSERT INTO runs (id, workflow_id, issue_id, number, epoch, state, stage, finished_at) "
        "SELECT gen_random_uuid(), workflow_id, issue_id, {}, epoch, '{}', stage, {} FROM runs LIMIT 1"
    )
    with psycopg.connect(board.url) as connection, pytest.raises(errors.UniqueViolation, match="one_live_run_per_issue"):
        connection.execute(copy.format(2, "queued", "NULL").encode())
    with psycopg.connect(board.url) as connection, pytest.raises(errors.UniqueViolation, match="one_end_per_epoch"):
        connection.execute(copy.format(3, "failed", "now()").encode())
        connection.execute(copy.format(4, "cancelled", "now()").encode())
    with psycopg.connect(board.url) as connection:
        connection.execute(copy.format(3, "released", "now()").encode())
        connection.execute(copy.format(4, "released", "now()").encode())
        connection.rollback()


def test_a_targets_queue_has_one_lander_and_one_intent(board: Board) -> None:
    """Rule: one running land stage and one intended landing a target."""
    names = {row[0] for row in board.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")}
    assert {"one_lander_per_target", "one_intent_per_target", "one_landing_per_run", "one_open_attempt_per_run"} <= names


def test_only_one_function_opens_fenced_transactions() -> None:
    """Rule: "one function opens such transactions and a test forbids others"."""
    makers = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "FencedTransaction" in ast.unparse(node.func):
                makers.append(path.relative_to(PACKAGE).as_posix())
    assert makers == ["ledger/database.py"]


def test_a_token_is_compared_under_a_lock_in_one_place_only() -> None:
    """Rule: the run's row is locked by its token first; `change` repeats the token on a row that is locked."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.search(r"\btoken = :token", node.value)
            ):
                found.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(node.value)
    assert sorted(found) == ["ledger/database.py", "ledger/runs.py"], found
    assert [len(statements) for statements in found.values()] == [1, 1]


WRITES = re.compile(r"UPDATE\s+runs\b|INSERT\s+INTO\s+(runs|attempts|run_events)\b|DELETE\s+FROM\s+runs\b", re.IGNORECASE)


def test_runs_are_written_in_the_ledger_only() -> None:
    """Rule: a run's row has writers in the ledger only, and its state only one there: `change`."""
    outside = [path for path in SOURCES if PACKAGE / "ledger" not in path.parents]
    assert [path.name for path in outside if WRITES.search(path.read_text())] == []
    setters = [p.name for p in (PACKAGE / "ledger").glob("*.py") for _ in re.finditer(r"\"state = :after\"", p.read_text())]
    assert setters == ["runs.py"]


def test_a_fenced_transaction_is_wanted_where_a_holder_writes() -> None:
    """Rule: what a stage writes takes a FencedTransaction, so that no other door leads there."""
    wanted = {
        "runs.py": {"note"},
        "landings.py": {"add_proof", "intend", "abandon_intended"},
        "conversations.py": {"append", "begin_call", "finish_call", "drop_reasoning", "compact", "mark_seen"},
        "usage.py": {"begin_request", "finish_request", "discard_request"},
    }
    for name, functions in wanted.items():
        tree = ast.parse((PACKAGE / "ledger" / name).read_text())
        fenced = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and "FencedTransaction" in ast.unparse(node.args)
        }
        assert functions <= fenced


def test_renewal_touches_no_indexed_column(board: Board) -> None:
    """Rule: renewals are HOT updates."""
    indexed = {
        row[0]
        for row in board.sql(
            "SELECT a.attname FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY(x.indkey) "
            "WHERE x.indrelid = 'runs'::regclass"
        )
    } | {
        word
        for row in board.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'runs' AND indexdef LIKE '%%WHERE%%'")
        for word in re.findall(r"\w+", row[0].split("WHERE")[1])
    }
    renewed = {"lease_until", "last_event_at", "last_event", "session_id", "turns", "input_tokens", "output_tokens"}
    assert not renewed & indexed


FIRST_ROWS = """
INSERT INTO workflows (id, name, source_kind, source) VALUES (gen_random_uuid(), 'w', 'file', '/w');
INSERT INTO workflow_versions (id, workflow_id, digest, base_dir, content)
  SELECT gen_random_uuid(), id, 'd', '/', 'c' FROM workflows;
UPDATE workflows SET version_id = (SELECT id FROM workflow_versions);
INSERT INTO processes (id, node, pid, queues, slots) VALUES (gen_random_uuid(), 'n', 1, '{control}', 4);
INSERT INTO issues (id, workflow_id, tracker_id, identifier, state, snapshot, poll_seq, listed_seq, active, eligible,
    priority_rank, epoch)
  SELECT gen_random_uuid(), id, '1', 'A-1', 'Todo', '{"a": 1}', 1, 1, true, true, 5, 2 FROM workflows;
INSERT INTO runs (id, workflow_id, issue_id, number, epoch, state, stage, landed_sha, target, finished_at, input_tokens)
  SELECT gen_random_uuid(), workflow_id, id, 1, 1, 'landed', 'land', 'sha', 'origin main', now(), 7 FROM issues;
INSERT INTO runs (id, workflow_id, issue_id, number, epoch, state, stage, token, process_id, attempt_id, lease_until)
  SELECT gen_random_uuid(), i.workflow_id, i.id, 2, 2, 'running', 'agent', 3, p.id, gen_random_uuid(), now()
  FROM issues i, processes p;
INSERT INTO attempts (id, run_id, stage, number, token, node, process_id, version_id, sandbox)
  SELECT r.attempt_id, r.id, 'agent', 1, 3, 'n', r.process_id, v.id, 'off' FROM runs r, workflow_versions v
  WHERE r.state = 'running';
INSERT INTO run_events (run_id, kind, before, after, stage, token)
  SELECT id, 'admitted', '-', 'queued', 'provision', 0 FROM runs;
INSERT INTO effects (id, issue_id, seq, kind, payload) SELECT gen_random_uuid(), id, 1, 'comment', '{}' FROM issues;
"""


def test_a_database_of_the_first_revision_is_upgraded_with_its_rows(database_url: str) -> None:
    """Rule: a newer build says what to do, upgrades once however many ask, and keeps every row."""
    execute(database_url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database = Database(database_url)
    with database.connection() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
        with pytest.raises(ConfigError, match="has schema 0001, this build needs") as refusal:
            schema.require_current(connection)
        assert refusal.value.cure == "run `symphony db upgrade`"
        connection.rollback()
    execute(database_url, FIRST_ROWS)

    def rows() -> dict[str, list[dict[str, object]]]:
        with psycopg.connect(database_url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
            read = "SELECT to_jsonb(t) FROM {} t"
            found = {name: connection.execute(read.format(name).encode()).fetchall() for (name,) in tables}
            return {name: [row for (row,) in every] for name, every in found.items()}

    before = rows()
    assert at_once([lambda: schema.upgrade(database_url)] * 3) == [None] * 3
    after = rows()
    for name, kept in before.items():
        if name != "alembic_version":
            assert len(after[name]) == len(kept), name
            assert all(any(all(new[key] == row[key] for key in row) for new in after[name]) for row in kept), name
    assert {name: found for name, found in after.items() if name not in before} == {
        name: []
        for name in (
            "conversation_items", "run_messages", "model_requests", "usage_days", "model_limits", "tracker_limits",
            "tracker_pauses", "webhook_deliveries", "agent_sessions",
        )
    }  # fmt: skip
    with database.connection() as connection:
        schema.require_current(connection)
        assert schema.known_revisions()[-2:] == ("0002", "0001")
    database.close()


def test_files_of_migrations_are_named_in_their_order() -> None:
    """Rule: what a database must have is read from the files' names, so the names must say what Alembic says."""
    walked = ScriptDirectory.from_config(schema._config()).walk_revisions()
    assert schema.known_revisions() == tuple(script.revision for script in walked)


def test_sessions_have_timeouts(board: Board) -> None:
    """Rule: statement, lock and idle-in-transaction time-outs of at most five seconds in every session."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    for name in names:
        milliseconds = int(board.sql(f"SELECT setting FROM pg_settings WHERE name = '{name}'")[0][0])
        assert 0 < milliseconds <= 5000
    assert board.sql("SHOW default_transaction_isolation")[0][0] == "read committed"


def test_texts_that_postgresql_cannot_hold_are_stored_nearly(database_url: str) -> None:
    """Rule: an odd byte from an agent or a tracker must not make a transaction impossible."""
    odd = "a\0b\udcff"
    database = Database(database_url)
    assert database.transact(lambda t: t.value("SELECT CAST(:x AS text)", x=odd)) == "a\ufffdb?"
    assert database.transact(lambda t: t.value("SELECT CAST(:x AS jsonb)", x={odd: [odd]})) == {"a\ufffdb?": ["a\ufffdb?"]}
    assert database.transact(lambda t: t.value("SELECT cardinality(CAST(:x AS text[]))", x=[])) == 0
    assert as_json([]) == "[]"
    database.close()
