"""A poll: what the tracker says, recorded once, and what that means for live runs and new ones.

Invariants: one poller a workflow; only the newest poll writes; a tracker's error changes nothing but the poll's own
row. The network is asked with no transaction open. Order within the recording transaction: workflow, runs, issues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from symphony.domain.admission import dispatch_order, is_routable, priority_rank
from symphony.domain.errors import SymphonyError
from symphony.domain.issue import Comment, Issue
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import reconcile
from symphony.engine.admit import admit
from symphony.engine.deployment import Deployment
from symphony.engine.rules import Rules
from symphony.ledger import conversations, issues, runs, workflows
from symphony.ledger.conversations import NewMessage
from symphony.ledger.database import Transaction
from symphony.ledger.issues import Sighting
from symphony.ledger.records import Run, WorkflowRow
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from symphony.trackers.protocol import Tracker, is_ours

log = get_logger()


@dataclass(frozen=True, slots=True)
class Sight:
    """All that one poll learned: the board's list, the issues of live runs that it lacks, people's new comments."""

    listed: Sequence[Issue]
    asked: Sequence[Issue]
    vanished: frozenset[str]
    """Issues that were asked for by id and are certainly no longer visible."""
    comments: dict[UUID, Sequence[Comment]]
    """New comments of people, by blocked run."""
    messages: dict[UUID, Sequence[Comment]] = field(default_factory=dict)
    """What people wrote to an agent that works, by run."""


def poll(deployment: Deployment, workflow_id: UUID) -> bool:
    """Poll a workflow's tracker if it is due and nobody else does; False when there was nothing to do."""
    begun = _begin(deployment, workflow_id)
    if begun is None:
        return False
    workflow, seq, live = begun
    try:
        rules, tracker = deployment.rules(workflow), deployment.tracker(workflow)
        sight = _look(deployment, rules, tracker, live)
        recorded = deployment.database.transact(lambda t: _record(t, rules, tracker, workflow, seq, sight))
    except Exception as error:  # noqa: BLE001 - the tick's boundary: whatever is raised ends this poll only
        category = error.category if isinstance(error, SymphonyError) else type(error).__name__
        log.error("poll failed", workflow=workflow.name, category=category, reason=str(error))
        reason = str(error) or category
        deployment.given_up_polls[workflow.id] = seq
        deployment.database.transact(lambda t: workflows.end_poll_if_newest(t, workflow.id, seq, reason))
        return True
    if recorded:
        log.info(Label.POLL_RECORDED, workflow=workflow.name, listed=len(sight.listed), asked=len(sight.asked))
        admit(deployment, workflow)
    return True


def sighting_of(issue: Issue, rules: Rules) -> Sighting:
    """Apply a workflow's rules to an issue."""
    active = rules.states.is_active(issue.state)
    return Sighting(
        tracker_id=issue.id,
        identifier=issue.identifier,
        state=issue.state,
        snapshot=issue.as_json(),
        active=active,
        eligible=active and is_routable(issue, rules.required_labels),
        priority_rank=priority_rank(issue.priority),
        opened_at=issue.created_at,
        changed_at=issue.updated_at,
    )


def _begin(deployment: Deployment, workflow_id: UUID) -> tuple[WorkflowRow, int, list[tuple[Run, Issue]]] | None:
    def body(transaction: Transaction) -> tuple[WorkflowRow, int, list[tuple[Run, Issue]]] | None:
        workflow = workflows.get(transaction, workflow_id)
        if workflow is None:
            return None
        seq = workflows.begin_poll_if_due(
            transaction,
            workflow_id,
            process_id=deployment.process_id,
            interval=deployment.rules(workflow).poll_interval,
            silence=deployment.settings.node_silence,
            given_up=deployment.given_up_polls.get(workflow_id, 0),
        )
        if seq is None:
            return None
        live = runs.live_with_snapshots(transaction, workflow_id)
        return workflow, seq, [(run, Issue.from_json(snapshot)) for run, snapshot in live]

    return deployment.database.transact(body)


def _look(deployment: Deployment, rules: Rules, tracker: Tracker, live: list[tuple[Run, Issue]]) -> Sight:
    fetched = tracker.fetch_issues_by_states(rules.active_states)
    for sentence in fetched.omitted:
        log.warning("issue left out", reason=sentence)
    listed = {issue.id: issue for issue in fetched.issues}
    missing = {issue.id for _, issue in live} - listed.keys()
    asked = {issue.id: issue for issue in tracker.fetch_issues_by_ids(missing)} if missing else {}
    comments: dict[UUID, Sequence[Comment]] = {}
    for run, known in live:
        now = listed.get(known.id) or asked.get(known.id)
        if run.state is RunState.BLOCKED and now is not None and (replies := _replies(rules, tracker, run, now)):
            comments[run.id] = replies
    messages = {
        run.id: _messages(deployment, tracker, run, now)
        for run, known in live
        if _listens(rules, run, known) and (now := listed.get(known.id) or asked.get(known.id)) is not None
    }
    vanished = frozenset(missing - asked.keys())
    return Sight(sorted(listed.values(), key=dispatch_order), list(asked.values()), vanished, comments, messages)


def _listens(rules: Rules, run: Run, issue: Issue) -> bool:
    """Tell whether a run's agent can be told something while it works."""
    is_at_work = run.stage is Stage.AGENT and run.state in (RunState.RUNNING, RunState.QUEUED, RunState.WAITING)
    return is_at_work and rules.workflow.agent.choice(issue.labels).kind == "openai"


def _messages(deployment: Deployment, tracker: Tracker, run: Run, issue: Issue) -> Sequence[Comment]:
    """Fetch what people wrote since the run began, when the issue has changed since this process last did."""
    changed = issue.updated_at
    if changed is not None and deployment.comments_read.get(run.id) == changed:
        return ()
    since = run.heard_at or run.created_at
    found = tracker.fetch_comments(issue, since=since)
    if changed is not None:
        deployment.comments_read[run.id] = changed
    return [one for one in found if not is_ours(one) and (one.created_at is None or one.created_at >= since)]


def _replies(rules: Rules, tracker: Tracker, run: Run, issue: Issue) -> Sequence[Comment]:
    """Fetch what people wrote since a run was blocked.

    Where Symphony writes comments, replies stand below its question; so an older comment without a time is none. Where
    the agent speaks for itself only a comment's time can tell.
    """
    if run.heard_at is None or (issue.updated_at is not None and issue.updated_at < run.heard_at):
        return ()
    found = tracker.fetch_comments(issue, since=run.heard_at)
    if rules.is_compatible:
        return [one for one in found if one.created_at is not None and one.created_at >= run.heard_at and not is_ours(one)]
    questions = [place for place, one in enumerate(found) if is_ours(one)]
    return list(found[questions[-1] + 1 :]) if questions else ()


def _record(
    transaction: Transaction, rules: Rules, tracker: Tracker, workflow: WorkflowRow, seq: int, sight: Sight
) -> bool:
    workflows.lock(transaction, workflow.id)
    live = runs.lock_live(transaction, workflow.id)
    if not workflows.end_poll_if_newest(transaction, workflow.id, seq, None):
        return False
    listed_ids = [issue.id for issue in sight.listed]
    for found, is_listed in ((sight.listed, True), (sight.asked, False)):
        if found:
            sightings = [sighting_of(issue, rules) for issue in found]
            issues.write_if_newer(transaction, workflow.id, seq, sightings, listed=is_listed)
    issues.deactivate_unlisted(transaction, workflow.id, seq, listed_ids)
    known = issues.freshness(transaction, workflow.id, seq)
    reconcile.reconcile(transaction, rules, tracker, live, known, sight.vanished, sight.comments)
    for run_id, said in sight.messages.items():
        conversations.add_messages(
            transaction, run_id, [NewMessage(one.id, one.author or "", one.body, one.created_at) for one in said]
        )
    issues.give_entries_to_live_runs(transaction, workflow.id)
    log.debug(Label.POLL_RECORDING, workflow=workflow.name, seq=seq)
    return True
