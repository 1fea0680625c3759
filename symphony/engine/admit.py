"""Who gets a slot: due runs first, then new issues, with the workflow's row locked.

Invariant: runs that are queued or running in provision and agent never exceed the workflow's slots, however many
processes admit at once. Relied on by poll (new sights) and dispatch (time passing, slots becoming free).
"""

from __future__ import annotations

from dataclasses import dataclass

from symphony.domain.admission import Slots
from symphony.domain.run import RunEvent
from symphony.domain.stage import SLOT_STAGES
from symphony.engine.deployment import Deployment
from symphony.ledger import issues, runs, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import Run, WorkflowRow
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger

NO_SLOT = "no available orchestrator slots"
_BROWSED = 1000

log = get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    """What one admission did."""

    resumed: int
    started: int


def admit(deployment: Deployment, workflow: WorkflowRow) -> Admission:
    """Give the free slots of a workflow to due runs and new issues, in that order."""

    def body(transaction: Transaction) -> Admission:
        locked = workflows.lock(transaction, workflow.id)
        if locked is None:
            return Admission(0, 0)
        rules = deployment.rules(locked)
        held = runs.slot_holders(transaction, workflow.id)
        resumed, held = _resume_due(transaction, workflow, rules.slots, held)
        free = rules.slots.total - len(held)
        if locked.paused_at is not None or free <= 0:
            return Admission(resumed, 0)
        candidates = issues.candidates(transaction, workflow.id, max(free, _BROWSED) if rules.slots.by_state else free)
        granted, _ = rules.slots.fill(held, candidates, lambda issue: issue.state)
        started = [run for issue in granted if (run := runs.admit_if_no_live_run(transaction, issue.id)) is not None]
        if started or resumed:
            log.debug(Label.ADMITTING, workflow=workflow.name, started=len(started), resumed=resumed)
        return Admission(resumed, len(started))

    admission = deployment.database.transact(body)
    if admission.started or admission.resumed:
        log.info(Label.ADMITTED, workflow=workflow.name, started=admission.started, resumed=admission.resumed)
    return admission


def _resume_due(transaction: Transaction, workflow: WorkflowRow, slots: Slots, held: list[str]) -> tuple[int, list[str]]:
    due = runs.due_waiting(transaction, workflow.id)
    slotless = [(run, state) for run, state in due if run.stage not in SLOT_STAGES]
    granted, refused = slots.fill(held, [(r, s) for r, s in due if r.stage in SLOT_STAGES], lambda pair: pair[1])
    for run, _ in slotless + granted:
        _queue(transaction, run)
    if refused:
        runs.note_slot_refused(transaction, [run.id for run, _ in refused], NO_SLOT)
    return len(slotless) + len(granted), held + [state for _, state in granted]


def _queue(transaction: Transaction, run: Run) -> None:
    runs.change(transaction, run, RunEvent.CAME_DUE, due_at=runs.Now(), queued_at=runs.Now(), rung_at=None, rings=0)
