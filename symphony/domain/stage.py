"""The stages of a run and their order."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Stage(StrEnum):
    """One step of a run; its value is its name in rows, messages, logs and metrics."""

    PROVISION = "provision"
    AGENT = "agent"
    PROOF = "proof"
    LAND = "land"


WITHOUT_REPOSITORY = (Stage.PROVISION, Stage.AGENT)
WITH_REPOSITORY = (Stage.PROVISION, Stage.AGENT, Stage.PROOF, Stage.LAND)
SLOT_STAGES = frozenset({Stage.PROVISION, Stage.AGENT})


def following(stage: Stage, stages: Sequence[Stage]) -> Stage | None:
    """Name the stage after `stage`, or None after the last one."""
    rest = stages[stages.index(stage) + 1 :]
    return rest[0] if rest else None


def before_agent(stage: Stage, *, has_node: bool) -> Stage:
    """Name the stage from which a run gets back to its agent: provision, where it has no finished workspace."""
    return Stage.AGENT if has_node and stage is not Stage.PROVISION else Stage.PROVISION


def remaining(stage: Stage, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Name `stage` and all that follow it; itself alone where a newer version of the workflow has no such stage."""
    return tuple(stages[stages.index(stage) :]) if stage in stages else (stage,)
