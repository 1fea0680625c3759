"""What Linear tells its webhooks of a change: the event's envelope and the thing as it now is.

Invariant: an event says what the schema's webhook payloads say, `updatedFrom` holds exactly what changed and what it was
before, and whoever hears it can tell by `actor` whose hand it was (null for Linear's own automation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from tests.fakes.linear_agents import status_of
from tests.fakes.linear_records import (
    API_NAMES,
    PRIORITIES,
    Activity,
    Attachment,
    Comment,
    Issue,
    Label,
    Project,
    Record,
    Session,
    State,
    Team,
    User,
)
from tests.fakes.linear_time import iso
from tests.fakes.linear_world import Actor, Change, World

Payload = dict[str, Any]

_SILENT = {
    "raw",
    "branch_name",
    "bot_name",
    "ephemeral",
    "external_name",
    "external_urls",
    "group_by_source",
    "last_activity_at",
    "plan",
    "slug_id",
    "visits",
}
_TOLD: tuple[type[Record], ...] = (Issue, Comment, Label, Attachment)


def events_of(world: World, change: Change) -> Iterator[Payload]:
    """Give the events that follow from a change, without the stamps of a delivery."""
    record = change.record
    if type(record) in _TOLD:
        yield {
            "action": change.action,
            "type": API_NAMES[type(record)],
            "actor": _actor(world, change.by),
            "createdAt": iso(change.at),
            "data": data_of(world, record),
            "url": getattr(record, "url", None),
            "organizationId": world.organization.id,
            **({"updatedFrom": _before(change)} if change.action == "update" else {}),
        }
    if isinstance(record, Session) and change.action == "create" and change.by.user_id != record.app_user_id:
        yield _session_event(world, change, "created", record, None)
    if isinstance(record, Activity) and change.action == "create" and record.content["type"] == "prompt":
        yield _session_event(world, change, "prompted", world.need(Session, record.agent_session_id), record)


def data_of(world: World, record: Record) -> Payload:
    """Give a record as webhooks show it: its fields, the ids it refers to, and small pictures of what they name."""
    data = {_camel(name): _shown(name, getattr(record, name)) for name in _names(record)}
    data |= {name: _picture(world, kind, getattr(record, f"{name}_id")) for name, kind in _PICTURES.get(type(record), ())}
    if isinstance(record, Issue):
        labels = [world.need(Label, one) for one in record.label_ids]
        data["labels"] = [{"id": one.id, "name": one.name, "color": one.color, "parentId": one.parent_id} for one in labels]
        data |= {"priorityLabel": PRIORITIES[record.priority], "prioritySortOrder": 0, "reactionData": []}
        data["previousIdentifiers"] = []
    if isinstance(record, Comment):
        data |= {"reactionData": [], "botActor": record.bot_name, "externalUser": None}
        if record.external_name is not None:
            data["externalUser"] = {"id": record.id, "name": record.external_name, "email": "someone@outside.test"}
        del data["url"]
    if isinstance(record, Attachment):
        data["groupBySource"] = record.group_by_source
    if isinstance(record, Session):
        data |= {"status": status_of(record, now=world.clock.now()), "organizationId": world.organization.id}
        issue = world.board.get(Issue, record.issue_id)
        data["issue"] = {**(data["issue"] or {}), "description": issue.description} if issue is not None else None
    return data


_PICTURES: dict[type[Record], tuple[tuple[str, type[Record]], ...]] = {
    Issue: (
        ("state", State),
        ("team", Team),
        ("project", Project),
        ("assignee", User),
        ("delegate", User),
        ("creator", User),
    ),
    Comment: (("issue", Issue), ("user", User), ("parent", Comment)),
    Session: (("issue", Issue), ("creator", User), ("comment", Comment)),
    Activity: (("user", User),),
}
_SEEN: dict[type[Record], tuple[str, ...]] = {
    State: ("id", "name", "type", "color"),
    Team: ("id", "key", "name"),
    Project: ("id", "name", "url"),
    User: ("id", "name", "email", "url"),
    Issue: ("id", "identifier", "title", "url", "team_id"),
    Comment: ("id", "body", "issue_id", "user_id"),
}


def _picture(world: World, kind: type[Record], record_id: str | None) -> Payload | None:
    record = world.board.get(kind, record_id)
    if record is None:
        return None
    seen = {_camel(name): getattr(record, name) for name in _SEEN[kind]}
    return {**seen, "team": _picture(world, Team, record.team_id)} if isinstance(record, Issue) else seen


def _session_event(world: World, change: Change, action: str, session: Session, said: Activity | None) -> Payload:
    issue = world.board.get(Issue, session.issue_id)
    context = f"<issue identifier={issue.identifier!r}><title>{issue.title}</title></issue>" if issue else None
    return {
        "action": action,
        "type": "AgentSessionEvent",
        "createdAt": iso(change.at),
        "organizationId": world.organization.id,
        "oauthClientId": "oauth-client",
        "appUserId": session.app_user_id,
        "agentSession": data_of(world, session),
        "promptContext": context if said is None else None,
        "previousComments": [],
        **({"agentActivity": data_of(world, said)} if said is not None else {}),
    }


def _actor(world: World, by: Actor) -> Payload | None:
    user = world.board.get(User, by.user_id)
    if user is None:
        return None
    return {"id": user.id, "type": "user", "name": user.name, "email": user.email, "url": user.url}


def _before(change: Change) -> Payload:
    record, previous = change.record, change.previous
    changed = [name for name in _names(record) if getattr(record, name) != getattr(previous, name)]
    return {_camel(name): _shown(name, getattr(previous, name)) for name in changed if name != "url"}


def _names(record: Record) -> list[str]:
    return [field.name for field in fields(record) if field.name not in _SILENT]


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return iso(value) if name.endswith("_at") and isinstance(value, int) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
