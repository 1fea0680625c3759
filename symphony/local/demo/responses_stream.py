"""What a server of the Responses API says: output items, the response around them, and the events of its stream.

Invariant: a stream's events add up to exactly the response that a request without streaming gets. Pure; no word of it is
Symphony's own. The demo's replay server and the tests' model server speak through it. Source: OpenAI API reference,
"Responses" and "Streaming events".
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

Item = dict[str, Any]
Event = dict[str, Any]
Status = Literal["completed", "incomplete", "failed"]

CONTENT_TYPE = "text/event-stream; charset=utf-8"
_PIECE = 24
_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "prompt_cache_key", "reasoning", "safety_identifier", "store",
    "temperature", "tool_choice", "tools", "top_p", "truncation",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}


def message(text: str, *, phase: str = "final_answer") -> Item:
    """Make a message of the model."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "phase": phase, "content": [part]}


def refusal(text: str) -> Item:
    """Make a message in which the model refuses."""
    return {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": text}]}


def call(name: str, arguments: Mapping[str, Any] | str, *, call_id: str | None = None) -> Item:
    """Make a function call; arguments given as text are said as they are, well-formed or not."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    named = {"type": "function_call", "name": name, "arguments": text}
    return named if call_id is None else named | {"call_id": call_id}


def reasoning(*summaries: str) -> Item:
    """Make a reasoning item; whoever sends it adds the encrypted content."""
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text} for text in summaries]}


def stamped(items: Iterable[Item]) -> list[Item]:
    """Give the items with ids of their own, and completed unless they say otherwise."""
    done: list[Item] = []
    for item in items:
        new = {"id": _new_id(item["type"])} | item
        match item["type"]:
            case "message":
                new = {"status": "completed"} | new
            case "function_call":
                new = {"status": "completed", "call_id": f"call_{secrets.token_hex(12)}"} | new
        done.append(new)
    return done


def response(
    request: Mapping[str, Any],
    output: Sequence[Item],
    usage: Mapping[str, Any] | None,
    *,
    status: Status = "completed",
    reason: str | None = None,
    error: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the whole response to a request; `reason` says why it is incomplete."""
    echoed = {name: request[name] for name in _ECHOED if request.get(name) is not None}
    return {
        "id": f"resp_{secrets.token_hex(16)}",
        "object": "response",
        "created_at": int(time.time()),
        **_DEFAULTS,
        **echoed,
        "model": request["model"],
        "status": status,
        "output": list(output),
        "usage": dict(usage) if usage is not None else None,
        "error": dict(error) if error is not None else None,
        "incomplete_details": {"reason": reason} if reason is not None else None,
    }


def usage(*, read: int, cached: int, written: int, said: int, thought: int) -> dict[str, Any]:
    """Give the usage of a response in tokens; `said` holds what was `thought`, `read` what was `cached`."""
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + said,
    }


def events(whole: Mapping[str, Any]) -> Iterator[Event]:
    """Give the events whose sum is a response, numbered."""
    for number, event in enumerate(_unnumbered(whole)):
        yield event | {"sequence_number": number}


def encoded(event: Event) -> bytes:
    """Give an event as it stands on the wire."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def pieces(text: str) -> list[str]:
    """Cut a text into what its deltas hold."""
    return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]


def _unnumbered(whole: Mapping[str, Any]) -> Iterator[Event]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        yield from _item_events(item, index)
    yield {"type": f"response.{whole['status']}", "response": dict(whole)}


def _item_events(item: Item, index: int) -> Iterator[Event]:
    inside, empty = _INSIDE.get(item["type"], (_nothing, {}))
    begun = item | {name: type(value)() for name, value in item.items() if name in empty}
    if "status" in item:
        begun["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    where = {"item_id": item["id"], "output_index": index}
    for event in inside(item):
        yield where | event
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _reasoning_events(item: Item) -> Iterator[Event]:
    for index, part in enumerate(item["summary"]):
        where, kind = {"summary_index": index}, "response.reasoning_summary"
        yield where | {"type": f"{kind}_part.added", "part": part | {"text": ""}}
        for piece in pieces(part["text"]):
            yield where | {"type": f"{kind}_text.delta", "delta": piece}
        yield where | {"type": f"{kind}_text.done", "text": part["text"]}
        yield where | {"type": f"{kind}_part.done", "part": part}


def _message_events(item: Item) -> Iterator[Event]:
    for index, part in enumerate(item["content"]):
        field = "refusal" if part["type"] == "refusal" else "text"
        kind = "response.refusal" if field == "refusal" else "response.output_text"
        where: Event = {"content_index": index}
        extra: Event = {} if field == "refusal" else {"logprobs": []}
        yield where | {"type": "response.content_part.added", "part": part | {field: ""}}
        for piece in pieces(part[field]):
            yield where | extra | {"type": f"{kind}.delta", "delta": piece}
        yield where | extra | {"type": f"{kind}.done", field: part[field]}
        yield where | {"type": "response.content_part.done", "part": part}


def _call_events(item: Item) -> Iterator[Event]:
    kind = "response.function_call_arguments"
    for piece in pieces(item["arguments"]):
        yield {"type": f"{kind}.delta", "delta": piece}
    yield {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]}


def _nothing(_: Item) -> Iterator[Event]:
    return iter(())


_INSIDE: dict[str, tuple[Callable[[Item], Iterator[Event]], set[str]]] = {
    "reasoning": (_reasoning_events, {"summary"}),
    "message": (_message_events, {"content"}),
    "function_call": (_call_events, {"arguments"}),
}
_PREFIXES = {"reasoning": "rs", "message": "msg", "function_call": "fc", "compaction": "cmp"}


def _new_id(kind: str) -> str:
    return f"{_PREFIXES[kind]}_{secrets.token_hex(16)}"
