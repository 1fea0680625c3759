"""What `symphony check` asks Linear, and the states that it can make there."""

from __future__ import annotations

from collections.abc import Collection

from symphony.trackers.linear.client import Client
from symphony.trackers.linear.settings import LinearSettings
from symphony.trackers.protocol import Finding


def findings(client: Client, settings: LinearSettings, named_states: Collection[str]) -> list[Finding]:
    """Probe the key, the project, its teams and these states."""
    raise NotImplementedError


def create_states(client: Client, settings: LinearSettings, names: Collection[str]) -> list[str]:
    """Make the states that are missing in each team of the project, and say which."""
    raise NotImplementedError
