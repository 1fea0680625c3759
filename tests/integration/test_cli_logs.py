"""`symphony logs`: the agent's log on this node, followed to the run's end, and the logs of checks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Fail
from symphony.domain.stage import Stage
from symphony.ledger.database import Database
from symphony.processes.guardian import Guardian
from tests.conftest import wait_until
from tests.fakes.board import Board
from tests.fakes.command import Command
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import bench

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def board(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYMPHONY_NODE", "n1")
    database = Database(database_url, pool_size=2)
    yield Board.make(database, tmp_path)
    database.close()


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def log_of(home: Path, name: str = "A-1") -> Path:
    path = home / "logs" / "agents" / "payments" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_log_is_shown_harmless_and_from_its_end(board: Board, symphony: Command, tmp_path: Path) -> None:
    board.claim(board.run("A-1", Advance()))
    log_of(tmp_path / "home").write_bytes(b"one\n\x1b[2Jtwo \xff\nthree\nno end")
    said = symphony("logs", "a-1")
    assert (said.code, said.out) == (0, "one\n[2Jtwo \ufffd\nthree\nno end\n")
    assert symphony("logs", "A-1", "-n", "2").out == "three\nno end\n"
    assert symphony("logs", "A-1", "-n", "0").out == ""
    assert symphony("logs", "A-1", "-n", "99").out == said.out


def test_what_is_not_here_is_said_with_its_cure(board: Board, symphony: Command, tmp_path: Path) -> None:
    board.see("A-0")
    assert "has no run yet" in symphony("logs", "A-0").err
    run = board.admit("A-1")
    early = symphony("logs", "A-1")
    assert early.code == 2 and "has not begun: the run is queued in provision" in early.err
    board.rows("UPDATE runs SET node = 'n7' WHERE id = :id RETURNING id", id=run.id)
    away = symphony("logs", "A-1")
    assert away.code == 2 and "is on the node n7, this is n1" in away.err and "`symphony logs A-1` on n7" in away.err
    log_of(tmp_path / "home").write_text("from before\n")
    partly = symphony("logs", "A-1")
    assert (partly.code, partly.out) == (0, "from before\n") and "has moved to the node n7" in partly.err


def test_a_check_has_its_full_log_or_what_the_ledger_keeps(board: Board, symphony: Command, tmp_path: Path) -> None:
    run = board.run("A-1", Advance(), Advance())
    board.rows(
        "INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks) "
        "VALUES (gen_random_uuid(), :id, 'b', 'h', 'm', 't', 'failed', CAST(:checks AS jsonb)) RETURNING id",
        id=run.id,
        checks=[{"name": "unit-tests", "command": "x", "verdict": "failed", "seconds": 1, "output": "head", "dropped": 9}],
    )
    kept = symphony("logs", "A-1", "--check", "unit-tests")
    assert (kept.code, kept.out) == (0, "head\n") and "head and the tail" in kept.err
    folder = tmp_path / "home" / "logs" / "proofs" / str(run.id)
    folder.mkdir(parents=True)
    for number, text in enumerate(("old\n", "all\nof it\n")):
        file = folder / f"{number}0000000-0000-7000-8000-000000000000-unit-tests.log"
        file.write_text(text)
        os.utime(file, (number, number))
    assert symphony("logs", "A-1", "--check", "unit-tests").out == "all\nof it\n"
    assert symphony("logs", "A-1", "--check", "unit-tests", "-n", "1").out == "of it\n"
    unknown = symphony("logs", "A-1", "--check", "lint")
    assert unknown.code == 2 and "it has unit-tests" in unknown.err
    assert symphony("logs", "A-1", "--check", "unit-tests", "-f").code == 2


@contextmanager
def follower(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    code = "import sys; from symphony.cli.main import run; sys.exit(run(['logs', 'A-1', '-f']))"
    with (tmp_path / "followed").open("w") as output:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()  # a test that fails must not wait for it


def test_following_waits_for_the_file_and_ends_with_the_run(board: Board, tmp_path: Path) -> None:
    run = board.claim(board.run("A-1", Advance()))
    with follower(tmp_path) as process:
        seen = tmp_path / "followed"
        log = log_of(tmp_path / "home")
        with log.open("a", buffering=1) as file:
            file.write("first\nsec")
            wait_until(lambda: seen.read_text() == "first\n", what="the first line")
            file.write("ond\n")
            wait_until(lambda: seen.read_text() == "first\nsecond\n", what="the second line")
        log.write_text("anew\n")
        wait_until(lambda: seen.read_text().endswith("anew\n"), what="the truncated file")
        board.settle(run, Fail("x"))
        assert process.wait(30) == 0
        assert process.stderr is not None and "A-1#1 is now failed in agent" in process.stderr.read()


def test_ctrl_c_ends_following_well(board: Board, tmp_path: Path) -> None:
    board.claim(board.run("A-1", Advance()))
    log_of(tmp_path / "home").write_text("first\n")
    with follower(tmp_path) as process:
        wait_until(lambda: (tmp_path / "followed").read_text() == "first\n", what="the first line")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


def test_two_workflows_with_the_same_key_share_no_log(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, symphony: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYMPHONY_NODE", "node-1")
    with (
        bench(database_url, tmp_path, guardian, name="api") as one,
        bench(database_url, tmp_path, guardian, name="web") as two,
    ):
        one.agent("echo of the api; echo x > new.txt")
        one.bring(Stage.PROOF)
        two.agent("echo of the web; echo y > new.txt")
        two.bring(Stage.PROOF)
    said = [symphony("logs", "DEMO-1", "-w", name) for name in ("api", "web")]
    assert [(one.code, one.out) for one in said] == [(0, "of the api\n"), (0, "of the web\n")]
    both = symphony("logs", "DEMO-1")
    assert both.code == 2 and "--workflow" in both.err
