"""What can be done to issues, comments, labels, links and states, whoever does it: clients, people, Linear's automation.

Invariant: what follows from a change follows from every hand: a state sets the times of start and end, a delegation to an
application opens its session, an archived issue takes no comment and no link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.fakes import linear_agents as agents
from tests.fakes.linear_errors import conflict, invalid, not_found
from tests.fakes.linear_records import (
    API_NAMES,
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
from tests.fakes.linear_world import Actor, World

Values = Mapping[str, Any]


def create_issue(world: World, values: Values, *, by: Actor) -> Issue:
    """Create an issue from attributes: `team_id` and `title` are needed, the rest has Linear's defaults."""
    team = world.need(Team, values.get("team_id"))
    states = sorted(world.board.group(State, "team_id", team.id), key=lambda state: state.position)
    state_id = values.get("state_id") or next(state.id for state in states if state.type in ("backlog", "unstarted"))
    number = world.numbers[team.id] = world.numbers.get(team.id, 0) + 1
    identifier = f"{team.key}-{number}"
    slug = re.sub(r"[^a-z0-9]+", "-", values["title"].lower()).strip("-")[:50]
    place = f"{world.organization.url_key}/issue/{identifier}"
    made = {
        "description": None,
        "creator_id": by.user_id,
        "branch_name": f"{_short(world, by)}/{identifier.lower()}-{slug}".strip("-"),
        "url": f"https://linear.app/{place}/{slug}".rstrip("/"),
        **world.fresh(),
        **values,
    }
    issue = Issue(number=number, identifier=identifier, state_id=state_id, **_without(made, "state_id"))
    _check(world, issue)
    saved = world.save(_timed(world, issue, None), by=by, values=values)
    return _delegated(world, saved, None, by)


def update_issue(world: World, issue: Issue, values: Values, *, by: Actor) -> Issue:
    """Change attributes of an issue."""
    changed = replace(issue, **values)
    _check(world, changed)
    saved = world.save(_timed(world, changed, issue), by=by, values=values)
    return _delegated(world, saved, issue, by)


def create_comment(world: World, values: Values, *, by: Actor) -> Comment:
    """Write a comment on an issue, or an answer to one."""
    parent = world.need(Comment, values["parent_id"]) if values.get("parent_id") else None
    issue = world.need(Issue, values.get("issue_id") or (parent.issue_id if parent else None))
    if parent is not None and parent.parent_id is not None:
        raise invalid("parentId must be a comment that is no answer itself.")
    takes_more(issue)
    made = {**world.fresh(), "user_id": by.user_id, **values, "issue_id": issue.id}
    made["url"] = f"{issue.url}#comment-{made['id'][:8]}"
    return world.save(Comment(**made), by=by, values=values)


def edit_comment(world: World, comment: Comment, body: str, *, by: Actor) -> Comment:
    """Change the words of a comment."""
    return world.save(replace(comment, body=body, edited_at=world.clock.now()), by=by, values={"body": body})


def remove_comment(world: World, comment: Comment, *, by: Actor) -> None:
    """Delete a comment and the answers to it."""
    for answer in world.board.group(Comment, "parent_id", comment.id):
        world.remove(answer, by=by)
    world.remove(comment, by=by)


def attach(world: World, values: Values, *, by: Actor) -> Attachment:
    """Link a url to an issue; the same url on the same issue is updated and keeps its id."""
    issue = world.need(Issue, values["issue_id"])
    takes_more(issue)
    for there in world.board.group(Attachment, "url", values["url"]):
        if there.issue_id == issue.id:
            return world.save(replace(there, **_without(values, "id")), by=by, values=values)
    return world.save(Attachment(**{**world.fresh(), "creator_id": by.user_id, **values}), by=by, values=values)


def relate(world: World, values: Values, *, by: Actor) -> Relation:
    """Relate two issues; the same relation a second time is the one that is there."""
    issue, related = world.need(Issue, values["issue_id"]), world.need(Issue, values["related_issue_id"])
    if issue.id == related.id:
        raise invalid("issueId and relatedIssueId must differ.")
    for there in world.board.group(Relation, "issue_id", issue.id):
        if (there.related_issue_id, there.type) == (related.id, values["type"]):
            return there
    return world.save(Relation(**{**world.fresh(), **values}), by=by, values=values)


def create_label(world: World, values: Values, *, by: Actor) -> Label:
    """Make a label of a team or of the workspace; names are unique among those that a team sees."""
    for there in world.board.all(Label):
        seen = there.team_id is None or values.get("team_id") in (None, there.team_id)
        if seen and there.name.casefold() == values["name"].casefold():
            raise invalid("A label with this name already exists.")
    return world.save(Label(**{**world.fresh(), "creator_id": by.user_id, **values}), by=by, values=values)


def create_state(world: World, values: Values, *, by: Actor) -> State:
    """Make a state of a team's workflow, at the end of it unless a position is given."""
    states = world.board.group(State, "team_id", world.need(Team, values["team_id"]).id)
    if any(state.name.casefold() == values["name"].casefold() for state in states):
        raise invalid("A workflow state with this name already exists.")
    last = max((state.position for state in states), default=0.0)
    return world.save(State(**{**world.fresh(), "position": last + 1, **values}), by=by, values=values)


def free(world: World, kind: type[Record], record_id: str) -> str:
    """Give the id that a client made, if nothing has it yet.

    Raises: GraphQLError if something has.
    """
    if world.board.get(kind, record_id) is not None:
        raise conflict(API_NAMES[kind], record_id)
    return record_id


def takes_more(issue: Issue) -> None:
    """See that an issue may be written to.

    Raises: GraphQLError if it is archived or in the trash; the API then speaks as if it were not there.
    """
    if issue.archived_at is not None:
        raise not_found("Issue")


def _check(world: World, issue: Issue) -> None:
    """See that what an issue refers to is there and fits its team; the words are assumed."""
    if world.need(State, issue.state_id).team_id != issue.team_id:
        raise invalid("stateId must be a workflow state of the issue's team.")
    for label_id in issue.label_ids:
        if world.need(Label, label_id).team_id not in (None, issue.team_id):
            raise invalid("labelIds must be labels of the issue's team or of the workspace.")
    for user_id in (issue.assignee_id, issue.delegate_id):
        if user_id is not None:
            world.need(User, user_id)
    if issue.delegate_id is not None and not world.need(User, issue.delegate_id).app:
        raise invalid("delegateId must be an app user.")
    if issue.project_id is not None and issue.team_id not in world.need(Project, issue.project_id).team_ids:
        raise invalid("projectId must be a project of the issue's team.")
    if issue.parent_id is not None and world.need(Issue, issue.parent_id).id == issue.id:
        raise invalid("parentId must be another issue.")
    if not 0 <= issue.priority <= 4:
        raise invalid("priority must be between 0 and 4.")


def _timed(world: World, issue: Issue, previous: Issue | None) -> Issue:
    """Set the times that follow from a new state."""
    if previous is not None and previous.state_id == issue.state_id:
        return issue
    kind, now = world.need(State, issue.state_id).type, world.clock.now()
    return replace(
        issue,
        started_at=(issue.started_at or now) if kind in ("started", "completed") else None,
        completed_at=now if kind == "completed" else None,
        canceled_at=now if kind == "canceled" else None,
        visits=(*issue.visits, (issue.state_id, now)),
    )


def _delegated(world: World, issue: Issue, previous: Issue | None, by: Actor) -> Issue:
    """Open the session of an application to which somebody else has just delegated an issue."""
    new = issue.delegate_id if previous is None or previous.delegate_id != issue.delegate_id else None
    if new is not None and new != by.user_id and world.need(User, new).supports_agent_sessions:
        agents.open_session(world, issue, new, by=by)
    return issue


def _short(world: World, by: Actor) -> str:
    user = world.board.get(User, by.user_id)
    return user.display_name if user is not None else "linear"


def _without(values: Values, *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
