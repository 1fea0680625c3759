"""Comments as Linear has them, of one issue or what is new on several.

Invariant: what is given is whole or an error, oldest first; a comment is ours by its id alone, whoever's key wrote it; what
may steer a run was written by a member of the workspace, or where authors are named by one of them, never by a program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from symphony.domain.errors import Rejected
from symphony.domain.issue import Comment, Issue
from symphony.trackers.linear import documents, failures
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.pages import Page, follow, page_of
from symphony.trackers.linear.reads import Reads
from symphony.trackers.linear.records import Payload, comment_of, is_visible, object_of, record_of, text_of, written
from symphony.trackers.protocol import is_ours, issue_not_found


def of_issue(client: Client, reads: Reads, issue_id: str, *, since: datetime | None) -> tuple[Comment, ...]:
    """Read an issue's comments. Raises: Rejected("issue_not_found"), and as `Client.ask`."""
    variables: dict[str, Any] = {"id": issue_id, "filter": {"createdAt": {"gte": written(since)}} if since else {}}

    def ask(after: str | None) -> Page:
        try:
            data = client.ask(documents.COMMENTS, {**variables, "after": after}, operation="SymphonyComments")
        except Rejected as error:
            if error.category == failures.NOT_FOUND:
                raise issue_not_found(issue_id) from error
            raise
        found = object_of(data, "issue")
        if found and not is_visible(found, reads.slug_id):
            raise issue_not_found(issue_id)
        record_of(found, reads.routing())  # one that cannot be read is no issue whose comments count
        return page_of(found, "comments")

    found = [comment_of(node) for nodes in follow(ask(None), ask) for node in nodes]
    return tuple(_ordered(found))


def new(client: Client, reads: Reads, wanted: Sequence[tuple[Issue, datetime]]) -> dict[str, tuple[Comment, ...]]:
    """Read what is new on several issues, 250 a request; an issue that is gone is left out. Raises: as `Client.ask`."""
    found: dict[str, tuple[Comment, ...]] = {}
    for start in range(0, len(wanted), documents.LIGHT_PAGE):
        since = {issue.id: instant for issue, instant in wanted[start : start + documents.LIGHT_PAGE]}
        found |= _new_of(client, reads, since)
    return found


def _new_of(client: Client, reads: Reads, since: Mapping[str, datetime]) -> dict[str, tuple[Comment, ...]]:
    variables = {"slugId": reads.slug_id, "ids": sorted(since), "first": len(since), "since": written(min(since.values()))}
    visible: set[str | None] = set()

    def ask(after: str | None) -> Page:
        data = client.ask(documents.NEW_COMMENTS, {**variables, "after": after}, operation="SymphonyNewComments")
        visible.update(text_of(node, "id") for node in page_of(data, "issues").nodes)
        return page_of(data, "comments")

    found: dict[str, list[Comment]] = {}
    for nodes in follow(ask(None), ask):
        for issue_id, comment in _steering(reads, nodes):
            earliest = since.get(issue_id)
            if earliest is not None and (comment.created_at is None or comment.created_at >= earliest):
                found.setdefault(issue_id, []).append(comment)
    return {issue_id: tuple(_ordered(found.get(issue_id, []))) for issue_id in since if issue_id in visible}


def _steering(reads: Reads, nodes: Sequence[Payload]) -> Iterator[tuple[str, Comment]]:
    """Give our own comments and those of people who may steer a run, with the ids of their issues."""
    for node in nodes:
        comment, issue_id = comment_of(node), text_of(object_of(node, "issue"), "id")
        if issue_id is not None and (is_ours(comment) or reads.routing().may_steer(node.get("user"))):
            yield issue_id, comment


def _ordered(comments: Sequence[Comment]) -> list[Comment]:
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted(reversed(comments), key=lambda comment: comment.created_at or earliest)
