"""What a model is to the loop: one request in, one complete reply out, or an error that says what to do.

Invariant: a reply is whole or there is none; a stream that was cut, silent or malformed leaves nothing but its error. Two
ways of speaking have the same shape here: `responses` (Responses API) and `chat` (Chat Completions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from symphony.agents.openai.step import Step
from symphony.domain.errors import Cancelled, Rejected, Transient
from symphony.domain.usage import Usage

Item = dict[str, Any]
"""An item of the Responses API, verbatim."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that a model is told; what is the same in each request of a run stands first."""

    model: str
    effort: str
    instructions: str
    items: Sequence[Item]
    tools: Sequence[Mapping[str, Any]]
    cache_key: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer: its items as they are to be replayed, and what it used.

    `cut` says why it ended early (`max_output_tokens`, `content_filter`), None where it did not.
    """

    items: Sequence[Item]
    usage: Usage
    cut: str | None = None

    @property
    def calls(self) -> list[Item]:
        """The function calls, in order."""
        return [item for item in self.items if item.get("type") == "function_call"]

    @property
    def text(self) -> str:
        """What the model says to people, refusals included."""
        parts = [
            part.get("text") or part.get("refusal") or ""
            for item in self.items
            if item.get("type") == "message"
            for part in item.get("content", ())
        ]
        return "\n".join(part for part in parts if part)

    @property
    def refusal(self) -> str | None:
        """What the model says where it refuses."""
        said = [
            part["refusal"]
            for item in self.items
            if item.get("type") == "message"
            for part in item.get("content", ())
            if part.get("type") == "refusal"
        ]
        return "\n".join(said) or None


@dataclass(frozen=True, slots=True)
class Watch:
    """How a request is watched while it streams.

    `stop_reason` says why it must end now, or None; `ring_at_change` takes an eventfd that is rung when that may say
    something new (None: no longer); `silence` is the longest time without a word of the model, `step` what the request is
    a part of.
    """

    heard: Callable[[str], None]
    stop_reason: Callable[[], str | None]
    ring_at_change: Callable[[int | None], None]
    silence: timedelta = field(default=timedelta(minutes=10))
    step: Step = field(default_factory=Step)


class Model(Protocol):
    """A way of speaking to a model; used by one thread."""

    def reply(self, request: Request, watch: Watch) -> Reply:
        """Send a request and return its complete reply.

        Raises:
            Broken: the turn was asked to stop meanwhile.
            Limited, ContextFull, StaleReasoning: as they say.
            Transient: the request failed; the same request may succeed.
            Rejected: the same request will be refused again.
            ConfigError: the credential, the model or the endpoint is wrong.
            Poisoned: only a person can help (an account without quota).
        """


class Broken(Cancelled):
    """The turn was asked to stop while a request was under way; what it had cost is not known."""


class Limited(Transient):
    """Too many requests or tokens: the key's pace must be slower; `retry_after` where the server named a time."""


class ContextFull(Rejected):
    """The items are more than the model can read at once."""


class StaleReasoning(Rejected):
    """The encrypted reasoning among the items was made for another key, organisation or model."""
