"""What Linear's headers say of a key's budgets, and until when a refused key stays closed.

Invariant: a header that cannot be read is as good as none; a refused key is closed until the reset of the budget that is
spent, to the millisecond and by our own clock, and never for less than what is surely needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from symphony.domain.allowance import Allowance
from symphony.domain.errors import Transient
from symphony.trackers.quota import limited

_CODE = "RATELIMITED"
_PREFIX, _LIMIT = "x-ratelimit-", "-limit"
_UNKNOWN = timedelta(minutes=1)
"""How long a key stays closed where Linear does not say."""
_SHORTEST = timedelta(seconds=1)
_LONGEST = timedelta(hours=2)
"""Linear's windows are an hour; what names a later time is misread."""
_CLOCKS_AGREE = timedelta(seconds=2)


def allowances(headers: Mapping[str, str]) -> list[Allowance]:
    """Read the budgets that an answer's headers tell of."""
    resources = [
        name[len(_PREFIX) : -len(_LIMIT)]
        for name in map(str.lower, headers)
        if name.startswith(_PREFIX) and name.endswith(_LIMIT)
    ]
    found = (_allowance(headers, resource) for resource in resources)
    return [one for one in found if one is not None]


def is_refusal(status: int, payload: Mapping[str, Any] | None) -> bool:
    """Tell whether an answer says that the key's budget is spent; Linear says it with status 400."""
    if status == 429:
        return True
    errors = payload.get("errors") if payload is not None else None
    return isinstance(errors, list) and any(_code(error) == _CODE for error in errors)


def closed_until(headers: Mapping[str, str], *, now: datetime, theirs: datetime | None) -> datetime:
    """Give the instant, by our clock, before which nothing of this key may be sent; `theirs` is the time by Linear's."""
    known = allowances(headers)
    spent = [one.reset_at for one in known if one.remaining <= 0] or [
        one.reset_at for one in sorted(known, key=lambda one: one.share)[:1]
    ]
    # Linear's clock is told in whole seconds, rounded down: where it differs from ours we wait up to a second too long.
    ahead = now - theirs if theirs is not None and abs(now - theirs) > _CLOCKS_AGREE else timedelta()
    until = max(spent) + ahead if spent else now + _seconds(headers.get("retry-after"))
    return until if now < until <= now + _LONGEST else now + (_SHORTEST if until <= now else _UNKNOWN)


def refusal(until: datetime, now: datetime) -> Transient:
    """Build the error of a request that was refused."""
    return limited(until, retry_after_s=(until - now).total_seconds())


def _allowance(headers: Mapping[str, str], resource: str) -> Allowance | None:
    try:
        limit, remaining, reset = (
            float(headers[f"{_PREFIX}{resource}-{name}"]) for name in ("limit", "remaining", "reset")
        )
        return Allowance(resource, limit, remaining, datetime.fromtimestamp(reset / 1000, UTC))
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _seconds(text: str | None) -> timedelta:
    return timedelta(seconds=int(text)) if text is not None and text.isdecimal() and len(text) < 6 else _UNKNOWN


def _code(error: Any) -> Any:
    extensions = error.get("extensions") if isinstance(error, dict) else None
    return extensions.get("code") if isinstance(extensions, dict) else None
