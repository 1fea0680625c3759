"""The tasks: a few lines each, since all that they do is look at a row.

A stage's task claims, performs and settles through the engine; when the run does not go on to the next stage by
itself, the rest of the chain is dropped and the dispatcher rings later.
"""

from __future__ import annotations

import threading
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

from celery import Task, chain, signals

from symphony.domain.errors import SymphonyError
from symphony.domain.stage import Stage
from symphony.engine import clean as cleaning
from symphony.engine import deliver as delivering
from symphony.engine import dispatch as dispatching
from symphony.engine import greet as greeting
from symphony.engine import poll as polling
from symphony.engine import refs, sources
from symphony.engine import sweep as sweeping
from symphony.engine.dispatch import Doorbell
from symphony.engine.execute import goes_on
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from workers.app import PREFIX, agent_queue, app
from workers.life import runtime

DOORBELL_EXPIRES_S = 30

# A control worker has few slots: what waits for trackers must leave some for those who ring and sweep.
_POLLS = BoundedSemaphore(2)
_DELIVERIES = BoundedSemaphore(1)
_REPOSITORIES = BoundedSemaphore(1)
_GREETINGS = BoundedSemaphore(1)

log = get_logger()


def _known_id(word: object) -> UUID | None:
    """Read an id from a message; anybody may have written it, so what is none is worth one line."""
    try:
        return UUID(str(word))
    except ValueError:
        log.warning("message without a proper id", id=repr(word)[:100])
        return None


def _stage_task(stage: Stage) -> Any:
    @app.task(name=f"{PREFIX}{stage}", bind=True)
    def run_stage(self: Task[Any, Any], /, run_id: object = None, *_: object, **__: object) -> None:
        known = _known_id(run_id)
        settled = runtime().execute(known, stage) if known is not None else None
        if not goes_on(settled) or settled is None or settled.stage is stage:
            self.request.chain = None

    return run_stage


STAGE_TASKS = {stage: _stage_task(stage) for stage in Stage}
STAGE_NAMES = {task.name for task in STAGE_TASKS.values()}


def ring(doorbell: Doorbell) -> None:
    """Publish the chain of the stages that remain of a run; its first link goes where the run's node is."""
    links = [
        STAGE_TASKS[stage].si(str(doorbell.run_id)).set(
            argsrepr=f"{doorbell.identifier} {stage}", expires=DOORBELL_EXPIRES_S
        )
        for stage in doorbell.stages
    ]  # fmt: skip
    if doorbell.stages[0] is Stage.AGENT and doorbell.node is not None:
        links[0].set(queue=agent_queue(doorbell.node))
    chain(*links).apply_async()


@signals.before_task_publish.connect
def _ringing(sender: str, **_: Any) -> None:
    if sender in STAGE_NAMES:
        log.debug(Label.RINGING, task=sender)


@signals.after_task_publish.connect
def _rung(sender: str, **_: Any) -> None:
    if sender in STAGE_NAMES:
        log.debug(Label.RUNG, task=sender)


@app.task(name=f"{PREFIX}dispatch")
def dispatch() -> None:
    """Admit, and ring for what is owed."""
    deployment = runtime().deployment
    try:
        for workflow_id in dispatching.polls_due(deployment):
            poll.apply_async((str(workflow_id),), expires=DOORBELL_EXPIRES_S)
        for node in cleaning.nodes_to_clean(deployment):
            clean.apply_async(queue=agent_queue(node), expires=DOORBELL_EXPIRES_S)
        for doorbell in dispatching.dispatch(deployment):
            ring(doorbell)
    except SymphonyError as error:
        log.warning("dispatch put off", reason=str(error))


@app.task(name=f"{PREFIX}poll")
def poll(workflow_id: object) -> None:
    """Poll one workflow's tracker; where there is no room now, the next tick asks again."""
    known = _known_id(workflow_id)
    if known is None or not _POLLS.acquire(blocking=False):
        return
    try:
        deployment, guardian = runtime().deployment, runtime().guardian
        polling.poll(deployment, known, lambda row: sources.refreshed(deployment, guardian, row))
    except SymphonyError as error:
        log.warning("poll put off", reason=str(error))
    finally:
        _POLLS.release()


@app.task(name=f"{PREFIX}sweep")
def sweep() -> None:
    """End the leases that ran out."""
    try:
        sweeping.sweep(runtime().deployment)
    except SymphonyError as error:
        log.warning("sweep put off", reason=str(error))


@app.task(name=f"{PREFIX}deliver")
def deliver() -> None:
    """Carry effects to the trackers, unless a delivery of this process is under way; greet who waits for a word besides."""
    if _GREETINGS.acquire(blocking=False):
        # Neither behind a slow delivery, since it has seconds only, nor in a slot of those who ring and sweep.
        threading.Thread(target=_greet, name="greeting", daemon=True).start()
    if not _DELIVERIES.acquire(blocking=False):
        return
    try:
        delivering.deliver(runtime().deployment)
    except SymphonyError as error:
        log.warning("delivery put off", reason=str(error))
    finally:
        _DELIVERIES.release()


def _greet() -> None:
    try:
        greeting.greet(runtime().deployment)
    except SymphonyError as error:
        log.warning("greeting put off", reason=str(error))
    finally:
        _GREETINGS.release()


@app.task(name=f"{PREFIX}prune")
def prune() -> None:
    """Delete what is kept no longer: rows, and the refs of ended runs; unless this process is at it already."""
    if not _REPOSITORIES.acquire(blocking=False):
        return
    try:
        sweeping.prune(runtime().deployment)
        refs.sweep(runtime().deployment, runtime().guardian)
    except SymphonyError as error:
        log.warning("pruning put off", reason=str(error))
    finally:
        _REPOSITORIES.release()


@app.task(name=f"{PREFIX}clean")
def clean() -> None:
    """Remove this node's workspaces that are due."""
    try:
        cleaning.clean(runtime().deployment, runtime().guardian)
    except SymphonyError as error:
        log.warning("cleaning put off", reason=str(error))
