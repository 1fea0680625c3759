"""Linear's API for tests: GraphQL over real HTTP on loopback, with a workspace behind it and a person's hands in-process.

    with LinearServer() as server:
        issue = server.create_issue("Fix the parser", labels=["bug"])
        httpx.post(server.url, headers={"Authorization": server.key}, json={"query": "{ viewer { id } }"})
        server.move(issue, "In Progress")

Invariant: what it accepts the real API would accept, by the real schema where this machine has it, by Linear's rules of
complexity, limits and credentials; what a client did wrong stands in `violations`, what came in `requests`, what was applied
in `writes`. Faults are scripted by the name of an operation or of its first field: `fail("commentCreate", faults.silent())`.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self

from symphony.local.demo.model_http import Endpoint, Exchange
from tests.fakes import linear_errors as errors
from tests.fakes.linear_complexity import MOST
from tests.fakes.linear_events import events_of
from tests.fakes.linear_execution import Answer, Document, executable, execute, read_document
from tests.fakes.linear_faults import Chaos, Fault, Faults
from tests.fakes.linear_limits import Budgets, Limits
from tests.fakes.linear_people import STATES, People
from tests.fakes.linear_schema import SMALL, real_schema
from tests.fakes.linear_uploads import Storage
from tests.fakes.linear_webhooks import Mishaps, Webhook
from tests.fakes.linear_world import Actor, Change, Write

EVENTS = ("Issue", "Comment", "IssueLabel", "AgentSessionEvent")
_FOREVER = 3_600.0


@dataclass
class Request:
    """A request as it came, and what became of it."""

    operation: str
    fields: tuple[str, ...]
    variables: Mapping[str, Any]
    document: str
    key: str
    at: int
    status: int = 0
    complexity: float = 0.0
    fault: str | None = None


class LinearServer(People):
    """Serves while its context is open.

    `key` is a personal API key of `viewer`'s, `token` an OAuth token of `app`'s. `limits` are off unless given; a refused
    operation answers with `refusal_status`, as both 200 and 400 have been seen.
    """

    def __init__(
        self,
        *,
        team: str = "ENG",
        states: Sequence[tuple[str, str]] = STATES,
        schema: Path | None = None,
        limits: Limits | None = None,
        chaos: Chaos | None = None,
        skew_ms: int = 0,
        refusal_status: int = 200,
    ) -> None:
        super().__init__(team=team, states=states, skew_ms=skew_ms)
        self.requests: list[Request] = []
        self.violations: list[str] = []
        """What no client should do: invalid documents, wrong variables, filters that are not played, leaked credentials."""
        self.impatient = 0
        """How many requests came although their key had been told to wait."""
        self.key = "lin_api_viewer"
        self.token = "lin_oauth_app"
        self.keys = {self.key: self.viewer.id}
        self.tokens = {self.token: self.app.id}
        self.refusal_status = refusal_status
        self.budgets = Budgets(limits, self.world.clock)
        self.storage = Storage()
        self.faults = Faults(chaos)
        self.webhooks: list[Webhook] = []
        self.world.listeners.append(self._tell)
        self._schema = schema or real_schema() or SMALL
        self._endpoint = Endpoint(self._answer)
        handler: Any = self._endpoint.RequestHandlerClass
        own = {"do_PUT": handler.do_POST, "date_time_string": lambda *_: self._date()}
        self._endpoint.RequestHandlerClass = type("Handler", (handler,), own)
        self._lock = threading.Lock()

    @property
    def base(self) -> str:
        """The root of all addresses."""
        return self._endpoint.url.removesuffix("/v1")

    @property
    def url(self) -> str:
        """The endpoint of a client."""
        return f"{self.base}/graphql"

    @property
    def writes(self) -> list[Write]:
        """What was applied, by clients and by hands."""
        return self.world.writes

    def __enter__(self) -> Self:
        executable(self._schema)
        self._endpoint.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for webhook in self.webhooks:
            webhook.close()
        self._endpoint.__exit__()

    def fail(self, operation: str, *faults: Fault) -> None:
        """Let the next requests of an operation (or of any: `*`) go wrong, one after the other."""
        self.faults.script(operation, *faults)

    def webhook(self, url: str, secret: str, *, types: Sequence[str] = EVENTS, mishaps: Mishaps | None = None) -> Webhook:
        """Post every change from now on to a receiver."""
        webhook = Webhook(url, secret, types=types, mishaps=mishaps or Mishaps(), clock=self.world.clock)
        self.webhooks.append(webhook)
        return webhook

    def written(self, kind: str, entity_id: str | None = None) -> list[Write]:
        """Give the writes of a kind (like Comment.create) that came with a key, of one thing or of all."""
        return [one for one in self.writes if one.kind == kind and one.key and entity_id in (None, one.entity_id)]

    def asked(self, name: str) -> list[Request]:
        """Give the requests of an operation, or with a field of this name."""
        return [one for one in self.requests if name == one.operation or name in one.fields]

    def _tell(self, change: Change) -> None:
        if self.webhooks:
            for event in events_of(self.world, change):
                for webhook in self.webhooks:
                    webhook.tell(event)

    def _date(self) -> str:
        return formatdate(self.world.clock.now() // 1000, usegmt=True)

    def _answer(self, exchange: Exchange) -> None:
        if exchange.path.startswith("/upload/"):
            self._take_upload(exchange)
            return
        actor = self._authenticated(exchange)
        if actor is None:
            return
        if exchange.path.startswith("/assets/"):
            self._send_asset(exchange)
        elif exchange.path == "/graphql" and exchange.method == "POST":
            self._serve(exchange, actor)
        else:
            exchange.send_json(404, errors.body("Not found", "NOT_FOUND", "other", "Not found.", status=404))

    def _authenticated(self, exchange: Exchange) -> Actor | None:
        """Give who asks; a key comes bare, an OAuth token as a Bearer."""
        credential = exchange.headers.get("authorization", "")
        bearer = credential.removeprefix("Bearer ")
        if credential in self.keys:
            return Actor(self.keys[credential], credential)
        if bearer != credential and bearer in self.tokens:
            return Actor(self.tokens[bearer], bearer)
        shown = "You need to authenticate to access this operation."
        with self._lock:
            self.requests.append(Request("", (), {}, "", "", self.world.clock.now(), status=401))
            if bearer in self.keys:
                shown = "It looks like you're trying to use an API key as a Bearer token. Remove the Bearer prefix."
                self.violations.append("an API key came as a Bearer token")
        exchange.send_json(401, errors.unauthenticated(shown))
        return None

    def _serve(self, exchange: Exchange, actor: Actor) -> None:
        document = read_document(exchange.headers.get("content-type", ""), exchange.body, self._schema)
        key = actor.key or ""
        request = Request(
            operation=document.name,
            fields=document.fields,
            variables=document.variables,
            document=document.text,
            key=key,
            at=self.world.clock.now(),
            complexity=document.points,
        )
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.violations += document.violations
            self.impatient += self.budgets.paused(key)
            fault = self.faults.next((document.name, *document.fields), number)
            if fault is not None and fault.kind == "ratelimited":
                self.budgets.pause(key, fault.milliseconds)
        request.fault = fault.kind if fault is not None else None
        answer = self._refused(document, key) or self._carried_out(document, actor, fault)
        request.status = answer.status
        headers = {"x-complexity": str(math.ceil(document.points)), **self.budgets.headers(key)}
        self._deliver(exchange, request, answer, fault, headers)

    def _refused(self, document: Document, key: str) -> Answer | None:
        """Give the answer to what is not even begun."""
        if document.refusal is not None:
            return Answer(400, document.refusal)
        if document.points > MOST:
            with self._lock:
                self.violations.append(f"{document.name} costs {document.points:g} points")
            return Answer(400, errors.too_complex(document.points, MOST))
        with self._lock:
            if self.budgets.paused(key) or not self.budgets.admit(key, document.points):
                return Answer(400, errors.rate_limited("You have exceeded the rate limit. Try again later."))
        return None

    def _carried_out(self, document: Document, actor: Actor, fault: Fault | None) -> Answer:
        if fault is not None and not fault.applied:
            return Answer(self.refusal_status, fault.body or {"data": None})
        age = fault.milliseconds if fault is not None and fault.kind == "stale" else 0
        answer = execute(
            self.world,
            document,
            by=actor,
            age_ms=age,
            limits=lambda: self.budgets.status(actor.key or ""),
            upload=lambda arguments: self.storage.announce(arguments, base=self.base),
        )
        with self._lock:
            self.violations += answer.violations
        if answer.body.get("data") is None and answer.status == 200:
            answer.status = self.refusal_status
        if fault is not None and fault.spoil is not None and answer.body.get("data"):
            fault.spoil(answer.body)
        return answer

    def _deliver(
        self, exchange: Exchange, request: Request, answer: Answer, fault: Fault | None, headers: Mapping[str, str]
    ) -> None:
        """Send an answer the way its fault wants."""
        kind = fault.kind if fault is not None else ""
        if fault is None or kind in ("ratelimited", "stale", "slow", "refused") or fault.spoil is not None:
            if kind == "slow" and fault is not None:
                exchange.wait(fault.seconds)
            exchange.send_json(answer.status, answer.body, headers)
            return
        request.status = fault.status
        if kind == "status":
            body = errors.body("Internal server error", "INTERNAL_SERVER_ERROR", "internal error", "Failed.", status=500)
            exchange.send_json(fault.status, body, headers)
        elif kind == "html":
            exchange.send(fault.status, b"<html><body><h1>Bad gateway</h1></body></html>", kind="text/html")
        elif kind == "cut":
            body_bytes = json.dumps(answer.body).encode()
            promised = {**headers, "Content-Length": str(len(body_bytes) + 1000)}
            exchange.send(200, body_bytes[: len(body_bytes) // 2], kind="application/json", headers=promised)
            exchange.cut()
        elif kind == "silent":
            exchange.wait(_FOREVER)
            exchange.cut()
        elif kind == "reset":
            exchange.reset()

    def _take_upload(self, exchange: Exchange) -> None:
        with self._lock:
            wrong = self.storage.take(exchange.path, exchange.headers, exchange.body)
            if wrong is not None:
                self.violations.append(f"upload: {wrong}")
        page = f"<?xml version='1.0'?><Error><Code>{wrong}</Code></Error>" if wrong else ""
        exchange.send(403 if wrong else 200, page.encode(), kind="application/xml")

    def _send_asset(self, exchange: Exchange) -> None:
        upload = self.storage.asset(exchange.path)
        if upload is None or upload.content is None:
            exchange.send(404, b"Not found", kind="text/plain")
        else:
            exchange.send(200, upload.content, kind=upload.content_type)


def wait_until(condition: Any, *, seconds: float = 10.0) -> None:
    """Wait for a condition.

    Raises: AssertionError if it does not come about.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come about"
        time.sleep(0.01)
