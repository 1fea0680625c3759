"""The budget of a tracker's key, kept in the ledger: what one worker is told, all of them know before their next request.

Invariant: whether the key is open is asked of the ledger before every request; how much is left is written when it has
changed by enough to matter, so that a request costs one small read and seldom a write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime

from symphony.domain.allowance import Allowance, smallest_share
from symphony.ledger import quotas
from symphony.ledger.database import Database
from symphony.trackers.quota import limited

_NOTED_EVERY_S = 5.0
_NOTED_CHANGE = 0.02


class SharedQuota:
    """See `symphony.trackers.quota.Quota`."""

    def __init__(self, database: Database, key: str) -> None:
        self._database = database
        self._key = key
        self._lock = threading.Lock()
        self._noted: dict[str, tuple[float, Allowance]] = {}

    def ensure_open(self) -> None:
        """Ask whether a request may be sent now. Raises: Transient, also where the ledger is away."""
        closed = self._database.transact(lambda t: quotas.closed_for(t, self._key))
        if closed is not None:
            until, left = closed
            raise limited(until, retry_after_s=left.total_seconds())

    def note(self, allowances: Sequence[Allowance]) -> None:
        """Share what an answer said, where it is news."""
        with self._lock:
            news = [one for one in allowances if self._is_news(one)]
            self._noted.update({one.resource: (time.monotonic(), one) for one in news})
        if news:
            self._database.transact(lambda t: quotas.note(t, self._key, news))

    def close_until(self, instant: datetime) -> None:
        """Let nobody send before this instant."""
        self._database.transact(lambda t: quotas.close_until(t, self._key, instant))

    def share(self) -> float:
        """Give what is left of the scarcest budget."""
        now, known = self._database.transact(lambda t: quotas.allowances(t, self._key))
        return smallest_share(known, now)

    def _is_news(self, one: Allowance) -> bool:
        noted = self._noted.get(one.resource)
        if noted is None:
            return True
        at, last = noted
        is_late = time.monotonic() - at > _NOTED_EVERY_S
        return is_late or one.reset_at != last.reset_at or abs(one.share - last.share) > _NOTED_CHANGE
