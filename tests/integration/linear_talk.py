"""A workflow on a played Linear whose agent people talk to in sessions; driven through the engine's own doors.

Invariant: what Linear saw is asked of Linear, and what the ledger knows of the ledger; only clocks are set by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symphony.domain.outcome import Advance
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.engine.deployment import Deployment
from symphony.engine.greet import greet
from symphony.engine.ring import SpokenTo, ring
from symphony.ledger import landings, runs
from symphony.ledger.database import new_id
from symphony.trackers.linear.adapter import LinearTracker
from tests.fakes.linear_records import Issue, Session
from tests.fakes.linear_server import LinearServer
from tests.integration.board import Board
from tests.integration.linear_board import linear

STATES = (
    ("Backlog", "backlog"), ("Todo", "unstarted"), ("In Progress", "started"), ("Rework", "started"), ("Review", "started"),
    ("Blocked", "started"), ("Merging", "started"), ("Done", "completed"), ("Canceled", "canceled"),
)  # fmt: skip
OPENAI = "{kind: openai, model: gpt-5, max_concurrent_agents: 100}"


class Talk(Board):
    """A board of kind linear, with an application's token unless `key` says otherwise."""

    def __init__(self, url: str, folder: Path, server: LinearServer, *, key: str | None = None, **more: Any) -> None:
        given = {"authors": more.pop("authors", None), **more.pop("provider", {})}
        self.server = server
        self.linear: LinearTracker = linear(server, key=key or server.token, **given)
        super().__init__(url, folder, tracker=self.linear, kind="linear", **more)  # type: ignore[arg-type]

    def another_process(self) -> Deployment:
        """Give another worker process, with an adapter of its own."""
        return self.colleague()

    def opened(self, issue: Issue, *, action: str = "created", session: Session | None = None) -> Session:
        """Delegate an issue, unless its session is given, and take in the webhook that tells of it."""
        if session is None:
            self.server.delegate(issue, None)
            self.server.delegate(issue, self.server.app)
            session = self.server.sessions(issue)[-1]
        told = SpokenTo(session.id, issue.id, by_person=action == "prompted")
        self.database.transact(lambda t: ring(t, "linear", str(new_id()), [self.id], told))
        return session

    def greeted(self, issue: Issue) -> Session:
        """Open a session and greet it."""
        session = self.opened(issue)
        assert greet(self.deployment) == 1
        assert self.session(session)["state"] == "greeted"
        return session

    def session(self, session: Session) -> dict[str, Any]:
        """Give a session's row."""
        columns = "state, workflow_id, tries, error, spoken_at"
        (row,) = self.sql(f"SELECT {columns} FROM agent_sessions WHERE id = %(id)s", id=session.id)
        return dict(row._mapping)

    def said(self, session: Session) -> list[tuple[str, str]]:
        """Give what was said in a session, by whomever: type and words."""
        return [(one.content["type"], words(one.content)) for one in self.server.activities(session)]

    def carried(self) -> None:
        """Deliver what is wanted."""
        deliver(self.deployment)
        assert not self.sql("SELECT 1 FROM effects WHERE state = 'pending' AND kind <> 'progress'")

    def bring(self, identifier: str, stage: Stage) -> Any:
        """Poll an issue of the server's and bring its run to a stage, queued."""
        self.poll()
        while self.run(identifier).stage is not stage:
            self.step(identifier, Advance())
        return self.run(identifier)

    def proved(self, identifier: str, verdict: str, checks: Sequence[tuple[str, str]], outcome: Any) -> Any:
        """Claim a run's proof, store what it found, and settle."""
        claimed = self.claim(identifier)
        found = [{"name": name, "verdict": one} for name, one in checks]
        self.fenced(
            claimed,
            lambda t: landings.add_proof(
                t, base_sha="b", head_sha="h", merge_sha="m", tree_sha=str(new_id()), verdict=verdict, checks=found
            ),
        )
        return self.settle(claimed, outcome)

    def landed(self, identifier: str) -> Any:
        """Claim a run's landing, intend it and let it land."""
        claimed = self.claim(identifier)
        proof = self.database.transact(lambda t: landings.newest_proof(t, claimed.run.id))
        assert proof is not None
        self.fenced(claimed, lambda t: runs.note(t, target="origin main"))
        self.fenced(claimed, lambda t: landings.intend(t, proof))
        return self.settle(claimed, Advance())

    def silent_for(self, minutes: int) -> None:
        """Let nothing have been said in any session for so long."""
        self.sql("UPDATE agent_sessions SET spoken_at = now() - make_interval(mins => %(m)s), due_at = now()", m=minutes)

    def due_again(self) -> None:
        """Let the leases of those who spoke be over."""
        self.sql("UPDATE agent_sessions SET due_at = now()")
        self.sql("UPDATE issues SET deliverer = NULL, deliver_until = NULL")
        self.sql("UPDATE effects SET due_at = now() WHERE state = 'pending'")


def words(content: Any) -> str:
    """Give the words of an activity."""
    if content["type"] != "action":
        return str(content["body"])
    return f"{content['action']} {content['parameter']}" + (f": {content['result']}" if content.get("result") else "")
