"""What Linear's webhooks look like: how they are signed, how old they may be, what they say of a session.

Pure over bytes. Invariant: a body is read only after a secret has verified it, and whatever else it holds, nothing of it is
needed but its time and the name of a session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any

from symphony.domain.errors import Rejected
from symphony.engine.ring import Bell, SpokenTo

SOURCE = "linear"
SIGNATURE, DELIVERY = "linear-signature", "linear-delivery"
MALFORMED, STALE = "malformed", "stale"
_MOST_AGE_MS = 60_000
_LONGEST_ID = 100


def verified(bells: Iterable[Bell], body: bytes, signature: str) -> list[Bell]:
    """Give the bells whose secret has signed these bytes."""
    given = signature.encode("utf-8", "replace")
    return [bell for bell in bells if hmac.compare_digest(_signature(bell, body), given)]


def spoken_to(body: bytes, *, now_ms: int) -> SpokenTo | None:
    """Read a verified body: the session of which it tells, if it tells of one.

    Raises: Rejected (`malformed`, `stale`).
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise Rejected("the body is no JSON", category=MALFORMED) from None
    if not isinstance(payload, dict):
        raise Rejected("the body is no JSON object", category=MALFORMED)
    sent = payload.get("webhookTimestamp")
    if not isinstance(sent, int | float) or isinstance(sent, bool):
        raise Rejected("the body has no webhookTimestamp", category=MALFORMED)
    if not abs(sent - now_ms) <= _MOST_AGE_MS:  # so that what is no number is refused, too
        raise Rejected("webhookTimestamp is more than 60 s away from this machine's clock", category=STALE)
    return _session(payload)


def delivery_of(body: bytes, given: str | None) -> str:
    """Name a delivery: as Linear does, else by what it says."""
    return given if given and len(given) <= _LONGEST_ID else hashlib.sha256(body).hexdigest()


def _signature(bell: Bell, body: bytes) -> bytes:
    secret = bell.secret.get_secret_value().encode()
    return hmac.new(secret, body, hashlib.sha256).hexdigest().encode()


def _session(payload: dict[str, Any]) -> SpokenTo | None:
    action, session = payload.get("action"), payload.get("agentSession")
    if payload.get("type") != "AgentSessionEvent" or action not in ("created", "prompted") or not isinstance(session, dict):
        return None
    name, issue = session.get("id"), session.get("issueId")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
        return None
    named = issue if isinstance(issue, str) and len(issue) <= _LONGEST_ID else ""
    return SpokenTo(name, named, by_person=action == "prompted")
