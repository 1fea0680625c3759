"""Flower's configuration: bound to loopback, and each task shown by the issue that it works on."""

from __future__ import annotations

from typing import Any

persistent = False
max_tasks = 5000
tasks_columns = "name,args,state,received,started,runtime,worker"


def format_task(task: Any) -> Any:
    """Show "DEMO-1 agent" in place of a run's id."""
    if task.args:
        task.args = str(task.args).strip("'\"")
    task.name = str(task.name or "").removeprefix("symphony.")
    return task
