"""Live runs brought in line with what the tracker says.

The table is `domain.reconcile.decide`; here it is applied to rows that the poll's transaction has locked. A run that a
worker holds is asked, through its lease; a run that nobody holds is changed at once. Entries into a state are acted on
once, and only when the poll began after our last applied move with none undelivered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from symphony.domain.issue import Comment, Issue
from symphony.domain.reconcile import Action, Position, Standing, decide
from symphony.domain.run import RunEvent, RunState
from symphony.domain.stage import SLOT_STAGES, Stage, before_agent
from symphony.engine import announce, sessions
from symphony.engine.rules import Rules
from symphony.ledger import landings, runs
from symphony.ledger.database import Transaction
from symphony.ledger.issues import Fresh
from symphony.ledger.records import Run
from symphony.ledger.runs import Now
from symphony.telemetry.log import get_logger
from symphony.trackers.protocol import Tracker

log = get_logger()


def reconcile(
    transaction: Transaction, rules: Rules, tracker: Tracker, live: Sequence[Run], known: Sequence[Fresh],
    gone: Collection[str], comments: Mapping[UUID, Sequence[Comment]],
) -> None:  # fmt: skip
    """Apply the table to every live run whose issue this poll has news of."""
    by_issue = {fresh.issue.id: fresh for fresh in known}
    intents = landings.runs_with_intent(transaction, live[0].workflow_id) if live else set()
    for run in live:
        fresh = by_issue.get(run.issue_id)
        if fresh is None:
            continue
        vanished = fresh.issue.tracker_id in gone and not fresh.moved_since_poll_began
        if not fresh.is_fresh and not vanished:
            continue
        position = Position.INACTIVE if vanished else rules.position(Issue.from_json(fresh.issue.snapshot), tracker)
        counts = not fresh.has_pending_move and not fresh.moved_since_poll_began
        entered = counts and fresh.issue.state_entry > run.handled_entry
        is_landing = run.id in intents
        action = decide(position, Standing(run.state, run.stage, entered, is_landing, rules.parks_blocked))
        if entered and not is_landing:  # what is asked of a landing run is acted on when that is resolved
            runs.set_handled_entry(transaction, run.id, fresh.issue.state_entry)
        if action is Action.KEEP and run.state is RunState.BLOCKED and run.id in comments:
            resume(transaction, run, _quoted(comments[run.id]))
            if position is Position.HANDED or fresh.has_pending_move:
                announce.move_back(transaction, fresh.issue, run, rules)
        elif action is not Action.KEEP:
            reason = "the issue has vanished from the tracker" if vanished else f"the issue is now {fresh.issue.state!r}"
            log.info(
                "reconciled", run=str(run.id), issue_identifier=fresh.issue.identifier, action=str(action), reason=reason
            )
            act(transaction, rules, run, action, reason, comments.get(run.id, ()))


def act(
    transaction: Transaction, rules: Rules, run: Run, action: Action, reason: str, comments: Sequence[Comment] = ()
) -> None:
    """Carry out one action on a live run whose row is locked."""
    held = run.state is RunState.RUNNING
    match action:
        case Action.CANCEL | Action.RELEASE:
            clean = action is Action.CANCEL
            if held:
                runs.request(transaction, run, str(action), reason, clean=clean)
            else:
                event = RunEvent.CANCELLED if clean else RunEvent.RELEASED
                changed = runs.change(transaction, run, event, {"reason": reason}, clean_due=clean)
                sessions.tell(transaction, changed, event, {"reason": reason})
        case Action.RESUME:
            resume(transaction, run, _quoted(comments) or None)
        case Action.HAND_OVER:
            hand_over(transaction, rules, run, reason)
        case Action.REWORK:
            rework(transaction, rules, run, _quoted(comments) or f"A person sent this back: {reason}.")
        case Action.KEEP:
            pass


def resume(transaction: Transaction, run: Run, answer: str | None) -> None:
    """Let a blocked run go on with its agent, with the answer that a person gave.

    What was approved before is not what the agent makes now.
    """
    if run.state is RunState.BLOCKED:
        changed = runs.change(
            transaction, run, RunEvent.RESUMED, {"answer": answer}, waiting_for="resumed", due_at=Now(),
            stage=str(before_agent(run.stage, has_node=run.node is not None)), feedback=answer, error=None,
            approved_at=None,
        )  # fmt: skip
        sessions.tell(transaction, changed, RunEvent.RESUMED, {"answer": answer})


def hand_over(transaction: Transaction, rules: Rules, run: Run, reason: str) -> None:
    """Let a run go on to proof and landing without further agent work, where there is something to prove."""
    if run.state is RunState.RUNNING:
        runs.note_approved(transaction, run.id)
        if run.stage in SLOT_STAGES:
            runs.request(transaction, run, "hand_over", reason)
    elif run.head_sha is not None and (run.stage in SLOT_STAGES or run.state in (RunState.BLOCKED, RunState.REVIEWING)):
        approve(transaction, rules, run, is_moved=True)
    else:
        resume(transaction, run, None)
        runs.note_approved(transaction, run.id)


def approve(transaction: Transaction, rules: Rules, run: Run, *, is_moved: bool) -> None:
    """Let a run that nobody holds be proved and land; the issue is moved to `merging` unless a person has done so."""
    proof = landings.newest_proof(transaction, run.id)
    is_proved = proof is not None and proof.verdict == "passed" and proof.head_sha == run.head_sha
    stage = Stage.LAND if is_proved else Stage.PROOF
    changed = runs.change(
        transaction, run, RunEvent.APPROVED, stage=str(stage), approved_at=Now(), due_at=Now(), queued_at=Now(),
        rung_at=None, rings=0,
    )  # fmt: skip
    if not is_moved:
        announce.announce(transaction, changed, RunEvent.APPROVED, rules, {})


def rework(transaction: Transaction, rules: Rules, run: Run, feedback: str) -> None:
    """Send a run back to its agent with what a person wants changed; not counted as a round."""
    if run.state is RunState.RUNNING:
        runs.request(transaction, run, "rework", feedback)
    elif run.node is not None or run.head_sha is not None:
        stage = str(before_agent(run.stage, has_node=run.node is not None))
        columns = {"stage": stage, "feedback": feedback} | rules.begins_anew(keeps_work=False)
        changed = runs.change(
            transaction, run, RunEvent.REWORKED, {"by_person": True}, waiting_for="rework", due_at=Now(),
            approved_at=None, rung_at=None, rings=0, **columns,
        )  # fmt: skip
        sessions.tell(transaction, changed, RunEvent.REWORKED, {"by_person": True})


def _quoted(comments: Sequence[Comment]) -> str:
    return "\n\n".join(f"{comment.author or 'Someone'} wrote:\n{comment.body}" for comment in comments)
