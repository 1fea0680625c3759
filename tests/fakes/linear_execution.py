"""One request's document: read, held against the schema, priced, and carried out on a world.

Invariant: what is invalid never runs, and what runs sees one state of the world: the world's lock is held from its first
field to its last. Numbers are written as the real API writes them: 2, not 2.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql import execute as run_document

from tests.fakes.linear_complexity import complexity_of
from tests.fakes.linear_errors import failed, invalid
from tests.fakes.linear_mutations import bind_mutations
from tests.fakes.linear_queries import bind_queries
from tests.fakes.linear_reading import Reading, default_resolver, patch
from tests.fakes.linear_records import User
from tests.fakes.linear_schema import document_for, schema_at
from tests.fakes.linear_world import Actor, World


@dataclass(frozen=True)
class Document:
    """A request's document; `refusal` is the answer if it cannot run."""

    name: str
    operation: str | None = None
    writes: bool = False
    fields: tuple[str, ...] = ()
    text: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    parsed: DocumentNode | None = None
    schema: GraphQLSchema | None = None
    points: float = 0.0
    refusal: dict[str, Any] | None = None
    violations: tuple[str, ...] = ()


@dataclass
class Answer:
    """What is to be sent."""

    status: int
    body: dict[str, Any]
    violations: tuple[str, ...] = ()


@lru_cache(maxsize=4)
def executable(path: Path) -> GraphQLSchema:
    """Give a schema with everything bound that this server plays."""
    schema = schema_at(path)
    bind_queries(schema)
    bind_mutations(schema)
    return schema


def read_document(content_type: str, body: bytes, path: Path) -> Document:
    """Read a request's body."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return _refused("", f"The content type {content_type!r} is not application/json.", "BAD_REQUEST")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not isinstance(given.get("query"), str):
        return _refused("", "The request's body has no query.", "BAD_REQUEST")
    text, variables, name = given["query"], given.get("variables") or {}, given.get("operationName")
    if not isinstance(variables, dict):
        return _refused(text, "The variables are no object.", "BAD_REQUEST")
    schema = executable(path)
    parsed, wrong = document_for(schema, text)
    if parsed is None or wrong:
        code = "GRAPHQL_PARSE_FAILED" if parsed is None else "GRAPHQL_VALIDATION_FAILED"
        return _refused(text, *(error.message for error in wrong), code)
    operations = [one for one in parsed.definitions if isinstance(one, OperationDefinitionNode)]
    fit = [one for one in operations if name is None or (one.name is not None and one.name.value == name)]
    if len(fit) != 1:
        return _refused(text, "operationName does not name one operation of the document.", "OPERATION_RESOLUTION_FAILURE")
    fields = tuple(one.name.value for one in fit[0].selection_set.selections if isinstance(one, FieldNode))
    operation = fit[0].name.value if fit[0].name is not None else None
    return Document(
        name=operation or (fields[0] if fields else ""),
        operation=operation,
        writes=fit[0].operation.value == "mutation",
        fields=fields,
        text=text,
        variables=variables,
        parsed=parsed,
        schema=schema,
        points=complexity_of(parsed, variables, operation),
    )


def execute(
    world: World,
    document: Document,
    *,
    by: Actor,
    age_ms: int,
    limits: Callable[[], dict[str, Any]],
    upload: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Answer:
    """Carry a document out as somebody, on the world as it is or was."""
    assert document.schema is not None and document.parsed is not None
    with world.lock:
        stale = age_ms and not document.writes
        board = world.board.as_of(world.clock.now() - age_ms) if stale else world.board
        viewer = world.need(User, by.user_id)
        reading = Reading(world, board, viewer, by, limits, upload)
        result = run_document(
            document.schema,
            document.parsed,
            context_value=reading,
            variable_values=dict(document.variables),
            operation_name=document.operation,
            field_resolver=default_resolver,
            is_awaitable=lambda _: False,
        )
    assert isinstance(result, ExecutionResult)
    patch(result.data, reading.patches)
    return _answer(result, tuple(f"{name} is not played" for name in reading.unplayed))


def _answer(result: ExecutionResult, violations: tuple[str, ...]) -> Answer:
    found = result.errors or []
    if not found:
        return Answer(200, {"data": _plain(result.data)}, violations)
    before = [error for error in found if error.path is None]
    shown = [_shown(error) for error in found]
    body: dict[str, Any] = {"errors": shown, **({} if before else {"data": _plain(result.data)})}
    violations += tuple(error.message for error in before)
    violations += tuple(
        words for error in shown if "not played" in (words := error["extensions"]["userPresentableMessage"])
    )
    refused = before or any(error.message == "conflict on insert of Issue" for error in found)
    return Answer(400 if refused else 200, body, violations)


def _shown(error: GraphQLError) -> dict[str, Any]:
    """Write an error as the API does: its own have their codes, a wrong variable is input, the rest is the server's fault."""
    if "code" not in (error.extensions or {}):
        kind = invalid(error.message) if error.path is None else failed(error.message)
        words = {**(kind.extensions or {}), **({"code": "INPUT_ERROR"} if error.path is None else {})}
        error = GraphQLError(error.message, path=error.path, extensions=words)
    shown = dict(error.formatted)
    shown.pop("locations", None)
    return shown


def _plain(value: Any) -> Any:
    """Write whole numbers without a point, as JavaScript does."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _refused(text: str, *words: str) -> Document:
    """Give a document that cannot run; the last word is the code."""
    *messages, code = words
    body = {
        "errors": [
            {
                "message": message,
                "extensions": {"type": "graphql error", "code": code, "statusCode": 400, "userError": True},
            }
            for message in messages
        ]
    }
    return replace(Document(name="", text=text, refusal=body), violations=tuple(messages))
