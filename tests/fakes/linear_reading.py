"""How fields are answered: plain ones from the record's attributes, those that nobody plays by what their type allows.

Invariant: an answer has the schema's types, also for the many fields that a real client asks and this server does not play
(null, zero, an empty connection). Only what a test broke on purpose (`Record.raw`) is written over the answer afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
)

from tests.fakes.linear_board import Board
from tests.fakes.linear_filters import Filters
from tests.fakes.linear_pages import Page
from tests.fakes.linear_records import API_NAMES, Record, User
from tests.fakes.linear_schema import bind
from tests.fakes.linear_world import Actor, World

_ZEROS: dict[str, Any] = {"Int": 0, "Float": 0, "Boolean": False, "DateTime": 0, "JSONObject": {}, "JSON": {}}


@dataclass
class Reading:
    """One request's view of a world: `board` is the present one, or a past one for a stale read."""

    world: World
    board: Board
    viewer: User
    by: Actor
    limits: Callable[[], dict[str, Any]]
    upload: Callable[[Mapping[str, Any]], dict[str, Any]]
    patches: list[tuple[list[str | int], Any]] = field(default_factory=list)
    unplayed: list[str] = field(default_factory=list)

    @property
    def filters(self) -> Filters:
        """Compile filters for this view."""
        return Filters(self.board, now=self.world.clock.now(), viewer_id=self.viewer.id)


class _Nothing:
    """An object that has no field of its own."""


NOTHING = _Nothing()


@lru_cache(maxsize=4000)
def snake(name: str) -> str:
    """Write a name of the API as an attribute is written."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def default_resolver(source: Any, info: GraphQLResolveInfo, **_: Any) -> Any:
    """Answer a field that has no resolver of its own."""
    if isinstance(source, Mapping):
        return source.get(info.field_name, blank(info.return_type))
    if isinstance(source, Page):
        return getattr(source, snake(info.field_name), None)
    if source is None:
        info.context.unplayed.append(f"{info.parent_type.name}.{info.field_name}")
        raise GraphQLError(f"{info.parent_type.name}.{info.field_name} is not played by this server.")
    return blank(info.return_type)


def blank(kind: Any) -> Any:
    """Give what a type allows where nothing is known: null, or the least that is not null."""
    if not isinstance(kind, GraphQLNonNull):
        return None
    kind = kind.of_type
    if isinstance(kind, GraphQLList):
        return []
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values.values())).value
    if is_leaf_type(kind):
        return _ZEROS.get(kind.name, "")
    if isinstance(kind, GraphQLObjectType) and kind.name.endswith("Connection"):
        return Page([], "created_at")
    return NOTHING


def bind_records(schema: GraphQLSchema) -> None:
    """Answer the plain fields of every kind of record from its attributes."""
    for kind, type_name in API_NAMES.items():
        attributes = {one.name for one in fields(kind)}
        declared = schema.type_map.get(type_name)
        if not isinstance(declared, GraphQLObjectType):
            continue
        for name, declaration in declared.fields.items():
            leaf = is_leaf_type(get_named_type(declaration.type))
            if leaf and snake(name) in attributes:
                bind(schema, type_name, name, breakable(name, _attribute(snake(name))))


def breakable(name: str, resolver: Callable[..., Any]) -> Callable[..., Any]:
    """Let a record's raw value for a field be written over what the resolver answers."""

    def resolve(source: Record, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        if source.raw is not None and name in source.raw:
            info.context.patches.append((info.path.as_list(), source.raw[name]))
        return resolver(source, info, **arguments)

    return resolve


def patch(data: Any, patches: list[tuple[list[str | int], Any]]) -> None:
    """Write values over an answer, past the schema."""
    for path, value in patches:
        place = data
        for step in path[:-1]:
            place = place[step] if place is not None else None
        if place is not None:
            place[path[-1]] = value


def _attribute(attribute: str) -> Callable[..., Any]:
    def resolve(source: Any, _: GraphQLResolveInfo) -> Any:
        return getattr(source, attribute)

    return resolve
