"""What a Linear workspace is made of: one frozen record a thing, bound to the others by ids, times in epoch milliseconds.

Invariant: a record never changes; a change is a new record under the same id. So a reader that holds one, and a view of the
past, stay true whatever happens meanwhile. Attribute names are the API's names in snake case; resolvers rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every thing has. `raw` holds values, by the API's names, that answers show instead of the true ones."""

    id: str
    created_at: int
    updated_at: int
    archived_at: int | None = None
    raw: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization(Record):
    """The workspace itself."""

    name: str
    url_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Record):
    """A person, or an application that acts as itself."""

    name: str
    display_name: str
    email: str
    url: str
    app: bool = False
    active: bool = True
    admin: bool = False
    supports_agent_sessions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Team(Record):
    """A team; `automation` maps events of pull requests (start, draft, review, mergeable, merge) to ids of states."""

    key: str
    name: str
    description: str | None = None
    automation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class State(Record):
    """A state of a team's workflow."""

    team_id: str
    name: str
    type: str
    position: float
    color: str = "#95a2b3"
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Record):
    """A project; issues of several teams may be in it."""

    name: str
    slug_id: str
    url: str
    team_ids: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Record):
    """A label of a team, or of the whole workspace where `team_id` is None."""

    name: str
    team_id: str | None = None
    parent_id: str | None = None
    creator_id: str | None = None
    color: str = "#bec2c8"
    description: str | None = None
    is_group: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue(Record):
    """An issue."""

    team_id: str
    number: int
    identifier: str
    title: str
    description: str | None
    state_id: str
    branch_name: str
    url: str
    priority: int = 0
    estimate: float | None = None
    due_date: str | None = None
    sort_order: float = 0.0
    assignee_id: str | None = None
    delegate_id: str | None = None
    creator_id: str | None = None
    project_id: str | None = None
    parent_id: str | None = None
    label_ids: tuple[str, ...] = ()
    subscriber_ids: tuple[str, ...] = ()
    started_at: int | None = None
    completed_at: int | None = None
    canceled_at: int | None = None
    trashed: bool | None = None
    visits: tuple[tuple[str, int], ...] = ()
    """The states in which it was, by id, and since when: the oldest first, the present one last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment(Record):
    """A comment on an issue, or an answer to one; by nobody of the workspace where it has an external or a bot's name."""

    body: str
    issue_id: str
    user_id: str | None
    url: str
    parent_id: str | None = None
    quoted_text: str | None = None
    edited_at: int | None = None
    resolved_at: int | None = None
    external_name: str | None = None
    bot_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment(Record):
    """A link on an issue; one a url and issue."""

    issue_id: str
    url: str
    title: str
    creator_id: str | None
    subtitle: str | None = None
    source_type: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group_by_source: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation(Record):
    """`issue_id` blocks (duplicates, is related to) `related_issue_id`."""

    issue_id: str
    related_issue_id: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Record):
    """An agent's session on an issue; `status` as of `last_activity_at`, it goes stale by itself."""

    issue_id: str
    app_user_id: str
    status: str
    slug_id: str
    last_activity_at: int
    creator_id: str | None = None
    comment_id: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    external_urls: tuple[Mapping[str, str], ...] = ()
    plan: Any = None
    summary: str | None = None
    type: str = "commentThread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity(Record):
    """What an agent did or a person said in a session."""

    agent_session_id: str
    user_id: str
    content: Mapping[str, Any]
    ephemeral: bool = False
    signal: str | None = None
    signal_metadata: Mapping[str, Any] | None = None
    source_comment_id: str | None = None


PRIORITIES = ("No priority", "Urgent", "High", "Medium", "Low")
API_NAMES: dict[type[Record], str] = {
    Organization: "Organization",
    User: "User",
    Team: "Team",
    State: "WorkflowState",
    Project: "Project",
    Label: "IssueLabel",
    Issue: "Issue",
    Comment: "Comment",
    Attachment: "Attachment",
    Relation: "IssueRelation",
    Session: "AgentSession",
    Activity: "AgentActivity",
}
"""What the API calls each kind."""
ONE: dict[type[Record], dict[str, tuple[type[Record], str]]] = {
    Issue: {
        "state": (State, "state_id"),
        "team": (Team, "team_id"),
        "project": (Project, "project_id"),
        "assignee": (User, "assignee_id"),
        "delegate": (User, "delegate_id"),
        "creator": (User, "creator_id"),
        "parent": (Issue, "parent_id"),
    },
    State: {"team": (Team, "team_id")},
    Label: {"team": (Team, "team_id"), "parent": (Label, "parent_id"), "creator": (User, "creator_id")},
    Comment: {"issue": (Issue, "issue_id"), "user": (User, "user_id"), "parent": (Comment, "parent_id")},
    Attachment: {"issue": (Issue, "issue_id"), "creator": (User, "creator_id")},
    Relation: {"issue": (Issue, "issue_id"), "relatedIssue": (Issue, "related_issue_id")},
    Session: {
        "issue": (Issue, "issue_id"),
        "appUser": (User, "app_user_id"),
        "creator": (User, "creator_id"),
        "comment": (Comment, "comment_id"),
    },
    Activity: {
        "agentSession": (Session, "agent_session_id"),
        "user": (User, "user_id"),
        "sourceComment": (Comment, "source_comment_id"),
    },
}
"""Which record a field of the API names: its kind, and the attribute with its id."""
MANY: dict[type[Record], dict[str, tuple[type[Record], str]]] = {
    Issue: {
        "children": (Issue, "parent_id"),
        "comments": (Comment, "issue_id"),
        "attachments": (Attachment, "issue_id"),
        "relations": (Relation, "issue_id"),
        "inverseRelations": (Relation, "related_issue_id"),
        "agentSessions": (Session, "issue_id"),
    },
    Team: {"states": (State, "team_id")},
    Project: {"issues": (Issue, "project_id")},
    User: {"assignedIssues": (Issue, "assignee_id"), "delegatedIssues": (Issue, "delegate_id")},
    Comment: {"children": (Comment, "parent_id")},
    Label: {"children": (Label, "parent_id")},
    Session: {"activities": (Activity, "agent_session_id")},
}
"""Which records a field of the API lists: their kind, and their attribute with the id of the one that is asked."""
