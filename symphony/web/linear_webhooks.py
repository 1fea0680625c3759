"""What Linear's webhooks look like: how they are signed, how old they may be, what they say of a session.

Pure over bytes. Invariant: a body is read only after a secret has verified it, and whatever else it holds, nothing of it is
needed but its time, whether it tells of our own comment, and the name of a session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from symphony.domain.errors import Rejected
from symphony.engine.ring import Bell, SpokenTo
from symphony.trackers.linear.identity import is_own_uuid
from symphony.trackers.linear.records import object_of

SOURCE = "linear"
SIGNATURE, DELIVERY = "linear-signature", "linear-delivery"
MALFORMED, STALE = "malformed", "stale"
_MOST_AGE_MS = 60_000
_LONGEST_ID = 100


def verified(bells: Iterable[Bell], body: bytes, signature: str) -> list[Bell]:
    """Give the bells whose secret has signed these bytes."""
    given = signature.encode("utf-8", "replace")
    return [bell for bell in bells if hmac.compare_digest(_signature(bell, body), given)]


@dataclass(frozen=True, slots=True)
class Event:
    """What a verified webhook tells: `is_ours`: nothing but that we wrote a comment or an attachment."""

    is_ours: bool = False
    spoken_to: SpokenTo | None = None


def event_of(body: bytes, *, now_ms: int) -> Event:
    """Read a verified body. Raises: Rejected (`malformed`, `stale`)."""
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
    return Event(_is_ours(payload), _session(payload))


def delivery_of(body: bytes, given: str | None) -> str:
    """Name a delivery: as Linear does, else by what it says."""
    return given if given and len(given) <= _LONGEST_ID else hashlib.sha256(body).hexdigest()


def digest_of(body: bytes) -> str:
    """Name what is said by all of it, its time included, as no delivery is called."""
    return f"body {hashlib.sha256(body).hexdigest()}"


def _signature(bell: Bell, body: bytes) -> bytes:
    secret = bell.secret.get_secret_value().encode()
    return hmac.new(secret, body, hashlib.sha256).hexdigest().encode()


def _is_ours(payload: dict[str, Any]) -> bool:
    """Tell by the id, which nobody else makes: else what we write would ring a poll for each write."""
    return payload.get("type") in ("Comment", "Attachment") and is_own_uuid(_named(object_of(payload, "data"), "id"))


def _session(payload: dict[str, Any]) -> SpokenTo | None:
    action, session = payload.get("action"), object_of(payload, "agentSession")
    if payload.get("type") != "AgentSessionEvent" or action not in ("created", "prompted") or not _named(session, "id"):
        return None
    issue = _named(session, "issueId") or _named(object_of(session, "issue"), "id")
    return SpokenTo(_named(session, "id"), issue, by_person=action == "prompted")


def _named(source: Mapping[str, Any], name: str) -> str:
    """Give an id; an empty text where there is none that could be one."""
    found = source.get(name)
    return found if isinstance(found, str) and len(found) <= _LONGEST_ID and found.isprintable() else ""
