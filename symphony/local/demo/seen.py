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

    A round begins with the conversation, and anew when something is told after a call that ended the agent's turn; `calls`
    are those made in the present one.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    @cached_property
    def prompt(self) -> str:
        """What the model was told first."""
        return next((text for item in self._items if (text := _told(item))), "")

    @cached_property
    def told(self) -> str:
        """All that the model was told, in every round."""
        return "\n\n".join(text for item in self._items if (text := _told(item)))

    @cached_property
    def round(self) -> int:
        """The number of the present round, from 1."""
        return 1 + sum(_is_ending(item) for item in self._items[: self._begin])

    @cached_property
    def calls(self) -> list[Call]:
        """The calls of the present round, in order."""
        outputs = {
            str(item["call_id"]): text_of(item["output"])
            for item in self._items
            if item.get("type") == "function_call_output"
        }
        return [
            Call(item["name"], _object(item["arguments"]), outputs.get(item["call_id"]))
            for item in self._items[self._begin :]
            if item.get("type") == "function_call"
        ]

    @cached_property
    def _begin(self) -> int:
        told = [index for index, item in enumerate(self._items) if _told(item)]
        endings = [index for index, item in enumerate(self._items) if _is_ending(item) and told and index < told[-1]]
        return endings[-1] + 1 if endings else 0


def text_of(content: object) -> str:
    """Give the text of an item's content or output."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in content)
    return str(content or "")


def _told(item: Item) -> str:
    """Give what an item tells the model; nothing where it is the model's own."""
    is_told = item.get("type", "message") == "message" and item.get("role") == "user"
    return text_of(item.get("content")) if is_told else ""


def _is_ending(item: Item) -> bool:
    return item.get("type") == "function_call" and item["name"] in _ENDINGS


def _object(arguments: str) -> Mapping[str, Any]:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
