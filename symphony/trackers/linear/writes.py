"""Writes to Linear: moves, comments, attachments and labels, each looked for before it is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from symphony.domain.issue import Issue
from symphony.trackers.linear.client import Client
from symphony.trackers.protocol import Attachment, Moved, Situation

IssueOf = Callable[[Mapping[str, Any]], Issue]
"""Reads a payload with the fields of `documents.ISSUE`; follows its nested pages. Raises: Transient."""


@dataclass
class Cache:
    """What writes remember of a workspace: the states and labels of its teams."""


def move(
    client: Client, cache: Cache, issue_id: str, to: str, *, allowed_from: Collection[str], issue_of: IssueOf
) -> Moved:
    """Move an issue unless a person put it elsewhere."""
    raise NotImplementedError


def comment(client: Client, cache: Cache, issue_id: str, *, key: str, body: str) -> None:
    """Make the issue have one comment with this key and body."""
    raise NotImplementedError


def attach(client: Client, cache: Cache, issue_id: str, *, key: str, attachment: Attachment) -> None:
    """Make the issue have one attachment with this key."""
    raise NotImplementedError


def mark(client: Client, cache: Cache, issue_id: str, situation: Situation, *, labels: Mapping[Situation, str]) -> None:
    """Make the issue carry the label of this situation and of no other."""
    raise NotImplementedError
