"""What queries answer: the entries of the API, and the ways from one thing to another.

Invariant: a way leads over an index of the board, so the cost of a field does not grow with the workspace. Lists leave out
what is archived unless asked; what is named by its id is answered all the same, as the API does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from graphql import GraphQLResolveInfo, GraphQLSchema

from tests.fakes.linear_agents import status_of
from tests.fakes.linear_board import Board
from tests.fakes.linear_errors import not_found
from tests.fakes.linear_pages import Page, order_of, page_of, page_of_few, place_of
from tests.fakes.linear_reading import Reading, bind_records, breakable
from tests.fakes.linear_records import (
    API_NAMES,
    MANY,
    ONE,
    PRIORITIES,
    Activity,
    Attachment,
    Comment,
    Issue,
    Label,
    Project,
    Record,
    Relation,
    Session,
    State,
    Team,
    User,
)
from tests.fakes.linear_schema import bind
from tests.fakes.linear_time import moment_or_duration

_ENTRIES: dict[type[Record], tuple[str, str]] = {
    Issue: ("issue", "issues"),
    Comment: ("comment", "comments"),
    Team: ("team", "teams"),
    State: ("workflowState", "workflowStates"),
    Project: ("project", "projects"),
    Label: ("issueLabel", "issueLabels"),
    User: ("user", "users"),
    Attachment: ("attachment", "attachments"),
    Relation: ("issueRelation", "issueRelations"),
    Session: ("agentSession", "agentSessions"),
    Activity: ("agentActivity", "agentActivities"),
}


def bind_queries(schema: GraphQLSchema) -> None:
    """Bind everything that reads."""
    bind_records(schema)
    for kind, ways in ONE.items():
        for name, (target, field) in ways.items():
            bind(schema, API_NAMES[kind], name, breakable(name, _one(target, field)))
    for kind, roads in MANY.items():
        for name, (target, field) in roads.items():
            bind(schema, API_NAMES[kind], name, breakable(name, _many(target, _grouped(target, field))))
    for kind, (one, many) in _ENTRIES.items():
        bind(schema, "Query", one, _entry(kind))
        bind(schema, "Query", many, _entries(kind))
    for type_name, name, resolver in _OTHERS:
        bind(schema, type_name, name, resolver)


def found_issue(board: Board, text: str) -> Issue:
    """Find an issue by its id or identifier.

    Raises: GraphQLError if there is none.
    """
    by_identifier = board.group(Issue, "identifier", text.upper())
    found = board.get(Issue, text) or (by_identifier[0] if by_identifier else None)
    if found is None:
        raise not_found("Issue")
    return found


def _external_user(comment: Comment) -> dict[str, Any] | None:
    """Give who wrote a comment from outside, by a channel that is bound to the workspace."""
    name = comment.external_name
    return {"id": comment.id, "name": name, "displayName": name, "email": "someone@outside.test"} if name else None


def _one(kind: type[Record], field: str) -> Callable[..., Any]:
    def resolve(source: Any, info: GraphQLResolveInfo) -> Any:
        return info.context.board.get(kind, getattr(source, field))

    return resolve


def _grouped(kind: type[Record], field: str) -> Callable[[Reading, Any], list[Any]]:
    return lambda reading, source: reading.board.group(kind, field, source.id)


def _many(kind: type[Record], of: Callable[[Reading, Any], Iterable[Any]]) -> Callable[..., Page]:
    def resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Page:
        given = arguments.get("filter")
        test = info.context.filters.compiled(kind, given) if given else None
        return page_of_few(of(info.context, source), arguments, test)

    return resolve


def _entry(kind: type[Record]) -> Callable[..., Any]:
    def resolve(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        board, text = info.context.board, arguments.get("id") or ""
        if kind is Issue:
            return found_issue(board, text)
        found = board.get(kind, text)
        if found is None and kind is Team:
            found = next((team for team in board.all(Team) if team.key == text), None)
        if found is None and kind is Project:
            found = next((project for project in board.all(Project) if project.slug_id == text), None)
        if found is None:
            raise not_found(API_NAMES[kind])
        return found

    return resolve


def _entries(kind: type[Record]) -> Callable[..., Page]:
    def resolve(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Page:
        reading, given = info.context, arguments.get("filter") or {}
        return page_of(_candidates(reading, kind, given, arguments), arguments, reading.filters.compiled(kind, given))

    return resolve


def _candidates(reading: Reading, kind: type[Any], given: dict[str, Any], arguments: dict[str, Any]) -> Iterator[Any]:
    """Give the records among which those that fit are, in the order that was asked for; the fewer, the faster."""
    board, order = reading.board, order_of(arguments)
    few = _named(board, kind, given)
    if few is not None:
        return iter(sorted(few, key=lambda record: (getattr(record, order), record.id), reverse=True))
    api_name = "updatedAt" if order == "updated_at" else "createdAt"
    bound = given.get(api_name) or {}
    since = next((bound[name] for name in ("gte", "gt") if bound.get(name) is not None), None)
    return board.newest_first(
        kind,
        order,
        since=None if since is None else moment_or_duration(since, now=reading.world.clock.now()),
        below=place_of(arguments, "after"),
    )


def _named(board: Board, kind: type[Record], given: dict[str, Any]) -> list[Record] | None:
    ids = _listed(given.get("id"))
    if ids is not None:
        found = [board.get(kind, one) for one in dict.fromkeys(ids)]
        if kind is Issue:
            found += [issue for one in dict.fromkeys(ids) for issue in board.group(Issue, "identifier", one)]
        return [record for record in found if record is not None]
    issues = _listed((given.get("issue") or {}).get("id")) if kind is Comment else None
    if issues is None:
        return None
    known = {
        issue.id for one in issues for issue in [board.get(Issue, one), *board.group(Issue, "identifier", one)] if issue
    }
    return [comment for issue_id in known for comment in board.group(Comment, "issue_id", issue_id)]


def _listed(comparator: dict[str, Any] | None) -> list[str] | None:
    if comparator and comparator.get("in") is not None:
        return list(comparator["in"])
    return [comparator["eq"]] if comparator and comparator.get("eq") is not None else None


def _labels(reading: Reading, issue: Issue) -> list[Label]:
    return [label for one in issue.label_ids if (label := reading.board.get(Label, one)) is not None]


def _rate_limit_status(_: Any, info: GraphQLResolveInfo) -> Any:
    return info.context.limits()


def _attachments_for_url(_: Any, info: GraphQLResolveInfo, url: str, **arguments: Any) -> Page:
    return page_of_few(info.context.board.group(Attachment, "url", url), arguments)


def _visits(issue: Issue, info: GraphQLResolveInfo, **arguments: Any) -> Page:
    """Give the states in which an issue was, the oldest first; which end a client gets is its own choice."""
    board = info.context.board
    ends = [since for _, since in issue.visits[1:]]
    spans = [
        {
            "id": f"{issue.id}:{place}",
            "stateId": state_id,
            "state": board.get(State, state_id),
            "startedAt": since,
            "endedAt": ends[place] if place < len(ends) else None,
        }
        for place, (state_id, since) in enumerate(issue.visits)
    ]
    last, size = arguments.get("last"), arguments.get("first") or 50
    if last:
        return Page(spans[-last:], "created_at", has_previous_page=len(spans) > last)
    return Page(spans[:size], "created_at", has_next_page=len(spans) > size)


_OTHERS: list[tuple[str, str, Callable[..., Any]]] = [
    ("Query", "viewer", lambda _, info: info.context.viewer),
    ("Query", "organization", lambda _, info: info.context.world.organization),
    ("Query", "rateLimitStatus", _rate_limit_status),
    ("Query", "attachmentsForURL", _attachments_for_url),
    ("Issue", "labels", breakable("labels", _many(Label, _labels))),
    ("Issue", "stateHistory", _visits),
    ("Issue", "priorityLabel", lambda issue, _: PRIORITIES[issue.priority]),
    ("Project", "teams", _many(Team, lambda reading, source: [reading.world.need(Team, one) for one in source.team_ids])),
    ("Project", "state", lambda *_: "started"),
    ("Team", "displayName", lambda team, _: team.name),
    ("Team", "labels", _many(Label, lambda reading, team: reading.board.group(Label, "team_id", team.id))),
    ("User", "isMe", lambda user, info: user.id == info.context.viewer.id),
    ("User", "organization", lambda _, info: info.context.world.organization),
    ("Comment", "externalUser", lambda comment, _: _external_user(comment)),
    ("Comment", "botActor", lambda comment, _: {"type": "bot", "name": comment.bot_name} if comment.bot_name else None),
    ("AgentSession", "status", lambda session, info: status_of(session, now=info.context.world.clock.now())),
    ("AgentSession", "externalUrls", lambda session, _: list(session.external_urls)),
    ("AgentSession", "externalLinks", lambda session, _: list(session.external_urls)),
    ("AgentSession", "context", lambda *_: {}),
    ("AgentActivity", "content", lambda activity, _: activity.content),
]
