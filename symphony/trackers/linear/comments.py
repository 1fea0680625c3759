"""Comments as Linear has them, of one issue or what is new on several.

Invariant: what is given is whole or an error, oldest first; a comment is ours by its id alone, whoever's key wrote it; what
may steer a run was written by a member of the workspace, or where authors are named by one of them, never by a program.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from symphony.domain.errors import Rejected
from symphony.domain.issue import Comment, Issue
from symphony.trackers.linear import documents, failures
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.kept import Spoken
from symphony.trackers.linear.pages import Page, follow, page_of
from symphony.trackers.linear.reads import Reads
from symphony.trackers.linear.records import (
    Payload,
    comment_of,
    instant,
    is_visible,
    object_of,
    record_of,
    text_of,
    written,
)
from symphony.trackers.protocol import is_ours, issue_not_found


@dataclass(frozen=True, slots=True)
class _Heard:
    """What was new on an issue since an instant, when this was said there last; doubtful where the answer lacked that."""

    since: datetime
    newest: Spoken | None
    comments: tuple[Comment, ...]
    is_doubtful: bool = False


class Comments:
    """The comments of one scope; used by several threads at once."""

    def __init__(self, reads: Reads, client: Client) -> None:
        self._reads = reads
        self._client = client
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] = {}

    def of_issue(self, issue_id: str, *, since: datetime | None) -> tuple[Comment, ...]:
        """Read an issue's comments. Raises: Rejected("issue_not_found"), and as `Client.ask`."""
        variables: dict[str, Any] = {"id": issue_id, "filter": {"createdAt": {"gte": written(since)}} if since else {}}

        def ask(after: str | None) -> Page:
            try:
                data = self._client.ask(documents.COMMENTS, {**variables, "after": after}, operation="SymphonyComments")
            except Rejected as error:
                if error.category == failures.NOT_FOUND:
                    raise issue_not_found(issue_id) from error
                raise
            found = object_of(data, "issue")
            if found and not is_visible(found, self._reads.slug_id):
                raise issue_not_found(issue_id)
            record_of(found, self._reads.routing())  # one that cannot be read is no issue whose comments count
            return page_of(found, "comments")

        return _ordered(comment_of(node) for nodes in follow(ask(None), ask) for node in nodes)

    def new(
        self, wanted: Sequence[tuple[Issue, datetime]], newest: Mapping[str, Spoken | None]
    ) -> dict[str, tuple[Comment, ...]]:
        """Read what is new on several issues, 250 a request; one that is gone or told of by halves is left out.

        `newest` is what was said last on some issues: what was read when it was the same is not read again, and an answer
        that lacks it, which may be behind, counts with the second try only. Raises: as `Client.ask`.
        """
        since = {issue.id: instant for issue, instant in wanted}
        with self._lock:
            known = {issue_id: heard for issue_id, heard in self._heard.items() if issue_id in since}
        same = {
            issue_id: heard
            for issue_id, heard in known.items()
            if issue_id in newest
            and not heard.is_doubtful
            and (heard.newest, heard.since) == (newest[issue_id], since[issue_id])
        }
        unread = [issue_id for issue_id in since if issue_id not in same]
        for start in range(0, len(unread), documents.LIGHT_PAGE):
            batch = unread[start : start + documents.LIGHT_PAGE]
            same |= self._read({issue_id: since[issue_id] for issue_id in batch}, newest)
        for issue_id, heard in same.items():
            if heard.is_doubtful and (last := known.get(issue_id)) is not None and last.newest == heard.newest:
                same[issue_id] = replace(heard, is_doubtful=False)
        with self._lock:
            self._heard = same
        return {issue_id: heard.comments for issue_id, heard in same.items() if not heard.is_doubtful}

    def _read(self, since: Mapping[str, datetime], newest: Mapping[str, Spoken | None]) -> dict[str, _Heard]:
        earliest = written(min(since.values()))
        variables = {"slugId": self._reads.slug_id, "ids": sorted(since), "first": len(since), "since": earliest}
        visible: set[str | None] = set()

        def ask(after: str | None) -> Page:
            whole = {**variables, "after": after}
            data = self._client.ask(documents.NEW_COMMENTS, whole, operation="SymphonyNewComments")
            visible.update(text_of(node, "id") for node in page_of(data, "issues").nodes)
            return page_of(data, "comments")

        found: dict[str, list[Payload]] = {issue_id: [] for issue_id in since}
        for nodes in follow(ask(None), ask):
            for node in nodes:
                found.get(text_of(object_of(node, "issue"), "id") or "", []).append(node)
        return {
            issue_id: self._heard_of(nodes, since[issue_id], newest.get(issue_id))
            for issue_id, nodes in found.items()
            if issue_id in visible
        }

    def _heard_of(self, nodes: Sequence[Payload], since: datetime, newest: Spoken | None) -> _Heard:
        """Keep our own comments and those of people who may steer a run."""
        comments = [(comment_of(node), self._reads.routing().may_steer(node.get("user"))) for node in nodes]
        kept = [one for one, may_steer in comments if may_steer or is_ours(one)]
        recent = _ordered(one for one in kept if one.created_at is None or one.created_at >= since)
        return _Heard(since, newest, recent, is_doubtful=not _has(nodes, newest, since))


def _has(nodes: Sequence[Payload], newest: Spoken | None, since: datetime) -> bool:
    """Tell whether what was said last is in an answer as it is now; one that is older than the answer cannot be."""
    if newest is None or newest.created_at < since:
        return True
    there = next((node for node in nodes if text_of(node, "id") == newest.comment_id), {})
    updated_at = instant(there.get("updatedAt"))
    return updated_at is not None and updated_at >= newest.updated_at


def _ordered(newest_first: Iterable[Comment]) -> tuple[Comment, ...]:
    earliest = datetime.min.replace(tzinfo=UTC)
    return tuple(sorted(reversed(list(newest_first)), key=lambda comment: comment.created_at or earliest))
