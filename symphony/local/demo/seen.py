"""What a model sees in a request: who told it what, which calls it has made, and what came of them.

Reads the items of the Responses API, tolerantly. The recorded model and the tests' scripts decide by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Item = Mapping[str, Any]
_ENDINGS = frozenset({"finish", "ask_human"})


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the model, and what came of it: None while nothing has."""

    name: str
    arguments: Mapping[str, Any]
    output: str | None


class Seen:
    """A conversation as it stands.

    A round begins with the conversation, and anew behind each call that ended the agent's turn: what people and checks say
    then is the round's `briefing`, and `calls` are those made since.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    @cached_property
    def prompt(self) -> str:
        """What the model was told first."""
        return next((text for item in self._items if (text := _told(item))), "")

    @cached_property
    def briefing(self) -> str:
        """All that was told in this round, with what the ending call before it brought."""
        told = [_told(item) for item in self._items[self._begin :]]
        if self._begin:
            told.insert(0, self._outputs.get(str(self._items[self._begin - 1].get("call_id")), ""))
        return "\n\n".join(text for text in told if text)

    @cached_property
    def calls(self) -> list[Call]:
        """The calls of this round, in order."""
        return self._calls(self._items[self._begin :])

    @cached_property
    def all_calls(self) -> list[Call]:
        """Every call that is still in the conversation, in order."""
        return self._calls(self._items)

    @cached_property
    def _begin(self) -> int:
        """The place behind the last ending call that something was told after."""
        told_after = False
        for index in range(len(self._items) - 1, -1, -1):
            item = self._items[index]
            told_after = told_after or bool(_told(item))
            if told_after and item.get("type") == "function_call" and item["name"] in _ENDINGS:
                return index + 1
        return 0

    @cached_property
    def _outputs(self) -> dict[str, str]:
        return {
            str(item["call_id"]): text_of(item["output"])
            for item in self._items
            if item.get("type") == "function_call_output"
        }

    def _calls(self, items: Sequence[Item]) -> list[Call]:
        return [
            Call(item["name"], _object(item["arguments"]), self._outputs.get(item["call_id"]))
            for item in items
            if item.get("type") == "function_call"
        ]


def text_of(content: object) -> str:
    """Give the text of an item's content or output."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in content)
    return str(content or "")


def _told(item: Item) -> str:
    """Give what an item tells the model; nothing where it is the model's own."""
    is_told = item.get("type", "message") == "message" and item.get("role") == "user"
    return text_of(item.get("content")) if is_told else ""


def _object(arguments: str) -> Mapping[str, Any]:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
