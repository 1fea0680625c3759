"""The API's filters, compiled once a request into a test of one record.

Invariant: a filter that this server does not know is an error, never ignored: a client must not pass because its filter was
not applied. What a filter asks of small tables (states, teams, users, projects, labels) is asked once, not once an issue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.linear_board import Board
from tests.fakes.linear_comparators import compare
from tests.fakes.linear_errors import invalid
from tests.fakes.linear_records import (
    API_NAMES,
    MANY,
    ONE,
    Activity,
    Attachment,
    Comment,
    Issue,
    Label,
    Project,
    Record,
    Relation,
    State,
    Team,
    User,
)

Given = Mapping[str, Any]
Test = Callable[[Any], bool]

_TIMES = {"createdAt": "created_at", "updatedAt": "updated_at", "archivedAt": "archived_at"}
_VALUES: dict[type[Record], dict[str, str]] = {
    Issue: {
        "title": "title",
        "description": "description",
        "number": "number",
        "priority": "priority",
        "estimate": "estimate",
        "startedAt": "started_at",
        "completedAt": "completed_at",
        "canceledAt": "canceled_at",
        "dueDate": "due_date",
    },
    User: {"name": "name", "displayName": "display_name", "email": "email", "app": "app", "active": "active"},
    Team: {"key": "key", "name": "name"},
    State: {"name": "name", "type": "type", "position": "position"},
    Project: {"name": "name", "slugId": "slug_id"},
    Label: {"name": "name", "isGroup": "is_group"},
    Comment: {"body": "body"},
    Attachment: {"url": "url", "title": "title", "subtitle": "subtitle", "sourceType": "source_type"},
    Activity: {"agentSessionId": "agent_session_id"},
}
_EXISTING = {
    "hasBlockedByRelations": ("related_issue_id", "blocks"),
    "hasBlockingRelations": ("issue_id", "blocks"),
    "hasRelatedRelations": ("issue_id", "related"),
    "hasDuplicateRelations": ("issue_id", "duplicate"),
}


class Filters:
    """Compiles filters for one request: its board, its time, its viewer."""

    def __init__(self, board: Board, *, now: int, viewer_id: str) -> None:
        self._board = board
        self._now = now
        self._viewer_id = viewer_id

    def compiled(self, kind: type[Record], given: Given | None) -> Test:
        """Give the test that a filter means.

        Raises: GraphQLError for a filter that is not played here.
        """
        tests = [self._part(kind, name, value) for name, value in (given or {}).items() if value is not None]
        if len(tests) == 1:
            return tests[0]
        return lambda record: all(test(record) for test in tests)

    def _part(self, kind: type[Record], name: str, value: Any) -> Test:
        if name in ("and", "or"):
            tests = [self.compiled(kind, one) for one in value]
            combine = all if name == "and" else any
            return lambda record: combine(test(record) for test in tests)
        if name == "id":
            return self._ids(kind, value)
        if name in _TIMES:
            return self._value(_TIMES[name], value)
        if name in _VALUES.get(kind, {}):
            return self._value(_VALUES[kind][name], value)
        if name in ONE.get(kind, {}):
            return self._one(*ONE[kind][name], value)
        if name in MANY.get(kind, {}):
            return self._many(*MANY[kind][name], value)
        if kind is Issue and name == "labels":
            return self._labels(value)
        if kind is Issue and name in _EXISTING:
            return self._existing(*_EXISTING[name], value)
        if kind is User and name == "isMe":
            return lambda user: compare(user.id == self._viewer_id, value, now=self._now)
        if kind is Activity and name == "type":
            return lambda activity: compare(activity.content["type"], value, now=self._now)
        raise invalid(f"The filter {name} of {API_NAMES[kind]} is not played by this server.")

    def _ids(self, kind: type[Record], value: Given) -> Test:
        if kind is Issue:
            # Where the API takes an issue's id it takes the identifier, too.
            return lambda issue: (
                compare(issue.id, value, now=0)
                or (bool({"eq", "in"} & set(value)) and compare(issue.identifier, value, now=0))
            )
        return self._value("id", value)

    def _value(self, field: str, value: Given) -> Test:
        now = self._now
        return lambda record: compare(getattr(record, field), value, now=now)

    def _one(self, kind: type[Record], field: str, value: Given) -> Test:
        wanted = dict(value)
        absent = wanted.pop("null", None)
        if absent is not None and not wanted:
            return lambda record: (getattr(record, field) is None) == absent
        test = self.compiled(kind, wanted)
        if kind in (Issue, Comment):
            return lambda record: (found := self._board.get(kind, getattr(record, field))) is not None and test(found)
        ids = {record.id for record in self._board.all(kind) if test(record)}
        return lambda record: getattr(record, field) in ids

    def _many(self, kind: type[Record], field: str, value: Given) -> Test:
        return self._collection(kind, value, lambda record: self._board.group(kind, field, record.id))

    def _labels(self, value: Given) -> Test:
        return self._collection(
            Label, value, lambda issue: [label for one in issue.label_ids if (label := self._board.get(Label, one))]
        )

    def _collection(self, kind: type[Record], value: Given, of: Callable[[Any], list[Any]]) -> Test:
        """Compile a collection's filter; what stands in it without `every` is meant of some of its records."""
        wanted = dict(value)
        every, some, length = (wanted.pop(name, None) for name in ("every", "some", "length"))
        tests: list[Test] = []
        if every is not None:
            of_every = self.compiled(kind, every)
            tests.append(lambda record: all(of_every(one) for one in of(record)))
        if some or wanted:
            of_some = self.compiled(kind, {"and": [one for one in (some, wanted) if one]})
            tests.append(lambda record: any(of_some(one) for one in of(record)))
        if length is not None:
            tests.append(lambda record: compare(len(of(record)), length, now=self._now))
        return lambda record: all(test(record) for test in tests)

    def _existing(self, field: str, kind: str, value: Given) -> Test:
        def has(issue: Issue) -> bool:
            return any(one.type == kind for one in self._board.group(Relation, field, issue.id))

        return lambda issue: compare(has(issue), value, now=self._now)
