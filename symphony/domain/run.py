"""The state machine of a run: one pure, total table.

The database repeats it: each change of a run writes an event row whose (from, kind, to) must stand in the table
`run_transitions`, which the migration fills from `TRANSITIONS`. ARCHITECTURE.md's diagram is generated from it.
"""

from __future__ import annotations

from enum import StrEnum

from symphony.domain.errors import InvariantViolated
from symphony.domain.stage import SLOT_STAGES, Stage


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    BLOCKED = "blocked"
    REVIEWING = "reviewing"
    LANDED = "landed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"


class RunEvent(StrEnum):
    """What happened to a run, in the past tense."""

    ADMITTED = "admitted"
    CLAIMED = "claimed"
    ADVANCED = "advanced"
    CONTINUED = "continued"
    REWORKED = "reworked"
    PARKED = "parked"
    RETRIED = "retried"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    STRANDED = "stranded"
    """The node of its workspace is gone: provisioned elsewhere, from the newest snapshot."""
    CAME_DUE = "came_due"
    BLOCKED = "blocked"
    HANDED_OVER = "handed_over"
    RESUMED = "resumed"
    APPROVED = "approved"
    LANDED = "landed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"


LIVE = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING, RunState.BLOCKED, RunState.REVIEWING)
ENDED = (RunState.LANDED, RunState.FAILED, RunState.CANCELLED, RunState.RELEASED)
CONSUMING = (RunState.LANDED, RunState.FAILED, RunState.CANCELLED)
"""The ends after which the issue's epoch is used up: no other run is admitted in it."""

_Q, _R, _W = RunState.QUEUED, RunState.RUNNING, RunState.WAITING
_B, _V = RunState.BLOCKED, RunState.REVIEWING

TRANSITIONS: dict[RunEvent, dict[RunState | None, RunState]] = {
    RunEvent.ADMITTED: {None: _Q},
    RunEvent.CLAIMED: {_Q: _R},
    RunEvent.ADVANCED: {_R: _Q},
    RunEvent.CONTINUED: {_R: _W},
    RunEvent.REWORKED: {_R: _W, _Q: _W, _W: _W, _B: _W, _V: _W},
    RunEvent.PARKED: {_R: _W},
    RunEvent.RETRIED: {_R: _W},
    RunEvent.INTERRUPTED: {_R: _Q},
    RunEvent.LOST: {_R: _W},
    RunEvent.CAME_DUE: {_W: _Q},
    RunEvent.BLOCKED: {_R: _B},
    RunEvent.HANDED_OVER: {_R: _V},
    RunEvent.RESUMED: {_B: _W},
    RunEvent.STRANDED: {_Q: _Q},
    RunEvent.APPROVED: {_V: _Q, _Q: _Q, _W: _Q, _B: _Q},
    RunEvent.LANDED: {_R: RunState.LANDED},
    RunEvent.FAILED: {_R: RunState.FAILED},
    RunEvent.CANCELLED: dict.fromkeys(LIVE, RunState.CANCELLED),
    RunEvent.RELEASED: dict.fromkeys(LIVE, RunState.RELEASED),
}


def next_state(state: RunState | None, event: RunEvent) -> RunState:
    """Give the state after `event`; `None` is a run that does not exist yet.

    Raises:
        InvariantViolated: the event cannot happen in this state.
    """
    after = TRANSITIONS[event].get(state)
    if after is None:
        raise InvariantViolated(f"a run that is {state or 'not there'} cannot be {event}")
    return after


def takes_slot(state: RunState, stage: Stage) -> bool:
    """Tell whether a run counts toward `max_concurrent_agents`."""
    return state in (RunState.QUEUED, RunState.RUNNING) and stage in SLOT_STAGES


def diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for event, moves in TRANSITIONS.items():
        lines += [f"    {before or '[*]'} --> {after}: {event}" for before, after in moves.items()]
    lines += [f"    {state} --> [*]" for state in ENDED]
    return "\n".join(lines)
