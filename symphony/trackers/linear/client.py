"""One request to Linear's API and what its answer means.

Invariant: `ask` gives the whole `data` of an answer without any error, or raises; nothing that went wrong on the way reads
as an empty answer. The key's shared budget is asked before each request and told of each answer. No error holds the key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from symphony.domain.errors import ConfigError, Transient
from symphony.trackers.linear import failures, limits
from symphony.trackers.linear.settings import LOOPBACK
from symphony.trackers.quota import Quota

MOST_BYTES = 16 << 20  # of one answer
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_WHOLE_S = 12.0
"""How long an answer may come in, from the request on and but for its last read: a delivery must end within its lease."""
_PERSONAL = "lin_api_"
_OAUTH = "lin_oauth_"
_LONGEST_PERSONAL = 48

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log a line for every request


@dataclass(frozen=True, slots=True)
class Answer:
    """The data of an answer, and when it was given by Linear's own clock, in whole seconds; None: not said."""

    data: dict[str, Any]
    at: datetime | None


class Client:
    """Linear's endpoint with one credential; used by several threads at once.

    Raises: ConfigError: the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, endpoint: str, api_key: str, quota: Quota) -> None:
        self.endpoint = endpoint
        self.quota = quota
        self._key = api_key
        self.http = _opened(endpoint)

    @property
    def authorization(self) -> str:
        """The header that carries the credential: a personal key as it is, an OAuth token as a bearer's."""
        is_token = self._key.startswith(_OAUTH) or len(self._key) > _LONGEST_PERSONAL
        is_plain = self._key.startswith(_PERSONAL) or " " in self._key or not is_token
        return self._key if is_plain else f"Bearer {self._key}"

    def ask(self, document: str, variables: Mapping[str, Any], *, operation: str) -> dict[str, Any]:
        """Send a document and give its data.

        Raises:
            Transient: `tracker_request`, `tracker_status`, `tracker_response`, `tracker_rate_limited` (and for how long).
            Rejected: Linear understood and refused; `failures.NOT_FOUND` and `failures.EXISTS` where it says so.
            ConfigError: the credential is not accepted, or may not do this.
        """
        return self.ask_at(document, variables, operation=operation).data

    def ask_at(self, document: str, variables: Mapping[str, Any], *, operation: str) -> Answer:
        """Send a document and give its data with the time by Linear's clock. Raises: as `ask`."""
        response, payload = self._sent(document, variables, operation)
        failures.raise_for(response, payload, operation=operation, key=self._key)
        assert payload is not None
        return Answer(payload["data"], _date(response))

    def ask_whole(self, document: str, variables: Mapping[str, Any], *, operation: str | None) -> dict[str, Any]:
        """Send a document of somebody who reads GraphQL's errors himself, and give the whole body. Raises: as `ask`."""
        response, payload = self._sent(document, variables, operation)
        if not failures.is_refused_by_graphql(response, payload):
            failures.raise_for(response, payload, operation=operation or "a request", key=self._key)
        assert payload is not None
        return payload

    def _sent(
        self, document: str, variables: Mapping[str, Any], operation: str | None
    ) -> tuple[httpx.Response, dict[str, Any] | None]:
        """Send a document and give the answer with its body, unless the key's budget is spent."""
        self.quota.ensure_open()
        body = json.dumps({"query": document, "variables": dict(variables), "operationName": operation})
        headers = {"Authorization": self.authorization, "Content-Type": "application/json"}
        began = time.monotonic()
        try:
            with self.http.stream("POST", self.endpoint, content=body, headers=headers) as response:
                content = _whole(response, operation or "a request", began)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self.unreachable(operation or "a request", error) from error
        self.quota.note(limits.allowances(response.headers))
        payload = failures.payload_of(content)
        if limits.is_refusal(response.status_code, payload):
            raise self._refused(response)
        return response, payload

    def unreachable(self, what: str, error: Exception) -> Transient:
        """Build the error of a request whose answer did not come, or not whole."""
        return failures.unreachable(what, error, self._key)

    def _refused(self, response: httpx.Response) -> Transient:
        now = datetime.now(UTC)
        until = limits.closed_until(response.headers, now=now, theirs=_date(response))
        self.quota.close_until(until)
        return limits.refusal(until, now)


def quota_key(endpoint: str, api_key: str) -> str:
    """Name the budget of a credential at an endpoint, without containing either."""
    return "linear:" + hashlib.sha256(f"{endpoint}\0{api_key}".encode()).hexdigest()[:32]


def _opened(endpoint: str) -> httpx.Client:
    is_loopback = httpx.URL(endpoint).host in LOOPBACK  # where no proxy of the environment leads
    try:
        return httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=not is_loopback)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:  # whose words may hold a proxy's password
        raise ConfigError(
            f"the environment's proxy or certificates cannot be used to reach Linear ({type(error).__name__})",
            place="HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE, SSL_CERT_DIR",
            cure="write a proxy as http://host:port, and certificates as a file or folder that is there",
            category="invalid_tracker_config",
        ) from None


def _whole(response: httpx.Response, operation: str, began: float) -> bytes:
    """Read a body of bearable size in bearable time. Raises: Transient, httpx.HTTPError."""
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > MOST_BYTES:
            raise Transient(f"Linear's answer to {operation} is too large", category="tracker_response")
        if time.monotonic() - began > _WHOLE_S:
            raise Transient(f"Linear's answer to {operation} takes too long", category="tracker_request")
    return bytes(content)


def _date(response: httpx.Response) -> datetime | None:
    try:
        found = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
