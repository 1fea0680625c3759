"""The tracker `files`: a folder with one Markdown file an issue.

Invariant: only the `state` line and our own comments are ever changed; an issue whose blocker is open, missing or
unreadable is not dispatchable. Its profile is in docs/trackers.md. Opened through `symphony.trackers.open_tracker`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from symphony.domain.errors import Rejected, Transient
from symphony.domain.issue import Blocker, Comment, Issue, normalized_state
from symphony.telemetry.log import get_logger
from symphony.trackers.files import comments, probe
from symphony.trackers.files.document import Document, Header, Malformed, clean
from symphony.trackers.files.folder import Folder, Vanished, file_name, identifier
from symphony.trackers.files.pictures import pictures
from symphony.trackers.files.reader import Found, Reader
from symphony.trackers.files.writer import Change, Writer
from symphony.trackers.protocol import (
    OWN_COMMENT,
    Board,
    FetchedIssues,
    Finding,
    Moved,
    Picture,
    StateKind,
    fetch_board_by_parts,
    fetch_new_comments_one_by_one,
    issue_not_found,
)


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """The adapter's settings, defaults applied."""

    path: Path
    active_states: tuple[str, ...]
    terminal_states: tuple[str, ...]
    assignees: frozenset[str] = frozenset()
    unknown_keys: tuple[str, ...] = ()


class FilesTracker:
    """A folder of issues as a tracker; see `symphony.trackers.protocol.Tracker`."""

    kind = "files"
    secret_environment_names: frozenset[str] = frozenset()

    def __init__(self, board: FilesSettings) -> None:
        self.board = board
        self.active_states = board.active_states
        self.terminal_states = board.terminal_states
        self._active = frozenset(map(normalized_state, board.active_states))
        self._terminal = frozenset(map(normalized_state, board.terminal_states))
        self._folder = Folder(board.path)
        self._reader = Reader(self._folder)
        self._writer = Writer(self._folder)
        self._told: dict[str, str] = {}
        self._telling = threading.Lock()

    def fetch_issues_by_states(self, states: Sequence[str]) -> FetchedIssues:
        """Fetch the issues in these states, sorted by identifier. Raises: Transient."""
        wanted = frozenset(map(normalized_state, states))
        if not wanted:
            return FetchedIssues()
        self._writer.recover()
        found = self._reader.scan(lambda header: normalized_state(header.state) in wanted)
        omitted = {name: self._fault(name, seen.fault) for name, seen in found.items() if seen.fault is not None}
        issues, held = [], {}
        for name, seen in found.items():
            if seen.body is not None:
                issue, reason = self._issue(name, seen, found)
                issues.append(issue)
                if reason is not None:
                    held[issue.id] = reason
        self._tell({**omitted, **{name: f"{name} is not dispatched: {reason}" for name, reason in held.items()}})
        return FetchedIssues(tuple(issues), tuple(omitted.values()), held)

    def fetch_issues_by_ids(self, ids: Collection[str]) -> tuple[Issue, ...]:
        """Fetch full snapshots of these issues. Raises: Transient, also for one malformed file."""
        if not ids:
            return ()
        names = sorted({name for issue_id in ids if (name := file_name(issue_id)) is not None})
        found = self._reader.look(names, lambda _: True)
        for name, seen in found.items():
            if seen.fault is not None:
                raise Transient(self._fault(name, seen.fault), category=seen.fault.category)
        if len(found) < len(set(ids)):
            self._folder.names()
        headers = [seen.header for seen in found.values() if seen.header is not None]
        blockers = self._reader.look(_blocker_names(headers) - found.keys(), lambda _: False)
        return tuple(self._issue(name, seen, {**blockers, **found})[0] for name, seen in sorted(found.items()))

    def fetch_board(self, states: Sequence[str], *, watched: Collection[str]) -> Board:
        """Fetch the issues in these states and the watched ones. Raises: Transient."""
        return fetch_board_by_parts(self, states, watched)

    def fetch_new_comments(self, wanted: Sequence[tuple[Issue, datetime]]) -> Mapping[str, tuple[Comment, ...]]:
        """Fetch the comments since an instant of each issue. Raises: Transient."""
        return fetch_new_comments_one_by_one(self, wanted)

    def fetch_comments(self, issue: Issue, *, since: datetime | None = None) -> tuple[Comment, ...]:
        """Fetch an issue's comments as they stand in its file. Raises: Rejected("issue_not_found"), Transient."""
        name, seen = self._one(issue.id)
        if seen.fault is not None or seen.body is None:
            raise Transient(self._fault(name, seen.fault), category="tracker_response")
        _, found = comments.read(seen.body)
        return tuple(c for c in found if since is None or c.created_at is None or c.created_at >= since)

    def fetch_pictures(self, issue: Issue) -> tuple[Picture, ...]:
        """Read the pictures in this folder that the description shows."""
        return pictures(self.board.path, issue.description or "")

    def move(self, issue_id: str, to: str, *, allowed_from: Collection[str], unless_since: datetime | None = None) -> Moved:
        """Change the `state` line; files keep no history of it. Raises: Rejected, Transient."""
        if not to.strip() or clean(to) != to or not to.isprintable():
            raise Rejected(f"{to!r} cannot be the name of a state", category="tracker_response")
        allowed = frozenset(map(normalized_state, allowed_from))
        outcome: Literal["applied", "already", "overruled"] = "overruled"

        def change(text: str) -> str:
            nonlocal outcome
            document = Document.parse(text)
            state = normalized_state(document.header.state)
            if state == normalized_state(to):
                outcome = "already"
                return text
            outcome = "applied" if state in allowed else "overruled"
            return document.with_state(to.strip()) if outcome == "applied" else text

        self._rewrite(issue_id, change)
        for issue in self.fetch_issues_by_ids([issue_id]):
            return Moved(outcome, issue)
        raise issue_not_found(issue_id)

    def comment(self, issue_id: str, *, key: str, body: str) -> None:
        """Add or edit the comment of this key under `## Comments`. Raises: Rejected, Transient."""
        now = datetime.now(UTC)

        def change(text: str) -> str:
            document = Document.parse(text)
            newline = "\r\n" if document.opening.endswith("\r\n") else "\n"
            return document.with_body(comments.write(document.body, key=key, text=body, now=now, newline=newline))

        self._rewrite(issue_id, change)

    def comment_id(self, key: str) -> str:
        """Give the id of the comment with this key."""
        return f"{OWN_COMMENT}{key}"

    def poll_factor(self) -> float:
        """Give 1: a folder has no limits."""
        return 1.0

    def state_kind(self, state: str) -> StateKind:
        """Say what a state is; a folder knows no states of its own."""
        name = normalized_state(state)
        return "terminal" if name in self._terminal else "active" if name in self._active else "other"

    def check(self, *, named_states: Collection[str] = ()) -> list[Finding]:
        """Probe the folder and every file in it."""
        names = (*self.active_states, *self.terminal_states, *named_states)
        return probe.findings(self.board.path, self._writer, self, names, self.board.unknown_keys)

    def all_issues(self) -> tuple[dict[str, Header], dict[str, str]]:
        """Give the header of every issue by identifier, and the fault of each malformed file. Raises: Transient."""
        found = self._reader.scan(lambda _: False)
        headers = {identifier(name) or name: seen.header for name, seen in found.items() if seen.header is not None}
        return headers, {name: self._fault(name, seen.fault) for name, seen in found.items() if seen.fault is not None}

    def _rewrite(self, issue_id: str, change: Change) -> None:
        name = file_name(issue_id)
        if name is None:
            raise issue_not_found(issue_id)
        try:
            self._writer.rewrite(name, change)
        except Vanished:
            self._folder.names()
            raise issue_not_found(issue_id) from None
        except Malformed as fault:
            raise Transient(self._fault(name, fault), category=fault.category) from None

    def _one(self, issue_id: str) -> tuple[str, Found]:
        name = file_name(issue_id)
        found = self._reader.look([name], lambda _: True) if name is not None else {}
        if name is None or name not in found:
            self._folder.names()
            raise issue_not_found(issue_id)
        return name, found[name]

    def _issue(self, name: str, seen: Found, others: Mapping[str, Found]) -> tuple[Issue, str | None]:
        header, status, issue_id = seen.header, seen.status, name.removesuffix(".md")
        assert header is not None and status is not None
        blockers = [_blocker(blocked_by, others) for blocked_by in header.blocked_by]
        reason = self._held(header, blockers, others)
        issue = Issue(
            id=issue_id,
            identifier=issue_id,
            title=header.title,
            state=header.state,
            dispatchable=reason is None,
            description=clean(comments.read(seen.body)[0]).strip() or None if seen.body else None,
            priority=header.priority,
            url=header.url,
            assignee_id=header.assignee,
            labels=header.labels,
            blocked_by=tuple(blockers),
            created_at=header.created_at,
            updated_at=datetime.fromtimestamp(status.st_mtime, UTC),
        )
        return issue, reason

    def _held(self, header: Header, blockers: Iterable[Blocker], others: Mapping[str, Found]) -> str | None:
        """Say why an issue may not be dispatched, None where it may."""
        for blocker in blockers:
            if blocker.state is None:
                present = f"{blocker.identifier}.md" in others
                return f"its blocker {blocker.identifier} {'cannot be read' if present else 'does not exist'}"
            if normalized_state(blocker.state) not in self._terminal:
                return f"its blocker {blocker.identifier} is in state {blocker.state}"
        if self.board.assignees and (header.assignee or "").casefold() not in self.board.assignees:
            return f"it is assigned to {header.assignee or 'nobody'}"
        return None

    def _fault(self, name: str, fault: Transient | None) -> str:
        said = fault.message if fault is not None else "it cannot be read"
        return said if str(self.board.path) in said else f"{self.board.path / clean(name)}: {said}"

    def _tell(self, news: Mapping[str, str]) -> None:
        """Log what is new since the last poll: a line for each change, not for each poll."""
        with self._telling:
            fresh = {name: said for name, said in news.items() if self._told.get(name) != said}
            self._told = dict(news)
        for said in fresh.values():
            get_logger().warning("tracker_issue_left_out", reason=said)


def _blocker(blocked_by: str, others: Mapping[str, Found]) -> Blocker:
    seen = others.get(f"{blocked_by}.md")
    known = seen is not None and seen.header is not None
    return Blocker(blocked_by if known else None, blocked_by, seen.header.state if seen and seen.header else None)


def _blocker_names(headers: Iterable[Header]) -> set[str]:
    names = (file_name(blocked_by) for header in headers for blocked_by in header.blocked_by)
    return {name for name in names if name is not None}
