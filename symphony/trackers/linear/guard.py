"""The guard before the agent's tool: what a document asks for, judged by what it means and not by how it is written.

Invariant: what is sent is never the agent's text but a document that `printed` makes: one operation that fits the surface
(see `surface`), the arguments of its root fields as values that were judged, whatever else varies as literals, fragments
unfolded. So nothing is left that Linear could read otherwise than the guard did. Pure: nothing here asks Linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    parse,
    validate,
)
from graphql.execution import VariableValues, get_argument_values, get_directive_values, get_variable_values

from symphony.domain.errors import Rejected
from symphony.trackers.linear.surface import surface

REFUSED = "tool_refused"
SCOPE = "symphonyScope"
"""The key under which an issue's project is asked for beside what the agent asks."""
_LONGEST = 60_000  # characters
_MOST_TOKENS = 6_000
_MOST_SELECTIONS = 400
_DEEPEST = 20
_MOST_ROOTS = 10
_MOST_FAULTS = 3
_LONGEST_FAULT = 400
_OF_TYPES = frozenset({"__schema", "__type"})

Fragments = Mapping[str, FragmentDefinitionNode]


@dataclass(frozen=True, slots=True)
class Root:
    """A root field: the key of its answer, and the values of its arguments as the surface reads them."""

    key: str
    name: str
    arguments: dict[str, Any]
    node: FieldNode


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that fits the surface; whether its roots may be asked for is still to be judged."""

    is_mutation: bool
    roots: tuple[Root, ...]
    document: DocumentNode
    fragments: Fragments
    definition: OperationDefinitionNode
    values: VariableValues

    @property
    def is_about_types(self) -> bool:
        """Whether it asks what can be asked for."""
        return any(root.name in _OF_TYPES for root in self.roots)


def parsed(text: str) -> tuple[DocumentNode, OperationDefinitionNode]:
    """Parse a document of exactly one query or mutation. Raises: Rejected."""
    if len(text) > _LONGEST:
        raise refused(f"the document has {len(text)} characters, {_LONGEST} are allowed: put long texts into variables")
    try:
        document = parse(text, no_location=True, max_tokens=_MOST_TOKENS, allow_empty_selection_sets=False)
    except GraphQLError as error:
        raise refused(f"the document cannot be read: {error.message[:_LONGEST_FAULT]}") from None
    except RecursionError:
        raise refused("the document is nested too deeply") from None
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if len(operations) != 1:
        raise refused(f"the document must have exactly one operation, not {len(operations)}")
    if operations[0].operation is OperationType.SUBSCRIPTION:
        raise refused("there are no subscriptions here: ask with a query")
    return document, operations[0]


def read(text: str, variables: Mapping[str, Any]) -> Operation:
    """Read a document against the surface. Raises: Rejected with what is not there."""
    document, definition = parsed(text)
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    try:
        _measure(definition.selection_set, fragments)
        _ensure_none(validate(surface(), document, max_errors=_MOST_FAULTS))
        values = get_variable_values(surface(), definition.variable_definitions or (), dict(variables), _MOST_FAULTS)
        if isinstance(values, list):
            raise _faulty(values)
        is_mutation = definition.operation is OperationType.MUTATION
        fields = _fields(definition.selection_set, fragments, values)
        roots = tuple(_root(field, values, is_mutation=is_mutation) for field in fields)
    except RecursionError:
        raise refused("the document or a variable is nested too deeply") from None
    except GraphQLError as error:
        raise _faulty([error]) from None
    _ensure_countable(roots, is_mutation=is_mutation)
    return Operation(is_mutation, roots, document, fragments, definition, values)


def within_project(root: Root, slug_id: str) -> Root:
    """Keep a query's root field to the project. Raises: Rejected."""
    scope = {"slugId": {"eq": slug_id}}
    match root.name:
        case "issues":
            return replace(root, arguments=_filtered(root, {"project": scope}))
        case "projects":
            return replace(root, arguments=_filtered(root, scope))
        case "issue":
            return replace(root, node=_with_scope(root.node))
        case "viewer" | "__typename":
            return root
        case name:
            raise refused(f"there is no rule for {name}")


def is_within_project(root: Root, answer: Any, slug_id: str) -> bool:
    """Tell whether an answer belongs to the project; takes out of it what this is known by."""
    if root.name != "issue" or answer is None:
        return True
    scope = answer.pop(SCOPE, None) if isinstance(answer, dict) else None
    return isinstance(scope, Mapping) and scope.get("slugId") == slug_id


def refused(why: str) -> Rejected:
    """Build the error of what the guard does not let pass."""
    return Rejected(why, category=REFUSED)


def _ensure_none(faults: list[GraphQLError]) -> None:
    if faults:
        raise _faulty(faults)


def _faulty(faults: list[GraphQLError]) -> Rejected:
    return refused(" ".join(fault.message[:_LONGEST_FAULT] for fault in faults[:_MOST_FAULTS]))


def _measure(selected: SelectionSetNode, fragments: Fragments) -> None:
    """Refuse what would be too large unfolded, before anything unfolds it. Raises: Rejected."""
    waiting, count = [(selected, 1)], 0
    while waiting:
        selections, depth = waiting.pop()
        count += len(selections.selections)
        if count > _MOST_SELECTIONS or depth > _DEEPEST:
            raise refused(f"the document asks for too much: {_MOST_SELECTIONS} fields, {_DEEPEST} deep, are allowed")
        for selection in selections.selections:
            inside = _inside(selection, fragments)
            if inside is not None:
                waiting.append((inside, depth + 1))


def _inside(selection: SelectionNode, fragments: Fragments) -> SelectionSetNode | None:
    if isinstance(selection, FieldNode | InlineFragmentNode):
        if isinstance(selection, FieldNode) and _key(selection) == SCOPE:
            raise refused(f"the key {SCOPE} is taken")
        return selection.selection_set
    assert isinstance(selection, FragmentSpreadNode)
    fragment = fragments.get(selection.name.value)
    return fragment.selection_set if fragment is not None else None


def _fields(selected: SelectionSetNode, fragments: Fragments, values: VariableValues) -> Iterator[FieldNode]:
    """Give the root fields that would be executed, fragments unfolded."""
    for selection in selected.selections:
        skip = get_directive_values(GraphQLSkipDirective, selection, values)
        include = get_directive_values(GraphQLIncludeDirective, selection, values)
        if (skip and skip["if"]) or (include and not include["if"]):
            continue
        if isinstance(selection, FieldNode):
            yield selection
        elif (inside := _inside(selection, fragments)) is not None:
            yield from _fields(inside, fragments, values)


def _root(field: FieldNode, values: VariableValues, *, is_mutation: bool) -> Root:
    kind = surface().mutation_type if is_mutation else surface().query_type
    assert kind is not None
    definition = kind.fields.get(field.name.value)
    arguments = get_argument_values(definition, field, values) if definition is not None else {}
    return Root(_key(field), field.name.value, arguments, field)


def _key(field: FieldNode) -> str:
    return field.alias.value if field.alias is not None else field.name.value


def _ensure_countable(roots: tuple[Root, ...], *, is_mutation: bool) -> None:
    """Refuse too many root fields, and such as share a key or do not go together. Raises: Rejected."""
    asked = [root for root in roots if root.name != "__typename"]
    if is_mutation and len(asked) != 1:
        raise refused(f"a call makes exactly one mutation, not {len(asked)}")
    if not roots or len(roots) > _MOST_ROOTS:
        raise refused(f"a call asks for 1 to {_MOST_ROOTS} root fields, not {len(roots)}")
    if len({root.key for root in roots}) < len(roots):
        raise refused("two root fields have one key: give them aliases")
    if any(root.name in _OF_TYPES for root in asked) and not all(root.name in _OF_TYPES for root in asked):
        raise refused("ask for __schema and __type by themselves")


def _filtered(root: Root, scope: dict[str, Any]) -> dict[str, Any]:
    given = root.arguments.get("filter")
    return {**root.arguments, "filter": {"and": [scope, given] if given else [scope]}}


def _with_scope(field: FieldNode) -> FieldNode:
    (query,) = parse(f"{{ {SCOPE}: project {{ slugId }} }}", no_location=True).definitions
    assert isinstance(query, OperationDefinitionNode) and field.selection_set is not None
    both = (*field.selection_set.selections, *query.selection_set.selections)
    return FieldNode(name=field.name, alias=field.alias, selection_set=SelectionSetNode(selections=both))
