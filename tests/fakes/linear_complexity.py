"""What a document costs by Linear's rules: a property 0.1, an object 1, a connection its page size times its children.

Invariant: it needs no schema, so that a client's tests can ask it, too: a field is a connection when nodes or edges are
asked of it. `pageInfo` is no child of a connection: it is counted once, as the object that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    value_from_ast_untyped,
)

MOST = 10_000.0
DEFAULT_PAGE = 50
_PROPERTY = 0.1
_OBJECT = 1.0


def complexity_of(
    document: DocumentNode | str, variables: Mapping[str, Any] | None = None, operation: str | None = None
) -> float:
    """Count the points of a document's operation (the only one, or the one of that name)."""
    parsed = parse(document, no_location=True) if isinstance(document, str) else document
    chosen = next(
        definition
        for definition in parsed.definitions
        if isinstance(definition, OperationDefinitionNode)
        and (operation is None or (definition.name is not None and definition.name.value == operation))
    )
    fragments = {
        definition.name.value: definition
        for definition in parsed.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    given = {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in chosen.variable_definitions or ()
        if definition.default_value is not None
    }
    return round(_Counter(fragments, {**given, **(variables or {})}).children(chosen.selection_set), 4)


class _Counter:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]) -> None:
        self._fragments = fragments
        self._variables = variables

    def children(self, selected: SelectionSetNode) -> float:
        return sum(self._field(field) for field in self._fields(selected))

    def _fields(self, selected: SelectionSetNode) -> list[FieldNode]:
        fields: list[FieldNode] = []
        for selection in selected.selections:
            if isinstance(selection, FieldNode):
                fields.append(selection)
            elif isinstance(selection, InlineFragmentNode):
                fields += self._fields(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                fields += self._fields(self._fragments[selection.name.value].selection_set)
        return fields

    def _field(self, field: FieldNode) -> float:
        if field.selection_set is None:
            return _PROPERTY
        inside = self._fields(field.selection_set)
        if not any(one.name.value in ("nodes", "edges") for one in inside):
            return _OBJECT + sum(self._field(one) for one in inside)
        once = sum(self._field(one) for one in inside if one.name.value == "pageInfo")
        return once + self._page(field) * sum(self._field(one) for one in inside if one.name.value != "pageInfo")

    def _page(self, field: FieldNode) -> int:
        for argument in field.arguments or ():
            if argument.name.value in ("first", "last"):
                size = value_from_ast_untyped(argument.value, dict(self._variables))
                if isinstance(size, int):
                    return size
        return DEFAULT_PAGE
