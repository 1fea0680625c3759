"""The stage in which an agent works.

With a repository it lasts until the agent has finished, asks, or is stopped, and what lies in the workspace then is
kept as a commit of Symphony's. Without one it lasts, turn after turn, while the issue stays active (specification
16.5). The agent runs in its own workspace or not at all.
"""

from __future__ import annotations

from symphony.agents.command import CommandAgent
from symphony.agents.log import log_path
from symphony.agents.protocol import Asked, Assignment, Finished, Stopped, Turn
from symphony.domain.admission import is_routable
from symphony.domain.errors import Breach, ConfigError, SymphonyError
from symphony.domain.outcome import Advance, Block, Continue, Interrupted, Outcome, Release, Review, Rework
from symphony.domain.usage import Budget
from symphony.ledger import usage
from symphony.stages import model_agent, prompts
from symphony.stages.account import collect_artifacts, note_account, prepare_artifacts
from symphony.stages.context import RunContext
from symphony.stages.source import (
    Code,
    code_of,
    environment,
    hook,
    keep,
    message_of,
    open_workspace,
    open_workspaces,
)
from symphony.telemetry.log import get_logger
from symphony.workflow.schema.agent import AgentChoice
from symphony.workspaces.hooks import run_hook, run_hook_quietly
from symphony.workspaces.snapshots import Snapshot
from symphony.workspaces.workspace import Workspace, Workspaces

NO_CHANGE = "The workspace holds no change against the target. Make the change that the issue asks for."
_MOST_NAMED = 20

log = get_logger()


def agent(context: RunContext) -> Outcome:
    """Let the agent work and say what comes of it."""
    code = code_of(context)
    if code is not None:
        code.ensure(context)
    workspaces = open_workspaces(context)
    workspace = open_workspace(context, code, workspaces)
    prepare_artifacts(context)
    hooks = context.workflow.hooks
    if hooks.before_run is not None:
        run_hook(context.tree, hook(context, "before_run", hooks.before_run), workspace.path)
    try:
        return (
            _with_repository(context, code, workspaces, workspace)
            if code
            else _without_repository(context, workspaces, workspace)
        )
    finally:
        collect_artifacts(context)
        if hooks.after_run is not None and not context.lease.is_stopped and context.tree.ended is None:
            _after_run(context, workspaces, workspace, hooks.after_run)


def _after_run(context: RunContext, workspaces: Workspaces, workspace: Workspace, script: str) -> None:
    """Run the hook, but nowhere else than in the workspace: the agent may have put another path there, or nothing."""
    context.tree.clear()
    try:
        workspaces.places.verify_cwd(workspace.key, workspace.path)
    except Breach as error:
        log.warning("after_run not run", run=str(context.run.id), reason=str(error))
        return
    run_hook_quietly(context.tree, hook(context, "after_run", script), workspace.path)


def _with_repository(context: RunContext, code: Code, workspaces: Workspaces, workspace: Workspace) -> Outcome:
    try:
        turn = _turn(context, code, workspaces, workspace)
    except SymphonyError:
        _keep_what_there_is(context, code, workspaces)
        raise
    context.tree.clear()
    kept = keep(context, code, workspaces, message_of(context))
    note_account(context, turn)
    match turn:
        case Asked(question):
            return Block(question)
        case Stopped():
            return Interrupted(_stop_reason(context) or "stopped")
        case Finished() if kept.changed:
            return Advance()
        case Finished(outcome="no_change", reason=str(reason)):
            return Review(f"The agent says that nothing is to be changed: {reason}")
        case Finished():
            return _nothing_done(context, kept)


def _nothing_done(context: RunContext, kept: Snapshot) -> Outcome:
    """Send an empty change back once, then to a person, with what lies in the workspace and could not be taken."""
    named = "\n".join(f"- `{one.path}`: {one.reason}" for one in kept.left_out[:_MOST_NAMED])
    what = f"{NO_CHANGE}\n\nThis was left out of it:\n\n{named}" if named else NO_CHANGE
    if (context.run.feedback or "").startswith(NO_CHANGE):
        return Block(f"The agent changed nothing, twice. {what}")
    return Rework(what, keeps_work=True)


def _without_repository(context: RunContext, workspaces: Workspaces, workspace: Workspace) -> Outcome:
    max_turns = context.workflow.agent.max_turns
    for number in range(1, max_turns + 1):
        turn = _turn(context, None, workspaces, workspace, number=number)
        context.lease.turns = number
        context.tree.clear()
        note_account(context, turn)
        if isinstance(turn, Asked):
            return Block(turn.question)
        if isinstance(turn, Stopped):
            return Interrupted(_stop_reason(context) or "stopped")
        ended = _ended_for_issue(context)
        if ended is not None:
            return ended
    return Continue()


def _ended_for_issue(context: RunContext) -> Release | None:
    """Read the issue again and say whether it wants no further turn."""
    found = context.tracker.fetch_issues_by_ids([context.issue.id])
    states = context.workflow.tracker.state_sets
    if not found:
        return Release("handed off: the issue is no longer visible")
    context.issue = found[0]
    if states.is_terminal(context.issue.state):
        return Release(f"handed off: the issue is {context.issue.state!r}", clean=True)
    routable = is_routable(context.issue, context.workflow.tracker.required_labels)
    if not states.is_active(context.issue.state) or not routable:
        return Release(f"handed off: the issue is {context.issue.state!r}")
    return None


def _turn(context: RunContext, code: Code | None, workspaces: Workspaces, workspace: Workspace, *, number: int = 1) -> Turn:
    workspaces.places.verify_cwd(workspace.key, workspace.path)
    context.lease.ensure_trusted()
    choice = context.workflow.agent.choice(context.issue.labels)
    if (over := _over_time(context, choice)) is not None:
        return Asked(over)
    assignment = Assignment(
        opening=prompts.opening(context) if number == 1 else "",
        news=prompts.news(context) if number == 1 else prompts.continuation(number, context.workflow.agent.max_turns),
        workspace=workspace.path,
        environment=environment(context),
        tree=context.tree,
        log=log_path(context.settings.home, context.workflow_name, context.issue.identifier),
        turn_timeout=context.workflow.turn_timeout,
        stall_timeout=context.workflow.stall_timeout,
        heard=context.lease.heard,
        stop_reason=lambda: _stop_reason(context),
        ring_at_change=context.lease.ring_at_change,
    )
    if choice.kind == "command" and choice.command is not None:
        return CommandAgent(choice.command).turn(assignment)
    if choice.kind == "openai":
        return model_agent.turn(context, choice, code, assignment)
    raise ConfigError(
        f"the agent kind {choice.kind} is not in this build",
        place="agent.kind",
        cure="use `kind: command` with a `command`",
    )


def _over_time(context: RunContext, choice: AgentChoice) -> str | None:
    """Say that the run's agents have worked as long as they may; a model's other budgets are looked at by its loop."""
    limits = Budget(time=choice.budget.limits.time)
    if limits.time is None:
        return None
    spent = context.fenced(lambda transaction: usage.spent_by_run(transaction, context.run.id))
    over = limits.refusal(spent)
    return (
        None if over is None else f"{over[0].upper()}{over[1:]}. Raise `agent.budget.seconds`, then answer here to go on."
    )


def _stop_reason(context: RunContext) -> str | None:
    """Say why the turn must end now: the lease is lost, somebody asked, or the drain is over."""
    lease = context.lease
    if lease.is_lost:
        return "the run has another owner"
    if lease.request is not None:
        return lease.request_reason or lease.request
    return "the worker is shutting down" if lease.is_drain_over() else None


def _keep_what_there_is(context: RunContext, code: Code, workspaces: Workspaces) -> None:
    """Keep the work of a failed turn, so that the next attempt finds it on any node; best effort."""
    if context.lease.is_stopped or context.tree.ended is not None:
        return
    try:
        context.tree.clear()
        keep(context, code, workspaces, message_of(context))
    except SymphonyError as error:
        log.warning("work of a failed turn not kept", run=str(context.run.id), reason=str(error))
