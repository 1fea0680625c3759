"""What a workflow demands of a change before it lands, in a form that a landing's trailer is made of.

Invariant: the same section of WORKFLOW.md gives the same demands in every version of Symphony, so a landing can be audited
long after; what only says how checks run (time-outs, caches, concurrency) is no demand.
"""

from __future__ import annotations

from symphony.proof.commands import SETUP
from symphony.proof.complexity import NAME as COMPLEXITY
from symphony.proof.complexity import demand_of
from symphony.proof.functions import Limits
from symphony.workflow.schema.repository import Complexity, Proof

PROTECT = "protect"


def demands_of(proof: Proof) -> list[tuple[str, str]]:
    """Give what is demanded as names with commands: setup, checks, protected files, complexity where it may fail."""
    demands = [(SETUP, proof.setup.run)] if proof.setup is not None else []
    demands += checks_of(proof)
    if proof.protect:
        demands.append((PROTECT, "\n".join(proof.protect)))
    if proof.complexity.mode == "fail":
        demands.append((COMPLEXITY, demand_of(limits_of(proof.complexity))))
    return demands


def checks_of(proof: Proof) -> list[tuple[str, str]]:
    """Give the checks as names with commands."""
    return [(check.name, check.run) for check in proof.checks]


def limits_of(complexity: Complexity) -> Limits:
    """Give the limits of a workflow's section."""
    return Limits(ccn=complexity.ccn, length=complexity.length, duplication=complexity.duplication)
