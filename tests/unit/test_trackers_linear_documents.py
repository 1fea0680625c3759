"""Every document that we send to Linear is valid by its schema and cheap enough at its largest variables."""

from __future__ import annotations

from itertools import combinations
from types import ModuleType

import pytest
from graphql import parse

from symphony.trackers.linear import documents, writing_documents
from tests.fakes.linear_complexity import MOST, complexity_of
from tests.fakes.linear_schema import SMALL, document_for, real_schema, schema_at

PARTS = {name: getattr(documents, name) for name in ("CHANGES", "WATCHED", "BLOCKERS", "SWEEP")}
LARGEST = {"first": documents.MOST_CHANGES} | dict.fromkeys(
    ("watchedFirst", "blockersFirst", "sweepFirst"), documents.LIGHT_PAGE
)
LARGEST_OF = {"documents.NEW_COMMENTS": {"first": documents.LIGHT_PAGE}}


def constants(module: ModuleType) -> dict[str, str]:
    texts = {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}
    whole = {name: text for name, text in texts.items() if text.lstrip().startswith(("query", "mutation"))}
    return {f"{module.__name__.rpartition('.')[2]}.{name}": text for name, text in whole.items()}


def boards() -> dict[str, str]:
    """Give the board's document with every choice of parts that is made."""
    besides = [names for count in range(len(PARTS)) for names in combinations(list(PARTS)[1:], count)]
    chosen = [("WATCHED",), ("SWEEP",), *(("CHANGES", *names) for names in besides)]
    return {f"board {' '.join(names)}": documents.board(*(PARTS[name] for name in names)) for names in chosen}


DOCUMENTS = constants(documents) | constants(writing_documents) | boards()


def test_all_documents_are_found() -> None:
    assert len(DOCUMENTS) > 30
    assert {"documents.ISSUES_BY_IDS", "writing_documents.MOVE", "board CHANGES WATCHED BLOCKERS SWEEP"} <= set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_costs_less_than_linear_takes_at_its_largest(name: str) -> None:
    cost = complexity_of(DOCUMENTS[name], LARGEST | LARGEST_OF.get(name, {}))
    assert cost < MOST, f"{cost:g} points"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_by_linears_own_schema(name: str) -> None:
    schema = real_schema()
    if schema is None:
        pytest.skip("Linear's schema is not on this machine (SYMPHONY_TEST_SCHEMAS)")
    document, faults = document_for(schema_at(schema), DOCUMENTS[name])
    assert document is not None
    assert [fault.message for fault in faults] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_by_the_small_schema_too(name: str) -> None:
    _, faults = document_for(schema_at(SMALL), DOCUMENTS[name])
    assert [fault.message for fault in faults] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_has_one_operation_which_is_named(name: str) -> None:
    (operation,) = [one for one in parse(DOCUMENTS[name]).definitions if one.kind == "operation_definition"]
    assert operation.name.value.startswith("Symphony")
