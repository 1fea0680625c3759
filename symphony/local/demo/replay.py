"""The demo's offline model: a server of the Responses API that plays a recorded model, on loopback.

Invariant: it says nothing that does not follow from the request, but for the failures of the story, of which each
conversation gets its one. The demo sets OPENAI_BASE_URL to its `url`; `python -m symphony.local.demo.replay PORT` serves a
demo's folder that was kept.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import Any, Self

from symphony.local.demo import responses_stream as stream
from symphony.local.demo.model_http import Endpoint, Exchange
from symphony.local.demo.prompt_cache import PromptCache, prompt_of, tokens
from symphony.local.demo.recorded import Turn
from symphony.local.demo.recorded_issues import answer
from symphony.local.demo.responses_stream import Item
from symphony.local.demo.seen import Seen

_RESPONSES, _MODELS = "/v1/responses", "/v1/models/"
_ENCRYPTED = "reasoning.encrypted_content"
_THOUGHT_FOR_SUMMARY = 8
_FAILURE = {"code": "recorded_failure", "message": "the recorded story has one answer that fails"}


class ReplayServer:
    """Serves while its context is open; an answer that fails in the story does so once, and comes when asked again."""

    def __init__(self, *, port: int = 0) -> None:
        self._failed: set[str] = set()
        self._lock = threading.Lock()
        self._cache = PromptCache()
        self._endpoint = Endpoint(self._answer, port=port)

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return self._endpoint.url

    def __enter__(self) -> Self:
        self._endpoint.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._endpoint.__exit__()

    def _answer(self, exchange: Exchange) -> None:
        if not exchange.headers.get("authorization", "").removeprefix("Bearer").strip():
            exchange.send_error(401, "You didn't provide an API key.")
        elif exchange.method == "GET" and exchange.path.startswith(_MODELS):
            name = exchange.path.removeprefix(_MODELS)
            exchange.send_json(200, {"id": name, "object": "model", "created": 0, "owned_by": "symphony-demo"})
        elif exchange.method != "POST" or exchange.path != _RESPONSES:
            exchange.send_error(404, f"Invalid URL ({exchange.method} {exchange.path})")
        elif (request := _request(exchange.body)) is None:
            exchange.send_error(400, "The body is no request of the Responses API: it wants a model and an input.")
        else:
            self._reply(exchange, request)

    def _reply(self, exchange: Exchange, request: dict[str, Any]) -> None:
        seen = Seen(request["input"])
        try:
            turn = answer(seen)
        except (KeyError, TypeError, AttributeError) as error:
            exchange.send_error(400, f"An item of the input is none of the Responses API: {error!r}", param="input")
            return
        output = _output(turn, encrypted=_ENCRYPTED in (request.get("include") or ()))
        whole = (
            stream.response(request, [], None, status="failed", error=_FAILURE)
            if turn.fails and self._is_first_failure(seen)
            else stream.response(request, output, self._usage(request, output))
        )
        if not request.get("stream"):
            exchange.wait(turn.seconds)
            exchange.send_json(200, whole)
            return
        frames = [stream.encoded(event) for event in stream.events(whole)]
        if exchange.play(frames, kind=stream.CONTENT_TYPE, seconds=turn.seconds):
            exchange.end()
        else:
            exchange.cut()

    def _is_first_failure(self, seen: Seen) -> bool:
        with self._lock:
            known = len(self._failed)
            self._failed.add(seen.prompt)
            return len(self._failed) > known

    def _usage(self, request: dict[str, Any], output: list[Item]) -> dict[str, Any]:
        counted = self._cache.count(str(request.get("prompt_cache_key")), prompt_of(request))
        thought = sum(_THOUGHT_FOR_SUMMARY * tokens(str(item["summary"])) for item in output if item["type"] == "reasoning")
        said = thought + sum(tokens(json.dumps(item)) for item in output if item["type"] != "reasoning")
        return stream.usage(read=counted.read, cached=counted.cached, written=counted.written, said=said, thought=thought)


def _request(body: bytes) -> dict[str, Any] | None:
    """Read a request, its input as items; None where it is none."""
    try:
        request = json.loads(body)
    except ValueError:
        return None
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        return None
    given = request.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return None
    return request | {"input": items}


def _output(turn: Turn, *, encrypted: bool) -> list[Item]:
    thought = stream.reasoning(turn.thinks)
    if encrypted:
        thought["encrypted_content"] = "a-recording-thinks-nothing-in-secret"
    said = [stream.message(turn.says, phase="commentary")] if turn.says else []
    return stream.stamped([thought, *said, *(stream.call(name, arguments) for name, arguments in turn.calls)])


def main() -> int:
    """Serve on the port that the command line names, until a signal."""
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with ReplayServer(port=port) as server:
        print(f"OPENAI_BASE_URL={server.url} OPENAI_API_KEY=replay", flush=True)
        signal.sigwait(ending)
    return 0


if __name__ == "__main__":
    sys.exit(main())
