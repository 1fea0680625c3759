"""How tests ask a server of models: the real `openai` client, and a request that every rule is kept by."""

from __future__ import annotations

from typing import Any

import openai

from tests.fakes.model_server import MODEL, ModelServer

LOOK: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}
ASKED: dict[str, Any] = {
    "model": MODEL,
    "instructions": "Work.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Work on A-1."}]}],
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "high", "summary": "auto"},
    "tools": [LOOK],
    "store": False,
    "prompt_cache_key": "one",
}


def client_of(server: ModelServer, **options: Any) -> openai.OpenAI:
    given: dict[str, Any] = {"base_url": server.url, "api_key": "key", "max_retries": 0, "timeout": 10}
    return openai.OpenAI(**given | options)


def answered(item: dict[str, Any], output: str = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": item["call_id"], "output": output}


def plain(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = value.model_dump(mode="json", exclude_unset=True, warnings=False)
    return {name: inner for name, inner in dumped.items() if inner is not None}


def streamed(client: openai.OpenAI, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ask with a stream; give all events and the last one's response."""
    events = [plain(event) for event in client.responses.create(**{**ASKED, **changes, "stream": True})]
    return events, events[-1].get("response", {})
