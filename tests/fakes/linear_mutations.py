"""What mutations do: the API's inputs, read and checked, become changes of the world.

Invariant: an input is applied whole or not at all, and a client-made id is a UUID that nothing of its kind has. A field of
an input that this server does not play is an error, so no client passes because its wish was dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLResolveInfo, GraphQLSchema

from tests.fakes import linear_agents as agents
from tests.fakes import linear_changes as changes
from tests.fakes.linear_errors import forbidden, invalid
from tests.fakes.linear_queries import found_issue
from tests.fakes.linear_reading import Reading, snake
from tests.fakes.linear_records import (
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

Arguments = dict[str, Any]
Payload = dict[str, Any]

# The schema asks for version 4; whether another one would be refused is not known, so it is.
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_REFERENCES: dict[str, type[Record]] = {
    "state_id": State,
    "assignee_id": User,
    "delegate_id": User,
    "project_id": Project,
    "team_id": Team,
}
_ISSUE_INPUT = {
    "assignee_id",
    "delegate_id",
    "description",
    "due_date",
    "estimate",
    "label_ids",
    "parent_id",
    "priority",
    "project_id",
    "sort_order",
    "state_id",
    "subscriber_ids",
    "title",
    "trashed",
}


def bind_mutations(schema: GraphQLSchema) -> None:
    """Bind everything that writes."""
    for name, resolver in _MUTATIONS.items():
        bind(schema, "Mutation", name, resolver)


def _played(given: Mapping[str, Any], fields: set[str]) -> Arguments:
    """Give an input by attributes.

    Raises: GraphQLError for a field that is not played here.
    """
    values = {snake(name): value for name, value in given.items()}
    if unknown := set(values) - fields:
        raise invalid(f"{', '.join(sorted(unknown))} is not played by this server.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _with_free_id(reading: Reading, kind: type[Record], values: Arguments) -> Arguments:
    """Check the id that a client made, if it made one; without one, leave the making to the server."""
    record_id = values.pop("id", None)
    if record_id is None:
        return values
    if not _UUID.fullmatch(record_id):
        raise invalid("id must be a UUID.")
    return {**values, "id": changes.free(reading.world, kind, record_id)}


def _done(reading: Reading, **more: Any) -> Payload:
    return {"success": True, "lastSyncId": reading.world.sync_id, **more}


def _issue_update(_: Any, info: GraphQLResolveInfo, id: str, input: Arguments) -> Payload:
    reading: Reading = info.context
    issue = found_issue(reading.board, id)
    values = _played(input, _ISSUE_INPUT | {"added_label_ids", "removed_label_ids"})
    added, removed = values.pop("added_label_ids", None) or (), values.pop("removed_label_ids", None) or ()
    if added or removed:
        if "label_ids" in values:
            raise invalid("labelIds cannot be used with addedLabelIds or removedLabelIds.")
        kept = [one for one in issue.label_ids if one not in removed]
        values["label_ids"] = tuple(dict.fromkeys([*kept, *added]))
    values = _filled(reading, values)
    if "title" in values and not values["title"]:
        raise invalid("title must not be empty.")
    return _done(reading, issue=changes.update_issue(reading.world, issue, values, by=reading.by))


def _issue_create(_: Any, info: GraphQLResolveInfo, input: Arguments) -> Payload:
    reading: Reading = info.context
    values = _played(input, _ISSUE_INPUT | {"id", "team_id"} - {"trashed"})
    values = {name: value for name, value in values.items() if value is not None}
    values = _filled(reading, _with_free_id(reading, Issue, values))
    if not values.get("title"):
        raise invalid("title must not be empty.")
    return _done(reading, issue=changes.create_issue(reading.world, values, by=reading.by))


def _filled(reading: Reading, values: Arguments) -> Arguments:
    """Resolve a parent's identifier, and read null where an attribute has another nothing."""
    if values.get("parent_id"):
        values["parent_id"] = found_issue(reading.board, values["parent_id"]).id
    empty = {"label_ids": (), "subscriber_ids": (), "priority": 0}
    values = {name: empty.get(name) if value is None else value for name, value in values.items()}
    for name, kind in _REFERENCES.items():
        if values.get(name) is not None:
            reading.world.need(kind, values[name])
    if "state_id" in values and values["state_id"] is None:
        raise invalid("stateId must be a UUID.")
    return values


def _comment_create(_: Any, info: GraphQLResolveInfo, input: Arguments) -> Payload:
    reading: Reading = info.context
    values = _played(input, {"id", "body", "issue_id", "parent_id", "quoted_text", "do_not_subscribe_to_issue"})
    values.pop("do_not_subscribe_to_issue", None)
    values = _with_free_id(reading, Comment, values)
    if not values.get("body"):
        raise invalid("body must not be empty.")
    if values.get("issue_id"):
        values["issue_id"] = found_issue(reading.board, values["issue_id"]).id
    return _done(reading, comment=changes.create_comment(reading.world, values, by=reading.by))


def _own_comment(reading: Reading, comment_id: str) -> Comment:
    comment = reading.world.need(Comment, comment_id)
    if comment.user_id != reading.viewer.id:
        raise forbidden("Only the comment's author can change it.")
    return comment


def _comment_update(_: Any, info: GraphQLResolveInfo, id: str, input: Arguments, **__: Any) -> Payload:
    reading: Reading = info.context
    values = _played(input, {"body"})
    if not values.get("body"):
        raise invalid("body must not be empty.")
    comment = _own_comment(reading, id)
    return _done(reading, comment=changes.edit_comment(reading.world, comment, values["body"], by=reading.by))


def _comment_delete(_: Any, info: GraphQLResolveInfo, id: str) -> Payload:
    reading: Reading = info.context
    changes.remove_comment(reading.world, _own_comment(reading, id), by=reading.by)
    return _done(reading, entityId=id)


def _attached(reading: Reading, given: Mapping[str, Any], **more: Any) -> Payload:
    values = _played(given, {"id", "issue_id", "url", "title", "subtitle", "metadata", "group_by_source"})
    values["issue_id"] = found_issue(reading.board, values["issue_id"]).id
    title = values.get("title") or values["url"]
    values = {**_with_free_id(reading, Attachment, values), "title": title, **more}
    return _done(reading, attachment=changes.attach(reading.world, values, by=reading.by))


def _attachment_create(_: Any, info: GraphQLResolveInfo, input: Arguments) -> Payload:
    return _attached(info.context, input)


def _attachment_link_url(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Payload:
    return _attached(info.context, arguments)


def _attachment_link_pull_request(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Payload:
    arguments.pop("linkKind", None)
    if not re.fullmatch(r"https?://[^/]+/[^/]+/[^/]+/pull/\d+/?", arguments["url"]):
        raise invalid("url must be the url of a GitHub pull request.")
    return _attached(info.context, arguments, source_type="github")


def _file_upload(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> Payload:
    return _done(info.context, uploadFile=info.context.upload(arguments))


def _relation_create(_: Any, info: GraphQLResolveInfo, input: Arguments, **__: Any) -> Payload:
    reading: Reading = info.context
    values = _with_free_id(reading, Relation, _played(input, {"id", "issue_id", "related_issue_id", "type"}))
    for name in ("issue_id", "related_issue_id"):
        values[name] = found_issue(reading.board, values[name]).id
    return _done(reading, issueRelation=changes.relate(reading.world, values, by=reading.by))


def _relation_delete(_: Any, info: GraphQLResolveInfo, id: str) -> Payload:
    reading: Reading = info.context
    reading.world.remove(reading.world.need(Relation, id), by=reading.by)
    return _done(reading, entityId=id)


def _creation(kind: type[Record], name: str, fields: set[str], create: Callable[..., Record]) -> Callable[..., Payload]:
    """Give a mutation that takes an input of a kind's attributes and creates one."""

    def resolve(_: Any, info: GraphQLResolveInfo, input: Arguments, **__: Any) -> Payload:
        reading: Reading = info.context
        values = _with_free_id(reading, kind, _played(input, fields | {"id"}))
        return _done(reading, **{name: create(reading.world, values, by=reading.by)})

    return resolve


def _session_create(_: Any, info: GraphQLResolveInfo, input: Arguments) -> Payload:
    reading: Reading = info.context
    if not reading.viewer.app:
        raise forbidden("Only app users can create agent sessions.")
    issue = found_issue(reading.board, input["issueId"])
    values = {"external_urls": tuple(input.get("externalUrls") or ())}
    session = agents.open_session(reading.world, issue, reading.viewer.id, by=reading.by, values=values)
    return _done(reading, agentSession=session)


def _session_update(_: Any, info: GraphQLResolveInfo, id: str, input: Arguments) -> Payload:
    reading: Reading = info.context
    session = reading.world.need(Session, id)
    fields = {"plan", "external_urls", "added_external_urls", "removed_external_urls"}
    values = _played(input, fields)
    added, removed = values.pop("added_external_urls", None) or (), values.pop("removed_external_urls", None) or ()
    if added or removed:
        kept = [one for one in values.get("external_urls") or session.external_urls if one["url"] not in removed]
        values["external_urls"] = (*kept, *added)
    return _done(reading, agentSession=agents.change_session(reading.world, session, values, by=reading.by))


_LABEL = {"name", "color", "description", "team_id", "parent_id", "is_group"}
_STATE = {"name", "type", "color", "description", "team_id", "position"}
_ACTIVITY = {"agent_session_id", "content", "ephemeral", "signal", "signal_metadata"}
_MUTATIONS: dict[str, Callable[..., Payload]] = {
    "issueUpdate": _issue_update,
    "issueCreate": _issue_create,
    "commentCreate": _comment_create,
    "commentUpdate": _comment_update,
    "commentDelete": _comment_delete,
    "attachmentCreate": _attachment_create,
    "attachmentLinkURL": _attachment_link_url,
    "attachmentLinkGitHubPR": _attachment_link_pull_request,
    "fileUpload": _file_upload,
    "issueRelationCreate": _relation_create,
    "issueRelationDelete": _relation_delete,
    "issueLabelCreate": _creation(Label, "issueLabel", _LABEL, changes.create_label),
    "workflowStateCreate": _creation(State, "workflowState", _STATE, changes.create_state),
    "agentSessionCreateOnIssue": _session_create,
    "agentSessionUpdate": _session_update,
    "agentActivityCreate": _creation(Activity, "agentActivity", _ACTIVITY, agents.act),
}
