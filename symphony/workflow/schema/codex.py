"""The `codex` section (specification 5.3.6): handed through to the app-server, but for values that it outgrew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

from symphony.workflow.schema.fields import Milliseconds, Section, Text, Whole, fault, key, milliseconds

_GRANULAR = ("sandbox_approval", "rules", "skill_approval", "request_permissions", "mcp_elicitations")


def is_older_policy(policy: object) -> bool:
    """Tell whether an approval policy is one that today's app-server refuses."""
    return policy == "on-failure" or (isinstance(policy, Mapping) and set(policy) == {"reject"})


def todays_policy(policy: Any) -> Any:
    """Translate an older approval policy; any other value passes untouched."""
    if not isinstance(policy, (str, Mapping)):
        raise fault("must be a policy's name or a map")
    if not is_older_policy(policy):
        return policy
    if isinstance(policy, str):
        return "on-request"
    rejected = policy["reject"]
    if not isinstance(rejected, Mapping) or not all(isinstance(flag, bool) for flag in rejected.values()):
        raise fault("must be a map of true and false", "reject")
    return {"granular": {name: not rejected.get(name, False) for name in _GRANULAR}}


class Codex(Section):
    """The codex app-server."""

    command: Text = key("Shell command line that starts the app-server; kept as it is written.", "codex app-server")
    approval_policy: Annotated[Any, BeforeValidator(todays_policy)] = key(
        "Approval policy, handed through to the app-server.", "never"
    )
    thread_sandbox: Text = key("Sandbox mode of a thread, handed through to the app-server.", "workspace-write")
    turn_sandbox_policy: dict[str, Any] | None = key(
        "Sandbox policy of a turn, handed through. Left out: writes in the workspace only.", None
    )
    turn_timeout_ms: Milliseconds = key("Longest time of one turn.", 3_600_000)
    read_timeout_ms: Milliseconds = key("Longest wait for an answer at the start and to a request.", 5_000)
    stall_timeout_ms: Whole = key("Longest silence of an agent; 0 or less: not watched.", 300_000)

    @property
    def read_timeout(self) -> timedelta:
        """The longest wait for an answer to a request."""
        return milliseconds(self.read_timeout_ms)
