"""A model behind Chat Completions, for providers that have only that; the conversation stays in items of the Responses API.

Invariant: what is kept has one shape whichever way was spoken, so a run may go on when the workflow changes `agent.api`.
Reasoning is not replayed here: this API has no place for it. Source: OpenAI API reference, "Chat Completions".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from symphony.agents.openai.model import Item, Reply, Request, Watch
from symphony.agents.openai.stream import events
from symphony.domain.errors import Transient
from symphony.domain.usage import Usage

_CUTS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CHARACTERS_A_TOKEN = 4
_LONGEST_ID = 40  # of a provider's own; the API takes 64 characters


class ChatModel:
    """Speaks to one endpoint with one credential; `client` is an `openai.OpenAI` that retries nothing by itself."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def reply(self, request: Request, watch: Watch) -> Reply:
        """Send a request and return its complete reply; raises as `Model.reply`."""
        answer = _Answer()
        for chunk in events(lambda: self._client.chat.completions.create(**_parameters(request)), watch):
            answer.add(chunk)
        return answer.reply(request)


def _parameters(request: Request) -> dict[str, Any]:
    return {
        "model": request.model,
        "messages": [{"role": "system", "content": request.instructions}, *messages(request.items)],
        "tools": [_tool(tool) for tool in request.tools],
        "parallel_tool_calls": True,
        "reasoning_effort": request.effort,
        "prompt_cache_key": request.cache_key,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: tool[name] for name in ("name", "description", "parameters", "strict") if name in tool}
    return {"type": "function", "function": named}


def messages(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Give the items as messages: calls of one answer stand in one message with what was said before them.

    Pictures among the outputs follow all outputs, since a tool's message has text only.
    """
    told: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            content = item["output"]
            told.append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(content)})
            pictures += [] if isinstance(content, str) else [part for part in content if part["type"] == "input_image"]
            continue
        if pictures:
            told.append({"role": "user", "content": _parts(pictures)})
            pictures = []
        if kind == "message":
            is_ours = item["role"] != "assistant"
            told.append(
                {"role": "user" if is_ours else "assistant", "content": (_parts if is_ours else _text)(item["content"])}
            )
        elif kind == "function_call":
            _add_call(told, item)
    return [*told, {"role": "user", "content": _parts(pictures)}] if pictures else told


def _add_call(told: list[dict[str, Any]], item: Item) -> None:
    called = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": called}
    if told and told[-1]["role"] == "assistant":
        told[-1].setdefault("tool_calls", []).append(call)
    else:
        told.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or part.get("refusal") or "" for part in content if part["type"] != "input_image")


def _parts(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if part["type"] == "input_image":
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        else:
            parts.append({"type": "text", "text": part["text"]})
    return parts


class _Answer:
    """What the chunks of one answer add up to."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish: str | None = None
        self._usage: Any = None

    def add(self, chunk: Any) -> None:
        try:
            self._usage = getattr(chunk, "usage", None) or self._usage
            for choice in chunk.choices or ():
                self._finish = choice.finish_reason or self._finish
                self._text.append(choice.delta.content or "")
                self._refusal.append(getattr(choice.delta, "refusal", None) or "")
                for piece in choice.delta.tool_calls or ():
                    self._add_call(piece)
        except (AttributeError, TypeError) as error:
            raise Transient(
                f"the model's answer has not the shape of one: {error!r}", category="model_malformed"
            ) from error

    def _add_call(self, piece: Any) -> None:
        call = self._calls.setdefault(self._place_of(piece), {"id": "", "name": "", "arguments": ""})
        call["id"] = piece.id or call["id"]
        if piece.function is not None:
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""

    def _place_of(self, piece: Any) -> int:
        """Give the place of the call that a piece belongs to; some providers give no index, or the same to all."""
        last = max(self._calls, default=0)
        place: int = last if piece.index is None else piece.index
        known = self._calls.get(place)
        is_another = known is not None and piece.id and known["id"] not in ("", piece.id)
        return last + 1 if is_another else place

    def reply(self, request: Request) -> Reply:
        if self._finish is None:
            raise Transient("the model's answer was cut off in mid-stream", category="stream_cut")
        content: list[dict[str, Any]] = []
        if text := "".join(self._text):
            content.append({"type": "output_text", "text": text, "annotations": []})
        if refusal := "".join(self._refusal):
            content.append({"type": "refusal", "refusal": refusal})
        items: list[Item] = []
        if content:
            items.append({"type": "message", "role": "assistant", "id": f"msg_{secrets.token_hex(8)}", "content": content})
        cut = _CUTS.get(self._finish)
        if cut is None:
            items += [_call(call) for _, call in sorted(self._calls.items())]
        return Reply(items, self._used(request, text + refusal), cut)

    def _used(self, request: Request, said: str) -> Usage:
        """Give what the provider counted, or where it counts nothing an estimate: a budget must not be blind."""
        used = self._usage
        given, made = getattr(used, "prompt_tokens", None), getattr(used, "completion_tokens", None)
        if not isinstance(given, int) or not isinstance(made, int):
            arguments = sum(len(call["arguments"]) for call in self._calls.values())
            return Usage(
                input_tokens=sum(len(str(item)) for item in (request.instructions, *request.items)) // _CHARACTERS_A_TOKEN,
                output_tokens=(len(said) + arguments) // _CHARACTERS_A_TOKEN + 1,
            )
        prompt, completion = (getattr(used, f"{part}_tokens_details", None) for part in ("prompt", "completion"))
        return Usage(
            input_tokens=given,
            cached_tokens=getattr(prompt, "cached_tokens", None) or 0,
            output_tokens=made,
            reasoning_tokens=getattr(completion, "reasoning_tokens", None) or 0,
        )


def _call(call: Mapping[str, str]) -> Item:
    """Give a call with an id of its own: some providers count their calls anew in each answer."""
    call_id = f"{call['id'][:_LONGEST_ID] or 'call'}_{secrets.token_hex(6)}"
    return {"type": "function_call", "call_id": call_id, "name": call["name"], "arguments": call["arguments"]}
