"""A tracker in memory that says what a test tells it to: old sights, errors, refusals, and people who interfere.

Invariant: it keeps a journal of every write in the order in which they arrived, so that a test sees what was doubled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from symphony.domain.issue import Comment, Issue, normalized_state
from symphony.trackers.protocol import (
    OWN_COMMENT,
    Attachment,
    Board,
    FetchedIssues,
    Finding,
    Moved,
    Picture,
    Situation,
    StateKind,
    fetch_board_by_parts,
    fetch_new_comments_one_by_one,
    issue_not_found,
)

ACTIVE = ("Todo", "In Progress", "Rework", "Merging")
TERMINAL = ("Done", "Cancelled")


@dataclass
class ScriptedTracker:
    """Issues by id; a hook set to a function runs at the start of that call and may raise."""

    kind: str = "files"
    active_states: tuple[str, ...] = ACTIVE
    terminal_states: tuple[str, ...] = TERMINAL
    secret_environment_names: frozenset[str] = frozenset()
    started_states: frozenset[str] = frozenset()
    issues: dict[str, Issue] = field(default_factory=dict)
    comments: dict[str, list[Comment]] = field(default_factory=dict)
    pictures: dict[str, tuple[Picture, ...]] = field(default_factory=dict)
    journal: list[tuple[str, str, str]] = field(default_factory=list)
    on_list: Callable[[], None] | None = None
    on_ids: Callable[[], None] | None = None
    on_write: Callable[[str], None] | None = None
    after_write: Callable[[str], None] | None = None
    omitted: tuple[str, ...] = ()
    factor: float = 1.0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, name: str, state: str = "Todo", **fields: object) -> Issue:
        """Make or replace an issue, changed now unless `updated_at` says otherwise."""
        values = {"title": name, "dispatchable": True, "updated_at": datetime.now(UTC), **fields}
        issue = Issue(id=name, identifier=name, state=state, **values)  # type: ignore[arg-type]
        with self._lock:
            self.issues[name] = issue
        return issue

    def person_moves(self, name: str, state: str) -> None:
        """Move an issue as a person does."""
        with self._lock:
            self.issues[name] = replace(self.issues[name], state=state, updated_at=datetime.now(UTC))

    def person_comments(self, name: str, body: str) -> None:
        """Write a comment as a person does."""
        with self._lock:
            now = datetime.now(UTC)
            said = self.comments.setdefault(name, [])
            said.append(Comment(f"c{len(said)}", "Ada", body, now))
            self.issues[name] = replace(self.issues[name], updated_at=now)

    def fetch_issues_by_states(self, states: Sequence[str]) -> FetchedIssues:
        """Answer with the issues in these states."""
        if self.on_list is not None:
            self.on_list()
        wanted = set(map(normalized_state, states))
        with self._lock:
            found = tuple(i for i in self.issues.values() if normalized_state(i.state) in wanted)
        return FetchedIssues(found, self.omitted)

    def fetch_issues_by_ids(self, ids: Collection[str]) -> tuple[Issue, ...]:
        """Answer with these issues."""
        if self.on_ids is not None:
            self.on_ids()
        with self._lock:
            return tuple(self.issues[name] for name in sorted(ids) if name in self.issues)

    def fetch_comments(self, issue: Issue, *, since: datetime | None = None) -> tuple[Comment, ...]:
        """Answer with an issue's comments."""
        with self._lock:
            said = self.comments.get(issue.id, [])
            return tuple(c for c in said if since is None or c.created_at is None or c.created_at >= since)

    def fetch_board(self, states: Sequence[str], *, watched: Collection[str]) -> Board:
        """Answer with the issues in these states and the watched ones."""
        return fetch_board_by_parts(self, states, watched)

    def fetch_new_comments(self, wanted: Sequence[tuple[Issue, datetime]]) -> Mapping[str, tuple[Comment, ...]]:
        """Answer with the comments since an instant of each issue."""
        return fetch_new_comments_one_by_one(self, wanted)

    def comment_id(self, key: str) -> str:
        """Give the id of the comment with this key."""
        return OWN_COMMENT + key

    def poll_factor(self) -> float:
        """Give what the test says."""
        return self.factor

    def fetch_pictures(self, issue: Issue) -> tuple[Picture, ...]:
        """Answer with an issue's pictures."""
        with self._lock:
            return self.pictures.get(issue.id, ())

    def move(self, issue_id: str, to: str, *, allowed_from: Collection[str], unless_since: datetime | None = None) -> Moved:
        """Move an issue unless it stands elsewhere."""
        if self.on_write is not None:
            self.on_write(issue_id)
        with self._lock:
            if issue_id not in self.issues:
                raise issue_not_found(issue_id)
            issue = self.issues[issue_id]
            outcome: Literal["applied", "already", "overruled"] = "overruled"
            if normalized_state(issue.state) == normalized_state(to):
                outcome = "already"
            elif normalized_state(issue.state) in set(map(normalized_state, allowed_from)):
                outcome = "applied"
                self.journal.append(("move", issue_id, to))
                self.issues[issue_id] = replace(issue, state=to, updated_at=datetime.now(UTC))
        if self.after_write is not None:
            self.after_write(issue_id)
        with self._lock:
            return Moved(outcome, self.issues[issue_id])

    def comment(self, issue_id: str, *, key: str, body: str) -> None:
        """Write a comment once for each key, or edit it."""
        if self.on_write is not None:
            self.on_write(issue_id)
        with self._lock:
            if issue_id not in self.issues:
                raise issue_not_found(issue_id)
            said = self.comments.setdefault(issue_id, [])
            known = [place for place, c in enumerate(said) if c.id == OWN_COMMENT + key]
            if known:
                said[known[0]] = replace(said[known[0]], body=body)
            else:
                now = datetime.now(UTC)
                said.append(Comment(OWN_COMMENT + key, "Symphony", body, now))
                self.journal.append(("comment", issue_id, body))
                self.issues[issue_id] = replace(self.issues[issue_id], updated_at=now)
        if self.after_write is not None:
            self.after_write(issue_id)

    def attach(self, issue_id: str, *, key: str, attachment: Attachment) -> None:
        """Write an attachment down."""
        if self.on_write is not None:
            self.on_write(issue_id)
        with self._lock:
            self.journal.append(("attach", issue_id, attachment.title))

    def mark(self, issue_id: str, situation: Situation | None) -> None:
        """Write a mark down."""
        if self.on_write is not None:
            self.on_write(issue_id)
        with self._lock:
            self.journal.append(("mark", issue_id, situation or ""))

    def state_kind(self, state: str) -> StateKind:
        """Say what a state is."""
        name = normalized_state(state)
        if name in map(normalized_state, self.terminal_states):
            return "terminal"
        if name in map(normalized_state, self.active_states):
            return "active"
        return "started" if name in map(normalized_state, self.started_states) else "other"

    def check(self, *, named_states: Collection[str] = ()) -> list[Finding]:
        """Find nothing."""
        return []
