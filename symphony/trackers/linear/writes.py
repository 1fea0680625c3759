"""Writes to Linear: moves, comments and labels, each applied once however often it is tried.

Invariant: a write is made so that a second one changes nothing, or is looked for before: a comment has an id made from its
key, a move and a mark read what the issue is in. An answer that did not come is never taken for a refusal. Linear has no
write with a condition: a person who moves an issue in the instant between our look and our move is moved over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from symphony.domain.errors import Rejected
from symphony.domain.issue import Issue, normalized_state
from symphony.trackers.linear.answers import required_nodes, required_object, required_text
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.failures import NOT_FOUND, RESPONSE, Forbidden
from symphony.trackers.linear.identity import own_uuid
from symphony.trackers.linear.records import instant, is_visible
from symphony.trackers.linear.teams import Teams
from symphony.trackers.linear.writing_documents import (
    COMMENT,
    COMMENT_THERE,
    EDIT_COMMENT,
    ISSUE_TO_MOVE,
    LABELS_OF_ISSUE,
    MARK,
    MOVE,
)
from symphony.trackers.protocol import Moved, Situation, issue_not_found


@dataclass(frozen=True, slots=True)
class Move:
    """What a move wants; the states that it may move from are normalised, `unless_since` is by Linear's clock."""

    to: str
    allowed_from: frozenset[str]
    unless_since: datetime | None = None

    def was_made(self, issue: Mapping[str, Any]) -> bool:
        """Tell whether the issue has been in the wanted state since then."""
        return self.unless_since is not None and any(
            normalized_state(required_text(required_object(visit, "state"), "name")) == normalized_state(self.to)
            and (entered := instant(visit.get("startedAt"))) is not None
            and entered > self.unless_since
            for visit in required_nodes(issue, "stateHistory")
            if visit.get("state") is not None
        )


IssueOf = Callable[[Mapping[str, Any]], Issue]
"""Reads a payload with the fields of `documents.ISSUE`; follows its nested pages. Raises: Transient."""


def move(client: Client, teams: Teams, issue_id: str, wanted: Move, *, issue_of: IssueOf) -> Moved:
    """Move an issue unless a person put it elsewhere. Raises: Rejected, Transient, ConfigError."""
    refusal: Rejected | None = None
    for _ in range(2):  # a state that was made anew since we learnt its id is worth a second look
        payload = _issue(client, ISSUE_TO_MOVE, "SymphonyIssueToMove", issue_id)
        if not is_visible(payload, teams.slug_id):
            raise issue_not_found(issue_id)
        before = issue_of(payload)
        if normalized_state(before.state) == normalized_state(wanted.to):
            return Moved("already", before)
        if normalized_state(before.state) not in wanted.allowed_from or wanted.was_made(payload):
            return Moved("overruled", before)
        team = required_text(required_object(payload, "team"), "id")
        variables = {"id": issue_id, "stateId": teams.state_id(client, team, wanted.to)}
        try:
            data = client.ask(MOVE, variables, operation="SymphonyMove")
        except Rejected as error:
            refusal = error
            teams.forget(team)
        else:
            return Moved("applied", issue_of(required_object(required_object(data, "issueUpdate"), "issue")))
    assert refusal is not None
    raise as_refused(refusal, issue_id)


def comment(client: Client, teams: Teams, issue_id: str, *, key: str, body: str) -> None:
    """Make the issue have one comment with this key and body. Raises: Rejected, Transient, ConfigError."""
    comment_id = own_uuid(key)
    if teams.has_comment(comment_id):
        try:
            _edit(client, comment_id, body)
        except Rejected as refusal:
            if refusal.category != NOT_FOUND:
                raise
            teams.forget_comment(comment_id)  # somebody deleted it
        else:
            return
    try:
        wanted = {"id": comment_id, "issueId": issue_id, "body": body}
        client.ask(COMMENT, {"input": wanted}, operation="SymphonyComment")
    except Rejected as refusal:
        if refusal.category == NOT_FOUND:
            raise issue_not_found(issue_id) from None
        there = required_nodes(client.ask(COMMENT_THERE, {"id": comment_id}, operation="SymphonyCommentThere"), "comments")
        if not there:
            raise as_refused(refusal, issue_id) from None
        if there[0].get("body") != body:
            _edit(client, comment_id, body)
    teams.note_comment(comment_id)


def mark(
    client: Client, teams: Teams, issue_id: str, situation: Situation | None, *, labels: Mapping[Situation, str]
) -> None:
    """Make the issue carry the label of this situation and of no other. Raises: Rejected, Transient, ConfigError."""
    if not labels:
        return
    wanted = labels.get(situation) if situation is not None else None
    refusal: Rejected | None = None
    for _ in range(2):  # as for a move: a label may have been made anew
        issue = _issue(client, LABELS_OF_ISSUE, "SymphonyLabelsOfIssue", issue_id)
        team = required_text(required_object(issue, "team"), "id")
        change = _change_of_labels(issue, wanted, labels.values())
        if change is None:
            return
        lacks, removed = change
        added = [teams.label_id(client, team, lacks)] if lacks is not None else []
        try:
            client.ask(MARK, {"id": issue_id, "added": added, "removed": removed}, operation="SymphonyMark")
        except Rejected as error:
            refusal = error
            teams.forget(team)
        else:
            return
    assert refusal is not None
    raise as_refused(refusal, issue_id)


def _change_of_labels(
    issue: Mapping[str, Any], wanted: str | None, ours: Collection[str]
) -> tuple[str | None, list[str]] | None:
    """Give the label that the issue lacks, and the ids of those that it shall lose; None: all is as it should be."""
    name = wanted.casefold() if wanted is not None else None
    others = {one.casefold() for one in ours} - {name}
    carried = [
        (required_text(node, "name").casefold(), required_text(node, "id")) for node in required_nodes(issue, "labels")
    ]
    removed = [label_id for label, label_id in carried if label in others]
    lacks = wanted if name is not None and name not in {label for label, _ in carried} else None
    return (lacks, removed) if lacks is not None or removed else None


def _issue(client: Client, document: str, operation: str, issue_id: str) -> Mapping[str, Any]:
    """Read an issue before it is written to. Raises: Rejected(`issue_not_found`), Transient."""
    try:
        found = required_object(client.ask(document, {"id": issue_id}, operation=operation), "issue")
    except Rejected as refusal:
        raise as_refused(refusal, issue_id) from None
    if found.get("archivedAt") is not None or found.get("trashed") is True:
        raise issue_not_found(issue_id)
    return found


def _edit(client: Client, comment_id: str, body: str) -> None:
    try:
        client.ask(EDIT_COMMENT, {"id": comment_id, "body": body}, operation="SymphonyEditComment")
    except Forbidden as error:
        # Only who wrote a comment may edit it, and keys change hands: trying again would not help.
        raise Rejected(f"our comment was written with another key: {error.message}", category=RESPONSE) from None


def as_refused(refusal: Rejected, issue_id: str) -> Rejected:
    """Give a refusal as the rest of Symphony knows it: these categories do not leave this folder."""
    if refusal.category == NOT_FOUND:
        return issue_not_found(issue_id)
    return Rejected(refusal.message, category=RESPONSE)
