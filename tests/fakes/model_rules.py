"""What the API demands of a request beside its types; each refusal has the status, code and words of the real one.

Sources: OpenAI API reference, its guides "Function calling", "Structured outputs" and "Reasoning", and errors seen in public.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symphony.local.demo.prompt_cache import prompt_of, tokens
from tests.fakes.model_seals import Seals, digest

EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_NOT_PLAYED = ("background", "background_options", "context_management", "conversation", "previous_response_id", "prompt")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,(.*)", re.DOTALL)
_LONGEST_KEY = 64


@dataclass(eq=False)
class Refused(Exception):
    """The request is refused; `param` names the place."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one server demands."""

    seals: Seals
    models: Collection[str] = field(default_factory=tuple)
    context_tokens: int = 1_050_000

    def check(self, body: Mapping[str, Any], *, key: str) -> None:
        """Refuse a body of the Responses API, or of its compaction, that breaks a rule.

        Raises:
            Refused: as it says.
        """
        self.check_common(body, effort=(body.get("reasoning") or {}).get("effort"), where="reasoning.effort")
        for name in _NOT_PLAYED:
            if body.get(name):
                raise Refused(
                    400, f"Unsupported parameter: '{name}' is not played by this server.", "unsupported_parameter", name
                )
        items = items_of(body)
        if not items:
            raise Refused(400, "Missing required parameter: 'input'.", "missing_required_parameter", "input")
        check_tools([tool for tool in body.get("tools") or () if tool["type"] == "function"])
        _check_ids(items)
        _check_calls(items)
        for index, item in enumerate(items):
            self._check_sealed(item, items[index + 1 :], model=str(body.get("model")), key=key)
            _check_pictures(item, index)

    def check_common(self, body: Mapping[str, Any], *, effort: str | None, where: str) -> None:
        """Refuse what every API refuses: a model nobody has, an effort that it lacks, a prompt that is too long."""
        model = body.get("model")
        if model not in self.models:
            message = f"The model '{model}' does not exist or you do not have access to it."
            raise Refused(404, message, "model_not_found")
        if effort is not None and effort not in EFFORTS:
            supported = ", ".join(f"'{one}'" for one in EFFORTS)
            message = f"Unsupported value: '{effort}' is not supported with the '{model}' model. Supported values are: {supported}."
            raise Refused(400, message, "unsupported_value", where)
        if len(body.get("prompt_cache_key") or "") > _LONGEST_KEY:
            message = f"Invalid 'prompt_cache_key': string too long. Expected a string with maximum length {_LONGEST_KEY}."
            raise Refused(400, message, "string_above_max_length", "prompt_cache_key")
        if tokens(prompt_of(body)) > self.context_tokens:
            message = "Your input exceeds the context window of this model. Please adjust your input and try again."
            raise Refused(400, message, "context_length_exceeded", "input")

    def reasoning_seal(self, item: Mapping[str, Any], *, model: str, key: str) -> str:
        """Give the encrypted content of a reasoning item, good for one key and one model."""
        content = {"id": item["id"], "summary": digest(item["summary"]), "model": model, "key": digest(key)}
        return self.seals.close(content)

    def _check_sealed(self, item: Mapping[str, Any], later: Sequence[Mapping[str, Any]], *, model: str, key: str) -> None:
        kind, sealed = item.get("type"), item.get("encrypted_content")
        if kind not in ("reasoning", "compaction"):
            return
        if not sealed:
            message = (
                f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. "
                "Try again with `store` set to true, or remove this item from your input."
            )
            raise Refused(404, message, None, "input")
        try:
            content = self.seals.open(sealed)
        except ValueError:
            content = {}
        if kind == "reasoning":
            expected = {"id": item["id"], "summary": digest(item["summary"]), "model": model, "key": digest(key)}
        else:
            expected = content | {"key": digest(key)}
        if not content or content != expected:
            message = f"The encrypted content for item {item.get('id')} could not be verified."
            raise Refused(400, message, "invalid_encrypted_content", "input")
        if kind == "reasoning" and (not later or later[0].get("role", "assistant") != "assistant" or _is_result(later[0])):
            message = f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
            raise Refused(400, message, None, "input")


def items_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the input's items, where it is text the message that it stands for."""
    given = body.get("input") or []
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given)


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    """Refuse tools with odd or equal names, and schemas that are not as strict as they say."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name, where = tool["name"], f"tools[{index}]"
        if not _TOOL_NAME.fullmatch(name):
            message = f"Invalid '{where}.name': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$'."
            raise Refused(400, message, "invalid_value", f"{where}.name")
        if name in names:
            raise Refused(400, f"Duplicate tool name '{name}'.", "invalid_value", where)
        names.add(name)
        for place, fault in _faults(tool.get("parameters") or {}, ()) if tool.get("strict") else ():
            message = f"Invalid schema for function '{name}': In context={place}, {fault}."
            raise Refused(400, message, "invalid_function_parameters", f"{where}.parameters")


def _faults(schema: Mapping[str, Any], place: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str]]:
    """Find where a schema is less strict than structured outputs demand."""
    kinds = schema.get("type")
    properties = schema.get("properties", {})
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
        if schema.get("additionalProperties") is not False:
            yield place, "'additionalProperties' is required to be supplied and to be false"
        if sorted(schema.get("required", [])) != sorted(properties):
            yield place, "'required' is required to be supplied and to be an array including every key in properties"
    for name, inner in properties.items():
        yield from _faults(inner, (*place, "properties", name))
    for name, inner in schema.get("$defs", {}).items():
        yield from _faults(inner, (*place, "$defs", name))
    for index, inner in enumerate(schema.get("anyOf", ())):
        yield from _faults(inner, (*place, "anyOf", str(index)))
    if isinstance(schema.get("items"), dict):
        yield from _faults(schema["items"], (*place, "items"))


def _check_ids(items: Sequence[Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for item in items:
        name = item.get("id")
        if name is not None and name in seen:
            message = f"Duplicate item found with id {name}. Remove duplicate items from your input and try again."
            raise Refused(400, message, None, "input")
        seen.add(str(name))


def _check_calls(items: Sequence[Mapping[str, Any]]) -> None:
    called: set[str] = set()
    answered: set[str] = set()
    for item in items:
        name = str(item.get("call_id"))
        if item.get("type") == "function_call":
            if name in called:
                raise Refused(400, f"Duplicate function call with call_id {name}.", None, "input")
            called.add(name)
        elif _is_result(item):
            if name not in called:
                raise Refused(400, f"No tool call found for function call output with call_id {name}.", None, "input")
            if name in answered:
                raise Refused(400, f"Duplicate output for function call with call_id {name}.", None, "input")
            answered.add(name)
    if missing := sorted(called - answered):
        raise Refused(400, f"No tool output found for function call {missing[0]}.", None, "input")


def _is_result(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "function_call_output"


def _check_pictures(item: Mapping[str, Any], index: int) -> None:
    """Refuse pictures that are none, and those that a server would have to fetch."""
    content = item.get("output") if _is_result(item) else item.get("content")
    for part in content if isinstance(content, list) else ():
        if part.get("type") == "input_image":
            check_picture(str(part.get("image_url")), f"input[{index}]")


def check_picture(url: str, where: str) -> None:
    """Refuse a picture that is no data url of a known kind."""
    matched = _PICTURE.fullmatch(url)
    if matched is None:
        raise Refused(400, "Failed to download image: this server fetches nothing.", "invalid_image_url", where)
    try:
        base64.b64decode(matched[2], validate=True)
    except ValueError:
        raise Refused(400, "Invalid base64 image_url.", "invalid_base64_image", where) from None
