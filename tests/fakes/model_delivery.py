"""How a reply or a failure goes over the wire, in pieces or whole, undamaged or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from symphony.local.demo import responses_stream as stream
from symphony.local.demo.model_http import Exchange
from tests.fakes.model_replies import Failure, Reply

_MALFORMED = b'event: response.output_text.delta\ndata: {"type": "response.output_text.del\n\n'


def send_failure(exchange: Exchange, failure: Failure) -> None:
    """Send an answer that is no reply of a model."""
    if failure.status == 0:
        exchange.reset()
    else:
        exchange.send(failure.status, failure.body, kind=failure.kind, headers=failure.headers)


def send_streamed(exchange: Exchange, reply: Reply, frames: Sequence[bytes], *, error: bytes) -> None:
    """Send a reply as frames; `error` is the frame that says that the server failed in the middle."""
    if reply.delivery == "whole":
        if exchange.play(frames, kind=stream.CONTENT_TYPE, seconds=reply.seconds):
            exchange.end()
        return
    exchange.play(frames[: reply.after], kind=stream.CONTENT_TYPE)
    match reply.delivery:
        case "cut":
            exchange.cut()
        case "silent":
            exchange.wait(reply.seconds)
            exchange.cut()
        case "malformed":
            exchange.write(_MALFORMED)
            exchange.end()
        case "errored":
            exchange.write(error)
            exchange.end()


def send_whole(exchange: Exchange, reply: Reply, payload: Mapping[str, Any]) -> None:
    """Send a reply as one document, with the damage that it is to have."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    match reply.delivery:
        case "whole":
            exchange.wait(reply.seconds)
            exchange.send(200, body, kind="application/json")
        case "cut":
            exchange.send(200, body[: len(body) // 2], kind="application/json", headers={"Content-Length": str(len(body))})
            exchange.cut()
        case "malformed":
            exchange.send(200, body[: len(body) // 2], kind="application/json")
        case "silent":
            exchange.wait(reply.seconds)
            exchange.cut()
        case "errored":
            exchange.send_error(500, str((reply.error or {})["message"]))
