"""The same model behind Chat Completions: its rules, its messages as items, and its chunks.

Source: OpenAI API reference, "Chat Completions" and "Streaming".
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from symphony.local.demo.responses_stream import Item, pieces
from tests.fakes.model_replies import Reply
from tests.fakes.model_rules import Refused, Rules, check_picture, check_tools

_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
LAST = b"data: [DONE]\n\n"


def check(rules: Rules, body: Mapping[str, Any]) -> None:
    """Refuse a body that breaks a rule of this API.

    Raises:
        Refused: as it says.
    """
    rules.check_common(body, effort=body.get("reasoning_effort"), where="reasoning_effort")
    messages = body["messages"]
    if not messages:
        raise Refused(400, "Invalid 'messages': empty array.", "empty_array", "messages")
    check_tools([tool["function"] for tool in body.get("tools") or () if tool["type"] == "function"])
    if body.get("stream_options") and not body.get("stream"):
        raise Refused(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", None, "stream_options"
        )
    for index, message in enumerate(messages):
        _check_message(messages, index, message)
    owed = _owed(messages)
    if owed:
        said = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
        raise Refused(
            400, f"{said} The following tool_call_ids did not have response messages: {', '.join(owed)}", None, "messages"
        )


def items_of(messages: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Give messages as the items of the Responses API that they stand for."""
    items: list[Item] = []
    for message in messages:
        match message["role"]:
            case "tool":
                items.append(
                    {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
                )
            case "assistant":
                if message.get("content"):
                    items.append({"type": "message", "role": "assistant", "content": message["content"]})
                for call in message.get("tool_calls") or ():
                    named = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
                    items.append({"type": "function_call", "call_id": call["id"], **named})
            case role:
                items.append({"type": "message", "role": role, "content": message["content"]})
    return items


def completion(
    request: Mapping[str, Any], output: Sequence[Item], reply: Reply, usage: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the whole completion of a request."""
    calls = [item for item in output if item["type"] == "function_call"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(part["text"] for part in parts if part["type"] == "output_text") or None,
        "refusal": "".join(part["refusal"] for part in parts if part["type"] == "refusal") or None,
    }
    if calls:
        message["tool_calls"] = [_call(item) for item in calls]
    reason = _REASONS[reply.reason] if reply.reason is not None else "tool_calls" if calls else "stop"
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": _usage(usage),
    }


def chunks(whole: Mapping[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """Give the chunks whose sum is a completion."""
    head = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    nothing = {"usage": None} if with_usage else {}
    choice = whole["choices"][0]
    for delta in ({"role": "assistant", "content": ""}, *_deltas(choice["message"])):
        yield {**head, **nothing, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, **nothing, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    if with_usage:
        yield {**head, "choices": [], "usage": whole["usage"]}


def delivered(reply: Reply) -> Reply:
    """Give a reply as it can arrive here: what fails in the other API's last event is an error in the middle of this stream."""
    return replace(reply, delivery="errored", after=1) if reply.status == "failed" else reply


def encoded(chunk: Mapping[str, Any]) -> bytes:
    """Give a chunk as it stands on the wire."""
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("content", "refusal"):
        for piece in pieces(message[name] or ""):
            yield {name: piece}
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield {"tool_calls": [{"index": index, **call, "function": {"name": function["name"], "arguments": ""}}]}
        for piece in pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _call(item: Item) -> dict[str, Any]:
    return {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["input_tokens_details"]["cached_tokens"], "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"]},
    }


def _check_message(messages: Sequence[Mapping[str, Any]], index: int, message: Mapping[str, Any]) -> None:
    where = f"messages.[{index}]"
    if message["role"] == "tool" and message["tool_call_id"] not in _open_before(messages, index):
        said = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
        raise Refused(400, f"Invalid parameter: {said}", None, f"{where}.role")
    if message["role"] == "assistant" and message.get("content") is None and not message.get("tool_calls"):
        said = "Expected a string, got null."
        raise Refused(400, f"Invalid value for 'content': {said}", None, f"{where}.content")
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if part["type"] == "image_url":
            check_picture(part["image_url"]["url"], where)


def _open_before(messages: Sequence[Mapping[str, Any]], index: int) -> list[str]:
    """Give the calls that still want an answer at a place, with nothing else between them and it."""
    answered = set()
    for message in reversed(messages[:index]):
        if message["role"] == "tool":
            answered.add(message["tool_call_id"])
            continue
        return [call["id"] for call in message.get("tool_calls") or () if call["id"] not in answered]
    return []


def _owed(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the calls that something else than their answers follows."""
    places = [index for index, message in enumerate(messages) if message["role"] != "tool"] + [len(messages)]
    return [call for place in places for call in _open_before(messages, place)]
