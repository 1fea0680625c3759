"""A workspace that lives: its board, its clock, who did what to it, and who hears of it.

Invariant: every change goes through `save` or `remove`, so the journal of writes, the time stamps and the webhooks' events
are whole. Whoever changes or reads holds `lock`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tests.fakes.linear_board import Board
from tests.fakes.linear_errors import not_found
from tests.fakes.linear_records import API_NAMES, Organization, Record
from tests.fakes.linear_time import Clock

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Actor:
    """Who acts: a user of this id (None: an integration of Linear's), through an API key or, without one, in the app."""

    user_id: str | None
    key: str | None = None


@dataclass(frozen=True)
class Write:
    """A write that was applied: `kind` is like Issue.update, `values` what was asked for."""

    kind: str
    entity_id: str
    values: Mapping[str, Any]
    by: Actor
    at: int

    @property
    def key(self) -> str | None:
        """The API key with which it came; None for a person's hands."""
        return self.by.key


@dataclass(frozen=True)
class Change:
    """What listeners hear of a change: create, update or remove."""

    action: str
    record: Record
    previous: Record | None
    by: Actor
    at: int


@dataclass
class World:
    """The workspace and its listeners."""

    organization: Organization
    clock: Clock
    board: Board = field(default_factory=Board)
    lock: threading.RLock = field(default_factory=threading.RLock)
    writes: list[Write] = field(default_factory=list)
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    """The last number of an issue, by team."""
    sync_id: int = 0

    def save(self, record: R, *, by: Actor, values: Mapping[str, Any] | None = None) -> R:
        """Apply a record that was made or changed; stamp its change, journal it, tell of it. An equal one changes nothing."""
        previous = self.board.get(type(record), record.id)
        now = self.clock.now()
        if previous is not None:
            if record == previous:
                self._journal("update", record, by, values, now)
                return record
            # Two changes within a millisecond still leave two times, as two versions must.
            record = replace(record, updated_at=max(now, previous.updated_at + 1))
        self.board.put(record, at=now)
        action = "create" if previous is None else "update"
        self._journal(action, record, by, values, now)
        self._tell(Change(action, record, previous, by, now))
        return record

    def remove(self, record: Record, *, by: Actor) -> None:
        """Take a record out for good; journal it and tell of it."""
        now = self.clock.now()
        self.board.drop(record, at=now)
        self._journal("remove", record, by, {}, now)
        self._tell(Change("remove", record, record, by, now))

    def need(self, kind: type[R], record_id: str | None) -> R:
        """Find a record.

        Raises: GraphQLError if there is none of this id.
        """
        found = self.board.get(kind, record_id)
        if found is None:
            raise not_found(API_NAMES[kind])
        return found

    def fresh(self) -> dict[str, Any]:
        """Give an id and the times of a new record."""
        now = self.clock.now()
        return {"id": str(uuid.uuid4()), "created_at": now, "updated_at": now}

    def _journal(self, action: str, record: Record, by: Actor, values: Mapping[str, Any] | None, at: int) -> None:
        self.sync_id += 1
        self.writes.append(Write(f"{API_NAMES[type(record)]}.{action}", record.id, dict(values or {}), by, at))

    def _tell(self, change: Change) -> None:
        for listener in self.listeners:
            listener(change)
