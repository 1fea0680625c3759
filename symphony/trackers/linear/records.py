"""Linear's payloads as the issues and comments that the rest of Symphony knows. Pure.

Invariant: a payload that lacks what an issue must have is `Malformed`, never an issue with something made up; an issue is
dispatchable only where everything that may hold it was read and holds it not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from symphony.domain.errors import Transient
from symphony.domain.issue import Blocker, Comment, Issue, normalized_labels, normalized_state
from symphony.trackers.linear.failures import RESPONSE
from symphony.trackers.linear.identity import comment_id

NOT_STARTED = frozenset({"triage", "backlog", "unstarted"})
"""Linear's types of states in which a blocker holds an issue; one that is under way goes on."""

Payload = Mapping[str, Any]


class Malformed(Transient):
    """A record that is none; `issue_id` where that much can be read."""

    def __init__(self, message: str, *, issue_id: str | None = None) -> None:
        super().__init__(message, category=RESPONSE)
        self.issue_id = issue_id


@dataclass(frozen=True, slots=True)
class Routing:
    """What decides whether an issue may be dispatched; None: everybody."""

    terminal: frozenset[str]
    assignee: str | None = None
    authors: frozenset[str] | None = None

    def may_steer(self, user: Any) -> bool:
        """Tell whether this user's words count: every member's, or those of the authors that are named."""
        if not isinstance(user, Mapping):
            return False
        return self.authors is None or any(
            isinstance(name, str) and name.casefold() in self.authors for name in (user.get("id"), user.get("email"))
        )


def issue_of(payload: Any, routing: Routing) -> tuple[Issue, str | None]:
    """Read an issue, and say why it may not be dispatched. Raises: Malformed."""
    if not isinstance(payload, Mapping):
        raise Malformed("Linear's answer has an issue that is no object")
    issue_id, identifier, title = (_required(payload, name) for name in ("id", "identifier", "title"))
    state = _required(_object(payload, "state"), "name", of=payload)
    blockers = blockers_of(payload)
    reason = held(payload, blockers, routing)
    issue = Issue(
        id=issue_id,
        identifier=identifier,
        title=title,
        state=state,
        dispatchable=reason is None,
        description=_text(payload, "description"),
        priority=_priority(payload.get("priority")),
        branch_name=_text(payload, "branchName"),
        url=_text(payload, "url"),
        assignee_id=_text(_object(payload, "assignee"), "id"),
        labels=normalized_labels(name for node in nodes(payload, "labels") if (name := _text(node, "name"))),
        blocked_by=blockers,
        created_at=instant(payload.get("createdAt")),
        updated_at=instant(payload.get("updatedAt")),
        native_ref=_native_ref(payload),
    )
    return issue, reason


def held(payload: Payload, blockers: Iterable[Blocker], routing: Routing) -> str | None:
    """Say why an issue may not be dispatched, None where it may."""
    assignee, delegate = (_text(_object(payload, name), "id") for name in ("assignee", "delegate"))
    if routing.assignee is not None and routing.assignee not in (assignee, delegate):
        return f"it is assigned to {assignee or 'nobody'}"
    if routing.authors is not None and not routing.may_steer(payload.get("creator")):
        return "it was created by somebody who is not among `tracker.authors`"
    if _text(_object(payload, "state"), "type") in NOT_STARTED:
        for blocker in blockers:
            if blocker.state is None or normalized_state(blocker.state) not in routing.terminal:
                return f"its blocker {blocker.identifier or blocker.id} is in state {blocker.state or 'unknown'}"
    return None


def blockers_of(payload: Payload) -> tuple[Blocker, ...]:
    """Read the issues that block this one: the other ends of its inverse relations of type `blocks`."""
    relations = (node for node in nodes(payload, "inverseRelations") if (_text(node, "type") or "").lower() == "blocks")
    issues = (_object(relation, "issue") for relation in relations)
    return tuple(
        Blocker(_text(one, "id"), _text(one, "identifier"), _text(_object(one, "state"), "name")) for one in issues
    )


def comment_of(payload: Any) -> Comment:
    """Read a comment; ours are known by their ids. Raises: Malformed."""
    if not isinstance(payload, Mapping):
        raise Malformed("Linear's answer has a comment that is no object")
    found, body = _text(payload, "id"), payload.get("body")
    if found is None or not isinstance(body, str):
        raise Malformed(f"Linear's comment {found or '(without an id)'} has no id or body")
    author = next(
        (
            name
            for actor in ("user", "externalUser", "botActor")
            for key in ("displayName", "name")
            if (name := _text(_object(payload, actor), key)) is not None
        ),
        None,
    )
    return Comment(comment_id(found), author, body, instant(payload.get("createdAt")))


def is_visible(payload: Payload, slug_id: str) -> bool:
    """Tell whether an issue is in the project and neither archived nor in the trash."""
    project = _text(_object(payload, "project"), "slugId")
    return project == slug_id and payload.get("archivedAt") is None and payload.get("trashed") is not True


def nodes(payload: Payload, name: str) -> list[Payload]:
    """Give the objects of a connection; what is none is left out."""
    found = _object(payload, name).get("nodes")
    return [node for node in found if isinstance(node, Mapping)] if isinstance(found, list) else []


def instant(value: Any) -> datetime | None:
    """Read an RFC 3339 instant."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def _native_ref(payload: Payload) -> dict[str, Any]:
    return {
        "team": _kept(_object(payload, "team"), "id", "key"),
        "project": _kept(_object(payload, "project"), "id", "slugId", "name"),
        "state_type": _text(_object(payload, "state"), "type"),
        "creator": _kept(_object(payload, "creator"), "id"),
        "delegate": _kept(_object(payload, "delegate"), "id"),
        "parent": _kept(_object(payload, "parent"), "id", "identifier"),
        "children": [_kept(node, "id", "identifier") for node in nodes(payload, "children")],
        "attachments": [_kept(node, "title", "url") for node in nodes(payload, "attachments")],
    }


def _kept(source: Payload, *names: str) -> dict[str, str] | None:
    found = {name: text for name in names if (text := _text(source, name)) is not None}
    return found or None


def _required(source: Payload, name: str, of: Payload | None = None) -> str:
    found = _text(source, name)
    if found is not None:
        return found
    whole = source if of is None else of
    called = _text(whole, "identifier") or _text(whole, "id") or "(without an id)"
    raise Malformed(f"Linear's issue {called} has no {name}", issue_id=_text(whole, "id"))


def _priority(value: Any) -> int | None:
    """Give 1 (urgent) to 4 (low); 0 is Linear's word for none, and whatever else it says is none, too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and value in (1, 2, 3, 4) else None


def _object(source: Payload, name: str) -> Payload:
    found = source.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(source: Payload, name: str) -> str | None:
    found = source.get(name)
    return found if isinstance(found, str) and found.strip() else None
