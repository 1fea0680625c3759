"""A landing whose worker died after the intent is rung for before its elders: else the whole queue would wait for it.

Invariant: what may be claimed is owed its doorbell; here the two statements that say so are held side by side.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from symphony.domain.stage import Stage
from symphony.ledger import landings, processes
from tests.integration.board import Board


def test_an_intended_landing_that_lost_its_place_is_rung_and_claimed(database_url: str, tmp_path: Path) -> None:
    board = Board(database_url, tmp_path)
    for name in ("A-1", "A-2"):
        board.bring(name, Stage.LAND)
    claimed = board.claim("A-1")
    proof = board.prove(claimed)
    board.fenced(claimed, lambda t: landings.intend(t, proof))
    board.expire("A-1", process_died=True)
    board.blame()
    board.swept()
    board.due("A-1")
    board.sql("UPDATE processes SET heartbeat_at = now(), stopped_at = NULL")
    intended = board.run("A-1")
    queue = [row[0] for row in board.sql("SELECT id FROM runs WHERE stage = 'land' ORDER BY queued_at")]
    assert queue == [board.run("A-2").id, intended.id], "it has not lost its place"
    board.sql("UPDATE runs SET rung_at = NULL, rings = 0")
    owed = board.database.transact(lambda t: processes.take_owed_rings(t, timedelta(seconds=30)))
    assert intended.id in {ring.run_id for ring in owed}
    assert board.claim("A-1").run.id == intended.id
