"""Live run × what the tracker says: what a poll does to a run that is under way.

One pure function per question; the table stands in the design and in docs/failure-model.md. The tracker's word wins
over ours, except that a landing whose push is intended is resolved before anything else happens to its run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from symphony.domain.run import RunState
from symphony.domain.stage import SLOT_STAGES, Stage


class Position(StrEnum):
    """Where an issue stands, as far as a run of it is concerned."""

    ACTIVE = "active"
    MERGING = "merging"
    REWORK = "rework"
    HANDED = "handed"
    """In the state to which Symphony itself moves what is blocked or in review."""
    STARTED = "started"
    """Not active, but of the tracker's kind for started work."""
    INACTIVE = "inactive"
    """Not active, not routable or vanished."""
    TERMINAL = "terminal"


class Action(StrEnum):
    """What becomes of the run."""

    KEEP = "keep"
    RESUME = "resume"
    HAND_OVER = "hand_over"
    REWORK = "rework"
    RELEASE = "release"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Standing:
    """A live run; `entered`: its issue entered its present state since the run last acted on an entry.

    `is_parked_apart`: issues of blocked runs are moved out of the active states; else standing in one is no answer.
    """

    state: RunState
    stage: Stage
    entered: bool
    landing_intended: bool = False
    is_parked_apart: bool = True


def decide(position: Position, run: Standing) -> Action:
    """Say what a run does when its issue is in this position."""
    working = run.stage in SLOT_STAGES and run.state not in (RunState.BLOCKED, RunState.REVIEWING)
    if run.landing_intended:
        return Action.KEEP
    match position:
        case Position.TERMINAL:
            return Action.CANCEL
        case Position.INACTIVE:
            return Action.RELEASE
        case Position.STARTED:
            return Action.RELEASE if working else Action.KEEP
        case Position.HANDED:
            return Action.KEEP
        case Position.ACTIVE:
            resumes = run.entered and run.is_parked_apart and run.state is RunState.BLOCKED
            return Action.RESUME if resumes else Action.KEEP
        case Position.MERGING:
            return Action.HAND_OVER if run.entered else Action.KEEP
        case Position.REWORK:
            return Action.REWORK if run.entered else Action.KEEP
        case _:
            assert_never(position)
