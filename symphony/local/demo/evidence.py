"""What the ledger says of the demo: read while it runs, and once more in full when it is over.

Reads only; the show and the checks stand on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from symphony.ledger import usage, views
from symphony.ledger.database import Transaction
from symphony.ledger.usage import Used


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a run's state; `feedback` is the run's as of the reading."""

    id: int
    at: datetime
    identifier: str
    kind: str
    after: str
    stage: str
    data: dict[str, Any]
    feedback: str | None

    @property
    def takes_slot(self) -> bool:
        """Tell whether the run holds an agent's slot from here on."""
        return self.after in {"queued", "running"} and self.stage in {"provision", "agent"}


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker process under a run whose agent works."""

    process_id: UUID
    pid: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the ledger knows at the end: runs in full and usage by issue, and all events in their order."""

    runs: dict[str, dict[str, Any]]
    used: dict[str, Used]
    superfluous: list[str]
    events: list[Event]

    def of(self, identifier: str, kind: str) -> list[Event]:
        """List the events of one kind of an issue's run."""
        return [event for event in self.events if event.identifier == identifier and event.kind == kind]

    def agent_attempts(self, identifier: str) -> list[dict[str, Any]]:
        """List the attempts of an issue's agent, oldest first."""
        return [attempt for attempt in self.runs[identifier]["attempts"] if attempt["stage"] == "agent"]


def read_events(transaction: Transaction) -> list[Event]:
    """Read all events in the order in which they were written."""
    rows = transaction.rows(
        """
        SELECT e.id, e.at, i.identifier, e.kind, e.after, e.stage, e.data, r.feedback
        FROM run_events e JOIN runs r ON r.id = e.run_id JOIN issues i ON i.id = r.issue_id ORDER BY e.id
        """
    )
    return [Event(**row._mapping) for row in rows]


def read_holder(transaction: Transaction, identifier: str) -> Holder | None:
    """Find the worker process under an issue's agent; None while none has begun a call that may change something."""
    row = transaction.row(
        """
        SELECT p.id, p.pid FROM runs r JOIN issues i ON i.id = r.issue_id JOIN processes p ON p.id = r.process_id
        WHERE i.identifier = :identifier AND r.state = 'running' AND r.stage = 'agent' AND EXISTS (
          SELECT FROM conversation_items c WHERE c.run_id = r.id AND c.token = r.token AND c.started_at IS NOT NULL)
        """,
        identifier=identifier,
    )
    return Holder(row.id, row.pid) if row is not None else None


def read_all(transaction: Transaction) -> Evidence:
    """Read the whole story from the ledger."""
    runs: dict[str, dict[str, Any]] = {}
    superfluous = []
    for summary in reversed(views.runs_of(transaction)):
        identifier = str(summary["identifier"])
        if identifier in runs:
            superfluous.append(f"{identifier}#{summary['number']}")
        in_full = views.run_in_full(transaction, summary["id"])
        assert in_full is not None
        runs[identifier] = in_full
    used = usage.usage_by_issue(transaction, [run["issue_id"] for run in runs.values()])
    by_issue = {identifier: used.get(run["issue_id"], Used()) for identifier, run in runs.items()}
    return Evidence(runs, by_issue, superfluous, read_events(transaction))
