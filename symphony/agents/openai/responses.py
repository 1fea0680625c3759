"""A model behind the Responses API: one streamed request, nothing kept at the provider.

Invariant: `store` is false and reasoning comes encrypted, so the items in our rows are the whole conversation; they are
replayed as they came. Sources: OpenAI API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symphony.agents.openai import failures
from symphony.agents.openai.model import Item, Reply, Request, Watch
from symphony.agents.openai.stream import events
from symphony.domain.errors import ConfigError, Transient
from symphony.domain.usage import Usage

_REPLAYED = ("completed", None)


class ResponsesModel:
    """Speaks to one endpoint with one credential; `client` is an `openai.OpenAI` that retries nothing by itself."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def reply(self, request: Request, watch: Watch) -> Reply:
        """Send a request and return its complete reply; raises as `Model.reply`."""
        final: Mapping[str, Any] | None = None
        for event in events(lambda: self._client.responses.create(**_parameters(request)), watch):
            match getattr(event, "type", None):
                case "response.completed" | "response.incomplete":
                    final = _plain(event.response)
                case "response.failed":
                    raise failures.of_failed_response(_plain(event.response).get("error"))
                case "error":
                    said = _plain(event)
                    raise failures.of_failed_response({"code": said.get("code"), "message": said.get("message")})
        if final is None:
            raise Transient("the model's answer was cut off in mid-stream", category="stream_cut")
        return _reply(final)


def _parameters(request: Request) -> dict[str, Any]:
    """Give what the package sends; what grows with the conversation goes past its conversion, a millisecond an item."""
    return {
        "model": request.model,
        "instructions": request.instructions,
        "extra_body": {"input": list(request.items), "tools": list(request.tools)},
        "parallel_tool_calls": True,
        "reasoning": {"effort": request.effort, "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": request.cache_key,
        "store": False,
        "stream": True,
    }


def _plain(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = value.model_dump(mode="json", exclude_unset=True, warnings=False)
    return dumped


def _reply(response: Mapping[str, Any]) -> Reply:
    try:
        used = response["usage"]
        usage = Usage(
            input_tokens=used["input_tokens"],
            cached_tokens=(used.get("input_tokens_details") or {}).get("cached_tokens") or 0,
            cache_write_tokens=(used.get("input_tokens_details") or {}).get("cache_write_tokens") or 0,
            output_tokens=used["output_tokens"],
            reasoning_tokens=(used.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        )
        items = _replayed(response["output"])
    except (KeyError, TypeError, AttributeError) as error:
        raise Transient(f"the model's answer has not the shape of one: {error!r}", category="model_malformed") from error
    details = response.get("incomplete_details") or {}
    cut = (details.get("reason") or "max_output_tokens") if response.get("status") == "incomplete" else None
    return Reply(items, usage, cut)


def _replayed(output: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Give what of an output is sent back: whole items, and no reasoning without what followed from it."""
    items = [replayable(item) for item in output if item.get("status") in _REPLAYED]
    while items and items[-1].get("type") == "reasoning":
        items.pop()
    return items


def replayable(item: Mapping[str, Any]) -> Item:
    """Give an output item as it is sent back: verbatim, but the API refuses nulls that it has sent itself."""
    return {name: value for name, value in item.items() if value is not None}


def open_client(*, api_key: str, base_url: str | None, timeout_s: float) -> Any:
    """Make a client; importing the package is put off until here, since it takes more than a second.

    Raises:
        ConfigError: the address is none.
    """
    import openai

    try:
        return openai.OpenAI(api_key=api_key, base_url=base_url or None, timeout=timeout_s, max_retries=0)
    except (openai.OpenAIError, ValueError, TypeError) as error:
        raise ConfigError(
            f"the address of the model's endpoint is not usable: {error}", place="OPENAI_BASE_URL", cure="correct it"
        ) from error
