"""The writes of an adapter to Linear, by name, and what is to be seen of them."""

from __future__ import annotations

from collections.abc import Callable

from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.protocol import Attachment

PULL = "https://github.com/acme/parser/pull/7"


def key_for(issue_id: str) -> str:
    """Give the key of what is written to an issue."""
    return f"effect of {issue_id}"


WRITES: dict[str, Callable[[LinearTracker, str], object]] = {
    "move": lambda tracker, issue: tracker.move(issue, "In Progress", allowed_from=["Todo"]),
    "comment": lambda tracker, issue: tracker.comment(issue, key=key_for(issue), body="A question?"),
    "link": lambda tracker, issue: tracker.attach(
        issue, key=key_for(issue), attachment=Attachment("Evidence", "all green", url="https://ci.example.org/7")
    ),
    "pull request": lambda tracker, issue: tracker.attach(
        issue, key=key_for(issue), attachment=Attachment("Pull request", url=PULL)
    ),
    "file": lambda tracker, issue: tracker.attach(
        issue, key=key_for(issue), attachment=Attachment("Walk through", "for you", content="# Walk\n\nthrough\n")
    ),
    "mark": lambda tracker, issue: tracker.mark(issue, "working"),
}
MUTATIONS = {
    "move": "issueUpdate",
    "comment": "commentCreate",
    "link": "attachmentCreate",
    "pull request": "attachmentLinkGitHubPR",
    "file": "attachmentCreate",
    "mark": "issueUpdate",
}
