"""People stop work by moving issues: the whole process tree ends, whatever it forked."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fleet import Board, Fleet

AGENT = Path(__file__).with_name("writing_agent.py")
POLL_S, RENEWAL_S, GRACE_S = 0.5, 1.0, 5.0
"""The promise is poll interval + 15 s, of which 10 s are the wait for a renewal; the fleet renews every second."""


def make_board(fleet: Fleet, folder: Path) -> Board:
    """Make a board of one issue whose agent never ends by itself, and wait for both of its writers."""
    board = fleet.board(
        issues=1,
        command=f"{sys.executable} -SE {AGENT} {folder}/fleet/agents.log {folder}/never",
        poll_ms=int(POLL_S * 1000),
    )
    fleet.start(fleet.control(), fleet.beat(), fleet.worker())
    fleet.until(lambda: _is_writing(board), what="an agent and its daemon that write")
    fleet.until(lambda: _state(board) == "In Progress" and not _pending(fleet), what="the move to In Progress")
    return board


def move(board: Board, state: str) -> None:
    """Move the issue as a person does, with an editor that replaces the file."""
    path = board.issue_file("FLEET-1")
    new = path.with_name(".FLEET-1.new")
    new.write_text(re.sub(r"^state: .*$", f"state: {state}", path.read_text(), count=1, flags=re.MULTILINE))
    new.rename(path)


def polls(board: Board, fleet: Fleet, number: int) -> None:
    """Wait until so many further polls have been recorded."""
    count = "SELECT poll_seq FROM workflows WHERE id = %s AND poll_error IS NULL"
    since = fleet.sql(count, board.id)[0].poll_seq
    fleet.until(lambda: fleet.sql(count, board.id)[0].poll_seq > since + number, what=f"{number} polls")


def workspace(fleet: Fleet) -> Path:
    """The workspace of the issue on the one node."""
    return fleet.folder / "home-node-1" / "workspaces" / "fleet" / "FLEET-1"


def test_a_terminal_state_ends_the_whole_tree_and_cleans(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Rule: cancel in the tracker stops the agent's whole tree; the run is cancelled, its epoch consumed."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = make_board(fleet, tmp_path)
        assert workspace(fleet).is_dir()
        began = time.monotonic()
        move(board, "Cancelled")
        fleet.until(lambda: not board.agents(), timeout_s=30, what="the end of the agent's tree")
        took = time.monotonic() - began
        fleet.until(lambda: board.states() == {"cancelled": 1}, what="a cancelled run")
        assert took <= POLL_S + RENEWAL_S + GRACE_S, "the tree lived on for too long"
        fleet.until(lambda: not workspace(fleet).exists(), what="the workspace's removal")
        issue = _issue(fleet)
        assert issue.consumed_epoch == issue.epoch
        polls(board, fleet, 2)
        assert board.states() == {"cancelled": 1}, "a cancelled issue is run again"
        assert _state(board) == "Cancelled", "Symphony moved what a person had put away"

        move(board, "Todo")
        fleet.until(lambda: len(board.runs()) == 2 and board.agents(), what="a new run after the issue came back")
        assert [run.number for run in board.runs()] == [1, 2]


@pytest.mark.parametrize("how", ["Backlog", "vanished"])
def test_leaving_the_active_states_releases_and_keeps(tmp_path: Path, database_url: str, broker_url: str, how: str) -> None:
    """Rule: not active or vanished: release, keep the workspace; back again: a new run, for the epoch was not consumed."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = make_board(fleet, tmp_path)
        aside = tmp_path / "FLEET-1.md"
        if how == "vanished":
            board.issue_file("FLEET-1").rename(aside)
        else:
            move(board, how)
        fleet.until(lambda: board.states() == {"released": 1}, what="a released run")
        fleet.until(lambda: not board.agents(), timeout_s=10, what="the end of the agent's tree")
        polls(board, fleet, 2)
        assert board.states() == {"released": 1}, "an issue that is not active was run"
        assert (workspace(fleet) / "agent.txt").exists(), "the workspace of a released run was not kept"
        issue = _issue(fleet)
        assert issue.consumed_epoch < issue.epoch, "a release consumed the epoch"

        if how == "vanished":
            aside.rename(board.issue_file("FLEET-1"))
        else:
            move(board, "Todo")
        fleet.until(lambda: len(board.runs()) == 2 and board.agents(), what="a new run after the issue came back")
        assert [run.state for run in board.runs()] == ["released", "running"] or board.runs()[1].state == "queued"


def _is_writing(board: Board) -> bool:
    return len(board.agents()) >= 2 and len(board.agent_log.read_text().splitlines()) > 10


def _state(board: Board) -> str:
    found = re.search(r"^state: (.*)$", board.issue_file("FLEET-1").read_text(), re.MULTILINE)
    assert found
    return found[1].strip("'\"")


def _pending(fleet: Fleet) -> list[Any]:
    return fleet.sql("SELECT 1 FROM effects WHERE state = 'pending'")


def _issue(fleet: Fleet) -> Any:
    return fleet.sql("SELECT * FROM issues")[0]
