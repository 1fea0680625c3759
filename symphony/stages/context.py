"""What a stage is given: its run, its issue, its workflow, and the means to act as the run's holder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from symphony.domain.issue import Issue
from symphony.ledger import runs
from symphony.ledger.database import Database, FencedTransaction
from symphony.ledger.records import Run
from symphony.processes.guardian import Tree
from symphony.settings import Settings
from symphony.stages.lease import Lease
from symphony.trackers.protocol import Tracker
from symphony.workflow.resolution import Resolved
from symphony.workflow.schema import Workflow

T = TypeVar("T")


class SideTree(Protocol):
    """Opens a further tree of an attempt, for what works while the first one stands still, or must not end it."""

    def __call__(self, *, limited: bool = False) -> AbstractContextManager[Tree]:
        """Open it; `limited`: by the sandbox's limits on memory and processes, as the first one is."""
        ...


@dataclass
class RunContext:
    """One attempt of one stage; `number` counts the stage's attempts from 1."""

    run: Run
    issue: Issue
    workflow: Workflow
    workflow_name: str
    number: int
    resolved: Resolved
    prompt_template: str
    prompt_line: int
    database: Database
    settings: Settings
    node: str
    lease: Lease
    tree: Tree
    tracker: Tracker
    environ: Mapping[str, str]
    side_tree: SideTree

    def fenced(self, body: Callable[[FencedTransaction], T]) -> T:
        """Write as the run's holder, while the lease is trusted; waits while the database is away.

        After a commit of unknown end `body` runs again, so it must read before it writes.

        Raises:
            Fenced: the run has another owner; nothing was written.
            Cancelled: somebody asked the run to stop.
        """

        def trusted() -> T:
            self.lease.ensure_trusted()
            return self.database.fenced(self.lease.held, body)

        return self.lease.when_reachable(trusted)

    def write(self, **columns: Any) -> None:
        """Write what the stage has found out into the run's row, and see it in `run` from then on.

        Raises:
            Fenced, Cancelled: as `fenced`.
        """
        self.run = self.fenced(lambda transaction: runs.note(transaction, **columns))
