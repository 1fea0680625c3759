"""What a provider still allows a key in the current window, and how much slower one polls as it shrinks.

Pure values: adapters read them from a provider's headers, the ledger shares them between all workers of a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

_EASY_SHARE = 0.5
_SLOWEST = 20.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """One budget of a key: `remaining` of `limit` until `reset_at`; `resource` is the provider's word for it."""

    resource: str
    limit: float
    remaining: float
    reset_at: datetime

    @property
    def share(self) -> float:
        """How much of the budget is left, 0 to 1."""
        return max(0.0, min(1.0, self.remaining / self.limit)) if self.limit > 0 else 0.0


def smallest_share(allowances: Iterable[Allowance], now: datetime) -> float:
    """Give what is left of the scarcest budget; one whose window is over, or that nobody knows of, is whole."""
    return min((one.share for one in allowances if one.reset_at > now), default=1.0)


def poll_factor(share: float) -> float:
    """Say by how much the interval between polls grows: 1 while half of the budget is left, at most 20."""
    if share >= _EASY_SHARE:
        return 1.0
    return _SLOWEST if share <= _EASY_SHARE / _SLOWEST else _EASY_SHARE / share
