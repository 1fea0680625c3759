"""Which function performs which stage."""

from __future__ import annotations

from collections.abc import Callable

from symphony.domain.outcome import Outcome
from symphony.domain.stage import Stage
from symphony.stages.agent import agent
from symphony.stages.context import RunContext
from symphony.stages.land import land
from symphony.stages.proof import proof
from symphony.stages.provision import provision

STAGES: dict[Stage, Callable[[RunContext], Outcome]] = {
    Stage.PROVISION: provision,
    Stage.AGENT: agent,
    Stage.PROOF: proof,
    Stage.LAND: land,
}
