"""The schema that documents are held against: Linear's own where this machine has it, else a small one of ours.

Invariant: a schema is read once a process, when it is first needed, and a document is parsed and validated once a process
and schema. Resolvers are bound by name, the same for both schemas; what a schema does not have is not bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    build_ast_schema,
    parse,
    validate,
)

from tests.fakes.linear_time import iso, moment_of, moment_or_duration

_REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = Path(__file__).with_name("linear_schema.graphql")
_MOST_DOCUMENT = 200_000

Resolver = Callable[..., Any]


def real_schema() -> Path | None:
    """Give the file of Linear's own schema, if this machine has it."""
    folders = [os.environ.get("SYMPHONY_TEST_SCHEMAS"), _REPOSITORY.parent / "shared" / "schemas"]
    found = (Path(folder) / "linear.graphql" for folder in folders if folder)
    return next((path for path in found if path.is_file()), None)


@lru_cache(maxsize=4)
def schema_at(path: Path) -> GraphQLSchema:
    """Read a schema, with its scalars as the API writes and reads them."""
    definitions = parse(path.read_text(encoding="utf-8"), no_location=True)
    schema = build_ast_schema(definitions, assume_valid=True, assume_valid_sdl=True)
    for name, (written, read) in _SCALARS.items():
        scalar = schema.type_map.get(name)
        if isinstance(scalar, GraphQLScalarType):
            scalar.coerce_output_value = written
            scalar.coerce_input_value = scalar.parse_value = read  # type: ignore[method-assign]
    content = schema.type_map.get("AgentActivityContent")
    if isinstance(content, GraphQLUnionType):
        content.resolve_type = lambda value, *_: f"AgentActivity{value['type'].title()}Content"
    return schema


@lru_cache(maxsize=2000)
def document_for(schema: GraphQLSchema, text: str) -> tuple[DocumentNode | None, tuple[GraphQLError, ...]]:
    """Parse and validate a document; give it, or what is wrong with it."""
    if len(text) > _MOST_DOCUMENT:
        return None, (GraphQLError("Document is too large."),)
    try:
        document = parse(text)
    except GraphQLError as error:
        return None, (error,)
    except RecursionError:
        return None, (GraphQLError("Document is too deep."),)
    return document, tuple(validate(schema, document))


def bind(schema: GraphQLSchema, type_name: str, field: str, resolver: Resolver) -> None:
    """Let a resolver answer a field, where the schema has it."""
    kind = schema.type_map.get(type_name)
    if isinstance(kind, GraphQLObjectType) and field in kind.fields:
        kind.fields[field].resolve = resolver


def _same(value: Any) -> Any:
    return value


def _written_time(value: Any) -> Any:
    return iso(value) if isinstance(value, int) else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError(f"Expected a text, found {value!r}.")
    return value


def _time(value: Any) -> Any:
    moment_of(_text(value))
    return value


def _time_or_duration(value: Any) -> Any:
    moment_or_duration(_text(value), now=0)
    return value


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise GraphQLError(f"Expected an object, found {value!r}.")
    return value


_SCALARS: dict[str, tuple[Resolver, Resolver]] = {
    "DateTime": (_written_time, _time),
    "DateTimeOrDuration": (_written_time, _time_or_duration),
    "TimelessDate": (_same, _time),
    "JSONObject": (_same, _object),
}
