"""Why an issue has no live run: what keeps it from starting, and when that is looked at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from symphony.domain.issue import Issue, normalized_state
from symphony.domain.run import RunState
from symphony.domain.stage import SLOT_STAGES
from symphony.engine.explanation import Action, Explanation, first_line
from symphony.engine.plan import Reason, full, reason_against
from symphony.engine.rules import Rules
from symphony.ledger.scheduling import Scheduled

_COMMANDS = {
    "not_served": ("symphony up", "serve its workflow"),
    "paused": ("symphony resume {workflow}", "start new runs again"),
    "epoch_consumed": ("symphony retry {issue}", "give it a new run"),
    "poll": ("symphony check {source}", "see what is wrong with the tracker"),
}
_UNTIL_A_PERSON = {
    "not_active": "nothing, until somebody moves it to an active state",
    "epoch_consumed": "nothing, until somebody retries it, or moves it out of the active states and back",
}


def explain(
    workflow: dict[str, Any], rules: Rules, known: Scheduled, held: Sequence[Scheduled], *, now: datetime, in_workflow: str
) -> Explanation:
    """Explain an issue without a live run, from the ledger alone."""
    reason = _reason(workflow, rules, known, held)
    polled = workflow["poll_due_at"] if workflow["is_served"] else None
    when = max(polled, now) if polled is not None else None
    since = workflow["polled_at"]
    if reason is None:
        return Explanation("it has no run and is ready to start", since, "it starts with the next poll or tick", when)
    cure = (("cure", reason.cure),) if reason.cure else ()
    actions = _actions(reason, workflow, known.issue.identifier + in_workflow)
    now_ = f"it has no run: {reason.sentence}"
    if reason.category in _UNTIL_A_PERSON:
        return Explanation(now_, since, _UNTIL_A_PERSON[reason.category], facts=cure, actions=actions)
    soon = "it is looked at again with the next poll" if polled else "nothing, until its workflow is served"
    return Explanation(now_, since, soon, when, facts=cure, actions=actions)


def _reason(workflow: dict[str, Any], rules: Rules, known: Scheduled, held: Sequence[Scheduled]) -> Reason | None:
    if not workflow["is_served"]:
        return Reason("not_served", f"nothing serves its workflow {workflow['name']}", "`symphony up`, or `workflow add`")
    own = reason_against(rules.workflow, Issue.from_json(known.issue.snapshot), known, held=None)
    if own is not None:
        return own
    if workflow["poll_error"]:
        sentence = f"the tracker does not answer: {first_line(workflow['poll_error'])}"
        return Reason("poll", sentence, "mend what it says; the poll is tried again by itself")
    if not known.is_listed:
        return Reason("not_listed", "the newest poll did not show it", "look whether it is still in the tracker's scope")
    if workflow["paused_at"] is not None:
        return Reason("paused", f"its workflow {workflow['name']} is paused", f"`symphony resume {workflow['name']}`")
    return _without_slot(rules, known, held)


def _without_slot(rules: Rules, known: Scheduled, held: Sequence[Scheduled]) -> Reason | None:
    states = [
        one.issue.state
        for one in held
        if one.live is not None and one.live.state in (RunState.QUEUED, RunState.RUNNING) and one.live.stage in SLOT_STAGES
    ]
    granted, _ = rules.slots.fill(states, [known.issue], lambda issue: issue.state)
    return None if granted else full(rules.workflow, known.issue.state, Counter(map(normalized_state, states)))


def _actions(reason: Reason, workflow: dict[str, Any], issue: str) -> tuple[Action, ...]:
    found = _COMMANDS.get(reason.category)
    if reason.category == "not_active":
        return ()
    if found is None:
        return (Action("symphony plan", "see the order in which issues start"),)
    command, effect = found
    return (Action(command.format(workflow=workflow["name"], issue=issue, source=workflow["source"]), effect),)
