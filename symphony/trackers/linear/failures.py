"""What an answer of Linear's that is no success means for whoever asked.

Invariant: every such answer becomes one of the house's errors, chosen by what happens next; its text is short, printable
and without the credential. What is not clearly a refusal may be tried again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx

from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient
from symphony.telemetry.redaction import MASK

REQUEST, STATUS, RESPONSE = "tracker_request", "tracker_status", "tracker_response"
NOT_FOUND = "linear_entity_not_found"
"""The category of a refusal that says: what an id names is not there. Within this folder only."""
EXISTS = "linear_entity_exists"
"""The category of a refusal that says: the id that we made is taken. Within this folder only."""
_KEY_PLACE = "tracker.provider.api_key"
_UNAUTHENTICATED = frozenset({"AUTHENTICATION_ERROR", "UNAUTHENTICATED"})
_REFUSED = frozenset(
    {"INPUT_ERROR", "INVALID_INPUT", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT"}
)
_REFUSED_TYPES = frozenset(
    {"invalid input", "user error", "graphql error", "feature not accessible", "usage limit exceeded"}
)
_FORBIDDEN = "FORBIDDEN"
_MOST_WORDS = 300


class Forbidden(ConfigError):
    """The credential is accepted, but may not do this."""


def unreachable(operation: str, error: Exception, key: str) -> Transient:
    """Build the error of a request whose answer did not come, or not whole."""
    what = str(error) or type(error).__name__
    return Transient(f"Linear did not answer {operation}: {_shown(what, key)}", category=REQUEST)


def payload_of(content: bytes) -> dict[str, Any] | None:
    """Read a body; None: it is no JSON object."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_refused_by_graphql(response: httpx.Response, payload: Mapping[str, Any] | None) -> bool:
    """Tell whether an answer is one of the API's whose errors say what is wrong with what was asked."""
    errors = _errors(payload)
    is_credential = any(_word(error, "code") in _UNAUTHENTICATED for error in errors)
    return bool(errors) and not is_credential and response.status_code in (200, 400, 403)


def raise_for(response: httpx.Response, payload: Mapping[str, Any] | None, *, operation: str, key: str) -> None:
    """Return where an answer is a success with data; else raise what it means.

    Raises: Transient, Rejected, ConfigError.
    """
    status, errors = response.status_code, _errors(payload)
    forbidden = any(_word(error, "code") == _FORBIDDEN for error in errors)
    if (status in (401, 403) and not forbidden) or any(_word(error, "code") in _UNAUTHENTICATED for error in errors):
        raise _not_accepted(status, errors, key)
    if status >= 500:
        raise Transient(
            f"Linear answered {operation} with status {status}", retry_after=_retry_after(response), category=STATUS
        )
    if errors:
        raise _meaning(errors[0], operation, key)
    if status != 200:
        raise Transient(f"Linear answered {operation} with status {status}", category=STATUS)
    if payload is None or not isinstance(payload.get("data"), dict) or payload.get("errors"):
        raise Transient(f"Linear's answer to {operation} is no answer of its API", category=RESPONSE)


def malformed(what: str) -> Transient:
    """Build the error of an answer in which something is missing or is of another kind."""
    return Transient(f"Linear's answer has {what}", category=RESPONSE)


def _meaning(error: Mapping[str, Any], operation: str, key: str) -> SymphonyError:
    message = f"Linear refused {operation}: {_shown(_words(error), key)}"
    said = str(error.get("message") or "").lower()
    if _word(error, "code") == _FORBIDDEN:
        cure = "give the key the scopes read and write, or let its user into the team"
        return Forbidden(message, place=_KEY_PLACE, cure=cure, category="invalid_tracker_config")
    if _word(error, "code") in _REFUSED or _word(error, "type") in _REFUSED_TYPES:
        category = NOT_FOUND if "not found" in said else EXISTS if "conflict on insert" in said else RESPONSE
        return Rejected(message, category=category)
    return Transient(f"Linear failed at {operation}: {_shown(_words(error), key)}", category=RESPONSE)


def _not_accepted(status: int, errors: list[Mapping[str, Any]], key: str) -> ConfigError:
    said = f": {_shown(_words(errors[0]), key)}" if errors else ""
    return ConfigError(
        f"Linear does not accept the key (status {status}){said}",
        place=_KEY_PLACE,
        cure="make a new one in Linear under Settings, Security & access, and set it where workers start",
        category="invalid_tracker_config",
    )


def _errors(payload: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    found = payload.get("errors") if payload is not None else None
    return [error for error in found if isinstance(error, dict)] if isinstance(found, list) else []


def _word(error: Mapping[str, Any], name: str) -> str:
    extensions = error.get("extensions")
    found = extensions.get(name) if isinstance(extensions, dict) else None
    return found if isinstance(found, str) else ""


def _words(error: Mapping[str, Any]) -> str:
    return ". ".join(
        dict.fromkeys(
            part.rstrip(".") for part in (str(error.get("message") or ""), _word(error, "userPresentableMessage")) if part
        )
    )


def _shown(text: str, key: str) -> str:
    clean = " ".join(text.replace(key, MASK).split())
    return "".join(letter for letter in clean if letter.isprintable())[:_MOST_WORDS] or "no reason given"


def _retry_after(response: httpx.Response) -> timedelta | None:
    text = response.headers.get("retry-after", "")
    return timedelta(seconds=int(text)) if text.isdecimal() and len(text) < 5 else None
