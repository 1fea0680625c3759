"""Relay connections: which records of an ordered sequence a page holds, and how to ask for the next.

Invariant: a cursor names a place in the order, not a position, so records that come or go on earlier pages move nothing on
later ones. Pages run newest first, 50 at a time unless asked otherwise, 250 at most. Clients must not read cursors.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from tests.fakes.linear_errors import invalid
from tests.fakes.linear_records import Record

R = TypeVar("R", bound=Record)

MOST = 250
_DEFAULT = 50
_ORDERS = {"createdAt": "created_at", "updatedAt": "updated_at", None: "created_at"}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a connection, as resolvers read it."""

    nodes: Sequence[Any]
    order: str
    has_next_page: bool = False
    has_previous_page: bool = False

    @property
    def edges(self) -> list[dict[str, Any]]:
        """Pair the nodes with their cursors."""
        return [{"node": node, "cursor": _cursor(node, self.order)} for node in self.nodes]

    @property
    def page_info(self) -> dict[str, Any]:
        """Say where the page begins and ends."""
        return {
            "hasNextPage": self.has_next_page,
            "hasPreviousPage": self.has_previous_page,
            "startCursor": _cursor(self.nodes[0], self.order) if self.nodes else None,
            "endCursor": _cursor(self.nodes[-1], self.order) if self.nodes else None,
        }


def order_of(arguments: Mapping[str, Any]) -> str:
    """Give the field by which a connection is ordered."""
    return _ORDERS[arguments.get("orderBy")]


def page_of_few(records: Iterable[R], arguments: Mapping[str, Any], test: Callable[[R], bool] | None = None) -> Page:
    """Take the page that was asked for out of a few records in any order."""
    order = order_of(arguments)
    return page_of(
        iter(sorted(records, key=lambda record: (getattr(record, order), record.id), reverse=True)), arguments, test
    )


def page_of(records: Iterator[R], arguments: Mapping[str, Any], test: Callable[[R], bool] | None = None) -> Page:
    """Take the page that was asked for out of records that come newest first, reading no further than needed.

    Raises: GraphQLError for a size or a cursor that cannot be.
    """
    order = order_of(arguments)
    size, backward = _size(arguments)
    with_archived = arguments.get("includeArchived", False)
    fit: Iterator[R] = (
        record for record in records if (with_archived or record.archived_at is None) and (test is None or test(record))
    )
    after, before = (place_of(arguments, name) for name in ("after", "before"))
    if after is not None:
        fit = (record for record in fit if (getattr(record, order), record.id) < after)
    if before is not None:
        fit = (record for record in fit if (getattr(record, order), record.id) > before)
    if backward:
        there = list(fit)
        return Page(there[-size:] if size else [], order, before is not None, len(there) > size)
    found = list(islice(fit, size + 1))
    return Page(found[:size], order, len(found) > size, after is not None)


def _size(arguments: Mapping[str, Any]) -> tuple[int, bool]:
    first, last = arguments.get("first"), arguments.get("last")
    if first is not None and last is not None:
        raise invalid("first and last cannot be used together.")
    size = next((one for one in (first, last) if one is not None), _DEFAULT)
    if not 0 <= size <= MOST:
        raise invalid(f"{'last' if first is None else 'first'} must be between 0 and {MOST}.")
    return size, last is not None


def _cursor(record: Record | Mapping[str, Any], order: str) -> str:
    if isinstance(record, Mapping):
        return str(record["id"])
    return base64.urlsafe_b64encode(f"{getattr(record, order)}/{record.id}".encode()).decode()


def place_of(arguments: Mapping[str, Any], name: str) -> tuple[int, str] | None:
    """Read the place that the cursor `after` or `before` names.

    Raises: GraphQLError if it is no cursor.
    """
    cursor = arguments.get(name)
    if cursor is None:
        return None
    try:
        at, _, record_id = base64.urlsafe_b64decode(cursor).decode().partition("/")
        return int(at), record_id
    except ValueError:
        raise invalid(f"{name} is not a valid cursor.") from None
