"""Stages as they run in a worker: claimed, executed under a guardian and settled, on a real repository.

Invariant: every step goes through `engine.execute`; agent and checks are shell scripts that a test may change at any time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import execute as executing
from symphony.engine.deployment import Deployment
from symphony.engine.keeper import LeaseKeeper
from symphony.ledger.database import Database
from symphony.ledger.records import Proof, Run
from symphony.processes.guardian import Guardian
from symphony.settings import Settings
from symphony.stages.lease import Lease
from symphony.stages.table import STAGES
from tests.fakes.repositories import Repository, git
from tests.fakes.scripted_tracker import ScriptedTracker
from tests.integration.board import Board

ISSUE = "DEMO-1"
CHANGE = "cat > /dev/null; echo changed > new.txt"


@dataclass
class Bench:
    """One node that executes the runs of a board; `agent` and `check` write the scripts that the workflow names."""

    board: Board
    guardian: Guardian
    deployment: Deployment
    keeper: LeaseKeeper
    folder: Path
    outcomes: list[str] = field(default_factory=list)

    @property
    def tracker(self) -> ScriptedTracker:
        """The board's tracker."""
        assert self.board.tracker is not None
        return self.board.tracker

    @property
    def run(self) -> Run:
        """The newest run of the issue."""
        return self.board.run(ISSUE)

    @property
    def workspace(self) -> Path:
        """Where the issue's workspace lies on this node."""
        return self.root / ISSUE

    @property
    def root(self) -> Path:
        """The workflow's workspaces on this node."""
        resolved = self.board.rules.resolved(self.deployment.environ)
        root: Path = resolved.workspace_root(home=self.deployment.settings.home)
        return root

    def agent(self, script: str) -> None:
        """Be this agent from now on."""
        (self.folder / "agent.sh").write_text(script)

    def check(self, script: str) -> None:
        """Be this check from now on."""
        (self.folder / "check.sh").write_text(script)

    def start(self, **fields: Any) -> Run:
        """Put the issue on the board and have its run admitted."""
        self.tracker.put(ISSUE, **fields)
        self.board.poll()
        self.board.admit()
        return self.run

    def step(self, *, on: Bench | None = None) -> Run:
        """Execute the stage in which the run stands, after its wait; the outcome's name is kept in `outcomes`."""
        settled = self._executed(on or self)
        assert settled is not None, f"fenced: {self.run}"
        return settled

    def _executed(self, node: Bench) -> Run | None:
        run = self.run
        if run.state is RunState.WAITING:
            run = self.board.due(ISSUE)
        assert run.state is RunState.QUEUED, run
        settled = executing.execute(node.deployment, self.guardian, node.keeper, run.id, run.stage, STAGES[run.stage])
        self.outcomes.append(self.attempts()[-1][1])
        return settled

    def step_aside(self) -> tuple[threading.Thread, list[Run | None]]:
        """Execute the next stage in a thread; its run, None for a fenced one, is appended to the list at its end."""
        answers: list[Run | None] = []
        thread = threading.Thread(target=lambda: answers.append(self._executed(self)), daemon=True)
        thread.start()
        return thread, answers

    def bring(self, stage: Stage, **fields: Any) -> Run:
        """Execute a new run until it is queued in `stage`."""
        self.start(**fields)
        for _ in range(5):
            if self.run.stage is stage:
                return self.run
            run = self.step()
            assert run.state in {RunState.QUEUED, RunState.LANDED}, run
        raise AssertionError(f"{self.run} never came to {stage}")

    def leases(self) -> list[Lease]:
        """The leases that are held now."""
        return self.keeper.held()

    def attempts(self) -> list[tuple[str, str, str | None]]:
        """List stage, outcome and error of the run's attempts."""
        rows = self.board.sql(
            "SELECT stage, outcome, error FROM attempts WHERE run_id = %(id)s ORDER BY id", id=self.run.id
        )
        return [tuple(row) for row in rows]

    def proofs(self) -> list[Any]:
        """List the proofs of the run, oldest first."""
        columns = ", ".join(Proof.__dataclass_fields__)
        return self.board.sql(f"SELECT {columns} FROM proofs WHERE run_id = %(id)s ORDER BY id", id=self.run.id)

    def landings(self) -> list[tuple[str, str]]:
        """List state and commit of the run's landings, oldest first."""
        rows = self.board.sql("SELECT state, merge_sha FROM landings WHERE run_id = %(id)s ORDER BY id", id=self.run.id)
        return [tuple(row) for row in rows]


@contextmanager
def bench(
    url: str, folder: Path, guardian: Guardian, *, sections: Mapping[str, Any] | None = None, repository: bool = True,
    environ: Mapping[str, str] | None = None, agent: Mapping[str, Any] | None = None, states: str = "",
    settings: Mapping[str, Any] | None = None, name: str = "board",
) -> Iterator[Bench]:  # fmt: skip
    """Register a workflow whose agent and check are scripts, and serve it on one node until the end."""
    chosen = {"kind": "command", "command": f". {folder}/agent.sh", "max_concurrent_agents": 100, **(agent or {})}
    rest: dict[str, Any] = {"proof": {"checks": [{"name": "tests", "run": f". {folder}/check.sh"}]}, **(sections or {})}
    board = Board(
        url, folder, agent=yaml.safe_dump(chosen, default_flow_style=True, width=10_000).strip(),
        extra=yaml.safe_dump(rest, width=10_000), repository=repository, states=states, name=name,
    )  # fmt: skip
    if settings:
        board.deployment.settings = board.settings.model_copy(update=dict(settings))
    board.deployment.environ = {"PATH": os.environ["PATH"], **(environ or {})}
    with _served(board, board.deployment, guardian, folder) as made:
        made.agent(CHANGE)
        made.check("true")
        yield made
    board.database.close()


@contextmanager
def another_node(first: Bench, name: str) -> Iterator[Bench]:
    """Serve the same board on another node with a home of its own."""
    settings = Settings(home=first.folder / f"home-{name}", database_url=first.board.url, node=name)
    deployment = Deployment(Database(first.board.url), settings, name, environ=first.deployment.environ)
    first.board.enlist(deployment)
    with _served(first.board, deployment, first.guardian, first.folder) as made:
        yield made
    deployment.database.close()


@contextmanager
def _served(board: Board, deployment: Deployment, guardian: Guardian, folder: Path) -> Iterator[Bench]:
    own = Database(board.url, pool_size=1)
    keeper = LeaseKeeper(own, guardian, deployment.settings, deployment.process_id, lambda: None)
    keeper.start()
    try:
        yield Bench(board, guardian, deployment, keeper, folder)
    finally:
        keeper.stop()
        own.close()


def files_at(repository: Repository, commit: str) -> dict[str, str]:
    """Give the files of a commit at the repository."""
    names = git(repository.path, "ls-tree", "-r", "--name-only", commit).splitlines()
    return {name: git(repository.path, "show", f"{commit}:{name}") for name in names}
