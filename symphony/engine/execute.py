"""One attempt of a stage, from the doorbell to the settled row.

Invariants: a stage runs only after its row was claimed; it ends with its whole process tree; what it says is written in
one fenced transaction, or, when the run has another owner by then, not at all. This is the stage boundary: the one
place besides the ticks where any exception is caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from symphony.domain import retry
from symphony.domain.errors import Cancelled, Fenced, SymphonyError
from symphony.domain.issue import Issue, workspace_key
from symphony.domain.outcome import Interrupted, Outcome, Retry
from symphony.domain.run import RunEvent, RunState
from symphony.domain.stage import SLOT_STAGES, Stage
from symphony.engine import announce, sessions
from symphony.engine.deployment import Deployment
from symphony.engine.keeper import TRUSTED_SHARE, LeaseKeeper
from symphony.engine.rules import Rules
from symphony.engine.settle import settle
from symphony.engine.shown import Reach
from symphony.ledger import attempts, issues, runs, workflows
from symphony.ledger.database import Held, Transaction, new_id
from symphony.ledger.records import IssueRow, Run, WorkflowRow
from symphony.processes.guardian import Guardian, Limits, Tree
from symphony.stages.context import RunContext, SideTree
from symphony.stages.lease import DRAINING, Lease, boottime
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger, speaking_of
from symphony.workspaces.places import Places

SANDBOX = "guardian"
"""What stands between a command and the machine in this build; every attempt records it."""

_TAKEN = frozenset({"trust", "handover", "guardian", "warden"})
"""Why a guardian ends a tree through no fault of what ran in it."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed run with the version of the workflow that this attempt is bound to."""

    run: Run
    issue: IssueRow
    workflow: WorkflowRow
    rules: Rules
    number: int
    sent: float


def claim(deployment: Deployment, run_id: UUID, stage: Stage) -> Claim | None:
    """Take a queued run for this process, or find nothing to claim."""
    attempt_id = new_id()
    sent = boottime()

    def body(transaction: Transaction) -> Claim | None:
        run = runs.claim_if_due(
            transaction,
            run_id,
            stage,
            process_id=deployment.process_id,
            node=deployment.node,
            attempt_id=attempt_id,
            ttl=deployment.settings.lease_ttl,
        )
        if run is None:
            return None
        workflow, issue = workflows.get(transaction, run.workflow_id), issues.get(transaction, run.issue_id)
        assert workflow is not None and issue is not None
        rules = deployment.rules(workflow)
        if stage is Stage.PROVISION:
            runs.note_cleaned(transaction, run.issue_id, deployment.node)  # what was to be removed is this run's now
        number = attempts.begin(transaction, run, version_id=workflow.version_id, node=deployment.node, sandbox=SANDBOX)
        if stage is Stage.AGENT and rules.is_movable(issue.state, "started"):
            announce.move(transaction, run, rules, "started")
        sessions.tell(transaction, run, RunEvent.CLAIMED, {})
        log.debug(Label.CLAIMING, run=str(run_id), stage=str(stage))
        return Claim(run, issue, workflow, rules, number, sent)

    claimed = deployment.database.transact(body)
    if claimed is not None:
        log.info(
            Label.CLAIMED, run=str(run_id), stage=str(stage), issue_id=claimed.issue.tracker_id,
            issue_identifier=claimed.issue.identifier, attempt=claimed.number,
        )  # fmt: skip
    return claimed


def execute(
    deployment: Deployment,
    guardian: Guardian,
    keeper: LeaseKeeper,
    run_id: UUID,
    stage: Stage,
    perform: Callable[[RunContext], Outcome],
) -> Run | None:
    """Run one stage of one run; None when there was nothing to claim or the run was lost on the way."""  # fmt: skip
    claimed = claim(deployment, run_id, stage)
    if claimed is None:
        return None
    with speaking_of(issue_id=claimed.issue.tracker_id, issue_identifier=claimed.issue.identifier):
        return _see_through(deployment, guardian, keeper, claimed, perform)


def _see_through(
    deployment: Deployment, guardian: Guardian, keeper: LeaseKeeper, claimed: Claim,
    perform: Callable[[RunContext], Outcome],
) -> Run | None:  # fmt: skip
    run, stage = claimed.run, claimed.run.stage
    assert run.attempt_id is not None
    ttl_s = deployment.settings.lease_ttl.total_seconds()
    lease = Lease(
        Held(run.id, run.token), run.attempt_id, claimed.sent + ttl_s * TRUSTED_SHARE, ends_itself=stage is Stage.AGENT
    )
    outcome = _perform(deployment, guardian, keeper, claimed, lease, perform)
    reach = Reach(deployment.settings.public_url)
    try:
        if outcome is None:
            return None
        return lease.when_reachable(
            lambda: settle(deployment.database, lease.held, outcome, claimed.rules, lease.progress(), reach)
        )
    except Fenced:
        log.info("fenced", run=str(run.id), stage=str(stage), token=run.token)
        return None
    finally:
        keeper.release(lease)


def goes_on(run: Run | None) -> bool:
    """Tell whether the chain's next link has something to claim."""
    return run is not None and run.state is RunState.QUEUED


def _perform(
    deployment: Deployment, guardian: Guardian, keeper: LeaseKeeper, claimed: Claim, lease: Lease,
    perform: Callable[[RunContext], Outcome],
) -> Outcome | None:  # fmt: skip
    run = claimed.run
    pending: list[Tree] = []

    def kill() -> None:
        for tree in list(pending):
            tree.kill()

    keeper.hold(lease, kill)
    try:
        lock = _workspace_lock(deployment, claimed) if run.stage in SLOT_STAGES else None
        with guardian.tree(
            lease.tree_name, lock=lock, trust_until=lease.trust_until,
            lock_timeout_s=deployment.settings.lease_ttl.total_seconds(), limits=_limits(claimed),
        ) as tree:  # fmt: skip
            pending.append(tree)
            lease.ensure_trusted()
            side_tree = _side_trees(guardian, lease, pending, _limits(claimed))
            return perform(_context(deployment, claimed, lease, tree, side_tree))
    except Exception as error:  # noqa: BLE001 - the stage boundary: whatever a stage raises ends its attempt only
        cut_short = _cut_short(error, lease, pending)
        return cut_short if lease.is_lost or cut_short is not None else _outcome_of(error, run)


def _side_trees(guardian: Guardian, lease: Lease, pending: list[Tree], limits: Limits) -> SideTree:
    """Give the way to open a further tree of an attempt, trusted and killed with the first one."""

    @contextmanager
    def opened(*, limited: bool = False) -> Iterator[Tree]:
        name = f"{lease.tree_name}-{len(lease.side_trees) + 1}"
        lease.side_trees.append(name)
        own = limits if limited else Limits()
        with guardian.tree(name, trust_until=lease.trust_until, limits=own) as tree:
            pending.append(tree)
            lease.ensure_trusted()
            yield tree

    return opened


def _limits(claimed: Claim) -> Limits:
    sandbox = claimed.rules.workflow.sandbox
    return Limits(memory_bytes=sandbox.memory, processes=sandbox.processes)


def _workspace_lock(deployment: Deployment, claimed: Claim) -> Path:
    root = claimed.rules.resolved(deployment.environ).workspace_root(home=deployment.settings.home)
    return Places.open(root).lock(workspace_key(claimed.issue.identifier))


def _cut_short(error: Exception, lease: Lease, trees: list[Tree]) -> Interrupted | None:
    """Tell an attempt that others ended from one that failed by itself."""
    if lease.is_lost:
        return None
    if lease.is_stopped:
        return Interrupted(lease.request_reason or "asked to stop")
    if lease.is_drain_over() or (isinstance(error, Cancelled) and error.category == DRAINING):
        return Interrupted("the worker is shutting down")
    taken = [tree.ended for tree in trees if tree.ended in _TAKEN]
    return Interrupted(f"its processes were ended: {taken[0]}") if taken else None


def _outcome_of(error: Exception, run: Run) -> Outcome | None:
    if isinstance(error, SymphonyError):
        log.warning("stage failed", run=str(run.id), category=error.category, reason=str(error))
        return retry.outcome_of(error)
    log.error("stage raised", run=str(run.id), stage=str(run.stage), exc_info=error)
    return Retry(f"{type(error).__name__}: {error}")


def _context(
    deployment: Deployment,
    claimed: Claim,
    lease: Lease,
    tree: Tree,
    side_tree: SideTree,
) -> RunContext:
    rules = claimed.rules
    return RunContext(
        run=claimed.run,
        issue=Issue.from_json(claimed.issue.snapshot),
        workflow=rules.workflow,
        workflow_name=claimed.workflow.name,
        number=claimed.number,
        resolved=rules.resolved(deployment.environ),
        prompt_template=rules.loaded.prompt_template,
        prompt_line=rules.loaded.prompt_line,
        database=deployment.database,
        settings=deployment.settings,
        node=deployment.node,
        lease=lease,
        tree=tree,
        tracker=deployment.tracker(claimed.workflow),
        environ=deployment.environ,
        side_tree=side_tree,
    )
