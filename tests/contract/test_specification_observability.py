"""Specification 17.6: what operators see."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from symphony.cli.view import plain
from symphony.domain.outcome import Advance, Fail
from symphony.ledger import leases, views
from symphony.ledger.database import Database
from symphony.ledger.leases import Progress
from symphony.local import up
from symphony.processes.guardian import Guardian
from symphony.telemetry import log as logs
from symphony.web.shapes import state_of
from symphony.workflow.watch import WatchedFile
from tests.conftest import wait_until
from tests.fakes.board import Board
from tests.integration.stage_bench import bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

LONG_AGO = "2000-01-01T00:00:00Z"


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Iterator[Board]:
    database = Database(database_url, pool_size=3)
    yield Board.make(database, tmp_path)
    database.close()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers, root.level = handlers, level


def watched(database: Database) -> SimpleNamespace:
    """What a view needs to know of an `up`."""
    return SimpleNamespace(
        database=database, started_at=LONG_AGO, flower_url="http://127.0.0.1:5555", web_url=None, is_idle=True
    )


@pytest.mark.conformance("17.6", "Validation failures are operator-visible")
def test_a_workflow_that_broke_is_shown(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "WORKFLOW.md"
    good = "---\ntracker: {kind: files}\n---\nDo it.\n"
    path.write_text(good)
    file = WatchedFile(path)
    path.write_text(good.replace("files", "nothing"))
    up.reload(board.database, file, board.workflow_id)
    shown = board.database.transact(state_of)["workflows"][0]["load_error"]
    assert f"{path}:2" in shown and "tracker.kind" in shown


@pytest.mark.conformance("17.6", "Structured logging includes issue/session context fields")
def test_log_lines_carry_their_context(
    root_logger: logging.Logger, database_url: str, tmp_path: Path, guardian: Guardian
) -> None:
    """Every line that a stage logs says whose it is; an agent's session is its run's conversation."""
    stream = io.StringIO()
    environ = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    agent = {"kind": "openai", "model": "gpt-6.2-sol"}
    with bench(database_url, tmp_path, guardian, repository=False, agent=agent, environ=environ) as work:
        work.start()
        work.step()
        logs.configure(level="INFO", stream=stream)
        work.deployment.settings = work.deployment.settings.model_copy(update={"prices": {}})
        work.step()
    failed = next(line for line in stream.getvalue().splitlines() if "stage failed" in line)
    assert "issue_identifier='DEMO-1'" in failed and "issue_id='DEMO-1'" in failed
    settled = next(line for line in stream.getvalue().splitlines() if "settle.committed" in line)
    assert "issue_identifier='DEMO-1'" in settled


@pytest.mark.conformance("17.6", "Logging sink failures do not crash orchestration")
def test_a_broken_sink_stops_nothing(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError("no space left on device")

    logs.configure(level="INFO", stream=Broken())
    logs.get_logger().error("anything")
    logging.getLogger("celery").error("anything else")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.conformance("17.6", "Token/rate-limit aggregation remains correct across repeated agent updates")
def test_totals_are_not_counted_twice(board: Board) -> None:
    run = board.claim(board.admit("DEMO-1"))
    for given, made in ((100, 10), (100, 10), (250, 40), (250, 40)):
        progress = Progress(run.id, run.token, input_tokens=given, output_tokens=made, turns=1)
        board.database.transact(lambda t, p=progress: leases.renew_if_token_matches(t, [p], timedelta(seconds=30)))
    totals = board.database.transact(state_of)["codex_totals"]
    assert (totals["input_tokens"], totals["output_tokens"], totals["total_tokens"]) == (250, 40, 290)
    board.settle(run, Advance())
    assert board.database.transact(state_of)["codex_totals"]["total_tokens"] == 290


@pytest.mark.conformance(
    "17.6",
    "If a human-readable status surface is implemented, it is driven from orchestrator state and does "
    "not affect correctness",
)
def test_the_view_follows_the_ledger_and_survives_its_absence(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    board.run("DEMO-1", Fail("no \x1b[2Jway " + "and more of it " * 10 + "at the end"))
    before = board.database.transact(lambda t: views.runs_of(t))
    away = Database("postgresql://nobody@127.0.0.1:9/none", pool_size=1)
    seen, stop, said = watched(away), threading.Event(), ""
    viewing = threading.Thread(target=plain, args=(seen, stop), daemon=True)
    viewing.start()

    def has_said(text: str) -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return text in said

    wait_until(lambda: has_said("the ledger cannot be read"), what="the complaint")
    seen.database = board.database
    wait_until(lambda: has_said("DEMO-1#1 provision failed"), what="the line")
    assert "at the end\n" in said.partition("DEMO-1#1 provision failed")[2]
    stop.set()
    viewing.join(20)
    assert not viewing.is_alive()
    assert has_said("nothing is left to do") and "answers again" in said and "\x1b" not in said
    unstable = {"held_for"}
    after = board.database.transact(lambda t: views.runs_of(t))
    assert [{k: v for k, v in row.items() if k not in unstable} for row in after] == [
        {k: v for k, v in row.items() if k not in unstable} for row in before
    ]
