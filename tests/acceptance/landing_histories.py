"""Random histories of a landing queue: landers that die or are late, and an intruder at the repository.

Everything is real (git, PostgreSQL, guardian, checks) but the interleaving, which a seed decides: at every point at
which a lander says in its log what it is about to do or has done, it may die, or be taken for dead and go on later, or
the intruder may push, rewind, force or restore the target. A history is judged by the bare repository's reflog.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from symphony.domain.stage import Stage
from symphony.engine.deployment import Deployment
from symphony.engine.execute import execute
from symphony.engine.sweep import sweep
from symphony.ledger.database import Database
from symphony.processes.guardian import Guardian
from symphony.stages import land, proof, source
from symphony.stages.lease import Lease
from symphony.telemetry.labels import Label
from tests.acceptance.intruded_origin import CHECK, Origin
from tests.integration.board import Board

_POINTS = {
    Label.PROOF_RECORDING, Label.PROOF_RECORDED, Label.LANDING_INTENDING, Label.LANDING_INTENDED, Label.LANDING_PUSHING,
    Label.LANDING_PUSHED,
}  # fmt: skip
_here: ContextVar[History | None] = ContextVar("history", default=None)


class Killed(BaseException):
    """A lander dies: nothing of its own runs any more."""


class _Log:
    """Stands for the logger of a stage."""

    def __getattr__(self, _level: str) -> Any:
        def said(event: str, **fields: Any) -> None:
            history = _here.get()
            if history is not None and event in _POINTS:
                history.at(Label(event), UUID(fields["run"]))

        return said


@contextmanager
def watched() -> Iterator[None]:
    """Let the histories hear what the landing stages say."""
    rooms = [land, proof, source]
    before = [room.log for room in rooms]
    for room in rooms:
        room.log = _Log()
    try:
        yield
    finally:
        for room, log in zip(rooms, before, strict=True):
            room.log = log


@dataclass
class _NoKeeper:
    """Keeps the leases of a lander whose renewals never arrive: the history says when it learns of a loss."""

    held: dict[UUID, Lease] = field(default_factory=dict)

    def hold(self, lease: Lease, kill: Any) -> None:
        self.held[lease.attempt_id] = lease

    def release(self, lease: Lease) -> None:
        self.held.pop(lease.attempt_id, None)


@dataclass
class History:
    """One queue of landers on one repository; `dice` decides everything."""

    seed: int
    url: str
    folder: Path
    guardian: Guardian
    runs: int = 10
    danger: float = 0.12
    intrusions: int = 1000
    journal: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Bring ten runs to the landing queue."""
        self.dice = random.Random(self.seed)
        self.folder.mkdir(parents=True)
        self.origin = Origin(self.folder / "origin.git")
        checks = f"proof: {{checks: [{{name: unique, run: '{CHECK}'}}], concurrency: 20}}"
        self.board = Board(self.url, self.folder, name=f"history-{self.seed}", extra=checks)
        self.board.settings = self.board.settings.model_copy(update={"lease_ttl": timedelta(minutes=10)})
        self.board.deployment.settings = self.board.settings
        self.nodes = [self.board.deployment, self._elsewhere()]
        self.keeper = _NoKeeper()
        self.depth, self.dead, self.is_quiet, self.is_away = 0, set[UUID](), False, False
        self._queue_up()

    def _elsewhere(self) -> Deployment:
        settings = self.board.settings.model_copy(update={"home": self.folder / "home-2", "node": "node-2"})
        database = Database(self.url, pool_size=8)
        return self.board.enlist(Deployment(database, settings, "node-2", environ={}))

    def _queue_up(self) -> None:
        assert self.board.tracker is not None
        for number in range(self.runs):
            self.board.tracker.put(f"A-{number}")
        self.board.poll()
        rows = self.board.sql(
            "SELECT r.id, i.identifier FROM runs r JOIN issues i ON i.id = r.issue_id "
            "WHERE r.workflow_id = %(id)s ORDER BY i.identifier",
            id=self.board.id,
        )
        self.names = {str(run): identifier for run, identifier in rows}
        base = self.origin.tip()
        heads = self.origin.heads(base, [(run, f"{name}\n\nSymphony-Run: {name}#1") for run, name in self.names.items()])
        self.heads = heads
        for run, head in heads.items():
            self.board.sql(
                "UPDATE runs SET stage = 'land', base_sha = %(base)s, head_sha = %(head)s, target = %(target)s, "
                "queued_at = now() WHERE id = %(run)s",
                run=run, base=base, head=head, target=f"{self.origin.path}#main",
            )  # fmt: skip

    def close(self) -> None:
        """Let go of the connections."""
        for node in self.nodes:
            node.database.close()

    def play(self) -> None:
        """Let everybody act in an order that the dice decide, then let the landers alone come to rest."""
        token = _here.set(self)
        try:
            for _ in range(3 * self.runs):
                if not self.open_runs():
                    break
                self._move()
            self.is_quiet = True
            for _ in range(6 * self.runs + 10):
                if not self.open_runs():
                    return
                if self.origin.is_red(self.origin.tip()):
                    self.origin.cure()
                self.bury()
                self.step()
            why = self.board.sql("SELECT kind, data FROM run_events WHERE kind NOT IN ('claimed', 'admitted', 'came_due')")
            raise AssertionError(f"the queue did not come to rest: {why[-20:]}; {self.journal}")
        finally:
            _here.reset(token)

    def race(self, lanes: int) -> None:
        """Let several threads land, each once, while an intruder pushes and rewinds; nobody dies or is late."""
        if lanes < 2:
            return
        over = threading.Event()

        def interfere() -> None:
            while not over.wait(self.dice.random()):
                self._intrude()

        threads = [threading.Thread(target=self.step) for _ in range(lanes)]
        intruder = threading.Thread(target=interfere)
        for thread in (*threads, intruder):
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        intruder.join()

    def _move(self) -> None:
        throw = self.dice.random()
        if throw < 0.15:
            self._intrude()
        elif throw < 0.3:
            self.bury()
        else:
            self.step()

    def open_runs(self) -> list[UUID]:
        """List the runs that are still to be landed."""
        rows = self.board.sql(
            "SELECT id FROM runs WHERE workflow_id = %(id)s AND stage = 'land' AND state IN ('queued','running','waiting')",
            id=self.board.id,
        )
        return [row[0] for row in rows]

    def step(self) -> None:
        """Let one lander claim what it can and do its work."""
        node = self.dice.choice(self.nodes)
        self.board.sql("UPDATE runs SET due_at = now() WHERE state = 'waiting' AND stage = 'land'")
        self.board.admit(node)
        queued = self.board.sql("SELECT id FROM runs WHERE workflow_id = %(id)s AND state = 'queued' AND stage = 'land' "
                                "ORDER BY queued_at, id", id=self.board.id)  # fmt: skip
        for (run,) in queued:
            try:
                if execute(node, self.guardian, self.keeper, run, Stage.LAND, land.land) is not None:  # type: ignore[arg-type]
                    return
            except Killed:
                return

    def at(self, label: Label, run: UUID) -> None:
        """Decide what happens to a lander at a point that it passes."""
        self._look(label, run)
        throw = self.dice.random()
        if self.is_quiet or throw > 3 * self.danger:
            return
        name = self.names[str(run)]
        if throw < self.danger:
            self._intrude()
        elif throw < 2 * self.danger:
            self.journal.append(f"{name} dies at {label}")
            self.dead.add(run)
            raise Killed(name)
        elif self.depth < 2:
            self._stall(label, run)

    def _look(self, label: Label, run: UUID) -> None:
        """Note it when the target holds a commit of this run's that no landing's row tells of."""
        unknown = "SELECT 1 FROM proofs p WHERE p.run_id = %(run)s AND p.merge_sha = %(tip)s AND NOT EXISTS "
        unknown += "(SELECT FROM landings l WHERE l.merge_sha = p.merge_sha)"
        if self.board.sql(unknown, run=run, tip=self.origin.tip()):
            self.faults.append(f"the target was moved before the landing was written, seen at {label}")

    def _stall(self, label: Label, run: UUID) -> None:
        """Take a living lander for dead, let others work, and let it go on; its trust ends before its lease does.

        A lander that is between its look at the trust and the push is ended by the guardian; one that is not, and goes
        on without knowing, is played too, while the intruder only pushes.
        """
        is_unaware = self.dice.random() < 0.5
        self.journal.append(f"{self.names[str(run)]} is late at {label}{', unaware' if is_unaware else ''}")
        mine = [lease for lease in self.keeper.held.values() if lease.held.run_id == run]
        was_away = self.is_away
        self.depth, self.is_away = self.depth + 1, was_away or is_unaware
        self.end_leases([run])
        for _ in range(self.dice.randrange(1, 4)):
            self._move()
        self.depth, self.is_away = self.depth - 1, was_away
        if not is_unaware:
            for lease in mine:
                lease.lose()
        self.journal.append(f"{self.names[str(run)]} goes on at {label}")

    def bury(self) -> None:
        """Let the sweeper find the dead."""
        dead, self.dead = self.dead, set()
        self.end_leases(list(dead))

    def end_leases(self, runs: list[UUID]) -> None:
        """Let the leases of these runs run out."""
        if not runs:
            return
        self.board.sql("UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = ANY(%(runs)s)", runs=runs)
        self.board.blame()
        sweeping = self.board.settings.model_copy(update={"lease_ttl": timedelta(seconds=2)})
        sweep(Deployment(self.board.database, sweeping, "node-1", environ={}))

    def _intrude(self) -> None:
        if self.intrusions <= 0:
            return
        self.intrusions -= 1
        before = self.origin.tip()
        self.origin.intrude(self.dice, may_rewind=not self.is_away)
        self.journal.append(f"intruder {before[:7]} -> {self.origin.tip()[:7]}")


def verify(history: History) -> int:
    """Check the promise of landing from the bare repository, then the ledger against it; give the number of landings."""
    origin, board = history.origin, history.board
    ours = [update for update in origin.updates() if update.by_us]
    proved = {
        (row[0], row[1])
        for row in board.sql("SELECT merge_sha, tree_sha FROM proofs p JOIN runs r ON r.id = p.run_id WHERE verdict = "
                             "'passed' AND r.workflow_id = %(id)s", id=board.id)
    }  # fmt: skip
    told = f"seed {history.seed}: " + "; ".join(history.journal)
    assert not history.faults, f"{history.faults[0]}; {told}"
    for update in ours:
        tree, *parents = origin.git("show", "-s", "--format=%T %P", update.new).split()
        assert parents[0] == update.old, f"a tip of ours does not stand on what it replaced; {told}"
        brought = set(origin.git("rev-list", update.new, f"^{update.old}").splitlines())
        assert brought <= {update.new, *parents}, f"a landing brought back what had been removed; {told}"
        assert not origin.is_red(tree), f"a red tree was landed; {told}"
        assert (update.new, tree) in proved, f"a tree was landed without a proof of it; {told}"
        trailer = origin.git("show", "-s", "--format=%(trailers:key=Symphony-Run,valueonly)", update.new).strip()
        before = origin.git("log", "--format=%H", "--fixed-strings", f"--grep=Symphony-Run: {trailer}", update.old)
        assert not before, f"{trailer} landed upon itself; {told}"
    rows = board.sql("SELECT i.identifier, r.state, r.landed_sha FROM runs r JOIN issues i ON i.id = r.issue_id WHERE "
                     "r.workflow_id = %(id)s", id=board.id)  # fmt: skip
    tips = {update.new for update in ours}
    for name, state, landed in rows:
        assert state != "landed" or landed in tips, f"{name} is called landed and is not; {told}"
    assert not board.sql("SELECT 1 FROM landings l JOIN runs r ON r.id = l.run_id WHERE l.state = 'intended' AND "
                         "r.workflow_id = %(id)s", id=board.id), told  # fmt: skip
    board.assert_consistent()
    return sum(state == "landed" for _, state, _ in rows)
