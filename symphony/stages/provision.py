"""The stage that gives a run its workspace on this node.

It may be repeated at any time and anywhere: the workspace is made from the row's head, or from the target when there is
none yet; what is there and fits is used again.
"""

from __future__ import annotations

from symphony.domain.outcome import Advance, Outcome
from symphony.stages.context import RunContext
from symphony.stages.source import code_of, open_workspace, open_workspaces
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger

log = get_logger()


def provision(context: RunContext) -> Outcome:
    """Make or find the run's workspace, and write down where its code comes from."""
    code = code_of(context)
    if code is not None:
        target = code.fetch(context)
        log.debug(Label.PROVISIONING, run=str(context.run.id))
        context.write(target=code.target, base_sha=context.run.base_sha or target)
        log.info(Label.PROVISIONED, run=str(context.run.id), base=context.run.base_sha)
    open_workspace(context, code, open_workspaces(context))
    return Advance()
