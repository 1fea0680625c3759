"""The records of a workspace with the indexes that answers need, and the way back to what they were.

Invariant: no look-up by id, by group (comments of an issue, children, relations …) or by time walks over a table, so a page
of fifty issues costs the same among ten thousand. `as_of` gives the board as it was; it is for stale reads and is slow.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeVar, cast

from tests.fakes.linear_records import (
    API_NAMES,
    Activity,
    Attachment,
    Comment,
    Issue,
    Label,
    Record,
    Relation,
    Session,
    State,
)

R = TypeVar("R", bound=Record)
Place = tuple[int, str]

_GROUPED: dict[type[Record], tuple[str, ...]] = {
    State: ("team_id",),
    Label: ("team_id", "parent_id"),
    Issue: ("identifier", "parent_id", "project_id", "assignee_id", "delegate_id"),
    Comment: ("issue_id", "parent_id"),
    Attachment: ("issue_id", "url"),
    Relation: ("issue_id", "related_issue_id"),
    Session: ("issue_id", "comment_id"),
    Activity: ("agent_session_id",),
}
_ORDERED = ("created_at", "updated_at")


class Board:
    """Tables, indexes, and the log by which `as_of` goes back."""

    def __init__(self) -> None:
        self._tables: dict[type[Record], dict[str, Record]] = {kind: {} for kind in API_NAMES}
        self._groups: dict[tuple[type[Record], str], dict[object, dict[str, None]]] = {
            (kind, field): defaultdict(dict) for kind, fields in _GROUPED.items() for field in fields
        }
        self._orders: dict[tuple[type[Record], str], list[Place]] = {
            (kind, order): [] for kind in API_NAMES for order in _ORDERED
        }
        self._undo: list[tuple[int, type[Record], str, Record | None]] = []

    def put(self, record: Record, *, at: int) -> None:
        """Take a record in, in the place of the one with its id."""
        kind = type(record)
        previous = self._tables[kind].get(record.id)
        self._undo.append((at, kind, record.id, previous))
        self._replace(kind, previous, record)

    def drop(self, record: Record, *, at: int) -> None:
        """Take a record out."""
        self._undo.append((at, type(record), record.id, record))
        self._replace(type(record), record, None)

    def get(self, kind: type[R], record_id: str | None) -> R | None:
        """Find a record by its id."""
        return cast("R | None", self._tables[kind].get(record_id)) if record_id is not None else None

    def all(self, kind: type[R]) -> list[R]:
        """Give a whole table; for the small ones."""
        return cast("list[R]", list(self._tables[kind].values()))

    def count(self, kind: type[Record]) -> int:
        """Count a table."""
        return len(self._tables[kind])

    def group(self, kind: type[R], field: str, value: object) -> list[R]:
        """Give the records of a kind whose field has the value, in the order in which they came to it."""
        table = self._tables[kind]
        return cast("list[R]", [table[record_id] for record_id in self._groups[kind, field].get(value, ())])

    def newest_first(
        self, kind: type[R], order: str, *, since: int | None = None, below: Place | None = None
    ) -> Iterator[R]:
        """Walk over a table from its newest record, or the first below a place, back to `since`."""
        places = self._orders[kind, order]
        first = 0 if since is None else bisect_left(places, (since, ""))
        end = len(places) if below is None else bisect_left(places, below)
        table = cast("dict[str, R]", self._tables[kind])
        for at in range(end - 1, first - 1, -1):
            yield table[places[at][1]]

    def as_of(self, moment: int) -> Board:
        """Give another board that shows what this one was at a moment."""
        tables = {kind: dict(table) for kind, table in self._tables.items()}
        for at, kind, record_id, previous in reversed(self._undo):
            if at <= moment:
                break
            if previous is None:
                tables[kind].pop(record_id, None)
            else:
                tables[kind][record_id] = previous
        past = Board()
        for kind, table in tables.items():
            for record in table.values():
                past._replace(kind, None, record)
        return past

    def _replace(self, kind: type[Record], previous: Record | None, record: Record | None) -> None:
        table = self._tables[kind]
        if previous is not None:
            del table[previous.id]
        if record is not None:
            table[record.id] = record
        for field in _GROUPED.get(kind, ()):
            self._regroup(kind, field, previous, record)
        for order in _ORDERED:
            self._reorder(self._orders[kind, order], order, previous, record)

    def _regroup(self, kind: type[Record], field: str, previous: Record | None, record: Record | None) -> None:
        groups = self._groups[kind, field]
        before = getattr(previous, field, None)
        after = getattr(record, field, None)
        if previous is not None and record is not None and before == after:
            return
        if previous is not None:
            groups[before].pop(previous.id, None)
        if record is not None:
            groups[after][record.id] = None

    @staticmethod
    def _reorder(places: list[Place], order: str, previous: Record | None, record: Record | None) -> None:
        before = None if previous is None else (getattr(previous, order), previous.id)
        after = None if record is None else (getattr(record, order), record.id)
        if before == after:
            return
        if before is not None:
            del places[bisect_left(places, before)]
        if after is not None:
            insort(places, after)
