"""What would start now, in which order, and why not the rest: admission told, not done.

Pure over what a tracker said and, where it answers, what the ledger knows. The order of the reasons is that in which
admission itself would stop. `symphony plan` and `symphony why` rely on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from symphony.domain.admission import dispatch_order, has_required_labels
from symphony.domain.issue import Issue, normalized_labels, normalized_state
from symphony.domain.run import RunState
from symphony.domain.stage import SLOT_STAGES, Stage
from symphony.ledger.scheduling import LiveRun, Scheduled
from symphony.trackers.protocol import FetchedIssues
from symphony.workflow.schema import Workflow


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an issue does not start now: a stable word, one sentence, and what a person could do about it."""

    category: str
    sentence: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Something that gets a slot now: a new run, or one that was due."""

    identifier: str
    title: str | None
    state: str
    priority: int | None
    resumes: LiveRun | None = None


@dataclass(frozen=True, slots=True)
class HeldBack:
    """An issue that does not start now."""

    identifier: str
    title: str
    state: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Plan:
    """What one admission would do now."""

    starts: Sequence[Start]
    held_back: Sequence[HeldBack]
    omitted: Sequence[str]
    taken: int
    """Agent slots that runs have now."""
    total: int
    taken_by_state: Mapping[str, int] = field(default_factory=dict)


def plan(workflow: Workflow, fetched: FetchedIssues, known: Sequence[Scheduled], *, stopped: Reason | None = None) -> Plan:
    """Say what would start; `stopped` is a reason against every new run, such as a pause."""
    slots = workflow.agent.slots
    held = [one.issue.state for one in known if one.live is not None and _has_slot(one.live)]
    due = [one for one in known if one.live is not None and _asks_again(one.live)]
    resumed, waiting = slots.fill(held, [one for one in due if _in_slot_stage(one)], lambda one: one.issue.state)
    slotless = [one for one in due if not _in_slot_stage(one)]
    in_use = held + [one.issue.state for one in resumed]
    by_id = {one.issue.tracker_id: one for one in known}
    refused: dict[str, Reason] = {}
    candidates = []
    for issue in sorted(fetched.issues, key=dispatch_order):
        reason = reason_against(workflow, issue, by_id.get(issue.id), held=fetched.held.get(issue.id)) or stopped
        if reason is None:
            candidates.append(issue)
        else:
            refused[issue.id] = reason
    granted, without_slot = slots.fill(in_use, candidates, lambda issue: issue.state)
    used = Counter(normalized_state(state) for state in [*in_use, *(issue.state for issue in granted)])
    refused |= {issue.id: full(workflow, issue.state, used) for issue in without_slot}
    refused |= {one.issue.tracker_id: full(workflow, one.issue.state, used) for one in waiting}
    starts = [_resumed(one) for one in (*slotless, *resumed)]
    starts += [Start(issue.identifier, issue.title, issue.state, issue.priority) for issue in granted]
    back = [
        HeldBack(issue.identifier, issue.title, issue.state, refused[issue.id])
        for issue in sorted(fetched.issues, key=dispatch_order)
        if issue.id in refused and not any(one.issue.tracker_id == issue.id for one in (*slotless, *resumed))
    ]
    return Plan(starts, back, fetched.omitted, len(held), slots.total, Counter(map(normalized_state, held)))


def reason_against(workflow: Workflow, issue: Issue, known: Scheduled | None, *, held: str | None) -> Reason | None:
    """Say what about the issue itself keeps it from starting; None: it needs a free slot and nothing else."""
    if known is not None and known.live is not None:
        return _has_run(known)
    states, name = workflow.tracker.state_sets, issue.identifier
    if not states.is_active(issue.state):
        cure = f"move it to {workflow.tracker.active_states[0]}" if workflow.tracker.active_states else None
        return Reason("not_active", f"its state {issue.state!r} is none in which issues are worked on", cure)
    if not issue.dispatchable:
        return _not_dispatchable(workflow, issue, held)
    if not has_required_labels(issue, workflow.tracker.required_labels):
        lacking = set(normalized_labels(workflow.tracker.required_labels)) - set(normalized_labels(issue.labels))
        wanted = ", ".join(sorted(lacking)) or "one that is blank in the file"
        return Reason("labels", f"it lacks the label {wanted}", "add it, or change tracker.required_labels")
    if known is None:
        return None
    if known.pending_move is not None:
        sentence = f"its move to {known.pending_move!r} has not reached the tracker yet"
        return Reason("undelivered_move", sentence, "wait for it; `symphony status` shows what the tracker refuses")
    if known.issue.active and known.issue.epoch <= known.issue.consumed_epoch:
        number, state = known.last_run or (0, "ended")
        sentence = f"its run {name}#{number} {state}, and it has not entered an active state anew since"
        return Reason("epoch_consumed", sentence, f"`symphony retry {name}`, or move it out of the active states and back")
    return None


def full(workflow: Workflow, state: str, used: Mapping[str, int]) -> Reason:
    """Say which limit keeps an issue of this state without a slot."""
    slots, name = workflow.agent.slots, normalized_state(state)
    limit = slots.by_state.get(name)
    if limit is not None and used.get(name, 0) >= limit:
        sentence = f"{limit} agents at work on issues in {state!r} is the limit of that state"
        return Reason("state_limit", sentence, "raise agent.max_concurrent_agents_by_state, or wait")
    sentence = f"all {slots.total} agent slots are taken"
    return Reason("slots", sentence, "raise agent.max_concurrent_agents, or wait")


def _has_run(known: Scheduled) -> Reason:
    live, name = known.live, known.issue.identifier
    assert live is not None
    said = f"its run {name}#{live.number} is {live.state} in {live.stage}"
    if live.state == RunState.WAITING and live.waiting_for:
        said += f" ({live.waiting_for})"
    return Reason("live_run", said, f"`symphony why {name}` says more")


def _not_dispatchable(workflow: Workflow, issue: Issue, held: str | None) -> Reason:
    states = workflow.tracker.state_sets
    open_ = [b for b in issue.blocked_by if b.state is None or not states.is_terminal(b.state)]
    if open_:
        names = ", ".join(f"{b.identifier or b.id} ({b.state or 'unknown'})" for b in open_)
        return Reason("blocked_by", held or f"it waits for {names}", "end those first, or take them out of blocked_by")
    return Reason("held", held or "the tracker does not let it be worked on", "mend it in the tracker")


def _has_slot(live: LiveRun) -> bool:
    return live.state in (RunState.QUEUED, RunState.RUNNING) and live.stage in SLOT_STAGES


def _asks_again(live: LiveRun) -> bool:
    return live.state == RunState.WAITING and live.is_due


def _in_slot_stage(one: Scheduled) -> bool:
    return one.live is not None and Stage(one.live.stage) in SLOT_STAGES


def _resumed(one: Scheduled) -> Start:
    snapshot = one.issue.snapshot
    return Start(one.issue.identifier, snapshot.get("title"), one.issue.state, snapshot.get("priority"), one.live)
