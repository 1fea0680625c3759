"""What to ring: the dispatcher's answer to "which runs should a worker look at now".

It admits for every served workflow and takes the doorbells that are owed; the worker's task that called it does the
ringing, since messages are no business of the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.stage import Stage, remaining
from symphony.engine.admit import admit
from symphony.engine.deployment import Deployment
from symphony.ledger import processes, workflows
from symphony.ledger.processes import Ring
from symphony.telemetry.log import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A chain to publish: the stages that remain of a run."""

    run_id: UUID
    identifier: str
    stages: tuple[Stage, ...]
    node: str | None


def dispatch(deployment: Deployment) -> list[Doorbell]:
    """Admit everywhere, then take what is owed: at most one doorbell for each free slot of a live worker."""
    served = deployment.database.transact(workflows.served)
    for workflow in served:
        try:
            admit(deployment, workflow)
        except SymphonyError as error:
            log.error("nothing admitted", workflow=workflow.name, reason=str(error))
    rings = deployment.database.transact(
        lambda transaction: processes.take_owed_rings(transaction, deployment.settings.node_silence)
    )
    return [doorbell for ring in rings if (doorbell := _doorbell_if_readable(deployment, ring)) is not None]


def polls_due(deployment: Deployment) -> list[UUID]:
    """List the workflows whose poll is due."""
    return deployment.database.transact(workflows.due_polls)


def _doorbell_if_readable(deployment: Deployment, ring: Ring) -> Doorbell | None:
    """Make one; a workflow that this build cannot read must not keep the others' runs from being rung."""
    try:
        return _doorbell(deployment, ring)
    except ConfigError as error:
        log.error("not rung", run=str(ring.run_id), reason=str(error))
        return None


def _doorbell(deployment: Deployment, ring: Ring) -> Doorbell:
    workflow = deployment.database.transact(lambda transaction: workflows.get(transaction, ring.workflow_id))
    assert workflow is not None
    stages = remaining(ring.stage, deployment.rules(workflow).stages)
    return Doorbell(ring.run_id, ring.identifier, stages, ring.node)
