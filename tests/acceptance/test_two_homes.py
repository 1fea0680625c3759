"""Two homes on one database and broker: three pollers and two beats are one deployment."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from tests.integration.fleet import Board, Fleet, Member, most_at_once

TICK_S = 0.5
_RECEIVED = re.compile(r"Task symphony\.sweep\[([0-9a-f-]+)\] received")


def up(fleet: Fleet, board: Board, node: str) -> Member:
    """Prepare an `up` of a node with a home of its own."""
    words = ["up", str(board.folder / "WORKFLOW.md"), "--no-view", "--workers", "1", "--slots", "4"]
    return fleet._member(f"up-{node}", words, node=node, via=(), env=None)


def sweeps(fleet: Fleet, since: dict[Path, int]) -> list[str]:
    """List the sweep tasks that any worker received, from where the logs stood."""
    found = []
    for log in logs(fleet):
        found += _RECEIVED.findall(log.read_text(errors="replace")[since.get(log, 0) :])
    return found


def logs(fleet: Fleet) -> list[Path]:
    """List the logs of all control workers."""
    return [*fleet.folder.glob("home-*/logs/*control*"), *fleet.folder.glob("control-*.log")]


def test_two_homes_with_three_pollers_and_two_beats_are_one_deployment(
    tmp_path: Path, database_url: str, broker_url: str
) -> None:
    """Rule: no issue twice, no tick doubled, and each `up` works and stops alone."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(issues=4, slots=3, seconds=0.3, poll_ms=300)
        ups = [up(fleet, board, "node-1"), up(fleet, board, "node-2")]
        third = fleet.control(node="node-3")
        for member in (*ups, third):
            member.start()
        controls = "SELECT node FROM processes WHERE queues::text LIKE '%%control%%' AND stopped_at IS NULL"
        fleet.until(lambda: len(fleet.sql(controls)) == 3, timeout_s=40, what="three control workers")
        beats = [tmp_path / f"home-{node}" / "logs" / "beat.log" for node in ("node-1", "node-2")]
        started = "is starting"
        fleet.until(lambda: all(log.exists() and started in log.read_text() for log in beats), what="two beats")
        stood = {log: log.stat().st_size for log in logs(fleet)}
        began = time.monotonic()

        board.until_landed()
        fleet.check(board)
        assert [run.number for run in board.runs()] == [1] * 4, "an issue was run twice"
        polls = fleet.sql("SELECT poll_seq FROM workflows")[0].poll_seq
        fleet.until(lambda: fleet.sql("SELECT poll_seq FROM workflows")[0].poll_seq > polls + 2, what="further polls")
        assert [run.number for run in board.runs()] == [1] * 4, "a finished issue was run again"
        elapsed, received = time.monotonic() - began, sweeps(fleet, stood)
        assert len(received) <= elapsed / TICK_S + 4, "ticks are doubled"
        assert received, "nobody sweeps"
        assert len(set(received)) == len(received)

        _stop(fleet, ups[0], "node-1")
        board.add_issue("FLEET-5")
        board.until_landed()
        assert board.runs()[-1].node == "node-2"
        _stop(fleet, ups[1], "node-2")
        assert third.runs, "the end of both homes took a stranger along"
        assert most_at_once((life.since, life.until) for life in board.lives()) <= board.slots


def _stop(fleet: Fleet, member: Member, node: str) -> None:
    member.signal(signal.SIGTERM)
    assert member.wait(40) == 0, member.text[-2000:]
    assert not _children(fleet, node), "an `up` that has ended left processes behind"


def _children(fleet: Fleet, node: str) -> list[str]:
    """Name the living processes of a home by the word that tells their part."""
    home, found = f"{fleet.folder}/home-{node}", []
    for process in fleet.leftovers():
        environment = process.environ()
        if environment.get("SYMPHONY_HOME") == home:
            found.append(process.cmdline()[-1])
    return found
