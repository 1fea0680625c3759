"""Beat's schedule, and a scheduler of which several copies are one.

Before a tick is published it is inserted into `ticks` under the interval that the database's clock shows; whoever is
first publishes, so any number of beats send each tick once. Without the database, or a control worker, no tick is sent:
nothing could act on it. Nothing is kept on disk.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule

from symphony.domain.errors import SymphonyError
from symphony.ledger import processes
from symphony.ledger.database import Database
from symphony.telemetry.log import get_logger
from workers.app import CONTROL_QUEUE, PREFIX, settings

log = get_logger()

EVERY = {
    "dispatch": settings.tick,
    "sweep": settings.tick,
    "deliver": settings.tick,
    "prune": timedelta(minutes=1),
}


class TickScheduler(Scheduler):
    """A scheduler whose ticks are taken in PostgreSQL first."""

    def setup_schedule(self) -> None:
        """Make the entries; a tick that nobody fetched within two intervals is worth nothing."""
        assert settings.database_url is not None
        self._database = Database(settings.database_url, pool_size=1, application="symphony beat")
        self.schedule = {
            name: ScheduleEntry(
                name=name,
                task=f"{PREFIX}{name}",
                schedule=schedule(every),
                options={"queue": CONTROL_QUEUE, "expires": max(2 * every.total_seconds(), 2.0), "ignore_result": True},
                app=self.app,
            )
            for name, every in EVERY.items()
        }

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        """Publish a tick unless another beat has done so."""
        every = EVERY[entry.name]
        try:
            is_first = self._database.transact(
                lambda t: processes.take_tick(t, entry.name, every, queue=CONTROL_QUEUE, silence=settings.node_silence)
            )
        except SymphonyError as error:
            log.warning("tick put off", tick=entry.name, reason=str(error))
            is_first = False
        if is_first:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        if advance:
            self.reserve(entry)
        return None
