"""The broker's transport: kombu's own for Redis, but a message that is none is dropped with one line.

Anybody with access to the broker can push bytes. kombu decodes them in the worker's event loop, where a failure ends the
worker; so what cannot be a message is taken for nothing having come.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from kombu.transport import redis
from kombu.utils.objects import cached_property

from symphony.telemetry.log import get_logger

_SHOWN = 100

log = get_logger()


class Channel(redis.Channel):
    """A channel that reads proper envelopes only."""

    @cached_property
    def client(self) -> Any:
        """Give the client that pops messages, with our look at each of them."""
        client = super().client
        read = client.response_callbacks["BRPOP"]

        def popped(response: Any, **options: Any) -> Any:
            found = read(response, **options)
            return found if found and _is_proper(found[0], found[1], is_task=True) else None

        client.set_response_callback("BRPOP", popped)
        return client

    def _handle_message(self, client: Any, response: Any) -> Any:
        heard = super()._handle_message(client, response)  # type: ignore[misc]
        if heard["type"].endswith(b"message") and not _is_proper(heard["channel"], heard["data"], is_task=False):
            heard["data"] = None
        return heard


class Transport(redis.Transport):
    """kombu's transport over that channel."""

    Channel = Channel


def _is_proper(where: bytes, content: bytes, *, is_task: bool) -> bool:
    try:
        message = json.loads(content)
        is_proper = _is_envelope(message) and (not is_task or _is_task(message))
    except (ValueError, RecursionError):
        is_proper = False
    if not is_proper:
        log.warning("no message", queue=where.decode(errors="replace"), content=repr(content[:_SHOWN]))
    return is_proper


def _is_envelope(message: Any) -> bool:
    """Tell whether kombu can make a message of it, whatever that may say."""
    match message:
        case {
            "body": str(body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": dict(),
            "properties": {"body_encoding": "base64", "delivery_tag": str(), "delivery_info": dict()},
        }:
            json.loads(base64.b64decode(body, validate=True))
            return True
        case _:
            return False


def _is_task(message: Any) -> bool:
    """Tell whether it has the shape of a Celery task (protocol 2), whichever that is."""
    headers = message["headers"]
    for name in ("eta", "expires"):
        if headers.get(name) is not None:
            datetime.fromisoformat(str(headers[name]))
    match json.loads(base64.b64decode(message["body"])), headers:
        case [list(), dict(), dict() | None], {"task": str(), "id": str()}:
            return True
        case _:
            return False
