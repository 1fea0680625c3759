"""The tracker `linear`: a project of a Linear workspace. Thin: each method is the work of a module beside it.

Invariant: all methods share one client, one board and one cache, and may be called by several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection

from symphony.domain.allowance import poll_factor
from symphony.domain.issue import normalized_state
from symphony.trackers.linear import attaching, identity, probe, writes
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.reads import Reads
from symphony.trackers.linear.settings import API_KEY, WEBHOOK_SECRET, LinearSettings
from symphony.trackers.linear.teams import Teams
from symphony.trackers.protocol import OWN_COMMENT, Attachment, Finding, Moved, Situation


class LinearTracker:
    """A project on Linear as a tracker; see `symphony.trackers.protocol.Tracker` and `Annotates`."""

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

    def move(self, issue_id: str, to: str, *, allowed_from: Collection[str]) -> Moved:
        """Move an issue, unless a person put it elsewhere. Raises: Rejected, Transient."""
        return writes.move(self.client, self._teams, issue_id, to, allowed_from=allowed_from, issue_of=self._reads.issue_of)

    def comment(self, issue_id: str, *, key: str, body: str) -> None:
        """Make the issue have one comment with this key and body. Raises: Rejected, Transient."""
        writes.comment(self.client, self._teams, issue_id, key=key, body=body)

    def comment_id(self, key: str) -> str:
        """Give the id of the comment with this key."""
        return f"{OWN_COMMENT}{identity.own_uuid(key)}"

    def attach(self, issue_id: str, *, key: str, attachment: Attachment) -> None:
        """Make the issue have one attachment with this key. Raises: Rejected, Transient."""
        attaching.attach(self.client, issue_id, key=key, attachment=attachment)

    def mark(self, issue_id: str, situation: Situation | None) -> None:
        """Make the issue carry this situation's label, and none of the others'. Raises: Rejected, Transient."""
        writes.mark(self.client, self._teams, issue_id, situation, labels=self.settings.labels)

    def poll_factor(self) -> float:
        """Say by how much slower to poll, by what is left of the key's budgets."""
        return poll_factor(self.client.quota.share())

    def check(self, *, named_states: Collection[str] = ()) -> list[Finding]:
        """Probe the key, the project and the states."""
        return probe.findings(self.client, self.settings, named_states)

    def create_states(self, names: Collection[str]) -> list[str]:
        """Make the states that are missing in each team of the project, and say which. Raises: Rejected, Transient."""
        return probe.create_states(self.client, self.settings, names)
