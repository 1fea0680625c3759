"""A poll: what the tracker says, recorded once, and what that means for live runs and new ones.

Invariants: one poller a workflow; only the newest poll writes; a tracker's error changes nothing but the poll's own
row. The network is asked with no transaction open. Order within the recording transaction: workflow, runs, issues.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from symphony.domain.admission import dispatch_order, is_routable, priority_rank
from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.issue import Issue
from symphony.engine import reconcile, sessions
from symphony.engine.admit import admit
from symphony.engine.deployment import Deployment, LastPoll
from symphony.engine.hear import Heard, hear
from symphony.engine.rules import Rules
from symphony.ledger import conversations, issues, runs, workflows
from symphony.ledger.conversations import NewMessage
from symphony.ledger.database import Transaction
from symphony.ledger.issues import Sighting
from symphony.ledger.records import Run, WorkflowRow
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from symphony.trackers.protocol import Tracker

_UNREADABLE_INTERVAL = timedelta(seconds=30)
_LEAST_APART = timedelta(seconds=1)
"""Between the beginnings of polls that webhooks ring."""
_LOOKED_FOR = 20
"""The most ended issues that one poll asks for besides."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Sight:
    """All that one poll learned: the board's list, the issues of live runs that it lacks, people's new comments."""

    listed: Sequence[Issue]
    asked: Sequence[Issue]
    vanished: frozenset[str]
    """Issues that were asked for by id and are certainly no longer visible."""
    heard: Heard
    looked_for: Sequence[str]
    """Issues whose runs have ended and left workspaces: were these closed meanwhile?"""


def poll(
    deployment: Deployment, workflow_id: UUID, refreshed: Callable[[WorkflowRow], WorkflowRow] = lambda row: row
) -> bool:
    """Poll a workflow's tracker if it is due and nobody else does; False when there was nothing to do.

    `refreshed` reads the workflow again where that is this poll's business: in its turn, so that a repository which does
    not answer is waited for once.
    """
    begun = _begin(deployment, workflow_id)
    if begun is None:
        return False
    workflow, seq, live = begun
    try:
        workflow = refreshed(workflow)
        rules, tracker = deployment.rules(workflow), deployment.tracker(workflow)
        sight = _look(deployment, workflow, rules, tracker, live)
        last = deployment.last_polls.get(workflow.id)
        recorded = deployment.database.transact(lambda t: _record(t, rules, tracker, workflow, seq, sight, last))
    except Exception as error:  # noqa: BLE001 - the tick's boundary: whatever is raised ends this poll only
        category = error.category if isinstance(error, SymphonyError) else type(error).__name__
        log.error("poll failed", workflow=workflow.name, category=category, reason=str(error))
        reason = str(error) or category
        deployment.given_up_polls[workflow.id] = seq
        deployment.database.transact(lambda t: workflows.end_poll_if_newest(t, workflow.id, seq, reason))
        return True
    if recorded is not None:
        deployment.last_polls[workflow.id] = recorded
        read = {**deployment.comments_read.get(workflow.id, {}), **sight.heard.read}
        deployment.comments_read[workflow.id] = {run.id: read[run.id] for run, _ in live if run.id in read}
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
    known = deployment.database.transact(lambda transaction: workflows.get(transaction, workflow_id))
    if known is None:
        return None
    interval, apart = _pace(deployment, known)

    def body(transaction: Transaction) -> tuple[WorkflowRow, int, list[tuple[Run, Issue]]] | None:
        workflow = workflows.get(transaction, workflow_id)
        assert workflow is not None
        seq = workflows.begin_poll_if_due(
            transaction,
            workflow_id,
            process_id=deployment.process_id,
            interval=interval,
            apart=apart,
            silence=deployment.settings.node_silence,
            given_up=deployment.given_up_polls.get(workflow_id, 0),
        )
        if seq is None:
            return None
        live = runs.live_with_snapshots(transaction, workflow_id)
        return workflow, seq, [(run, Issue.from_json(snapshot)) for run, snapshot in live]

    return deployment.database.transact(body)


def _pace(deployment: Deployment, workflow: WorkflowRow) -> tuple[timedelta, timedelta]:
    """Say when the next poll is due by itself, and when at the earliest, whatever webhooks come.

    Both grow as the tracker's limits shrink, the second one faster: a storm of webhooks must not use them up.
    """
    try:
        factor = deployment.tracker(workflow).poll_factor()
        interval = deployment.rules(workflow).poll_interval * factor
    except ConfigError:  # said by the poll itself, which may bring a version that can be read
        return _UNREADABLE_INTERVAL, _LEAST_APART
    return interval, min(interval, _LEAST_APART * factor**2)


def _look(
    deployment: Deployment, workflow: WorkflowRow, rules: Rules, tracker: Tracker, live: list[tuple[Run, Issue]]
) -> Sight:
    watched = {issue.id for _, issue in live}
    board = tracker.fetch_board(rules.active_states, watched=watched)
    for sentence in board.listed.omitted:
        log.warning("issue left out", reason=sentence)
    listed = {issue.id: issue for issue in board.listed.issues}
    asked = {issue.id: issue for issue in board.watched if issue.id not in listed}
    seen = {one.id: _as_last_touched(one, board.spoken.get(one.id)) for one in (listed | asked).values()}
    heard = hear(deployment, rules, tracker, live, seen)
    looked_for = _with_left_workspaces(deployment, workflow, rules, listed.keys())
    found = [*asked.values(), *_those_there(tracker, looked_for)]
    vanished = frozenset(watched - listed.keys() - asked.keys())
    return Sight(sorted(listed.values(), key=dispatch_order), found, vanished, heard, looked_for)


def _as_last_touched(issue: Issue, spoken: datetime | None) -> Issue:
    """Give an issue as changed when it was last spoken on; not to be stored: the tracker never says that again."""
    is_later = spoken is not None and issue.updated_at is not None and spoken > issue.updated_at
    return replace(issue, updated_at=spoken) if is_later else issue


def _with_left_workspaces(
    deployment: Deployment, workflow: WorkflowRow, rules: Rules, listed: Collection[str]
) -> list[str]:
    """List some issues whose runs have ended and left workspaces, in turn: these go when their issue is terminal."""
    return deployment.database.transact(
        lambda t: issues.with_left_workspaces(
            t, workflow.id, terminal=sorted(rules.states.terminal), seen=list(listed), limit=_LOOKED_FOR
        )
    )


def _those_there(tracker: Tracker, ids: Sequence[str]) -> list[Issue]:
    """Ask for issues that nobody waits for: one that cannot be read now holds up neither the poll nor the others."""
    found: list[Issue] = []
    try:
        found += tracker.fetch_issues_by_ids(ids) if ids else ()
    except SymphonyError as error:
        log.warning("ended issues not looked at", reason=str(error))
        if len(ids) > 1:
            found += [issue for one in ids for issue in _those_there(tracker, [one])]
    return found


def _record(
    transaction: Transaction, rules: Rules, tracker: Tracker, workflow: WorkflowRow, seq: int, sight: Sight,
    last: LastPoll | None,
) -> LastPoll | None:  # fmt: skip
    """Write what a poll saw and give that; None when a newer poll has begun, whose word alone counts then."""
    workflows.lock(transaction, workflow.id)
    live = runs.lock_live(transaction, workflow.id)
    if not workflows.end_poll_if_newest(transaction, workflow.id, seq, None):
        return None
    workflows.note_tells_progress(transaction, workflow.id, tells=rules.tells_progress)
    listed_ids = [issue.id for issue in sight.listed]
    news = _news(transaction, workflow, seq, sight.listed, last)
    for found, is_listed in ((news, True), (sight.asked, False)):
        if found:
            sightings = [sighting_of(issue, rules) for issue in found]
            issues.write_if_newer(transaction, workflow.id, seq, sightings, listed=is_listed)
    over = [issue.id for issue in sight.asked if rules.states.is_terminal(issue.state)]
    runs.clean_ended(transaction, issues.written_by(transaction, workflow.id, seq, over))
    issues.note_looked_for(transaction, workflow.id, seq, list(sight.looked_for))
    issues.deactivate_unlisted(transaction, workflow.id, seq, listed_ids)
    known = issues.freshness(transaction, workflow.id, seq)
    reconcile.reconcile(transaction, rules, tracker, live, known, sight.vanished, sight.heard.replies)
    for run_id, said in sight.heard.messages.items():
        conversations.add_messages(
            transaction, run_id, [NewMessage(one.id, one.author or "", one.body, one.created_at) for one in said]
        )
    for run_id, stop in sight.heard.stops.items():
        sessions.stop(transaction, run_id, stop)
    issues.give_entries_to_live_runs(transaction, workflow.id)
    log.debug(Label.POLL_RECORDING, workflow=workflow.name, seq=seq)
    return LastPoll(seq, workflow.version_id, {issue.id: issue for issue in sight.listed})


def _news(
    transaction: Transaction, workflow: WorkflowRow, seq: int, listed: Sequence[Issue], last: LastPoll | None
) -> Sequence[Issue]:
    """Give the listed issues that must be written; of those that are as this process wrote them last the sight is noted."""
    if last is None or last.version_id != workflow.version_id:
        return listed
    same = [issue.id for issue in listed if last.listed.get(issue.id) == issue]
    kept = issues.keep_listed_if_untouched(transaction, workflow.id, seq, same, since_seq=last.seq) if same else frozenset()
    return [issue for issue in listed if issue.id not in kept]
