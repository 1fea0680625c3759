"""An adapter on a played Linear, and what a test asks of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from symphony.trackers.linear import board as board_module
from symphony.trackers.linear import open_adapter
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.protocol import Board
from symphony.trackers.quota import OwnQuota, Quota
from symphony.trackers.registry import Scope
from tests.fakes.linear_records import Issue
from tests.fakes.linear_server import LinearServer

ACTIVE = ("Todo", "In Progress")


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
        active_states=ACTIVE,
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


def listed(board: Board) -> set[str]:
    """Give the ids of what a board lists."""
    return {issue.id for issue in board.listed.issues}


def poll(tracker: LinearTracker, *watched: str) -> Board:
    """Poll the active states as the engine does."""
    return tracker.fetch_board(ACTIVE, watched=watched)


def swept(tracker: LinearTracker, *watched: str) -> Board:
    """Poll with a sweep of all of the board."""
    tracker.board.sweep_every_s = 0.0
    board = poll(tracker, *watched)
    tracker.board.sweep_every_s = board_module.SWEEP_EVERY_S
    return board


def asked(server: LinearServer, of: Callable[[], Any]) -> int:
    """Count the requests that something costs."""
    before = len(server.requests)
    of()
    return len(server.requests) - before


def of_old(server: LinearServer, count: int, **values: Any) -> list[Issue]:
    """Create issues that have not changed for an hour: no news, but for the sweep."""
    then = server.world.clock.now() - 3_600_000
    return server.create_issues(count, created_at=then, updated_at=then, **values)
