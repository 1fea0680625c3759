"""An API key's budget: so many requests and so many points of complexity in a window of time.

Invariant: the window is whole: spent is spent until its reset, and the headers say so beforehand (limits, what remains, the
reset in epoch milliseconds). Linear itself refills steadily; whoever waits for the reset is right with both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.linear_time import Clock

_KINDS = ("requests", "complexity")


@dataclass(frozen=True)
class Limits:
    """What a key may spend in a window."""

    requests: int = 1_500
    complexity: int = 250_000
    seconds: float = 3_600.0


@dataclass
class _Window:
    reset: int
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0.0))


class Budgets:
    """The budgets of all keys; without limits nothing is refused, and no header says anything."""

    def __init__(self, limits: Limits | None, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._paused: dict[str, int] = {}

    def admit(self, key: str, points: float) -> bool:
        """Spend what a request costs; tell whether the key had it."""
        if self.limits is None:
            return True
        window = self._window(key)
        costs = {"requests": 1.0, "complexity": math.ceil(points)}
        if any(window.spent[kind] + costs[kind] > self._most(kind) for kind in _KINDS):
            self._paused[key] = window.reset
            return False
        for kind in _KINDS:
            window.spent[kind] += costs[kind]
        return True

    def pause(self, key: str, milliseconds: int) -> None:
        """Let nothing of a key through for a while."""
        self._paused[key] = self._clock.now() + milliseconds

    def paused(self, key: str) -> bool:
        """Tell whether a key was told to wait and has not waited yet."""
        return self._clock.now() < self._paused.get(key, 0)

    def headers(self, key: str) -> dict[str, str]:
        """Give the headers that tell a client where it stands."""
        shown: dict[str, str] = {}
        for kind, state in self._states(key).items():
            shown |= {f"x-ratelimit-{kind}-{name}": str(value) for name, value in state.items()}
        return shown

    def status(self, key: str) -> dict[str, Any]:
        """Give the answer to the query rateLimitStatus."""
        period = (self.limits or Limits()).seconds * 1000
        limits = [
            {
                "type": kind,
                "allowedAmount": state["limit"],
                "remainingAmount": state["remaining"],
                "requestedAmount": 0,
                "period": period,
                "reset": state["reset"],
            }
            for kind, state in self._states(key).items()
        ]
        return {"identifier": key[:8], "kind": "apiKey", "limits": limits}

    def _states(self, key: str) -> dict[str, dict[str, int]]:
        paused = self._paused.get(key, 0)
        if self.limits is None:
            if paused <= self._clock.now():
                return {}
            return {kind: {"limit": 1_500, "remaining": 0, "reset": paused} for kind in _KINDS}
        window = self._window(key)
        over = self.paused(key)
        return {
            kind: {
                "limit": self._most(kind),
                "remaining": 0 if over else max(0, int(self._most(kind) - window.spent[kind])),
                "reset": max(window.reset, paused),
            }
            for kind in _KINDS
        }

    def _most(self, kind: str) -> int:
        limits = self.limits or Limits()
        return limits.requests if kind == "requests" else limits.complexity

    def _window(self, key: str) -> _Window:
        now = self._clock.now()
        window = self._windows.get(key)
        if window is None or window.reset <= now:
            length = int((self.limits or Limits()).seconds * 1000)
            window = self._windows[key] = _Window(now + length)
        return window
