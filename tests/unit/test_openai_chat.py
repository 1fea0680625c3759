"""Answers of providers that keep to Chat Completions in their own way."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk

from symphony.agents.openai.chat import ChatModel
from symphony.agents.openai.model import Reply, Request, Watch


def reply(*chunks: dict[str, Any]) -> Reply:
    """Read an answer as the package gives it."""
    stream = [construct_type(type_=ChatCompletionChunk, value=chunk) for chunk in chunks]
    completions = SimpleNamespace(create=lambda **_: stream)
    client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
    watch = Watch(lambda _: None, lambda: None, lambda _: None, timedelta(seconds=10))
    return ChatModel(client).reply(Request("some", "high", "Work.", [], [], "key"), watch)


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def piece(arguments: str, name: str | None = None, call: str | None = None, index: int | None = None) -> dict[str, Any]:
    return {"id": call, "index": index, "function": {"name": name, "arguments": arguments}}


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    whole = chunk({"tool_calls": [piece("{}", "read_file", "a"), piece("{}", "shell", "b")]}, "tool_calls")
    assert [(call["name"], call["arguments"]) for call in reply(whole).calls] == [("read_file", "{}"), ("shell", "{}")]
    same = chunk({"tool_calls": [piece("{}", "read_file", "a", 0), piece("{}", "shell", "b", 0)]}, "tool_calls")
    assert [call["name"] for call in reply(same).calls] == ["read_file", "shell"]
    pieces = (piece('{"a"', "read_file", "a"), piece(": 1}"), piece('{"b"', "shell", "b"), piece(": 2}"))
    slow = [chunk({"tool_calls": [one]}) for one in pieces]
    assert [call["arguments"] for call in reply(*slow, chunk({}, "tool_calls")).calls] == ['{"a": 1}', '{"b": 2}']


def test_a_count_that_lacks_its_parts_is_estimated() -> None:
    """Rule: a budget is not blind, and an answer that was paid is not thrown away for how it was counted."""
    said = reply(chunk({"content": "It is done."}, "stop", usage={"total_tokens": 5}))
    assert said.text == "It is done."
    assert said.usage.output_tokens > 0
