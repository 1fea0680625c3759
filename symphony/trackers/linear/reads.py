"""What is read of Linear's board: issues by states and by ids, and comments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symphony.domain.issue import Issue, normalized_state
from symphony.trackers.linear import records
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.settings import LinearSettings


class Reads:
    """The reads of one scope."""

    def __init__(self, settings: LinearSettings, client: Client) -> None:
        self._settings = settings
        self._client = client

    def issue_of(self, payload: Mapping[str, Any]) -> Issue:
        """Read a payload with the fields of `documents.ISSUE`. Raises: Transient."""
        terminal = frozenset(map(normalized_state, self._settings.terminal_states))
        return records.issue_of(payload, records.Routing(terminal))[0]
