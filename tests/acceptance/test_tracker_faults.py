"""A finished issue is not run again, whatever the tracker fails to take, to say, or was never told."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from symphony.ledger import workflows
from symphony.ledger.database import Database
from tests.integration.fleet import Board, Fleet

FAILING = Path(__file__).with_name("failing_tracker.py")
OUTAGE_S = 8.0
"""A minute at the scale of the fleet's clockwork."""


def polls(board: Board, number: int) -> None:
    """Wait until so many further polls have been recorded."""
    count = "SELECT poll_seq FROM workflows WHERE id = %s AND poll_error IS NULL"
    since = board.fleet.sql(count, board.id)[0].poll_seq
    board.fleet.until(
        lambda: (now := board.fleet.sql(count, board.id)) and now[0].poll_seq > since + number, what=f"{number} polls"
    )


def assert_run_once(board: Board) -> None:
    """Each issue had one run and is on the target once."""
    assert [run.number for run in board.runs()] == [1] * len(board.issues), "a finished issue was run again"
    assert board.states() == {"landed": len(board.issues)}
    assert sorted(board.landed()) == sorted(board.issues)


def test_a_tracker_that_takes_no_writes_after_a_landing(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Rule: no admission while a move is undelivered, and the epoch is consumed; the move arrives when it can."""
    flag = tmp_path / "fail"
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        work = f"cat >/dev/null; echo done by $SYMPHONY_ISSUE >$SYMPHONY_ISSUE.txt; touch {flag}"
        board = fleet.board(issues=1, command=work, poll_ms=300)
        fleet.start(fleet.control(via=(str(FAILING), str(flag))), fleet.beat(), fleet.worker())
        fleet.until(lambda: board.states() == {"landed": 1}, what="a landing")
        until = time.monotonic() + OUTAGE_S
        polls(board, 8)
        fleet.until(lambda: time.monotonic() > until, what="the end of the outage")
        assert "FLEET-1" in flag.read_text(), "no write was tried, so nothing has failed"
        assert "state: Done" not in board.issue_file("FLEET-1").read_text()
        assert_run_once(board)
        flag.unlink()
        board.until_landed()
        assert "state: Done" in board.issue_file("FLEET-1").read_text()
        assert board.issue_file("FLEET-1").read_text().count("## Comments") == 1
        polls(board, 3)
        assert_run_once(board)
        fleet.check(board)


def test_a_stale_copy_of_a_finished_issue(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Rule: a sight that the tracker itself dates before our last applied move is no new entry."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(issues=1, seconds=0.1, poll_ms=300)
        path, old = board.issue_file("FLEET-1"), tmp_path / "old.md"
        old.write_bytes(path.read_bytes())
        status = path.stat()
        fleet.start(fleet.control(), fleet.beat(), fleet.worker())
        board.until_landed()
        polls(board, 2)
        os.utime(old, ns=(status.st_atime_ns, status.st_mtime_ns))
        old.rename(path)
        polls(board, 5)
        assert "state: Todo" in path.read_text(), "the stale copy is what the polls saw"
        assert_run_once(board)
        fleet.check(board)


def test_without_states_a_finished_issue_stays_finished(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Rule: the epoch stops a re-run of an issue that nobody moved, also when a person edits its text."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(issues=2, seconds=0.1, poll_ms=300)
        _name_no_states(board)
        fleet.start(fleet.control(), fleet.beat(), fleet.worker())
        fleet.until(lambda: board.states() == {"landed": 2}, timeout_s=40, what="two landings")
        polls(board, 6)
        assert_run_once(board)
        path = board.issue_file("FLEET-1")
        new = tmp_path / "new.md"
        new.write_text(path.read_text().replace("Make it", "Make it, please"))
        new.rename(path)
        polls(board, 6)
        assert all("state: Todo" in board.issue_file(name).read_text() for name in board.issues)
        assert_run_once(board)


def _name_no_states(board: Board) -> None:
    path = board.folder / "WORKFLOW.md"
    text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("  states:"))
    path.write_text(text)
    database = Database(board.fleet.database_url, pool_size=1)
    try:
        database.transact(
            lambda t: workflows.register(
                t, name=board.name, source_kind="file", source=str(path), content=text,
                digest=hashlib.sha256(text.encode()).hexdigest(), base_dir=str(board.folder), serve_for=None,
            )
        )  # fmt: skip
    finally:
        database.close()
