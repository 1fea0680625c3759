"""A server of models for tests: the Responses API and Chat Completions over real HTTP on loopback.

    with ModelServer([calls(("shell", {"command": "ls"})), finish()]) as server:
        client = openai.OpenAI(base_url=server.url, api_key="any", max_retries=0)

Invariant: what it accepts the real one would accept, by the `openai` package's own types and the API's rules; it streams as
the real one does and counts what a prompt cache would have found. What it answers is the script's: see `model_replies`.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from symphony.local.demo import responses_stream as stream
from symphony.local.demo.model_http import Endpoint, Exchange
from symphony.local.demo.prompt_cache import PromptCache, prompt_of, tokens
from symphony.local.demo.responses_stream import Item
from tests.fakes import model_chat, model_types
from tests.fakes.model_delivery import send_failure, send_streamed, send_whole
from tests.fakes.model_replies import Chaos, Failure, Reply, rate_limited
from tests.fakes.model_request import CHAT, COMPACT, RESPONSES, Request
from tests.fakes.model_rules import Refused, Rules
from tests.fakes.model_script import Player, Script
from tests.fakes.model_seals import Seals, digest

MODEL = "gpt-6.2-sol"
_THOUGHT_FOR_SUMMARY = 8


class ModelServer:
    """Serves while its context is open; raises at its end what the script raised.

    `per_second` is how many requests it takes in any second from all clients together; `keys` are the credentials it knows
    (None: any); `secret` stands for an organisation, whose servers read each other's encrypted content.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        models: Sequence[str] = (MODEL,),
        keys: Sequence[str] | None = None,
        per_second: int | None = None,
        context_tokens: int = 1_050_000,
        chaos: Chaos | None = None,
        secret: bytes | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.counts: Counter[str] = Counter()
        self.altered: list[tuple[Item, Item]] = []
        """Items of ours that came back other than they were sent: as sent, as come."""
        self._player = Player(script)
        self._rules = Rules(
            seals=Seals(secret or secrets.token_bytes(16)), models=tuple(models), context_tokens=context_tokens
        )
        self._keys = keys
        self._per_second = per_second
        self._chaos = chaos
        self._cache = PromptCache()
        self._endpoint = Endpoint(self._answer)
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()
        self._asked: Counter[str] = Counter()
        self._made: dict[str, Item] = {}
        self._error: BaseException | None = None

    @property
    def url(self) -> str:
        """The base url of a client."""
        return self._endpoint.url

    def __enter__(self) -> Self:
        self._endpoint.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._endpoint.__exit__()
        if self._error is not None and kind is None:
            raise self._error

    def most_in_a_second(self) -> int:
        """Give how many requests came at most within one second, those refused for the pace included."""
        times = sorted(request.at for request in self.requests)
        begin = most = 0
        for end, at in enumerate(times):
            while at - times[begin] > 1.0:
                begin += 1
            most = max(most, end - begin + 1)
        return most

    def cached_share(self, *, since: int = 0) -> float:
        """Give the share of input tokens found in the cache, in each conversation from request `since` on."""
        used = [request.usage for request in self.requests if request.usage is not None and request.number >= since]
        cached = sum(int(one["input_tokens_details"]["cached_tokens"]) for one in used)
        return cached / sum(int(one["input_tokens"]) for one in used)

    def _answer(self, exchange: Exchange) -> None:
        request = Request(exchange.path, exchange.headers, {})
        with self._lock:
            self.requests.append(request)
            self.counts["requests"] += 1
        try:
            self._serve(exchange, request)
            outcome = request.outcome
        except Refused as refused:
            outcome = "refused"
            exchange.send_error(refused.status, refused.message, refused.code, param=refused.param)
        except OSError:
            outcome = "gone"
            raise
        except BaseException as error:
            outcome, self._error = "failed", self._error or error
            exchange.send_error(400, f"The script of the test failed: {error!r}", "script_error")
        finally:
            request.outcome = outcome
            with self._lock:
                self.counts[outcome] += 1

    def _serve(self, exchange: Exchange, request: Request) -> None:
        self._authenticate(request)
        if exchange.method == "GET":
            self._describe(exchange, request)
            return
        if (wait_s := self._over_the_pace()) is not None:
            request.outcome = "limited"
            send_failure(exchange, rate_limited(wait_s))
            return
        self._read(exchange, request)
        if request.path == COMPACT:
            self._compact(exchange, request)
            return
        answer = self._player.answer(request)
        if self._chaos is not None:
            answer = self._chaos.touch(answer, conversation=request.conversation, number=request.number)
        request.outcome = "answered" if answer.is_good else "failed"
        if isinstance(answer, Failure):
            send_failure(exchange, answer)
        elif request.path == CHAT:
            self._send_chat(exchange, request, answer)
        else:
            self._send_response(exchange, request, answer)

    def _authenticate(self, request: Request) -> None:
        if not request.key:
            raise Refused(401, "You didn't provide an API key in an Authorization header using Bearer auth.")
        if self._keys is not None and request.key not in self._keys:
            raise Refused(401, "Incorrect API key provided.", "invalid_api_key")

    def _describe(self, exchange: Exchange, request: Request) -> None:
        """Answer what models there are."""
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "system"} for name in self._rules.models]
        name = request.path.removeprefix("/v1/models").strip("/")
        request.outcome = "answered"
        if request.path == "/v1/models":
            exchange.send_json(200, {"object": "list", "data": models})
        elif known := [model for model in models if request.path == f"/v1/models/{model['id']}"]:
            exchange.send_json(200, known[0])
        else:
            raise Refused(404, f"The model '{name}' does not exist.", "model_not_found")

    def _over_the_pace(self) -> float | None:
        """Take a place in the present second; give how long to wait when there is none."""
        if self._per_second is None:
            return None
        now = time.monotonic()
        with self._lock:
            while self._taken and now - self._taken[0] >= 1.0:
                self._taken.popleft()
            if len(self._taken) >= self._per_second:
                return max(self._taken[0] + 1.0 - now, 0.001)
            self._taken.append(now)
        return None

    def _read(self, exchange: Exchange, request: Request) -> None:
        """Take the body in, if it is one that the real server takes."""
        if request.path not in (RESPONSES, COMPACT, CHAT):
            raise Refused(404, f"Invalid URL (POST {request.path})")
        try:
            body = json.loads(exchange.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(400, "We could not parse the JSON body of your request.")
        if (wrong := model_types.complaint(request.path, body)) is not None:
            message, where = wrong
            raise Refused(400, f"Invalid '{where}': {message}.", "invalid_type", where)
        request.body = body
        if request.path == CHAT:
            model_chat.check(self._rules, body)
        else:
            self._rules.check(body, key=request.key)
        with self._lock:
            request.number = self._asked[request.conversation]
            self._asked[request.conversation] += 1
            made = [(self._made[item["id"]], item) for item in request.items if item.get("id") in self._made]
            self.altered += [(sent, came) for sent, came in made if _without_nulls(sent) != _without_nulls(came)]

    def _compact(self, exchange: Exchange, request: Request) -> None:
        told = [item for item in request.items if item.get("role") == "user"]
        kept = [{"type": "message", "status": "completed", **item} for item in told]
        sealed = self._rules.seals.close({"key": digest(request.key), "words": request.words})
        output = [*kept, *stream.stamped([{"type": "compaction", "encrypted_content": sealed}])]
        request.usage, request.outcome = self._pay(request, output), "compacted"
        head = {"id": f"resp_{secrets.token_hex(16)}", "object": "response.compaction", "created_at": int(time.time())}
        exchange.send_json(200, {**head, "output": output, "usage": request.usage})

    def _send_response(self, exchange: Exchange, request: Request, reply: Reply) -> None:
        output = stream.stamped(reply.items)
        if "reasoning.encrypted_content" in (request.body.get("include") or ()):
            for item in output:
                if item["type"] == "reasoning":
                    model = str(request.body["model"])
                    item["encrypted_content"] = self._rules.reasoning_seal(item, model=model, key=request.key)
        self._remember(output)
        request.usage = self._pay(request, output)
        failed = reply.status == "failed"
        whole = stream.response(
            request.body,
            output,
            None if failed else request.usage,
            status=reply.status,
            reason=reply.reason,
            error=reply.error if failed else None,
        )
        if not request.body.get("stream"):
            send_whole(exchange, reply, whole)
            return
        error = {"type": "error", "sequence_number": reply.after, **(reply.error or {})}
        send_streamed(
            exchange, reply, [stream.encoded(event) for event in stream.events(whole)], error=stream.encoded(error)
        )

    def _send_chat(self, exchange: Exchange, request: Request, reply: Reply) -> None:
        output = stream.stamped(reply.items)
        request.usage = self._pay(request, output)
        whole = model_chat.completion(request.body, output, reply, request.usage)
        reply = model_chat.delivered(reply)
        if not request.body.get("stream"):
            send_whole(exchange, reply, whole)
            return
        with_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
        frames = [model_chat.encoded(chunk) for chunk in model_chat.chunks(whole, with_usage=with_usage)]
        error = model_chat.encoded({"error": {"type": "server_error", **(reply.error or {})}})
        send_streamed(exchange, reply, [*frames, model_chat.LAST], error=error)

    def _remember(self, output: Sequence[Item]) -> None:
        with self._lock:
            self._made.update({item["id"]: item for item in output})

    def _pay(self, request: Request, output: Sequence[Item]) -> dict[str, Any]:
        """Count what a request and its answer cost."""
        counted = self._cache.count(str(request.body.get("prompt_cache_key")), prompt_of(request.body))
        thought = sum(
            _THOUGHT_FOR_SUMMARY * tokens(json.dumps(item["summary"])) for item in output if item["type"] == "reasoning"
        )
        said = thought + sum(tokens(json.dumps(item)) for item in output if item["type"] in ("message", "function_call"))
        with self._lock:
            self.counts.update(
                input_tokens=counted.read,
                cached_tokens=counted.cached,
                cache_write_tokens=counted.written,
                output_tokens=said,
                reasoning_tokens=thought,
            )
        return stream.usage(read=counted.read, cached=counted.cached, written=counted.written, said=said, thought=thought)


def _without_nulls(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}
