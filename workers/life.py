"""A worker process's life: what it has, how it begins, how it drains, how it ends.

On start it refuses a foreign schema, writes its row, starts its guardian and the keeper of leases. A first stop signal
drains: no more work is fetched, stages come to an end by themselves within `drain`, then are interrupted and handed
back. A second one skips the wait. When the guardian is lost the process gives everything up and exits.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from celery import signals

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.outcome import Outcome
from symphony.domain.stage import Stage
from symphony.engine.deployment import Deployment
from symphony.engine.execute import execute
from symphony.engine.keeper import LeaseKeeper
from symphony.ledger import processes
from symphony.ledger.database import Database
from symphony.ledger.records import Run
from symphony.ledger.schema import require_current
from symphony.processes.guardian import Guardian
from symphony.settings import Settings
from symphony.stages.context import RunContext
from symphony.stages.table import STAGES
from symphony.telemetry.log import get_logger
from workers.app import CONTROL_QUEUE, agent_queue, settings

_STAGE_POOL = 20
_CONTROL_POOL = 5
_GUARDIAN_LOST = 70

log = get_logger()


@dataclass
class Runtime:
    """What the tasks of this process share."""

    deployment: Deployment
    guardian: Guardian
    keeper: LeaseKeeper
    performers: dict[Stage, Callable[[RunContext], Outcome]]

    def execute(self, run_id: UUID, stage: Stage) -> Run | None:
        """Run one stage of one run, if there is something to claim; whoever drains leaves it to others."""
        if self.keeper.is_draining:
            return None
        try:
            return execute(self.deployment, self.guardian, self.keeper, run_id, stage, self.performers[stage])
        except SymphonyError as error:
            log.warning("doorbell not answered", run=str(run_id), stage=str(stage), reason=str(error))
            return None

    def stop(self) -> None:
        """End everything that this process began."""
        self.keeper.stop()
        self.guardian.close()
        try:
            self.deployment.database.transact(lambda t: processes.stop(t, self.deployment.process_id))
        except SymphonyError as error:
            log.warning("end of the process not recorded", reason=str(error))
        self.deployment.database.close()


_runtime: Runtime | None = None


def runtime() -> Runtime:
    """Give this process's runtime."""
    assert _runtime is not None, "the worker has not started"
    return _runtime


def begin(settings: Settings, queues: list[str], slots: int) -> Runtime:
    """Start what a worker process needs.

    Raises:
        ConfigError: no database is named, or its schema is not this build's.
    """
    if settings.database_url is None or settings.broker_url is None:
        raise ConfigError(
            "a worker needs SYMPHONY_DATABASE_URL and SYMPHONY_BROKER_URL",
            cure="set both, or use `symphony up`, which starts servers and workers",
        )
    stage_slots = 0 if queues == [CONTROL_QUEUE] else slots
    database = Database(
        settings.database_url, pool_size=_STAGE_POOL if stage_slots else _CONTROL_POOL, application="symphony worker"
    )
    with database.connection() as connection:
        require_current(connection)
    _allow_many_files()
    deployment = Deployment(database, settings, settings.node)
    guardian = Guardian.start()
    keeper = LeaseKeeper(
        Database(settings.database_url, pool_size=1, application="symphony leases"),
        guardian,
        settings,
        deployment.process_id,
        on_guardian_lost=lambda: _leave(guardian),
    )
    database.transact(
        lambda t: processes.register(
            t, process_id=deployment.process_id, node=settings.node, pid=os.getpid(), queues=queues, slots=stage_slots
        )
    )
    keeper.start()
    return Runtime(deployment, guardian, keeper, STAGES)


def _leave(guardian: Guardian) -> None:
    """End this process at once: without its guardian it may hold nothing."""
    guardian.close()
    os._exit(_GUARDIAN_LOST)


def _allow_many_files() -> None:
    """Raise the limit on open files: every process tree takes about four."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@signals.celeryd_after_setup.connect
def _after_setup(instance: Any, **_: Any) -> None:
    global _runtime  # noqa: PLW0603 - one runtime a process, made when celery has read the command line
    try:
        _runtime = begin(settings, sorted(instance.app.amqp.queues.consume_from), instance.concurrency)
    except Exception as error:  # noqa: BLE001 - celery swallows it, and would hear doorbells with nobody at home
        print(f"symphony worker: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        os._exit(2 if isinstance(error, ConfigError) else 1)


@signals.worker_shutting_down.connect
def _drain(how: str = "", **_: Any) -> None:
    if _runtime is not None:
        log.info("draining", how=how)
        _runtime.keeper.drain()


@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _runtime is not None:
        _runtime.stop()


def default_queues(node: str) -> list[str]:
    """List the queues of a stage worker of a node."""
    return ["provision", agent_queue(node), "proof", "land"]
