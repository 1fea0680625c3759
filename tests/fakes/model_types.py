"""Whether a request's body is what the `openai` package's own types say that it may be; nothing else is let through.

The package's TypedDicts are read by pydantic, strictly, extra fields refused; what they call iterable is taken as a list, so
that it is looked into at once.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model
from pydantic_core import CoreConfig, SchemaValidator

_IS_STREAMED = "stream"


def complaint(path: str, body: dict[str, Any]) -> tuple[str, str] | None:
    """Say what is wrong with a body, and where; None when nothing is."""
    given = {name: value for name, value in body.items() if name != _IS_STREAMED}
    if not isinstance(body.get(_IS_STREAMED, False), bool):
        return "Input should be a valid boolean", _IS_STREAMED
    try:
        _validator(path).validate_python(given)
    except ValidationError as error:
        return _plainest(error)
    return None


@functools.cache
def _validator(path: str) -> SchemaValidator:
    strictly = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    made: Any = create_model("Request", __config__=strictly, body=(_type(path), ...)).__pydantic_core_schema__
    # Without the model around it, which would bring along the validator that it has already.
    body = made["schema"]["schema"]["fields"]["body"]["schema"]
    schema = {"type": "definitions", "schema": body, "definitions": made["definitions"]}
    return SchemaValidator(_with_lists(schema), CoreConfig(strict=True, extra_fields_behavior="forbid"))


def _type(path: str) -> Any:
    # The package takes a second to import: only who validates pays for it.
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
    from openai.types.responses.response_compact_params import ResponseCompactParams
    from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

    return {
        "/v1/responses": ResponseCreateParamsNonStreaming,
        "/v1/responses/compact": ResponseCompactParams,
        "/v1/chat/completions": CompletionCreateParamsNonStreaming,
    }[path]


def _with_lists(schema: Any) -> Any:
    """Give a core schema in which every generator is a list."""
    if isinstance(schema, dict):
        changed = {name: _with_lists(value) for name, value in schema.items()}
        return changed | {"type": "list"} if schema.get("type") == "generator" else changed
    if isinstance(schema, list):
        return [_with_lists(value) for value in schema]
    if isinstance(schema, tuple):
        return tuple(_with_lists(value) for value in schema)
    return schema


def _plainest(error: ValidationError) -> tuple[str, str]:
    """Choose among the complaints of all types that an item might have been: the type with the fewest, none about its kind."""
    by_type: dict[tuple[Any, ...], list[tuple[str, tuple[Any, ...]]]] = defaultdict(list)
    for one in error.errors(include_url=False, include_input=False):
        where = one["loc"]
        by_type[tuple(part for part in where if _is_type(part))].append((one["msg"], where))

    # A text where nearly anything may stand instead says least.
    def rank(kind: tuple[Any, ...]) -> tuple[bool, bool, int, int]:
        complaints = by_type[kind]
        is_other_kind = any(where[-1] in {"type", "role"} for _, where in complaints)
        return kind[-1:] == ("str",), is_other_kind, len(complaints), -len(complaints[0][1])

    message, where = by_type[min(by_type, key=rank)][0]
    return message, ".".join(str(part) for part in where if not _is_type(part))


def _is_type(part: Any) -> bool:
    """Tell names of types from names of fields and numbers of items."""
    return isinstance(part, str) and (part[:1].isupper() or part in {"str", "none"} or "[" in part)
