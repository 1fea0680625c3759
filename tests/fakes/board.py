"""A ledger with one workflow and issues on it, made through the functions that the engine uses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from symphony.domain.issue import Issue
from symphony.domain.outcome import Outcome
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.poll import sighting_of
from symphony.engine.rules import Rules
from symphony.engine.settle import settle
from symphony.ledger import attempts, issues, processes, runs, workflows
from symphony.ledger.database import Database, Held, Transaction, new_id
from symphony.ledger.records import Run

CONTENT = """\
---
name: {name}
repository: {{url: repo, branch: main, forge: git}}
tracker:
  kind: files
  states: {{started: In Progress, review: In Review, blocked: Blocked, done: Done, merging: Merging, rework: Rework}}
agent: {{kind: command, command: "true"}}
proof: {{checks: [{{name: t, run: "true"}}]}}
land: {{mode: {land}}}
---
Do {{{{ issue.title }}}}
"""


@dataclass
class Board:
    """One workflow in a ledger; `run` and `admit` give its runs."""

    database: Database
    workflow_id: UUID
    rules: Rules
    process_id: UUID

    @classmethod
    def make(cls, database: Database, folder: Path, *, name: str = "payments", land: str = "review") -> Board:
        """Register the workflow and a worker process."""
        content, process_id = CONTENT.format(name=name, land=land), new_id()

        def body(transaction: Transaction) -> UUID:
            processes.register(transaction, process_id=process_id, node="n1", pid=1, queues=["provision"], slots=4)
            return workflows.register(
                transaction, name=name, source_kind="file", source=str(folder / f"{name}.md"), content=content,
                digest=name, base_dir=str(folder), serve_for=None,
            )  # fmt: skip

        workflow_id = database.transact(body)
        row = database.transact(lambda t: workflows.get(t, workflow_id))
        assert row is not None
        return cls(database, workflow_id, Rules.of(row), process_id)

    def see(self, identifier: str, state: str = "Todo", title: str = "A title") -> UUID:
        """Poll a board that holds this one issue and give its row."""
        issue = Issue(
            identifier, identifier, title, state, True, updated_at=datetime.now(UTC), url=f"https://t/{identifier}"
        )

        def body(transaction: Transaction) -> UUID:
            workflows.poll_soon(transaction, self.workflow_id)
            seq = workflows.begin_poll_if_due(
                transaction, self.workflow_id, process_id=self.process_id, interval=timedelta(hours=1),
                silence=timedelta(seconds=30),
            )  # fmt: skip
            assert seq is not None
            issues.write_if_newer(transaction, self.workflow_id, seq, [sighting_of(issue, self.rules)], listed=True)
            assert workflows.end_poll_if_newest(transaction, self.workflow_id, seq, None)
            return next(i.id for i in issues.find(transaction, identifier) if i.workflow_id == self.workflow_id)

        return self.database.transact(body)

    def admit(self, identifier: str, **seen: str) -> Run:
        """Begin a run of an issue."""
        issue_id = self.see(identifier, **seen)
        run = self.database.transact(lambda t: runs.admit_if_no_live_run(t, issue_id))
        assert run is not None
        return run

    def claim(self, run: Run) -> Run:
        """Take a queued run."""

        def body(transaction: Transaction) -> Run:
            claimed = runs.claim_if_due(
                transaction, run.id, Stage(run.stage), process_id=self.process_id, node="n1", attempt_id=new_id(),
                ttl=timedelta(seconds=30),
            )  # fmt: skip
            assert claimed is not None and claimed.state is RunState.RUNNING
            row = workflows.get(transaction, self.workflow_id)
            assert row is not None
            attempts.begin(transaction, claimed, version_id=row.version_id, node="n1", sandbox="guardian")
            return claimed

        return self.database.transact(body)

    def settle(self, run: Run, outcome: Outcome) -> Run:
        """End the attempt of a held run."""
        return settle(self.database, Held(run.id, run.token), outcome, self.rules)

    def run(self, identifier: str, *outcomes: Outcome, **seen: str) -> Run:
        """Begin a run and let its attempts end one after the other."""
        run = self.admit(identifier, **seen)
        for outcome in outcomes:
            run = self.settle(self.claim(run), outcome)
        return run

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """Ask the ledger."""
        return self.database.transact(lambda t: t.rows(statement, **parameters))

    def now(self, run: Run) -> Run:
        """Read a run."""
        found = self.database.transact(lambda t: runs.get(t, run.id))
        assert found is not None
        return found
