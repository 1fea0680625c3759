"""An adapter on a played Linear, and what a test asks of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symphony.trackers.linear import open_adapter
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.quota import OwnQuota, Quota
from symphony.trackers.registry import Scope
from tests.fakes.linear_server import LinearServer


def linear(
    server: LinearServer,
    *,
    key: str | None = None,
    patience_s: float | None = None,
    quota: Quota | None = None,
    authors: Mapping[str, Any] | None = None,
    **provider: Any,
) -> LinearTracker:
    """Open an adapter of its own, as another process would; `patience_s` shortens its time-outs."""
    scope = Scope(
        provider={"endpoint": server.url, "api_key": key or server.key, "project_slug": server.project.slug_id, **provider},
        active_states=("Todo", "In Progress"),
        terminal_states=("Done", "Canceled", "Duplicate"),
        base_dir=Path(),
        environ={},
        authors=authors or {},
        quota_of=lambda _: quota or OwnQuota(),
    )
    tracker = open_adapter(scope)
    assert isinstance(tracker, LinearTracker)
    if patience_s is not None:
        tracker.client.http.timeout = patience_s
    return tracker
