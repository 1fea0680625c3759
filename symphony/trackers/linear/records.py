"""Linear's payloads as the issues and comments that the rest of Symphony knows. Pure.

Invariant: a payload that lacks what an issue must have is `Malformed`, never an issue with something made up; an issue is
dispatchable only where everything that may hold it was read and holds it not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from symphony.domain.errors import Transient
from symphony.domain.issue import Blocker, Comment, Issue, normalized_labels, normalized_state
from symphony.trackers.linear.failures import RESPONSE
from symphony.trackers.linear.identity import comment_id

NOT_STARTED = frozenset({"triage", "backlog", "unstarted"})
"""Linear's types of states in which a blocker holds an issue; one that is under way goes on."""

Payload = Mapping[str, Any]


class Malformed(Transient):
    """A record that is none; `issue_id` and `state` where that much can be read."""

    def __init__(self, message: str, payload: Payload) -> None:
        super().__init__(message, category=RESPONSE)
        self.issue_id = text_of(payload, "id")
        self.state = text_of(object_of(payload, "state"), "name")


@dataclass(frozen=True, slots=True)
class Routing:
    """What decides whether an issue may be dispatched; None: no matter who."""

    terminal: frozenset[str]
    assignee: str | None = None
    authors: frozenset[str] | None = None

    def may_steer(self, user: Any) -> bool:
        """Tell whether the words of a user count: of every member, or of the authors that are named; never of a program."""
        if not isinstance(user, Mapping):
            return False
        if self.authors is None:
            return user.get("app") is not True
        names = (user.get("id"), user.get("email"))
        return any(isinstance(name, str) and name.casefold() in self.authors for name in names)


@dataclass(frozen=True, slots=True)
class Record:
    """An issue as it was read, with what its dispatch hangs on and a change of which its time stamp may not tell."""

    issue: Issue
    state_type: str | None
    unroutable: str | None
    """Why it may not be dispatched, whatever blocks it."""
    relations: tuple[str, ...]
    """The ids of its inverse relations."""
    reason: str | None
    """Why it may not be dispatched."""
    is_put_away: bool
    """Whether it is archived or in the trash."""

    @property
    def waits_for_blockers(self) -> bool:
        """Whether the states of its blockers matter: the issue is not under way yet."""
        return self.state_type in NOT_STARTED and bool(self.issue.blocked_by)

    def with_states(self, states: Mapping[str, str], terminal: frozenset[str]) -> Record:
        """Give the same issue with the states, by id, that its blockers have now."""
        if all(one.id is None or states.get(one.id, one.state) == one.state for one in self.issue.blocked_by):
            return self
        blockers = tuple(replace(one, state=states.get(one.id or "", one.state)) for one in self.issue.blocked_by)
        reason = self.unroutable or _blocked(self.state_type, blockers, terminal)
        return replace(self, issue=replace(self.issue, blocked_by=blockers, dispatchable=reason is None), reason=reason)


def record_of(payload: Payload, routing: Routing) -> Record:
    """Read an issue. Raises: Malformed."""
    issue_id, identifier, title = (_required(payload, name) for name in ("id", "identifier", "title"))
    state = _required(object_of(payload, "state"), "name", of=payload)
    state_type = text_of(object_of(payload, "state"), "type")
    blockers = _blockers(payload)
    unroutable = _unroutable(payload, routing)
    reason = unroutable or _blocked(state_type, blockers, routing.terminal)
    issue = Issue(
        id=issue_id,
        identifier=identifier,
        title=title,
        state=state,
        dispatchable=reason is None,
        description=(text_of(payload, "description") or "").strip() or None,
        priority=_priority(payload.get("priority")),
        branch_name=text_of(payload, "branchName"),
        url=text_of(payload, "url"),
        assignee_id=text_of(object_of(payload, "assignee"), "id"),
        labels=normalized_labels(name for node in nodes_of(payload, "labels") if (name := text_of(node, "name"))),
        blocked_by=blockers,
        created_at=instant(payload.get("createdAt")),
        updated_at=instant(payload.get("updatedAt")),
        native_ref=_native_ref(payload),
    )
    relations = tuple(found for node in nodes_of(payload, "inverseRelations") if (found := text_of(node, "id")))
    return Record(issue, state_type, unroutable, relations, reason, is_put_away(payload))


def _unroutable(payload: Payload, routing: Routing) -> str | None:
    assignee, delegate = (text_of(object_of(payload, name), "id") for name in ("assignee", "delegate"))
    if routing.assignee is not None and routing.assignee not in (assignee, delegate):
        return f"it is assigned to {assignee or 'nobody'}"
    if routing.authors is not None and not routing.may_steer(payload.get("creator")):
        return "it was created by somebody who is not among tracker.authors"
    return None


def _blocked(state_type: str | None, blockers: Iterable[Blocker], terminal: frozenset[str]) -> str | None:
    for blocker in blockers if state_type in NOT_STARTED else ():
        if blocker.state is None or normalized_state(blocker.state) not in terminal:
            return f"its blocker {blocker.identifier or blocker.id} is in state {blocker.state or 'unknown'}"
    return None


def _blockers(payload: Payload) -> tuple[Blocker, ...]:
    """Read the issues that block this one: the other ends of its inverse relations of type `blocks`."""
    relations = (one for one in nodes_of(payload, "inverseRelations") if (text_of(one, "type") or "").lower() == "blocks")
    issues = (object_of(relation, "issue") for relation in relations)
    return tuple(
        Blocker(text_of(one, "id"), text_of(one, "identifier"), text_of(object_of(one, "state"), "name")) for one in issues
    )


def comment_of(payload: Payload) -> Comment:
    """Read a comment; ours are known by their ids. Raises: Malformed."""
    found, body = text_of(payload, "id"), payload.get("body")
    if found is None or not isinstance(body, str):
        raise Malformed(f"Linear's comment {found or '(without an id)'} has no id or body", payload)
    author = next(
        (
            name
            for actor in ("user", "externalUser", "botActor")
            for key in ("displayName", "name")
            if (name := text_of(object_of(payload, actor), key)) is not None
        ),
        None,
    )
    return Comment(comment_id(found), author, body, instant(payload.get("createdAt")))


def is_visible(payload: Payload, slug_id: str) -> bool:
    """Tell whether an issue is in the project and neither archived nor in the trash."""
    return text_of(object_of(payload, "project"), "slugId") == slug_id and not is_put_away(payload)


def is_put_away(payload: Payload) -> bool:
    """Tell whether an issue is archived or in the trash."""
    return payload.get("archivedAt") is not None or payload.get("trashed") is True


def nodes_of(payload: Payload, name: str) -> list[Payload]:
    """Give the objects of a connection; what is none is left out."""
    found = object_of(payload, name).get("nodes")
    return [node for node in found if isinstance(node, Mapping)] if isinstance(found, list) else []


def instant(value: Any) -> datetime | None:
    """Read an RFC 3339 instant."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def written(moment: datetime) -> str:
    """Write an instant as Linear does."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _native_ref(payload: Payload) -> dict[str, Any]:
    return {
        "team": _kept(object_of(payload, "team"), "id", "key"),
        "project": _kept(object_of(payload, "project"), "id", "slugId", "name"),
        "state_type": text_of(object_of(payload, "state"), "type"),
        "creator": _kept(object_of(payload, "creator"), "id"),
        "delegate": _kept(object_of(payload, "delegate"), "id"),
        "parent": _kept(object_of(payload, "parent"), "id", "identifier"),
        "children": [_kept(node, "id", "identifier") for node in nodes_of(payload, "children")],
        "attachments": [_kept(node, "title", "url") for node in nodes_of(payload, "attachments")],
    }


def _kept(source: Payload, *names: str) -> dict[str, str] | None:
    found = {name: text for name in names if (text := text_of(source, name)) is not None}
    return found or None


def _required(source: Payload, name: str, of: Payload | None = None) -> str:
    found = text_of(source, name)
    if found is not None:
        return found
    whole = source if of is None else of
    called = text_of(whole, "identifier") or text_of(whole, "id") or "(without an id)"
    raise Malformed(f"Linear's issue {called} has no {name}", whole)


def _priority(value: Any) -> int | None:
    """Give 1 (urgent) to 4 (low); 0 is Linear's word for none, and whatever else it says is none, too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and value in (1, 2, 3, 4) else None


def object_of(source: Payload, name: str) -> Payload:
    """Give the object of this name; an empty one where there is none."""
    found = source.get(name)
    return found if isinstance(found, Mapping) else {}


def text_of(source: Payload, name: str) -> str | None:
    """Give the text of this name, if it says anything."""
    found = source.get(name)
    return found if isinstance(found, str) and found.strip() else None
