"""Issue trackers: the protocol that every adapter keeps, and the adapters by kind."""

from symphony.trackers.protocol import FetchedIssues, Finding, Moved, StateKind, Tracker, is_ours
from symphony.trackers.registry import open_tracker

__all__ = ["FetchedIssues", "Finding", "Moved", "StateKind", "Tracker", "is_ours", "open_tracker"]
