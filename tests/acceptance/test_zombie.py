"""A worker that sleeps past its lease while its agent writes: it comes back and changes nothing."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fleet import Board, Fleet, Member

AGENT = Path(__file__).with_name("writing_agent.py")
_RENEWED = {"lease_until", "last_event_at", "last_event", "turns"}


def rows_of_run(board: Board) -> dict[str, list[Any]]:
    """Read every row that belongs to the run; of the run's own row what its holder's renewals do not touch."""
    found = {"runs": [{k: v for k, v in run._asdict().items() if k not in _RENEWED} for run in board.runs()]}
    run = board.runs()[0].id
    for table in ("attempts", "run_events", "proofs", "landings", "effects"):
        found[table] = board.fleet.sql(f"SELECT * FROM {table} WHERE run_id = %s ORDER BY id", run)
    return found


def refs(board: Board) -> dict[str, str]:
    """List the refs of the bare repository."""
    lines = board.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def signs(board: Board, attempt: int) -> list[float]:
    """List the instants at which processes of an attempt's agent wrote."""
    lines = [line.split() for line in board.agent_log.read_text().splitlines()] if board.agent_log.exists() else []
    return [float(at) for at, _, name, _, word in lines if name.endswith(f".{attempt}") and word != "end"]


@pytest.mark.parametrize("other_node", ["node-1", "node-2"], ids=["same node", "another node"])
def test_a_worker_that_slept_past_its_lease_changes_nothing(
    tmp_path: Path, database_url: str, broker_url: str, other_node: str
) -> None:
    """Rule: a stale worker writes and publishes nothing; its tree is dead before the next agent starts."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        go = tmp_path / "go"
        board = fleet.board(issues=1, command=f"{sys.executable} -SE {AGENT} {tmp_path}/fleet/agents.log {go}")
        workers = [fleet.worker()]
        fleet.start(fleet.control(), fleet.beat(), *workers)
        fleet.until(lambda: len(signs(board, 1)) > 20, what="an agent that writes")
        workers.append(fleet.worker(node=other_node))
        fleet.start(workers[-1])
        zombie = workers[0]
        token = board.runs()[0].token
        assert board.runs()[0].process_id == fleet.process_id(zombie)
        assert {life.pid for life in board.lives()} <= {process.pid for process in board.agents()}
        zombie.signal(signal.SIGSTOP)
        fleet.until(lambda: len(signs(board, 2)) > 10, timeout_s=45, what="the next agent")
        assert max(signs(board, 1)) < min(signs(board, 2)), "the old tree wrote beside the new one"
        _wait_for_quiet(fleet, board)
        before, before_refs, heard = rows_of_run(board), refs(board), _heartbeat(fleet, zombie)

        zombie.signal(signal.SIGCONT)
        told = ("lease lost", "fenced")
        fleet.until(lambda: any(word in zombie.text for word in told), what="the zombie's knowledge that it is one")
        fleet.until(lambda: _heartbeat(fleet, zombie) > heard, what="the zombie's heartbeat")
        again = _heartbeat(fleet, zombie)
        fleet.until(lambda: _heartbeat(fleet, zombie) > again, what="the zombie's next heartbeat")

        assert rows_of_run(board) == before, "the zombie wrote"
        own = f"refs/symphony/wip/{board.runs()[0].id}/{token}"
        assert {ref: at for ref, at in refs(board).items() if ref != own} == {
            ref: at for ref, at in before_refs.items() if ref != own
        }, "the zombie pushed"
        assert max(signs(board, 1)) < min(signs(board, 2)), "the zombie's agent writes again"
        go.touch()
        board.until_landed()
        fleet.check(board)


def _wait_for_quiet(fleet: Fleet, board: Board) -> None:
    """Wait until what the new attempt itself writes is written."""
    fleet.until(
        lambda: (
            not fleet.sql("SELECT 1 FROM effects WHERE state = 'pending'")
            and fleet.sql("SELECT 1 FROM attempts WHERE stage = 'agent' AND number = 2 AND finished_at IS NULL")
        ),
        what="effects delivered and the next attempt",
    )


def _heartbeat(fleet: Fleet, member: Member) -> Any:
    return fleet.sql("SELECT heartbeat_at FROM processes WHERE id = %s", fleet.process_id(member))[0].heartbeat_at
