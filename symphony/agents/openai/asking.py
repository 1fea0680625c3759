"""One request to a model, seen through: paid for, paced, tried again where that helps, and written down.

Invariant: no request is sent before its row is written, and at most one is unpaid for in the rows when this process dies.
All workers of a key share its pace, so many agents slow down together instead of stampeding.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol

from symphony.agents.openai.conversation import Conversation, RequestKind
from symphony.agents.openai.model import (
    Broken,
    Limited,
    Model,
    Reply,
    Request,
    StaleReasoning,
    Watch,
)
from symphony.agents.openai.purse import Purse
from symphony.agents.openai.stream import TOO_LONG, pause
from symphony.domain.errors import Poisoned, SymphonyError, Transient
from symphony.domain.usage import Usage
from symphony.ledger.conversations import REPEATED_CALL
from symphony.ledger.database import new_id
from symphony.telemetry.log import get_logger

TRIES = 6
_CHARACTERS_A_TOKEN = 4
_OUTPUT_GUESS = 2_000  # tokens
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_MAYBE_PAID = frozenset({"stream_cut", "model_silent", "model_malformed", "broken", TOO_LONG})

log = get_logger()


class Pace(Protocol):
    """The pace that all workers of a key share."""

    def wait(self, pause: Callable[[timedelta], None]) -> None:
        """Queue up and return when a request may be sent; `pause` waits so long, and raises to give up."""

    def limited(self, retry_after: timedelta | None, sent_ago: timedelta) -> None:
        """Say that the endpoint refused a request for the pace."""

    def accepted(self) -> None:
        """Say that the endpoint took a request."""


class OverBudget(Poisoned):
    """The next request may not be paid; the message is for people."""


@dataclass
class Asking:
    """How one run's requests are made; `request` gives the request for the items as they stand."""

    model: Model
    conversation: Conversation
    purse: Purse
    pace: Pace
    watch: Watch
    name: str
    used: Callable[[Usage], None]
    last: Usage | None = None
    _sent_at: float = field(default_factory=time.monotonic)

    def ask(self, request: Callable[[], Request], kind: RequestKind = "turn") -> Reply:
        """Send a request until it is answered; its items and its cost are rows when this returns.

        Raises:
            OverBudget: it may not be paid. Broken: the turn was asked to stop. ContextFull: the items are too many.
            Transient: it failed again and again. Rejected, ConfigError, Poisoned: trying again is pointless.
        """
        failures = 0
        while True:
            try:
                return self._once(request(), kind)
            except Limited as error:
                log.info("model limits requests", model=self.name, retry_after=str(error.retry_after))
                self.pace.limited(error.retry_after, timedelta(seconds=time.monotonic() - self._sent_at))
            except StaleReasoning:
                if not self.conversation.drop_reasoning():
                    raise
            except Transient as error:
                failures += 1
                if failures >= TRIES:
                    raise
                log.warning("model request failed", model=self.name, failures=failures, reason=str(error))
                asked = error.retry_after.total_seconds() if error.retry_after else 0.0
                self._pause(max(asked, _jittered(failures)))

    def _once(self, request: Request, kind: RequestKind) -> Reply:
        estimate = self.estimate(request)
        self._ensure_payable(estimate)
        if self._waited_for_pace():
            self._ensure_payable(estimate)  # others have spent meanwhile, and time has passed
        request_id = new_id()
        cost = self.purse.cost(estimate)
        self.conversation.begin_request(request_id, model=self.name, kind=kind, estimate=estimate, cost=cost)
        self._sent_at = time.monotonic()
        self.watch.step.begin()
        try:
            reply = self.model.reply(request, self.watch)
        except SymphonyError as error:
            is_paid = error.category in _MAYBE_PAID
            self.conversation.discard_request(
                request_id,
                error=str(error),
                used=estimate if is_paid else None,
                cost=cost if is_paid else Decimal(0),
                is_estimated=is_paid,
            )
            raise
        items = reply.items if kind == "turn" else ()
        try:
            self.conversation.finish_request(request_id, reply.usage, self.purse.cost(reply.usage), items)
        except Transient as error:
            if error.category == REPEATED_CALL:
                self.conversation.discard_request(
                    request_id, error=str(error), used=reply.usage, cost=self.purse.cost(reply.usage), is_estimated=False
                )
            raise
        self.last = reply.usage
        self.used(reply.usage)
        self.pace.accepted()
        return reply

    def _ensure_payable(self, estimate: Usage) -> None:
        refusal = self.purse.refusal(estimate)
        if refusal is not None:
            raise OverBudget(refusal)

    def _waited_for_pace(self) -> bool:
        """Return when the pace lets a request through, and say whether that took a while."""
        pauses = 0

        def pause_once(waiting: timedelta) -> None:
            nonlocal pauses
            pauses += 1
            self._pause(waiting.total_seconds())

        self.pace.wait(pause_once)
        return pauses > 0

    def _pause(self, seconds: float) -> None:
        reason = pause(seconds, self.watch)
        if reason is not None:
            raise Broken(reason, category="stopped")

    def estimate(self, request: Request) -> Usage:
        """Guess what a request will use: what the last one read is cached now, the rest is four characters a token."""
        tokens = _characters([request.instructions, *request.items, *request.tools]) // _CHARACTERS_A_TOKEN
        cached = min(self.last.input_tokens, tokens) if self.last else 0
        return Usage(input_tokens=tokens, cached_tokens=cached, output_tokens=_OUTPUT_GUESS)


def _jittered(failures: int) -> float:
    most: float = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
    return random.uniform(most / 2, most)  # noqa: S311


def _characters(value: Any) -> int:
    """Count the characters of what a model reads; a picture counts as 6,000."""
    if isinstance(value, str):
        return 6_000 if value.startswith("data:image/") else len(value)
    if isinstance(value, dict):
        return sum(_characters(item) for item in value.values())
    if isinstance(value, Sequence):
        return sum(map(_characters, value))
    return 8
