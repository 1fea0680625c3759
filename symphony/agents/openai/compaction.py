"""Making a long conversation short: what came first, a summary of the model's own, and the newest steps.

Invariant: what is dropped stays in the rows, for people and to know what was said; what is kept, the first item with its
pictures among it, never has a call without its output.
"""

from __future__ import annotations

from collections.abc import Sequence

from symphony.agents.openai.model import Item as Payload
from symphony.ledger.records import Item

COMPACT_AT = 240_000
"""Input tokens from which on a conversation is made short: beyond 272,000 every token costs more."""
KEPT_CHARACTERS = 60_000
_TOLD = 4_000  # characters of what people or proofs said, in notes without the model
ASK = (
    "The conversation is about to be cut to fit. Write down everything that is needed to go on with nothing but your notes "
    "and the workspace: the goal in your own words, what was decided and why, what is done (files, functions), what was "
    "tried and did not work, how the tests are run, and what is left to do, in order. Write notes only; call no tool."
)
_HEAD = "Notes from the earlier part of this conversation, which was cut to fit:\n\n"


def first_kept(items: Sequence[Item], characters: int = KEPT_CHARACTERS) -> int | None:
    """Give the place in `items` from which on they are kept: the newest steps whole; None when nothing can be cut."""
    total = 0
    starts: list[int] = []
    for place in range(len(items) - 1, 0, -1):
        total += len(str(items[place].payload))
        begins_step = items[place].kind != "result" and items[place - 1].kind != "model"
        if begins_step:
            starts.append(place)
        if total > characters and starts:
            break
    if not starts:
        return None
    return starts[-1] if starts[-1] > 1 else None


def with_head(notes: str) -> str:
    """Give what stands in the place of the cut items."""
    return _HEAD + notes


def are_notes(told: Payload) -> bool:
    """Tell whether an item of ours stands in the place of cut ones: what it repeats was said before."""
    return texts_of(told).startswith(_HEAD)


def texts_of(told: Payload) -> str:
    """Give the words of an item of ours."""
    content = told.get("content")
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content or ())


def plain_notes(items: Sequence[Item]) -> str:
    """Give notes made without the model, for when it wrote none: what it was told, said and called, in order."""
    lines: list[str] = []
    for item in items:
        payload = item.payload
        if payload.get("type") == "function_call":
            lines.append(f"- called {payload['name']} {str(payload['arguments'])[:200]}")
        elif payload.get("role") == "assistant":
            said = "\n".join(part.get("text", "") for part in payload.get("content") or ())
            lines.append(f"- said: {said[:500]}")
        elif item.kind == "user":
            told = texts_of(payload)
            lines.append(f"- was told: {told[:_TOLD]}")
    return "\n".join(lines[-200:])
