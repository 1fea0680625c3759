"""Effects carried to the tracker: in order for each issue, by one deliverer, applied once.

The effect's id is the key by which the adapter finds a write that it has already made, so a deliverer that dies between
the write and its record does no harm. A tracker that fails delays the issue's later effects, never drops one but evidence
that it would not take for hours, which Symphony itself keeps, too.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from symphony.domain import retry
from symphony.domain.errors import ConfigError, Rejected, Transient
from symphony.engine import sessions as saying
from symphony.engine.deployment import Deployment
from symphony.engine.poll import sighting_of
from symphony.engine.progress import progress_of
from symphony.engine.shown import Reach
from symphony.ledger import effects, issues, runs, sessions, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import Effect, IssueRow, WorkflowRow
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from symphony.trackers.protocol import SESSION_NOT_FOUND, Annotates, Attachment, Converses, Tracker

_ISSUES_AT_ONCE = 20
_LONGEST_DELAY = timedelta(minutes=1)
_FIRST_DELAY_DIVISOR = 10
_MENDED_BY_PEOPLE = timedelta(seconds=30)
"""Between tries where a person must change something first, like a key that is not accepted."""
_EVIDENCE_EVERY = timedelta(minutes=5)
_MOST_TRIES_OF_EVIDENCE = 30
"""With what is between them: for about two hours."""

log = get_logger()


def deliver(deployment: Deployment) -> int:
    """Deliver what is due and give the number of effects that ended."""
    lease = deployment.settings.lease_ttl
    taken = deployment.database.transact(
        lambda t: effects.take_issues(t, deliverer=deployment.process_id, lease=lease, limit=_ISSUES_AT_ONCE)
    )
    return sum(_deliver_issue(deployment, issue_id) for issue_id in taken)


def _deliver_issue(deployment: Deployment, issue_id: UUID) -> int:
    def read(transaction: Transaction) -> tuple[IssueRow, WorkflowRow]:
        issue = issues.get(transaction, issue_id)
        assert issue is not None
        workflow = workflows.get(transaction, issue.workflow_id)
        assert workflow is not None
        return issue, workflow

    me, lease = deployment.process_id, deployment.settings.lease_ttl
    issue, workflow = deployment.database.transact(read)
    ended = 0
    try:
        while (
            effect := deployment.database.transact(lambda t: effects.next_if_deliverer(t, issue_id, me, lease))
        ) is not None:
            if not _apply(deployment, workflow, issue, effect):
                break
            ended += 1
    finally:
        deployment.database.transact(lambda t: effects.release_issue(t, issue_id, me))
    return ended


def _apply(deployment: Deployment, workflow: WorkflowRow, issue: IssueRow, effect: Effect) -> bool:
    try:
        tracker = deployment.tracker(workflow)
        log.debug(Label.EFFECT_WRITING, effect=str(effect.id), kind=effect.kind)
        if effect.kind == "move":
            _move(deployment, tracker, workflow, issue, effect)
        else:
            _write(deployment, tracker, issue, effect)
            log.debug(Label.EFFECT_WRITTEN, effect=str(effect.id), kind=effect.kind)
            deployment.database.transact(lambda t: _settle(t, effect))
    except Rejected as error:
        log.error("effect refused", issue_identifier=issue.identifier, kind=effect.kind, reason=str(error))
        refusal = error
        deployment.database.transact(lambda t: _settle(t, effect, refusal))
    except Exception as error:  # noqa: BLE001 - the tick's boundary: one issue's trouble must not hold up the others
        _put_off(deployment, issue, effect, error)
        return False
    log.info(Label.EFFECT_RECORDED, issue_identifier=issue.identifier, kind=effect.kind)
    return True


def _settle(transaction: Transaction, effect: Effect, refusal: Rejected | None = None) -> None:
    """Record that an effect was applied or refused, and what that means for its session, if it was said in one."""
    state, reason = ("applied", None) if refusal is None else ("refused", str(refusal))
    effects.settle_if_pending(transaction, effect.id, state, reason)
    if effect.kind == "activity":
        session_id = effect.payload["session"]
        if refusal is None:
            sessions.note_spoken(transaction, session_id)
        elif refusal.category == SESSION_NOT_FOUND:
            sessions.close(transaction, [session_id])


def _write(deployment: Deployment, tracker: Tracker, issue: IssueRow, effect: Effect) -> None:
    """Make the tracker have what an effect other than a move wants."""
    match effect.kind:
        case "comment":
            tracker.comment(issue.tracker_id, key=str(effect.id), body=effect.payload["body"])
        case "progress":
            _tell_progress(deployment, tracker, issue)
        case "attach" if isinstance(tracker, Annotates):
            tracker.attach(issue.tracker_id, key=str(effect.id), attachment=Attachment(**effect.payload))
        case "activity" if isinstance(tracker, Converses):
            saying.say(tracker, effect)
        case _:
            raise Rejected(f"a tracker of kind {tracker.kind} takes no {effect.kind}")


def _tell_progress(deployment: Deployment, tracker: Tracker, issue: IssueRow) -> None:
    reach = Reach(deployment.settings.public_url)
    found = deployment.database.transact(lambda t: progress_of(t, issue.id, reach))
    if found is None:
        return
    text, situation = found
    tracker.comment(issue.tracker_id, key=f"progress:{issue.id}", body=text)
    if isinstance(tracker, Annotates):
        tracker.mark(issue.tracker_id, situation)


def _move(deployment: Deployment, tracker: Tracker, workflow: WorkflowRow, issue: IssueRow, effect: Effect) -> None:
    since = effect.payload.get("since")
    moved = tracker.move(
        issue.tracker_id,
        effect.payload["to"],
        allowed_from=effect.payload["from"],
        unless_since=datetime.fromisoformat(since) if since is not None else None,
    )
    log.debug(Label.EFFECT_WRITTEN, effect=str(effect.id), kind=effect.kind)
    rules = deployment.rules(workflow)
    # What a person did to the issue since our write is for the next poll to see as an entry, not for us to swallow here.
    written = replace(moved.issue, state=effect.payload["to"])

    def record(transaction: Transaction) -> None:
        runs.lock_live_of_issue(transaction, issue.id)
        state = "overruled" if moved.outcome == "overruled" else "applied"
        if effects.settle_if_pending(transaction, effect.id, state) and state == "applied":
            issues.note_moved(transaction, issue.id, sighting_of(written, rules))
            if rules.states.is_terminal(written.state):
                runs.clean_ended(transaction, [issue.id])

    deployment.database.transact(record)
    if not rules.states.is_active(written.state):
        # Apart, since the workflow's row is locked before any run's.
        deployment.database.transact(lambda t: workflows.poll_soon(t, workflow.id))


def _put_off(deployment: Deployment, issue: IssueRow, effect: Effect, error: Exception) -> None:
    asked = error.retry_after if isinstance(error, Transient) else None
    least = _MENDED_BY_PEOPLE if isinstance(error, ConfigError) else timedelta()
    delay = max(retry.backoff(effect.tries + 1, _LONGEST_DELAY) / _FIRST_DELAY_DIVISOR, asked or least)
    if effect.kind == "attach":
        delay = max(delay, retry.backoff(effect.tries + 1, _EVIDENCE_EVERY))
        if effect.tries + 1 >= _MOST_TRIES_OF_EVIDENCE:
            log.error("evidence given up", issue_identifier=issue.identifier, reason=str(error))
            deployment.database.transact(lambda t: effects.settle_if_pending(t, effect.id, "refused", str(error)))
            return
    log.warning("effect put off", issue_identifier=issue.identifier, kind=effect.kind, reason=str(error))
    deployment.database.transact(lambda t: effects.put_off(t, effect.id, str(error) or repr(error), delay))
