"""The sections that steer the service itself: polling, workspace, hooks, server, worker (specification 5.3, 13.7)."""

from __future__ import annotations

from datetime import timedelta

from symphony.workflow.schema.fields import Milliseconds, Port, Positive, Script, Section, Text, Words, key, milliseconds


class Polling(Section):
    """How often the tracker is asked."""

    interval_ms: Milliseconds = key("Time between two polls of the tracker.", 30_000, applies="next poll")

    @property
    def interval(self) -> timedelta:
        """The time between two polls."""
        return milliseconds(self.interval_ms)


class Workspace(Section):
    """Where issues' workspaces lie."""

    root: Text | None = key(
        "Folder of the workspaces; `~`, `$NAME` and paths relative to WORKFLOW.md. Left out: "
        "`symphony_workspaces` in the system's temporary folder, or with `repository` "
        "`SYMPHONY_HOME/workspaces/<name>`.",
        None,
    )


class Hooks(Section):
    """Shell scripts around a workspace's life."""

    after_create: Script = key("Runs once in a new workspace; its failure undoes the creation.", None)
    before_run: Script = key("Runs before every attempt; its failure ends the attempt.", None)
    after_run: Script = key("Runs after every attempt, however it ended; its failure is only logged.", None)
    before_remove: Script = key("Runs before a workspace is deleted; its failure is only logged.", None)
    timeout_ms: Milliseconds = key("Longest time that any one hook may take.", 60_000)

    @property
    def timeout(self) -> timedelta:
        """The longest time that a hook may take."""
        return milliseconds(self.timeout_ms)


class Server(Section):
    """The status API."""

    port: Port | None = key(
        "Port of the status API; 0 takes a free one. Left out: none. `--port` goes before it.", None, applies="restart"
    )
    host: Text = key("Address that the status API listens on.", "127.0.0.1", applies="restart")


class Worker(Section):
    """The specification's SSH workers."""

    ssh_hosts: Words = key("SSH hosts that work runs on; nodes with Symphony's own workers take their place.", ())
    max_concurrent_agents_per_host: Positive | None = key("Most agents at once on one of those hosts.", None)
