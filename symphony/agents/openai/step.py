"""The clock of a step: one request to the model, its retries excluded, with the calls that it asks for.

Invariant: it begins anew with each request that is sent; time in which the agent's processes stand still does not count.
The reader of a stream, the loop and the tools that wait rely on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from symphony.processes.wire import now


@dataclass
class Step:
    """The present step; `frozen_s` gives the seconds for which the agent's processes have stood still so far."""

    longest: timedelta = timedelta.max
    frozen_s: Callable[[], float] = field(default=lambda: 0.0)

    def __post_init__(self) -> None:
        """Begin the first step."""
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self._began, self._frozen_before = now(), self.frozen_s()

    @property
    def left_s(self) -> float:
        """The seconds that are left of it, at least 0."""
        taken = now() - self._began - (self.frozen_s() - self._frozen_before)
        return max(self.longest.total_seconds() - taken, 0.0)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left."""
        return self.left_s == 0

    def __str__(self) -> str:
        """How long it may take, and where that is written."""
        return f"{self.longest.total_seconds():g} s (agent.turn_timeout_ms)"
