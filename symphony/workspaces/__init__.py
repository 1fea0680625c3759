"""Workspaces: mirrors, checkouts, hooks, path guard and snapshots. Every git process starts in `processes.git`."""
