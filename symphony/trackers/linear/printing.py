"""A judged operation as it is sent to Linear, and what is answered of the surface itself.

Invariant: of the agent's document only names of the surface, aliases and literals are left; values of root fields travel as
variables that we name. Relied on by the tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import (
    REMOVE,
    ArgumentNode,
    ConstValueNode,
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    ast_from_value,
    execute_sync,
    is_input_type,
    parse_type,
    print_ast,
    type_from_ast,
    visit,
)

from symphony.trackers.linear.guard import Operation, Root, refused
from symphony.trackers.linear.surface import surface

NAME = "SymphonyAgent"
_LISTS_OF_TYPES = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})


def printed(operation: Operation, roots: Sequence[Root]) -> tuple[str, dict[str, Any]]:
    """Print an operation with these root fields; give it with its variables."""
    kind = surface().mutation_type if operation.is_mutation else surface().query_type
    assert kind is not None
    plain = _Plain(operation)
    fields: list[FieldNode] = []
    variables: dict[str, Any] = {}
    definitions: list[VariableDefinitionNode] = []
    for root in roots:
        arguments = []
        for name, value in root.arguments.items():
            variable = VariableNode(name=NameNode(value=f"v{len(variables)}"))
            variables[variable.name.value] = value
            declared = parse_type(str(kind.fields[root.name].args[name].type))
            definitions.append(VariableDefinitionNode(variable=variable, type=declared, directives=()))
            arguments.append(ArgumentNode(name=NameNode(value=name), value=variable))
        fields.append(
            FieldNode(
                alias=NameNode(value=root.key) if root.key != root.name else None,
                name=NameNode(value=root.name),
                arguments=tuple(arguments),
                directives=(),
                selection_set=plain.of(root.node.selection_set),
            )
        )
    whole = OperationDefinitionNode(
        operation=operation.definition.operation,
        name=NameNode(value=NAME),
        variable_definitions=tuple(definitions),
        directives=(),
        selection_set=SelectionSetNode(selections=tuple(fields)),
    )
    return print_ast(DocumentNode(definitions=(whole,))), variables


def types(operation: Operation) -> dict[str, Any]:
    """Answer what can be asked for: the surface, which is all that there is for a guarded agent. Raises: Rejected."""
    plain = _Plain(operation)
    for root in operation.roots:
        _ensure_flat(plain.of(root.node.selection_set), 0)
    result = execute_sync(surface(), operation.document, variable_values=dict(operation.values.coerced))
    return dict(result.formatted)


class _Plain(Visitor):
    """Unfolds fragments and writes variables as what they stand for."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self._fragments = operation.fragments
        self._values = operation.values.coerced
        self._types = {one.variable.name.value: one.type for one in operation.definition.variable_definitions or ()}

    def of(self, selected: SelectionSetNode | None) -> SelectionSetNode | None:
        """Give a selection in plain words."""
        return visit(selected, self) if selected is not None else None

    def enter_argument(self, node: ArgumentNode, *_: Any) -> Any:
        """Leave out an argument whose variable was not given."""
        absent = isinstance(node.value, VariableNode) and node.value.name.value not in self._values
        return REMOVE if absent else None

    def enter_variable(self, node: VariableNode, *_: Any) -> ConstValueNode | None:
        """Write a variable's value."""
        name = node.name.value
        declared = type_from_ast(surface(), self._types[name])
        assert declared is not None and is_input_type(declared)
        return ast_from_value(self._values[name], declared)

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> InlineFragmentNode:
        """Write a fragment out; that none leads to itself has been seen to."""
        return InlineFragmentNode(directives=node.directives, selection_set=self._fragments[node.name.value].selection_set)

    def enter_inline_fragment(self, node: InlineFragmentNode, *_: Any) -> InlineFragmentNode:
        """Leave out its type, which is the one around it: some of the surface's types have another name on Linear."""
        return InlineFragmentNode(directives=node.directives, selection_set=node.selection_set)


def _ensure_flat(selected: SelectionSetNode | None, lists: int) -> None:
    """Refuse questions whose answers multiply: lists of types in lists of types. Raises: Rejected."""
    for selection in selected.selections if selected is not None else ():
        inner = lists
        if isinstance(selection, FieldNode) and selection.name.value in _LISTS_OF_TYPES:
            inner += 1
        if inner > 1:
            raise refused("ask for the fields of one type at a time")
        _ensure_flat(getattr(selection, "selection_set", None), inner)
