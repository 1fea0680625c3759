"""What people ask of runs: retry, cancel, approve, rework, answer, pause, resume.

Invariants: each is one transaction that locks the run first and writes its event and its effects with the change; a
run that a worker holds is asked through its lease, never changed under it; a landing whose push is intended is left to
be resolved. A command and the same wish told through the tracker end in the same functions of `reconcile`.
"""

from __future__ import annotations

from symphony.domain.errors import ConfigError, Rejected
from symphony.domain.reconcile import Action
from symphony.domain.run import RunState
from symphony.engine import announce, reconcile
from symphony.engine.lookup import Target, find_workflow
from symphony.engine.rules import Rules
from symphony.ledger import effects, issues, landings, runs, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import IssueRow, Run, WorkflowRow


def retry(transaction: Transaction, target: Target, message: str | None = None) -> str:
    """Let an issue be worked on again: a new run for one that ended, the next attempt now for one that waits."""
    issue, run = target.issue, _live(transaction, target)
    rules = _rules(transaction, issue)
    _say(transaction, issue, run, rules, message)
    if run is None:
        issues.begin_epoch(transaction, issue.id)
        workflows.poll_soon(transaction, issue.workflow_id)
        announce.move_back(transaction, issue, None, rules)
        if issue.active or announce.is_parked(issue, rules):
            return f"{issue.identifier} gets a new run"
        return f"{issue.identifier} gets a new run once its issue is active again; it is now {issue.state!r}"
    name = _name(issue, run)
    match run.state:
        case RunState.WAITING:
            runs.make_due_if_waiting(transaction, run.id)
            return f"{name} is due now"
        case RunState.BLOCKED:
            reconcile.resume(transaction, run, message)
            announce.move_back(transaction, issue, run, rules)
            return f"{name} goes on"
        case RunState.REVIEWING:
            raise ConfigError(
                f"{name} waits for a review",
                cure=f"`symphony approve {issue.identifier}`, or `symphony rework {issue.identifier} -m TEXT`",
            )
        case _:
            return f"{name} is {run.state} already"


def cancel(transaction: Transaction, target: Target, reason: str | None) -> str:
    """Stop the live run of an issue for good; the issue is not run again until it is retried or becomes active anew."""
    run = _required(transaction, target, "cancel")
    _ensure_not_landing(transaction, run, target.issue)
    reconcile.act(transaction, _rules(transaction, target.issue), run, Action.CANCEL, reason or "cancelled by a person")
    name = _name(target.issue, run)
    return f"{name} was asked to stop" if run.state is RunState.RUNNING else f"{name} is cancelled"


def approve(transaction: Transaction, target: Target, message: str | None = None) -> str:
    """Let a change land, as a move to `merging` does; before it is proved, it then lands without a review."""
    run = _required(transaction, target, "approve")
    rules = _rules(transaction, target.issue)
    name = _name(target.issue, run)
    if not rules.lands:
        raise ConfigError(f"{name} cannot land: this workflow lands nothing", cure="set land.mode to auto or review")
    _say(transaction, target.issue, run, rules, message)
    if run.state is RunState.REVIEWING:
        reconcile.approve(transaction, rules, run, is_moved=False)
        return f"{name} is approved and lands"
    reconcile.hand_over(transaction, rules, run, "approved by a person")
    if run.state is RunState.BLOCKED:
        announce.move_back(transaction, target.issue, run, rules)
    return f"{name} is approved; it is {run.state} in {run.stage}, and lands when its proof has passed"


def rework(transaction: Transaction, target: Target, feedback: str | None) -> str:
    """Send a run back to its agent with what a person wants changed; such a round is not counted."""
    run = _required(transaction, target, "rework")
    text = feedback or "A person sent this back without further words. Look at it again."
    return _send_back(transaction, target.issue, run, text)


def answer(transaction: Transaction, target: Target, text: str) -> str:
    """Answer the question of a blocked run, or say what a reviewed change lacks."""
    run = _required(transaction, target, "answer")
    if run.state not in (RunState.BLOCKED, RunState.REVIEWING):
        raise ConfigError(
            f"{_name(target.issue, run)} is {run.state} and asks nothing",
            cure=f"`symphony rework {target.issue.identifier} -m TEXT` sends it back to its agent",
        )
    return _send_back(transaction, target.issue, run, text)


def set_paused(transaction: Transaction, name: str | None, *, paused: bool) -> str:
    """Stop or resume the start of new runs, of one workflow or of all; runs that live go on."""
    workflow_id = find_workflow(transaction, name).id if name is not None else None
    if not workflows.set_paused(transaction, workflow_id, paused=paused):
        return "there is no workflow"
    which = name or "every workflow"
    if paused:
        return f"{which} starts no new runs; those that live go on"
    workflows.poll_soon(transaction, workflow_id)
    return f"{which} starts new runs"


def _send_back(transaction: Transaction, issue: IssueRow, run: Run, text: str) -> str:
    _ensure_not_landing(transaction, run, issue)
    name, rules = _name(issue, run), _rules(transaction, issue)
    if run.state is RunState.BLOCKED:
        reconcile.resume(transaction, run, text)
    elif run.state is not RunState.RUNNING and run.node is None:
        raise ConfigError(f"{name} has not begun: there is nothing to send back", cure="edit the issue itself")
    else:
        reconcile.rework(transaction, rules, run, text)
    if run.state is RunState.RUNNING:
        return f"{name} will go back to its agent"
    announce.move_back(transaction, issue, run, rules)
    return f"{name} goes back to its agent"


def _say(transaction: Transaction, issue: IssueRow, run: Run | None, rules: Rules, text: str | None) -> None:
    """Write on the issue what a person said with a command that gives the agent nothing to read."""
    if text and not rules.is_compatible:
        run_id = run.id if run is not None else None
        effects.add(transaction, issue_id=issue.id, run_id=run_id, kind="comment", payload={"body": text})


def _live(transaction: Transaction, target: Target) -> Run | None:
    """Lock the live run of the issue.

    Raises:
        ConfigError: a run was named and another one of its issue lives.
    """
    run = runs.lock_live_of_issue(transaction, target.issue.id)
    if run is not None and target.is_run_named and run.id != target.run_id:
        raise ConfigError(
            f"that run has ended; {_name(target.issue, run)} is the one that lives",
            cure=f"name {target.issue.identifier}",
        )
    return run


def _required(transaction: Transaction, target: Target, verb: str) -> Run:
    run = _live(transaction, target)
    if run is None:
        identifier = target.issue.identifier
        raise ConfigError(f"{identifier} has no live run to {verb}", cure=f"`symphony retry {identifier}` begins a new one")
    return run


def _ensure_not_landing(transaction: Transaction, run: Run, issue: IssueRow) -> None:
    if landings.intended(transaction, run.id) is not None:
        raise Rejected(f"{_name(issue, run)} is being pushed right now, which is seen through; try again in a moment")


def _rules(transaction: Transaction, issue: IssueRow) -> Rules:
    workflow: WorkflowRow | None = workflows.get(transaction, issue.workflow_id)
    assert workflow is not None
    return Rules.of(workflow)


def _name(issue: IssueRow, run: Run) -> str:
    return f"{issue.identifier}#{run.number}"
