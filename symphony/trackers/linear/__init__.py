"""The tracker `linear`, built from a workflow's settings; its profile is in docs/trackers.md.

Invariant: nothing is asked of Linear before the first call of the adapter.
"""

from __future__ import annotations

from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.linear.client import Client, quota_key
from symphony.trackers.linear.settings import settings_of
from symphony.trackers.protocol import Tracker
from symphony.trackers.registry import Scope


def open_adapter(scope: Scope) -> Tracker:
    """Build the adapter. Raises: ConfigError (`invalid_tracker_config`, `missing_tracker_secret`)."""
    settings = settings_of(scope)
    quota = scope.quota_of(quota_key(settings.endpoint, settings.api_key))
    return LinearTracker(settings, Client(settings.endpoint, settings.api_key, quota))
