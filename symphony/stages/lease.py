"""A holder's view of its lease: whether it may still act, what is asked of it, what it has to report.

The renewing thread writes, the stage reads. A holder trusts its lease until the instant that the last good renewal
gave it (CLOCK_BOOTTIME, which goes on while the machine sleeps); nothing that others can see may be begun after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Condition
from typing import TypeVar
from uuid import UUID

from symphony.domain.errors import Cancelled, Fenced, Transient
from symphony.ledger.database import UNREACHABLE, Held
from symphony.ledger.leases import Progress

T = TypeVar("T")

DRAINING = "draining"
"""The category of a `Cancelled` by which a stage hands its run back at once when its worker shuts down."""
STOPPING_REQUESTS = frozenset({"cancel", "release"})


def boottime() -> float:
    """Read the clock of trust and deadlines, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Lease:
    """The lease of one attempt."""

    held: Held
    attempt_id: UUID
    trust_until: float
    side_trees: list[str] = field(default_factory=list)
    """The names of further process trees of the attempt, which are trusted and killed with it."""
    ends_itself: bool = False
    """Whether the stage watches `is_drain_over` itself and needs a moment more then."""
    request: str | None = None
    request_reason: str | None = None
    drain_until: float | None = None
    """When a stage that was asked to come to an end is to be interrupted."""
    is_lost: bool = False
    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    session_id: str | None = None
    _last_event: str | None = None
    _last_event_at: float | None = None
    _changed: Condition = field(default_factory=Condition, repr=False)
    _bell: int | None = None

    @property
    def tree_name(self) -> str:
        """The name of the attempt's process tree with the guardian."""
        return str(self.attempt_id)

    @property
    def is_stopped(self) -> bool:
        """Tell whether the work must end now: the run is lost, cancelled or released."""
        return self.is_lost or self.request in STOPPING_REQUESTS

    def heard(self, event: str) -> None:
        """Note a sign of life of the agent."""
        self._last_event = event
        self._last_event_at = boottime()

    def progress(self) -> Progress:
        """Give what the next renewal reports."""
        silent_s = None if self._last_event_at is None else max(boottime() - self._last_event_at, 0.0)
        return Progress(
            self.held.run_id, self.held.token, silent_s, self._last_event, self.session_id, self.turns,
            self.input_tokens, self.output_tokens,
        )  # fmt: skip

    def renewed(self, trust_until: float, request: str | None, reason: str | None) -> None:
        """Take in a good renewal."""
        with self._changed:
            self.trust_until = trust_until
            is_news = request != self.request
            self.request, self.request_reason = request, reason
            self._tell(loudly=is_news)

    def lose(self) -> None:
        """Take in that the run has another owner."""
        with self._changed:
            self.is_lost = True
            self._tell()

    def drain(self, within: timedelta) -> None:
        """Ask the stage to come to an end by itself within a time; asked again, to end now."""
        with self._changed:
            self.drain_until = boottime() + (within.total_seconds() if self.drain_until is None else 0.0)
            self._tell()

    def remind(self) -> None:
        """Have the stage look again: the time that its drain had is over."""
        with self._changed:
            self._tell()

    def ring_at_change(self, bell: int | None) -> None:
        """Write to the eventfd `bell` when there is something new to act on; None: no longer."""
        with self._changed:
            self._bell = bell
            if bell is not None and (self.is_stopped or self.drain_until is not None):
                os.eventfd_write(bell, 1)

    def _tell(self, *, loudly: bool = True) -> None:
        self._changed.notify_all()
        if loudly and self._bell is not None:
            os.eventfd_write(self._bell, 1)

    def is_drain_over(self, grace: timedelta = timedelta()) -> bool:
        """Tell whether a stage that was asked to come to an end has had its time, and `grace` more."""
        return self.drain_until is not None and boottime() >= self.drain_until + grace.total_seconds()

    def wait(self, timeout_s: float) -> None:
        """Wait for a change, at most `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def ensure_trusted(self) -> None:
        """Return when the lease is trusted now, waiting for a renewal where it is not.

        Raises:
            Fenced: the run has another owner.
            Cancelled: somebody asked the run to stop.
        """
        with self._changed:
            while not self.is_lost and boottime() >= self.trust_until:
                self._changed.wait(1.0)
        if self.is_lost:
            raise Fenced(f"run {self.held.run_id} has another owner")
        if self.request in STOPPING_REQUESTS:
            raise Cancelled(self.request_reason or "the run was asked to stop")

    def when_reachable(self, action: Callable[[], T]) -> T:
        """Do something with the database, waiting while it is away: what was worked for must not be lost to that.

        Raises:
            Fenced: the run has another owner.
        """
        while not self.is_lost:
            try:
                return action()
            except Transient as error:
                if error.category != UNREACHABLE:
                    raise
                self.wait(1.0)
        raise Fenced(f"run {self.held.run_id} has another owner")
