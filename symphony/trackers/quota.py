"""The budget of requests that all workers of a tracker's key share, as an adapter sees it.

Invariant: an adapter asks before each request and tells what the answer said, so that one worker's refusal makes all of
them wait. The engine hands in one that the ledger keeps; where there is none (`check`, `plan`) a process keeps its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from symphony.domain.allowance import Allowance, smallest_share
from symphony.domain.errors import Transient

RATE_LIMITED = "tracker_rate_limited"


class Quota(Protocol):
    """The budget of one key."""

    def ensure_open(self) -> None:
        """Return when a request may be sent now.

        Raises: Transient(`tracker_rate_limited`) with the time that is left, while the provider wants none.
        """

    def note(self, allowances: Sequence[Allowance]) -> None:
        """Take in what an answer's headers said."""

    def close_until(self, instant: datetime) -> None:
        """Let nobody send before this instant: the provider refused."""

    def share(self) -> float:
        """Give what is left of the scarcest budget, 0 to 1; 1 where nothing is known."""


QuotaOf = Callable[[str], Quota]
"""Gives the budget of a key, which is named by a text that tells endpoint and credential apart without containing them."""


class OwnQuota:
    """A budget that only this process knows of."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._allowances: dict[str, Allowance] = {}
        self._closed_until: datetime | None = None

    def ensure_open(self) -> None:
        """See `Quota`."""
        with self._lock:
            until = self._closed_until
        if until is not None and (left := until - self._clock()).total_seconds() > 0:
            raise limited(until, retry_after_s=left.total_seconds())

    def note(self, allowances: Sequence[Allowance]) -> None:
        """See `Quota`."""
        with self._lock:
            self._allowances.update({one.resource: one for one in allowances})

    def close_until(self, instant: datetime) -> None:
        """See `Quota`."""
        with self._lock:
            self._closed_until = max(filter(None, (self._closed_until, instant)))

    def share(self) -> float:
        """See `Quota`."""
        with self._lock:
            return smallest_share(self._allowances.values(), self._clock())


def limited(until: datetime, *, retry_after_s: float) -> Transient:
    """Build the error of a request that is not sent, or was refused, for the provider's limit."""
    return Transient(
        f"the tracker takes no more requests of this key before {until.isoformat(timespec='seconds')}",
        retry_after=timedelta(seconds=max(retry_after_s, 0.0)),
        category=RATE_LIMITED,
    )
