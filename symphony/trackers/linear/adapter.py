"""The tracker `linear`: a project of a Linear workspace. Thin: each method is the work of a module beside it.

Invariant: all methods share one client, one board and one cache, and may be called by several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from symphony.domain.allowance import poll_factor
from symphony.domain.issue import Comment, Issue, normalized_state
from symphony.trackers.linear import attaching, documents, identity, pictures, probe, sessions, writes
from symphony.trackers.linear.board import LinearBoard
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.comments import Comments
from symphony.trackers.linear.gathering import Gathering
from symphony.trackers.linear.markdown import in_linears
from symphony.trackers.linear.reads import Reads
from symphony.trackers.linear.records import Malformed
from symphony.trackers.linear.settings import API_KEY, WEBHOOK_SECRET, LinearSettings
from symphony.trackers.linear.teams import Teams
from symphony.trackers.linear.tool import linear_graphql
from symphony.trackers.protocol import (
    OWN_COMMENT,
    Attachment,
    Board,
    FetchedIssues,
    Finding,
    Mandate,
    Moved,
    NativeTool,
    Picture,
    Prompt,
    Situation,
    StateKind,
)


class LinearTracker:
    """A project on Linear as a tracker; see `Tracker`, `Annotates` and `Converses` in `symphony.trackers.protocol`."""

    kind = "linear"
    secret_environment_names = frozenset({API_KEY, WEBHOOK_SECRET})

    def __init__(self, settings: LinearSettings, client: Client) -> None:
        self.settings = settings
        self.active_states = settings.active_states
        self.terminal_states = settings.terminal_states
        self.client = client
        self._active = frozenset(map(normalized_state, settings.active_states))
        self._terminal = frozenset(map(normalized_state, settings.terminal_states))
        self._teams = Teams(settings.slug_id)
        self._reads = Reads(settings, client)
        self._gathering = Gathering(self._reads.by_ids, most=documents.ISSUE_PAGE)
        self._comments = Comments(self._reads, client)
        self.board = LinearBoard(self._reads, client)

    def fetch_issues_by_states(self, states: Sequence[str]) -> FetchedIssues:
        """Read the issues in these states. Raises: Transient, Rejected, ConfigError."""
        if not states:
            return FetchedIssues()
        listing = self._reads.by_states(states)
        held = {record.issue.id: record.reason for record in listing.records if record.reason is not None}
        omitted = tuple(fault.message for fault in listing.malformed)
        return FetchedIssues(tuple(record.issue for record in listing.records), omitted, held)

    def fetch_issues_by_ids(self, ids: Collection[str]) -> tuple[Issue, ...]:
        """Read these issues, with those that others ask for now. Raises: Transient, Rejected, ConfigError."""
        wanted = frozenset(ids)
        found = self._gathering.ask(wanted) if wanted else {}
        issues = []
        for issue_id, one in found.items():
            if isinstance(one, Malformed):
                if issue_id in wanted:
                    raise one
            elif issue_id in wanted or one.issue.identifier in wanted:
                issues.append(one.issue)
        return tuple(issues)

    def fetch_board(self, states: Sequence[str], *, watched: Collection[str]) -> Board:
        """Read what a poll needs: in the common case with one request. Raises: Transient, Rejected, ConfigError."""
        return self.board.fetch(states, watched)

    def fetch_new_comments(self, wanted: Sequence[tuple[Issue, datetime]]) -> Mapping[str, tuple[Comment, ...]]:
        """Read what people who may steer a run, and we, wrote since. Raises: Transient, Rejected, ConfigError."""
        return self._comments.new(wanted, self.board.newest_comments()) if wanted else {}

    def fetch_comments(self, issue: Issue, *, since: datetime | None = None) -> tuple[Comment, ...]:
        """Read an issue's comments, everybody's. Raises: Rejected("issue_not_found"), Transient."""
        return self._comments.of_issue(issue.id, since=since)

    def fetch_pictures(self, issue: Issue) -> tuple[Picture, ...]:
        """Fetch the pictures of the description that Linear keeps. Raises: Transient."""
        return pictures.pictures(self.client, issue.description or "")

    def state_kind(self, state: str) -> StateKind:
        """Say what a state is: as configured, else `started` where an issue was seen in it and Linear calls it so."""
        name = normalized_state(state)
        if name in self._terminal:
            return "terminal"
        return "active" if name in self._active else "started" if self._reads.is_started(name) else "other"

    def move(self, issue_id: str, to: str, *, allowed_from: Collection[str], unless_since: datetime | None = None) -> Moved:
        """Move an issue, unless a person put it elsewhere. Raises: Rejected, Transient."""
        wanted = writes.Move(to, frozenset(map(normalized_state, allowed_from)), unless_since)
        return writes.move(self.client, self._teams, issue_id, wanted, issue_of=self._reads.issue_of)

    def comment(self, issue_id: str, *, key: str, body: str) -> None:
        """Make the issue have one comment with this key and body. Raises: Rejected, Transient."""
        writes.comment(self.client, self._teams, issue_id, key=key, body=in_linears(body))

    def comment_id(self, key: str) -> str:
        """Give the id of the comment with this key."""
        return f"{OWN_COMMENT}{identity.own_uuid(key)}"

    def attach(self, issue_id: str, *, key: str, attachment: Attachment) -> None:
        """Make the issue have one attachment with this key. Raises: Rejected, Transient."""
        attaching.attach(self.client, issue_id, key=key, attachment=attachment)

    def mark(self, issue_id: str, situation: Situation | None) -> None:
        """Make the issue carry this situation's label, and none of the others'. Raises: Rejected, Transient."""
        writes.mark(self.client, self._teams, issue_id, situation, labels=self.settings.labels)

    def say(self, session_id: str, *, key: str, content: Mapping[str, Any], ephemeral: bool) -> None:
        """Say something in a session, once for each key. Raises: Rejected, Transient, ConfigError."""
        sessions.say(self.client, session_id, key=key, content=content, ephemeral=ephemeral)

    def prompts(self, session_ids: Collection[str], *, since: datetime) -> Mapping[str, tuple[Prompt, ...]]:
        """Read what those who may steer a run said in these sessions. Raises: Transient, Rejected, ConfigError."""
        return sessions.prompts(self.client, self._reads.routing, session_ids, since=since)

    def poll_factor(self) -> float:
        """Say by how much slower to poll, by what is left of the key's budgets."""
        return poll_factor(self.client.quota.share())

    def check(self, *, named_states: Collection[str] = ()) -> list[Finding]:
        """Probe the key, the project and the states."""
        return probe.findings(self.client, self.settings, named_states)

    def create_states(self, roles: Mapping[str, str]) -> Iterator[str]:
        """Make the states that teams of the project lack, and say which. Raises: ConfigError, Rejected, Transient."""
        return probe.create_states(self.client, self.settings, roles)

    def native_tools(self, mandate: Mandate) -> tuple[NativeTool, ...]:
        """Give `linear_graphql` for one attempt of a run."""
        return (linear_graphql(self.client, self.settings, mandate),)
