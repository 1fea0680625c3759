"""Everything at once on the same issues (docs/adr/0003, lock order): no deadlock surfaces, and every history is whole."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from symphony.domain.errors import Fenced, Transient
from symphony.domain.outcome import Advance, Block, Continue, Fail, Interrupted, Outcome, Release, Retry, Review, Rework
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.engine.deployment import Deployment
from symphony.engine.execute import claim
from symphony.engine.settle import settle
from symphony.engine.sweep import sweep
from symphony.ledger import runs
from symphony.ledger.database import Held
from tests.integration.board import Board, at_once

SECONDS = 8.0
THREADS = 3
NAMES = [f"A-{number:02}" for number in range(20)]
OUTCOMES: list[Outcome] = [
    Advance(), Advance(), Advance(), Continue(), Rework("more"), Retry("x"), Interrupted("x"), Review("look"),
    Block("why?"), Release("enough"), Fail("no"),
]  # fmt: skip


def work(board: Board, me: Deployment, dice: random.Random) -> None:
    """Claim what is queued, and settle it somehow, or let its lease run out."""
    board.sql(
        "UPDATE runs SET due_at = now() WHERE id IN (SELECT id FROM runs WHERE state = 'waiting' LIMIT 3 FOR NO KEY UPDATE SKIP LOCKED)"
    )
    for run_id, stage in board.sql("SELECT id, stage FROM runs WHERE state = 'queued' ORDER BY random() LIMIT 3"):
        claimed = claim(me, run_id, Stage(stage))
        if claimed is None:
            continue
        held = Held(claimed.run.id, claimed.run.token)
        try:
            if claimed.run.stage is Stage.AGENT:
                me.database.fenced(held, lambda t: runs.note(t, base_sha="b", head_sha="h", target="origin main"))
            outcome = dice.choice(
                [o for o in OUTCOMES if claimed.run.stage is not Stage.LAND or not isinstance(o, Advance)]
            )
            if dice.random() < 0.15:
                board.sql("UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = %(id)s "
                          "AND state = 'running'", id=run_id)  # fmt: skip
            else:
                settle(me.database, held, outcome, claimed.rules)
        except Fenced:
            pass


def test_all_of_it_at_once(database_url: str, tmp_path: Path) -> None:
    """Rule: lock order workflow -> run -> rest: polls, settlements, deliveries, sweeps and admissions never deadlock."""
    board = Board(database_url, tmp_path, agent="{kind: command, command: 'true', max_concurrent_agents: 6}")
    tracker = board.tracker
    assert tracker is not None
    for name in NAMES:
        tracker.put(name)
    board.deployment.settings = board.settings.model_copy(update={"lease_ttl": timedelta(seconds=1)})
    board.blame()
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    stop = time.monotonic() + SECONDS
    counts: dict[str, int] = dict.fromkeys(("poll", "settle", "deliver", "sweep", "admit"), 0)
    lock = threading.Lock()

    def poll(me: Deployment, dice: random.Random) -> None:
        name = dice.choice(NAMES)
        if dice.random() < 0.5:
            tracker.person_moves(name, dice.choice(["Todo", "In Progress", "Rework", "Merging", "Backlog", "Done"]))
        else:
            tracker.person_comments(name, "go on")
        board.poll(me)

    jobs: dict[str, Callable[[Deployment, random.Random], object]] = {
        "poll": poll,
        "settle": lambda me, dice: work(board, me, dice),
        "deliver": lambda me, _: deliver(me),
        "sweep": lambda me, _: sweep(me),
        "admit": lambda me, _: board.admit(me),
    }

    def repeat(kind: str, number: int, me: Deployment) -> None:
        dice = random.Random(number)
        while time.monotonic() < stop:
            try:
                jobs[kind](me, dice)
            except Transient:  # a busy machine: put off, as a tick is
                continue
            with lock:
                counts[kind] += 1

    def worker(kind: str, number: int) -> Callable[[], None]:
        me = board.colleague()
        me.settings = board.deployment.settings
        return lambda: repeat(kind, number, me)

    answers = at_once([worker(kind, number) for number in range(THREADS) for kind in jobs], timeout_s=100)
    raised = [answer for answer in answers if isinstance(answer, BaseException)]
    assert not raised, [getattr(error, "__notes__", error) for error in raised]
    assert all(count > 0 for count in counts.values()), counts
    board.assert_consistent()
    assert board.sql("SELECT count(*) FROM run_events")[0][0] > 50
    assert not board.sql(
        "SELECT r.id FROM runs r JOIN issues i ON i.id = r.issue_id "
        "WHERE r.state IN ('landed', 'failed', 'cancelled') AND i.consumed_epoch < r.epoch"
    ), "an end for good consumes the epoch"
    assert not board.sql(
        "SELECT r.id FROM runs r LEFT JOIN attempts a ON a.run_id = r.id AND a.finished_at IS NULL "
        "WHERE (r.state = 'running') <> (a.id IS NOT NULL)"
    ), "an open attempt is a running run's"
    assert not [r for name in NAMES for r in board.runs(name) if r.state is RunState.RUNNING and r.lease_until is None]
    assert board.sql(deadlocks)[0][0] == 0, (
        "transactions are retried after a deadlock, but the lock order should exclude it"
    )
