"""A request to the model server, as its script and its test look at it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from symphony.local.demo.responses_stream import Item
from symphony.local.demo.seen import Seen, text_of
from tests.fakes import model_chat
from tests.fakes.model_rules import items_of
from tests.fakes.model_seals import digest

CHAT, RESPONSES, COMPACT = "/v1/chat/completions", "/v1/responses", "/v1/responses/compact"


@dataclass(eq=False)
class Request:
    """A request as it came.

    `number` counts those of its conversation; `outcome` says what became of it: answered, limited, refused, failed (by the
    script) or gone (the client was); `usage` is what it cost, where the model answered anything.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float = field(default_factory=time.monotonic)
    number: int = 0
    outcome: str = "open"
    usage: dict[str, Any] | None = None

    @cached_property
    def items(self) -> list[Item]:
        """The conversation as items of the Responses API, whichever API was spoken."""
        return model_chat.items_of(self.body["messages"]) if self.path == CHAT else items_of(self.body)

    @cached_property
    def seen(self) -> Seen:
        """The conversation as a model sees it."""
        return Seen(self.items)

    @cached_property
    def conversation(self) -> str:
        """Which conversation it goes on with: the first thing that was told in it."""
        return digest(self.seen.prompt)

    @cached_property
    def words(self) -> str:
        """A digest of all that the model is told."""
        return digest([self.body.get("instructions"), self.items])

    @property
    def key(self) -> str:
        """The credential that it carries."""
        return self.headers.get("authorization", "").removeprefix("Bearer ").strip()

    def holds(self, said: str) -> bool:
        """Tell whether a text stands anywhere in the conversation."""
        return any(said in text_of(item.get("content") or item.get("output")) for item in self.items)
