"""Order and trust at the fences: what is told to others is committed first, and trust ends before the lease."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from symphony.domain.errors import Fenced
from symphony.domain.outcome import Interrupted, Outcome
from symphony.domain.stage import Stage
from symphony.engine.dispatch import Doorbell
from symphony.engine.execute import execute
from symphony.engine.keeper import LeaseKeeper
from symphony.ledger.database import Database
from symphony.processes.guardian import Guardian
from symphony.stages.context import RunContext
from symphony.stages.lease import boottime
from tests.integration.board import Board

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board."""
    return Board(database_url, tmp_path)


def test_a_doorbell_is_rung_after_its_row_is_committed(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: a message says "look at this row now": what it points at must be there for everybody."""
    from workers import tasks

    board.bring("A-1", Stage.PROVISION)
    seen: list[bool] = []

    def ring(doorbell: Doorbell) -> None:
        with psycopg.connect(board.url) as somebody:
            row = somebody.execute("SELECT rung_at IS NOT NULL FROM runs WHERE id = %s", [doorbell.run_id]).fetchone()
        seen.append(row == (True,))

    monkeypatch.setattr(tasks, "runtime", lambda: SimpleNamespace(deployment=board.deployment))
    monkeypatch.setattr(tasks, "ring", ring)
    board.sql("UPDATE workflows SET poll_due_at = now() + interval '1 hour'")
    tasks.dispatch()
    assert seen == [True], "rung before the commit"


def test_trust_ends_before_the_lease(board: Board, guardian: Guardian) -> None:
    """Rule: a holder trusts its lease until 5/6 of a TTL after it asked, at the claim and after each renewal."""
    board.settings = board.settings.model_copy(
        update={"lease_ttl": timedelta(seconds=6), "lease_renewal": timedelta(seconds=0.2)}
    )
    board.deployment.settings = board.settings
    run = board.bring("A-1", Stage.AGENT)
    keeper = LeaseKeeper(
        Database(board.url, pool_size=1), guardian, board.settings, board.deployment.process_id, lambda: None
    )
    margins: list[float] = []

    def look(context: RunContext) -> None:
        trusted_s = context.lease.trust_until - boottime()
        lease_s = board.sql("SELECT extract(epoch FROM lease_until - now()) FROM runs WHERE id = %(id)s", id=run.id)[0][0]
        margins.append(float(lease_s) - trusted_s)

    def perform(context: RunContext) -> Outcome:
        look(context)
        first = context.lease.trust_until
        keeper.start()
        while context.lease.trust_until == first:
            context.lease.wait(0.1)
        keeper.stop()
        look(context)
        context.lease.lose()
        with pytest.raises(Fenced):
            context.lease.ensure_trusted()
        return Interrupted("seen enough")

    execute(board.deployment, guardian, keeper, run.id, Stage.AGENT, perform)
    assert len(margins) == 2
    assert min(margins) > 0.5, f"trusted beyond the lease: {margins}"


def test_a_tree_ends_at_its_deadline(guardian: Guardian) -> None:
    """Rule: the guardian kills a tree at its deadline, without being asked."""
    with guardian.tree("deadline", deadline_s=0.3) as tree:
        done = tree.run(["sleep", "30"], cwd=Path("/"), env={"PATH": os.environ["PATH"]}, timeout_s=8)
    assert done.limit == "deadline", "the deadline was ignored"
