"""Linear's webhooks: signed events, posted one after the other, with what goes wrong between Linear and a receiver.

Invariant: what is posted is signed over the very bytes that are sent, and stamped when it is sent; a delivery that is posted
twice, or again after a refusal, keeps its Linear-Delivery. Everything that was tried stands in `deliveries`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import random
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.fakes.linear_time import Clock

Payload = dict[str, Any]


@dataclass(frozen=True)
class Mishaps:
    """What goes wrong with deliveries: each of the first four happens to an event with a probability.

    A lost one is never sent, a doubled one twice, a reordered one after its successor, and a forged one is accompanied by a
    copy with the `forgery` written into its data and a signature of another secret. `skew_ms` is added to the time stamps.
    """

    lost: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0
    forged: float = 0.0
    delay_s: float = 0.0
    skew_ms: int = 0
    retries: int = 0
    retry_s: float = 0.05
    seed: int = 0
    forgery: Payload | None = None


@dataclass(frozen=True)
class Delivery:
    """A post that was tried; `status` is None where nobody answered or it was never sent."""

    id: str
    event: str
    payload: Payload
    body: bytes
    headers: Mapping[str, str]
    status: int | None
    lost: bool = False
    forged: bool = False


class Webhook:
    """A receiver's registration, with a thread that posts."""

    def __init__(self, url: str, secret: str, *, types: Collection[str], mishaps: Mishaps, clock: Clock) -> None:
        self.id = str(uuid.uuid4())
        self.url = url
        self.secret = secret
        self.types = frozenset(types)
        self.mishaps = mishaps
        self.deliveries: list[Delivery] = []
        self._clock = clock
        self._dice = random.Random(mishaps.seed)
        self._events: queue.Queue[tuple[str, Payload] | None] = queue.Queue()
        self._client = httpx.Client(timeout=5.0, trust_env=False)
        self._held: tuple[str, Payload] | None = None
        self._owed = 0
        self._settled = threading.Condition()
        self._thread = threading.Thread(target=self._post_all, name="linear-webhook", daemon=True)
        self._thread.start()

    def tell(self, event: Payload) -> None:
        """Owe the receiver an event, if it wants that type."""
        if event["type"] in self.types:
            with self._settled:
                self._owed += 1
            self._events.put((str(uuid.uuid4()), event))

    def settle(self, *, seconds: float = 10.0) -> None:
        """Wait until everything that is owed was tried; an event held back for its successor is sent now.

        Raises: AssertionError if it takes too long.
        """
        with self._settled:
            assert self._settled.wait_for(lambda: self._owed <= (self._held is not None), seconds), "webhooks are slow"
            held, self._held = self._held, None
        if held is not None:
            self._dispatch(*held)

    def close(self) -> None:
        """Post no more."""
        self._events.put(None)

    def signature(self, body: bytes) -> str:
        """Sign a body as Linear does."""
        return hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()

    def _post_all(self) -> None:
        while (one := self._events.get()) is not None:
            with self._settled:
                held, self._held = self._held, None
                if held is None and self._happens(self.mishaps.reordered):
                    self._held = one
                    self._settled.notify_all()
                    continue
            self._dispatch(*one)
            if held is not None:
                self._dispatch(*held)

    def _dispatch(self, delivery_id: str, event: Payload) -> None:
        if self.mishaps.delay_s:
            time.sleep(self.mishaps.delay_s)
        if self._happens(self.mishaps.lost):
            self.deliveries.append(self._prepared(delivery_id, event, lost=True))
        else:
            if self._happens(self.mishaps.forged):
                self._post(str(uuid.uuid4()), self._forgery(event), forged=True)
            for _ in range(2 if self._happens(self.mishaps.doubled) else 1):
                self._post(delivery_id, event)
        with self._settled:
            self._owed -= 1
            self._settled.notify_all()

    def _post(self, delivery_id: str, event: Payload, *, forged: bool = False) -> None:
        for attempt in range(1 + self.mishaps.retries):
            if attempt:
                time.sleep(self.mishaps.retry_s)
            prepared = self._prepared(delivery_id, event, forged=forged)
            try:
                status = self._client.post(self.url, content=prepared.body, headers=dict(prepared.headers)).status_code
            except httpx.HTTPError:
                status = None
            self.deliveries.append(Delivery(**{**prepared.__dict__, "status": status}))
            if status == 200:
                return

    def _prepared(self, delivery_id: str, event: Payload, *, lost: bool = False, forged: bool = False) -> Delivery:
        stamp = self._clock.now() + self.mishaps.skew_ms
        payload = {**event, "webhookTimestamp": stamp, "webhookId": self.id}
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        signature = self.signature(body if not forged else body + b"forged")
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Linear-Delivery": delivery_id,
            "Linear-Event": event["type"],
            "Linear-Signature": signature,
            "Linear-Timestamp": str(stamp),
            "User-Agent": "Linear-Webhook",
        }
        return Delivery(delivery_id, event["type"], payload, body, headers, None, lost, forged)

    def _forgery(self, event: Payload) -> Payload:
        return {**event, "data": {**event.get("data", {}), **(self.mishaps.forgery or {})}}

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._dice.random() < probability
