"""What the failures of the `openai` package and of an endpoint mean, as errors that say what happens next.

Used by both ways of speaking to a model. The package's classes are looked at by their attributes, so that importing
this costs nothing.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from symphony.agents.openai.model import ContextFull, Limited, StaleReasoning
from symphony.domain.errors import ConfigError, Poisoned, Rejected, SymphonyError, Transient

_OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "usage_limit_reached"})
_CONTEXT = frozenset({"context_length_exceeded", "string_above_max_length"})
_LONGEST_WAIT_S = 3600.0
_SHOWN = 300


def of_status(status: int, code: str | None, message: str, headers: Mapping[str, str]) -> SymphonyError:
    """Give the error of an answer with a status of 400 or more."""
    said = _short(message)
    if code in _OUT_OF_QUOTA or status == 402:
        return Poisoned(
            f"The model's account has no quota left: {said} Top it up, then answer here to go on.", category="model_quota"
        )
    if status == 429:
        return Limited(
            f"the model's endpoint limits requests: {said}", retry_after=retry_after(headers), category="model_limited"
        )
    if status in (401, 403):
        return ConfigError(
            f"the model's endpoint refuses the credential ({status}): {said}",
            place="OPENAI_API_KEY",
            cure="set a key that may use the model",
            category="model_unauthorized",
        )
    if status == 404:
        return ConfigError(
            f"the model's endpoint does not know what was asked for: {said}",
            place="agent.model",
            cure="name a model that this key and OPENAI_BASE_URL have",
            category="model_unknown",
        )
    if status in (408, 409) or status >= 500:
        return Transient(
            f"the model's endpoint answered {status}: {said}", retry_after=retry_after(headers), category="model_failed"
        )
    return of_code(code, said) or Rejected(
        f"the model's endpoint refuses the request ({status}): {said}", category="model_rejected"
    )


def of_code(code: str | None, message: str) -> SymphonyError | None:
    """Give the error of a code that means one thing wherever it stands; None for others."""
    said = _short(message)
    if code in _OUT_OF_QUOTA:
        return of_status(402, code, message, {})
    if code in _CONTEXT:
        return ContextFull(said, category="context_full")
    if code == "invalid_encrypted_content":
        return StaleReasoning(said, category="stale_reasoning")
    if code in ("rate_limit_exceeded", "slow_down"):
        return Limited(f"the model's endpoint limits requests: {said}", category="model_limited")
    if code in ("server_error", "vector_store_timeout"):
        return Transient(f"the model failed: {said}", category="model_failed")
    return None


def of_failed_response(error: Mapping[str, Any] | None) -> SymphonyError:
    """Give the error of a response that ended as `failed`."""
    code = str((error or {}).get("code") or "server_error")
    message = str((error or {}).get("message") or "no reason was given")
    return of_code(code, message) or Rejected(
        f"the model's endpoint failed the request ({code}): {_short(message)}", category="model_rejected"
    )


def of_exception(error: Exception) -> SymphonyError:
    """Give the error of whatever the package raised while sending or reading."""
    if isinstance(error, SymphonyError):
        return error
    status = getattr(error, "status_code", None)
    code = getattr(error, "code", None)
    if isinstance(status, int) and status >= 400:
        response = getattr(error, "response", None)
        return of_status(status, code, str(error), getattr(response, "headers", {}) or {})
    if isinstance(code, str) and (known := of_code(code, str(error))) is not None:
        return known
    name = type(error).__name__
    if name == "APITimeoutError":
        return Transient("the model's endpoint said nothing for too long", category="model_silent")
    return Transient(
        f"the model's endpoint cannot be understood or reached: {name}: {_short(str(error))}", category="model_unreachable"
    )


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read how long the server asks to wait: `retry-after-ms`, `retry-after` in seconds or as a date (RFC 9110, 10.2.3)."""
    milliseconds, said = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds: float | None = None
    try:
        if milliseconds:
            seconds = float(milliseconds) / 1000
        elif said:
            seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said or "").timestamp() - time.time()
        except ValueError:
            return None
    if seconds is None or not 0 <= seconds < float("inf"):
        return None
    return timedelta(seconds=min(seconds, _LONGEST_WAIT_S))


def _short(text: str) -> str:
    """Give one line: what an endpoint says can be a whole page of HTML."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
