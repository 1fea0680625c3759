"""The model server behind Chat Completions, driven by the real `openai` client."""

import json
from typing import Any

import openai
import pytest

from tests.fakes import model_replies as replies
from tests.fakes.model_client import LOOK, client_of
from tests.fakes.model_replies import Answer, calls, finish, reasoning, text
from tests.fakes.model_server import MODEL, ModelServer

CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "Work."}, {"role": "user", "content": "Work on A-1."}],
    "tools": [{"type": "function", "function": {name: LOOK[name] for name in ("name", "parameters", "strict")}}],
}


def chat(client: openai.OpenAI, **changes: Any) -> tuple[dict[str, Any], Any]:
    """Ask by Chat Completions with a stream; give what its chunks add up to, and the usage."""
    told: dict[str, Any] = {"content": "", "refusal": "", "calls": {}, "reason": None}
    usage = None
    for chunk in client.chat.completions.create(**CHAT | changes, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            told["reason"] = choice.finish_reason or told["reason"]
            told["content"] += choice.delta.content or ""
            told["refusal"] += choice.delta.refusal or ""
            for piece in choice.delta.tool_calls or ():
                named = told["calls"].setdefault(piece.index, ["", "", ""])
                given = (piece.id, piece.function and piece.function.name, piece.function and piece.function.arguments)
                told["calls"][piece.index] = [before + (new or "") for before, new in zip(named, given, strict=True)]
    return told, usage


def test_chat_completions_stream_the_same_reply() -> None:
    said = reasoning("Hm.") + text("I look.") + calls(("look", {"path": "a" * 60}), ("look", {"path": "b"}))
    with ModelServer(lambda request: finish() if request.seen.calls else said) as server:
        client = client_of(server)
        told, usage = chat(client)
        whole = client.chat.completions.create(**CHAT).choices[0]
        assert (told["content"], told["reason"], whole.message.content) == ("I look.", "tool_calls", "I look.")
        assert [json.loads(arguments)["path"][0] for _, _, arguments in told["calls"].values()] == ["a", "b"]
        assert usage.prompt_tokens > 0 < usage.completion_tokens_details.reasoning_tokens
        made = [
            {"id": name, "type": "function", "function": {"name": tool, "arguments": given}}
            for name, tool, given in told["calls"].values()
        ]
        messages = [*CHAT["messages"], {"role": "assistant", "content": "I look.", "tool_calls": made}]
        results = [{"role": "tool", "tool_call_id": one["id"], "content": "x"} for one in made]
        assert chat(client, messages=[*messages, *results])[0]["calls"][0][1] == "finish"
        for broken, words in (
            (messages, "did not have response messages"),
            ([*messages, results[0], {"role": "user", "content": "?"}], "did not have response messages"),
            ([*CHAT["messages"], results[0]], "must be a response to a preceding message"),
            ([{"role": "user", "content": "a", "name_": "b"}], "name_"),
        ):
            with pytest.raises(openai.BadRequestError, match=words):
                chat(client, messages=broken)
        with pytest.raises(openai.BadRequestError, match="not supported"):
            chat(client, reasoning_effort="none")


@pytest.mark.parametrize(
    ("reply", "holds"),
    [
        (replies.refusal("No."), {"refusal": "No.", "reason": "stop"}),
        (replies.incomplete(), {"reason": "length"}),
        (replies.incomplete("content_filter"), {"reason": "content_filter"}),
        (replies.empty(), {"content": "", "reason": "stop", "calls": {}}),
    ],
)
def test_chat_completions_end_otherwise_than_well(reply: Answer, holds: dict[str, Any]) -> None:
    with ModelServer([reply]) as server:
        told, _ = chat(client_of(server))
    assert {name: told[name] for name in holds} == holds


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (replies.rate_limited(), openai.RateLimitError),
        (replies.html(), openai.InternalServerError),
        (replies.reset(), openai.APIConnectionError),
        (text("half of this").cut(after=2), openai.APIConnectionError),
        (text("half of this").malformed(after=2), json.JSONDecodeError),
        (text("half of this").silent(after=2), openai.APITimeoutError),
        (text("half of this").errored(after=2), openai.APIError),
        (replies.failed(), openai.APIError),
    ],
)
def test_chat_completions_fail(failure: Answer, raised: type[Exception]) -> None:
    with ModelServer([failure]) as server, pytest.raises(raised):
        chat(client_of(server, timeout=0.3))
