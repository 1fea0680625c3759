"""Who may start: eligibility, order, slots (specification 8.2 and 8.3).

Pure rules over snapshots; the engine applies them with the workflow's row locked, so any number of pollers together
never exceed the slots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from symphony.domain.issue import Issue, normalized_labels, normalized_state

T = TypeVar("T")

UNRANKED = 5
_LAST = datetime.max.replace(tzinfo=UTC)


def priority_rank(priority: int | None) -> int:
    """Give 1..4 for those priorities and one rank after them for all others."""
    return priority if priority is not None and 1 <= priority <= 4 else UNRANKED


def dispatch_order(issue: Issue) -> tuple[int, datetime, str]:
    """Give the sort key: priority, then oldest, then identifier."""
    return priority_rank(issue.priority), issue.created_at or _LAST, issue.identifier


def has_required_labels(issue: Issue, required: Sequence[str]) -> bool:
    """Tell whether the issue carries every required label; a blank one matches no issue."""
    if any(not label.strip() for label in required):
        return False
    return set(normalized_labels(required)) <= set(normalized_labels(issue.labels))


def is_routable(issue: Issue, required_labels: Sequence[str]) -> bool:
    """Tell whether the adapter and the labels let this issue be worked on (specification 8.2)."""
    return issue.dispatchable and has_required_labels(issue, required_labels)


@dataclass(frozen=True, slots=True)
class StateSets:
    """The configured states, normalised for comparison."""

    active: frozenset[str]
    terminal: frozenset[str]

    @classmethod
    def of(cls, active: Iterable[str], terminal: Iterable[str]) -> StateSets:
        """Build from names as configured."""
        return cls(frozenset(map(normalized_state, active)), frozenset(map(normalized_state, terminal)))

    def is_active(self, state: str) -> bool:
        """Tell whether a state is active; one that is also terminal is not."""
        return normalized_state(state) in self.active and not self.is_terminal(state)

    def is_terminal(self, state: str) -> bool:
        """Tell whether a state is terminal."""
        return normalized_state(state) in self.terminal


@dataclass(frozen=True, slots=True)
class Slots:
    """How many agents a workflow may have at once, over all and by the issue's state (keys normalised)."""

    total: int
    by_state: Mapping[str, int]

    def fill(self, held: Iterable[str], asking: Iterable[T], state_of: Callable[[T], str]) -> tuple[list[T], list[T]]:
        """Split who asks into those who get a slot, first come first served, and those who do not.

        `held` are the issue states of the runs that have a slot now. A full state does not hold up the others.
        """
        used = Counter(map(normalized_state, held))
        free = self.total - used.total()
        granted: list[T] = []
        refused: list[T] = []
        for candidate in asking:
            state = normalized_state(state_of(candidate))
            if free > 0 and used[state] < self.by_state.get(state, self.total):
                granted.append(candidate)
                used[state] += 1
                free -= 1
            else:
                refused.append(candidate)
        return granted, refused
