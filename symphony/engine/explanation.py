"""What `why` says of an issue, as a value: what is, since when, what comes next, and what a person could do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a person could do: the exact command, and what it does."""

    command: str
    effect: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One page about an issue or a run; sentences begin small and end without a stop."""

    now: str
    since: datetime | None
    next: str
    next_at: datetime | None = None
    """When that happens, or the latest instant of it where `is_latest`."""
    is_latest: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    actions: tuple[Action, ...] = field(default=())


def lasting(duration: timedelta) -> str:
    """Give a duration in the unit that people would choose."""
    whole = max(round(duration.total_seconds()), 0)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole < 172_800 else f"{whole // 86_400} days"


def first_line(text: str | None, most: int = 300) -> str:
    """Give the first line of a text that says something."""
    line = next((line.strip() for line in (text or "").splitlines() if line.strip()), "")
    return line if len(line) <= most else line[: most - 1] + "…"
