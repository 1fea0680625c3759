"""A workflow in a real database, driven in-process: polls, admissions, claims and settlements, with scripted outcomes.

Invariant: everything goes through the engine's own doors; only clocks (leases, due times, heartbeats) are set by hand.
"""

from __future__ import annotations

import hashlib
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from symphony.domain.outcome import Advance, Outcome
from symphony.domain.run import TRANSITIONS, RunEvent
from symphony.domain.stage import Stage
from symphony.engine import poll as polling
from symphony.engine.admit import Admission, admit
from symphony.engine.deployment import Deployment
from symphony.engine.execute import Claim, claim
from symphony.engine.settle import settle
from symphony.engine.sweep import sweep
from symphony.ledger import landings, processes, runs, workflows
from symphony.ledger.database import Database, FencedTransaction, Held, new_id
from symphony.ledger.records import Proof, Run, WorkflowRow
from symphony.settings import Settings
from tests.fakes.scripted_tracker import ScriptedTracker

TEXT = """---
name: {name}
tracker:
  kind: {kind}
  provider: {{path: {path}}}
  active_states: [Todo, In Progress, Rework, Merging]
  terminal_states: [Done, Cancelled]
{tracker}
polling: {{interval_ms: 1000}}
{repository}
agent: {agent}
{extra}
---
Work on {{{{ issue.identifier }}}}.
"""
MOVING = "  states: {started: In Progress, review: Review, rework: Rework, merging: Merging, blocked: Blocked, done: Done}"
COMMAND = "{kind: command, command: 'true', max_concurrent_agents: 100}"


@dataclass
class Board:
    """One workflow and one worker process; `tracker` None opens the files tracker on `folder`."""

    url: str
    folder: Path
    tracker: ScriptedTracker | None = field(default_factory=ScriptedTracker)
    name: str = "board"
    kind: str = "files"
    states: str = MOVING
    agent: str = COMMAND
    repository: bool = True
    extra: str = ""
    node: str = "node-1"

    def __post_init__(self) -> None:
        """Register the workflow and the process."""
        self.settings = Settings(home=self.folder / "home", database_url=self.url, node=self.node)
        (self.folder / "issues").mkdir(exist_ok=True)
        self.deployment = Deployment(Database(self.url, pool_size=8), self.settings, self.node, environ={})
        self.database = self.deployment.database
        text = TEXT.format(
            name=self.name,
            kind=self.kind,
            path=self.folder / "issues",
            tracker=self.states,
            repository=f"repository: {{url: {self.folder / 'origin.git'}, branch: main}}" if self.repository else "",
            agent=self.agent,
            extra=self.extra,
        )
        self.id = self.database.transact(
            lambda t: workflows.register(
                t, name=self.name, source_kind="file", source=str(self.folder / "WORKFLOW.md"), content=text,
                digest=hashlib.sha256(text.encode()).hexdigest(), base_dir=str(self.folder), serve_for=None,
            )
        )  # fmt: skip
        self.enlist(self.deployment)

    def enlist(self, deployment: Deployment) -> Deployment:
        """Write the row of a process and give it this board's tracker."""
        self.database.transact(
            lambda t: processes.register(
                t, process_id=deployment.process_id, node=deployment.node, pid=1, queues=["control"], slots=100
            )
        )
        if self.tracker is not None:
            deployment._trackers[self.row.version_id] = self.tracker
        return deployment

    def colleague(self, node: str | None = None) -> Deployment:
        """Give another worker process of the same deployment, with connections of its own."""
        return self.enlist(Deployment(Database(self.url, pool_size=8), self.settings, node or self.node, environ={}))

    @property
    def row(self) -> WorkflowRow:
        """The workflow's row."""
        found = self.database.transact(lambda t: workflows.get(t, self.id))
        assert found is not None
        return found

    @property
    def rules(self) -> Any:
        """The workflow's rules."""
        return self.deployment.rules(self.row)

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        """Run a statement by hand and give its rows."""

        def body(transaction: Any) -> list[Any]:
            result = transaction._connection.exec_driver_sql(statement, parameters or None)
            return list(result) if result.returns_rows else []

        return self.database.transact(body)

    def poll(self, deployment: Deployment | None = None) -> bool:
        """Poll now."""
        self.database.transact(lambda t: workflows.poll_soon(t, self.id))
        return polling.poll(deployment or self.deployment, self.id)

    def admit(self, deployment: Deployment | None = None) -> Admission:
        """Admit now."""
        return admit(deployment or self.deployment, self.row)

    def runs(self, identifier: str) -> list[Run]:
        """List an issue's runs, oldest first."""
        ids = self.sql(
            "SELECT r.id FROM runs r JOIN issues i ON i.id = r.issue_id "
            "WHERE i.identifier = %(name)s AND r.workflow_id = %(workflow)s ORDER BY r.number",
            name=identifier,
            workflow=self.id,
        )
        return [self.get(row[0]) for row in ids]

    def run(self, identifier: str) -> Run:
        """Give an issue's newest run."""
        return self.runs(identifier)[-1]

    def get(self, run_id: UUID) -> Run:
        """Read a run."""
        found = self.database.transact(lambda t: runs.get(t, run_id))
        assert found is not None
        return found

    def claim(self, identifier: str, deployment: Deployment | None = None) -> Claim:
        """Claim an issue's run in the stage in which it is queued."""
        run = self.run(identifier)
        claimed = claim(deployment or self.deployment, run.id, run.stage)
        assert claimed is not None, f"nothing to claim: {run}"
        return claimed

    def settle(self, claimed: Claim, outcome: Outcome) -> Run:
        """Settle a claim."""
        return settle(self.database, Held(claimed.run.id, claimed.run.token), outcome, claimed.rules)

    def step(self, identifier: str, outcome: Outcome) -> Run:
        """Claim a queued run and settle it; a target and a head are noted on the way to landing."""
        claimed = self.claim(identifier)
        if claimed.run.stage is Stage.AGENT and isinstance(outcome, Advance):
            self.fenced(claimed, lambda t: runs.note(t, base_sha="b", head_sha="h", target="origin main"))
        return self.settle(claimed, outcome)

    def bring(self, identifier: str, stage: Stage) -> Run:
        """Poll a new issue and bring its run to a stage, queued."""
        assert self.tracker is not None
        if identifier not in self.tracker.issues:
            self.tracker.put(identifier)
        self.poll()
        while self.run(identifier).stage is not stage:
            self.step(identifier, Advance())
        return self.run(identifier)

    def due(self, identifier: str) -> Run:
        """Make a waiting run due and admit it."""
        self.sql("UPDATE runs SET due_at = now() WHERE id = %(id)s", id=self.run(identifier).id)
        self.admit()
        return self.run(identifier)

    def fenced(self, claimed: Claim, body: Callable[[FencedTransaction], Any]) -> Any:
        """Write as a claim's holder."""
        return self.database.fenced(Held(claimed.run.id, claimed.run.token), body)

    def prove(self, claimed: Claim, verdict: str = "passed") -> Proof:
        """Write a proof of a claimed run."""

        def body(transaction: FencedTransaction) -> Proof | None:
            landings.add_proof(
                transaction, base_sha="b", head_sha="h", merge_sha="m", tree_sha="t", verdict=verdict, checks=[]
            )
            return landings.newest_proof(transaction, claimed.run.id)

        proof: Proof = self.fenced(claimed, body)
        return proof

    def expire(self, identifier: str, *, process_died: bool) -> None:
        """Let the lease of a running run lie in the past, and its process too where it died."""
        run = self.run(identifier)
        self.sql("UPDATE runs SET lease_until = now() - interval '1 second' WHERE id = %(id)s", id=run.id)
        age = "1 hour" if process_died else "0 seconds"
        self.sql(f"UPDATE processes SET heartbeat_at = now() - interval '{age}' WHERE id = %(id)s", id=run.process_id)

    def blame(self) -> None:
        """Let the sweeper have swept all the time, on a PostgreSQL that is not young."""
        age = "pg_postmaster_start_time() + interval '1.5 seconds' - clock_timestamp()"
        self.sql(f"SELECT pg_sleep(greatest(0, extract(epoch FROM {age})))")
        self.sql("UPDATE sweeps SET swept_at = now(), blameless_until = NULL")

    def swept(self) -> None:
        """Sweep with a TTL so short that this server is old; leases are ended by hand."""
        self.deployment.settings = self.settings.model_copy(update={"lease_ttl": timedelta(seconds=1)})
        self.blame()
        sweep(self.deployment)

    def issue(self, identifier: str) -> Any:
        """Read an issue's row by hand."""
        return self.sql("SELECT * FROM issues WHERE identifier = %(name)s", name=identifier)[0]

    def effects(self, identifier: str) -> list[tuple[str, str, Any]]:
        """List an issue's effects: kind, state, payload."""
        rows = self.sql(
            "SELECT e.kind, e.state, e.payload FROM effects e JOIN issues i ON i.id = e.issue_id "
            "WHERE i.identifier = %(name)s ORDER BY e.seq",
            name=identifier,
        )
        return [tuple(row) for row in rows]

    def assert_consistent(self) -> None:
        """Every run's history chains by the table of transitions and ends in the row's state."""
        for run_id, state in self.sql("SELECT id, state FROM runs"):
            at = "-"
            events = self.sql("SELECT before, kind, after FROM run_events WHERE run_id = %(id)s ORDER BY id", id=run_id)
            for before, kind, after in events:
                assert before == at, (run_id, list(events))
                assert TRANSITIONS[RunEvent(kind)][None if before == "-" else before] == after
                at = after
            assert at == state, (run_id, list(events))
        assert not self.sql("SELECT issue_id FROM runs WHERE finished_at IS NULL GROUP BY issue_id HAVING count(*) > 1"), (
            "two live runs of an issue"
        )


def at_once(bodies: list[Callable[[], Any]], timeout_s: float = 60) -> list[Any]:
    """Run functions in threads that start together and give their answers, an exception for one that raised."""
    barrier = threading.Barrier(len(bodies))
    answers: list[Any] = [None] * len(bodies)

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = bodies[number]()
        except Exception as error:
            error.add_note(traceback.format_exc())
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
        assert not thread.is_alive(), "a thread hangs"
    return answers


def fresh_id() -> UUID:
    """Make an id."""
    return new_id()
