"""Times as Linear writes and reads them: ISO 8601 with milliseconds outside, epoch milliseconds inside.

Invariant: the clock of a server is the real one plus a skew, so a client that compares two clocks meets their difference.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"^(-)?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$")
_DAYS = (365, 30, 7, 1)


class Clock:
    """The server's clock; `skew_ms` may be changed at any time."""

    def __init__(self, *, skew_ms: int = 0) -> None:
        self.skew_ms = skew_ms

    def now(self) -> int:
        """Give the time in epoch milliseconds."""
        return time.time_ns() // 1_000_000 + self.skew_ms


def iso(moment: int) -> str:
    """Write a moment as the API does."""
    at = datetime.fromtimestamp(moment // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{moment % 1000:03d}Z"


def moment_of(text: str) -> int:
    """Read a date and time, or a date (also of a year or a month alone).

    Raises: ValueError if it is none.
    """
    if re.fullmatch(r"\d{4}(-\d\d)?", text):
        text = f"{text}-01-01"[:10]
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def moment_or_duration(text: str, *, now: int) -> int:
    """Read a date and time, or a duration that is added to the present.

    Raises: ValueError if it is neither.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        return moment_of(text)
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
    whole_days = sum(count * length for count, length in zip((years, months, weeks, days), _DAYS, strict=True))
    span = timedelta(days=whole_days, hours=hours, minutes=minutes, seconds=seconds) // timedelta(milliseconds=1)
    return now - span if found[1] else now + span
