"""Workspace hooks: shell scripts of the workflow, run in the workspace (specification 9.4).

Invariant: a hook runs in its workspace, ends within its timeout, and logs its start, failure and time-out; its output is
cut for the log. `after_create` and `before_run` fail the caller, `after_run` and `before_remove` never do.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from symphony.domain.errors import Transient
from symphony.processes.tree import refusal
from symphony.telemetry.redaction import redact

if TYPE_CHECKING:
    from symphony.processes.guardian import Completed, Tree

HookName = Literal["after_create", "before_run", "after_run", "before_remove"]
DEFAULT_TIMEOUT = timedelta(seconds=60)
_OUTPUT_BYTES = 16 * 1024
_LOGGED_CHARACTERS = 2000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook as the workflow has it, the environment it gets, and what stands before it (a sandbox's command)."""

    name: HookName
    script: str
    environment: Mapping[str, str]
    timeout: timedelta = DEFAULT_TIMEOUT
    launcher: Sequence[str] = ()


def run_hook(tree: Tree, hook: Hook, workspace: Path) -> Completed:
    """Run a hook and return what it wrote.

    Raises:
        Transient: category `hook_failed` or `hook_timeout`; the attempt has failed.
        Cancelled, Fenced: when the tree was ended meanwhile.
    """
    _log.info("hook started", hook=hook.name, workspace=str(workspace))
    command = [*hook.launcher, shutil.which("bash") or "/bin/sh", "-lc", hook.script]
    completed = tree.run(
        command,
        cwd=workspace,
        env=hook.environment,
        timeout_s=hook.timeout.total_seconds(),
        head=_OUTPUT_BYTES,
        tail=_OUTPUT_BYTES,
    )
    if completed.limit is not None:
        raise refusal(f"the hook {hook.name}", {"ended": completed.limit})
    if completed.timed_out:
        _log.warning("hook timed out", hook=hook.name, workspace=str(workspace), output=_excerpt(completed))
        limit = f"{hook.timeout.total_seconds():g} s"
        raise Transient(f"the hook {hook.name} did not end within {limit}", category="hook_timeout")
    if completed.returncode != 0:
        output = _excerpt(completed)
        _log.warning("hook failed", hook=hook.name, workspace=str(workspace), status=completed.returncode, output=output)
        said = f": {output}" if output else ""
        raise Transient(f"the hook {hook.name} ended with status {completed.returncode}{said}", category="hook_failed")
    return completed


def run_hook_quietly(tree: Tree, hook: Hook, workspace: Path) -> Completed | None:
    """Run a hook whose failure is logged and ignored; return what it wrote, `None` when it failed.

    Raises:
        Cancelled, Fenced: when the tree was ended meanwhile; that is no failure of the hook.
    """
    try:
        return run_hook(tree, hook, workspace)
    except (Transient, OSError) as error:
        _log.warning("hook failure ignored", hook=hook.name, error=str(error))
        return None


def _excerpt(completed: Completed) -> str:
    """Give the end of what the hook said, errors last; it goes into logs and rows."""
    said = redact(completed.stdout.text() + completed.stderr.text()).strip()
    return said if len(said) <= _LOGGED_CHARACTERS else "…" + said[-_LOGGED_CHARACTERS:]
