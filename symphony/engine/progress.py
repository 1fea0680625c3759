"""How an issue's run is getting on, for the one comment on the issue that is kept up to date, and its mark on the board.

Invariant: it is worded from rows at the moment in which it is written, so a late one says what is true then. Relied on by
the delivery of effects.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from symphony.domain.run import RunEvent, RunState
from symphony.domain.stage import Stage
from symphony.engine.shown import Reach, facts_of_run
from symphony.ledger import views
from symphony.ledger.database import Transaction
from symphony.proof.artefact import headline
from symphony.proof.markdown import inline
from symphony.trackers.protocol import Situation

_MOST_EVENTS = 15
_REASON = 200
_SITUATIONS: dict[str, Situation] = {
    RunState.QUEUED: "working",
    RunState.RUNNING: "working",
    RunState.WAITING: "working",
    RunState.BLOCKED: "blocked",
    RunState.REVIEWING: "review",
    RunState.FAILED: "failed",
    RunState.LANDED: "landed",
}
_BEGUN = {
    Stage.PROVISION: "the workspace is being made",
    Stage.AGENT: "the agent works",
    Stage.PROOF: "the change is being proved",
    Stage.LAND: "the change is being landed",
}
_ENDED = {
    Stage.PROVISION: "the workspace is ready",
    Stage.AGENT: "the agent has finished",
    Stage.PROOF: "the proof has passed",
    Stage.LAND: "the change has landed",
}
_HAPPENED = {
    RunEvent.CONTINUED: "another session follows",
    RunEvent.REWORKED: "back to the agent",
    RunEvent.PARKED: "waits",
    RunEvent.RETRIED: "tried again after a failure",
    RunEvent.INTERRUPTED: "interrupted, goes on elsewhere",
    RunEvent.LOST: "its worker was lost, goes on elsewhere",
    RunEvent.BLOCKED: "waits for an answer",
    RunEvent.HANDED_OVER: "ready for review",
    RunEvent.RESUMED: "goes on with an answer",
    RunEvent.APPROVED: "approved",
    RunEvent.FAILED: "failed",
    RunEvent.CANCELLED: "stopped",
    RunEvent.RELEASED: "released",
}


def progress_of(transaction: Transaction, issue_id: UUID, reach: Reach) -> tuple[str, Situation | None] | None:
    """Give the comment on an issue's newest run, and where that stands; None where there is no run (any more)."""
    found = views.newest_events(transaction, issue_id, _MOST_EVENTS)
    if found is None:
        return None
    run_id, events = found
    facts = facts_of_run(transaction, run_id, reach)
    if facts is None:
        return None
    lines = [f"- {_instant(event['at'])} {said}" for event in events if (said := _said(event))]
    return "\n".join([f"**Symphony** · {headline(facts)}", "", *lines]), _SITUATIONS.get(facts.state)


def _said(event: dict[str, Any]) -> str | None:
    kind, stage = RunEvent(event["kind"]), Stage(event["stage"])
    data = event["data"]
    if kind is RunEvent.CLAIMED:
        return _BEGUN[stage]
    if kind is RunEvent.LANDED:
        return _ENDED[Stage.LAND]
    if kind is RunEvent.ADVANCED:  # its stage is the one that follows
        before = {Stage.AGENT: Stage.PROVISION, Stage.PROOF: Stage.AGENT, Stage.LAND: Stage.PROOF}.get(stage)
        return _ENDED[before] if before is not None else None
    happened = _HAPPENED.get(kind)
    reason = data.get("reason") or data.get("error")
    return f"{happened}: {inline(str(reason), _REASON)}" if happened and reason else happened


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
