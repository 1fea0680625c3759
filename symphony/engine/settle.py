"""How a stage's outcome becomes rows: the state machine's hand.

Invariant: one fenced transaction writes the run's new state, its event, the end of its attempt and the effects that
the change wants; or nothing. What was asked of the run meanwhile (cancel, release, rework, hand over) is honoured in
the same step. Relied on by `execute` for holders and by `sweep` for the holders that are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, assert_never

from symphony.domain import retry
from symphony.domain.outcome import (
    Advance,
    Block,
    Cancel,
    Continue,
    Fail,
    Interrupted,
    Outcome,
    Park,
    Release,
    Retry,
    Review,
    Rework,
    name_of,
)
from symphony.domain.run import RunEvent
from symphony.domain.stage import SLOT_STAGES, Stage, before_agent, following
from symphony.engine import announce
from symphony.engine.rules import Rules
from symphony.engine.shown import NO_REACH, Reach
from symphony.ledger import attempts, landings, leases, runs
from symphony.ledger.database import Database, FencedTransaction, Held, Transaction
from symphony.ledger.leases import Progress
from symphony.ledger.records import Run, record
from symphony.ledger.runs import Now
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Change:
    """A move of the state machine with the columns and the effects that go with it."""

    event: RunEvent
    columns: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def settle(
    database: Database,
    held: Held,
    outcome: Outcome,
    rules: Rules,
    progress: Progress | None = None,
    reach: Reach = NO_REACH,
) -> Run:
    """Write the end of a held attempt, with its last progress, and give the run as it stands then; `reach` as `announce`.

    Raises:
        Fenced: the run has another owner; nothing was written.
        Transient: the database does not answer; nothing is known to be written.
    """

    def body(transaction: FencedTransaction) -> Run:
        run = record(Run, transaction.run_row)
        if progress is not None:
            leases.note_progress(transaction, progress)
        honoured = _honour_request(transaction, run, outcome)
        changed = apply(transaction, run, honoured, rules, reach)
        log.debug(Label.SETTLING, run=str(run.id), stage=str(run.stage), outcome=name_of(honoured))
        return changed

    changed = database.fenced(held, body)
    log.info(Label.SETTLED, run=str(changed.id), state=str(changed.state), stage=str(changed.stage))
    return changed


def apply(transaction: Transaction, run: Run, outcome: Outcome, rules: Rules, reach: Reach) -> Run:
    """Turn an outcome into the change of a running run whose row is locked, with its effects."""
    change = change_of(transaction, run, outcome, rules)
    attempts.end(transaction, run.attempt_id, name_of(outcome), change.error)
    changed = runs.change(transaction, run, change.event, change.data, **change.columns)
    announce.announce(transaction, changed, change.event, rules, change.data, reach)
    if run.stage is Stage.LAND and run.target is not None:
        runs.ring_next_lander(transaction, run.target)
    return changed


def _honour_request(transaction: Transaction, run: Run, outcome: Outcome) -> Outcome:
    """Replace an outcome by what was asked of the run meanwhile; what has landed has landed."""
    landed = isinstance(outcome, Advance) and run.stage is Stage.LAND
    if run.request is None or landed or landings.intended(transaction, run.id) is not None:
        return outcome
    reason = run.request_reason or run.request
    match run.request:
        case "cancel":
            return Cancel(reason, clean=run.request_clean)
        case "release":
            return Release(reason, clean=run.request_clean)
        case "rework":
            return Rework(reason, by_person=True)
        case _:
            return Advance() if isinstance(outcome, Continue | Interrupted) and run.head_sha else outcome


def change_of(transaction: Transaction, run: Run, outcome: Outcome, rules: Rules) -> Change:
    """Look up what an outcome means for this run, its counters and limits."""
    match outcome:
        case Advance():
            return _advance(transaction, run, rules)
        case Continue():
            return _continue(run)
        case Rework():
            return _rework(run, outcome, rules)
        case Park(wait, reason):
            return Change(RunEvent.PARKED, _wait(reason, wait) | {"crashes_in_row": 0}, {"reason": reason})
        case Retry(error):
            return _retry(transaction, run, outcome, error, rules)
        case Interrupted(reason):
            return Change(RunEvent.INTERRUPTED, _queue(), {"reason": reason}, reason)
        case Review(reason):
            return _review(reason)
        case Block(question):
            return _block(question)
        case Release(reason, clean):
            return Change(RunEvent.RELEASED, {"clean_due": clean, "error": None}, {"reason": reason})
        case Cancel(reason, clean):
            return Change(RunEvent.CANCELLED, {"clean_due": clean}, {"reason": reason}, reason)
        case Fail(error):
            return _fail(error)
        case _:
            assert_never(outcome)


def _wait(reason: str, delay: timedelta) -> dict[str, Any]:
    return {"waiting_for": reason, "due_at": Now(delay), "rung_at": None, "rings": 0}


def _queue() -> dict[str, Any]:
    return {"due_at": Now(), "queued_at": Now(), "rung_at": None, "rings": 0}


def _advance(transaction: Transaction, run: Run, rules: Rules) -> Change:
    if run.stage is Stage.LAND:
        merge_sha = landings.land_intended(transaction, run.id)
        return _fail("the landing has no record") if merge_sha is None else _landed(merge_sha)
    after = Stage.PROOF if _is_handed_over(run) else following(run.stage, rules.stages)
    if after is None:
        return _continue(run)
    if after is Stage.LAND and (rules.land_mode == "off" or (rules.land_mode == "review" and run.approved_at is None)):
        return _review("proved, waits for a person")
    fresh = {"feedback": None, "question": None} if run.stage is Stage.AGENT else {}
    rung = {"rung_at": Now(), "rings": 1}
    return Change(RunEvent.ADVANCED, {**_queue(), **rung, **fresh, "stage": str(after), "error": None, "crashes_in_row": 0})


def _continue(run: Run) -> Change:
    """Begin another session soon; the one that ended has heard what people answered."""
    heard = {"feedback": None, "question": None, "crashes_in_row": 0, "sessions": run.sessions + 1}
    return Change(RunEvent.CONTINUED, _wait("continuation", retry.CONTINUATION_DELAY) | heard)


def _is_handed_over(run: Run) -> bool:
    """Tell whether a person wants no more agent work and there is something to prove."""
    return run.request == "hand_over" and run.head_sha is not None and run.stage in SLOT_STAGES


def _landed(merge_sha: str) -> Change:
    return Change(RunEvent.LANDED, {"landed_sha": merge_sha, "error": None}, {"commit": merge_sha})


def _rework(run: Run, outcome: Rework, rules: Rules) -> Change:
    rounds = run.rework_rounds if outcome.by_person else run.rework_rounds + 1
    if rounds > rules.max_rework and not outcome.by_person:
        return _block(
            f"The proof still fails after {run.rework_rounds} rounds of rework. What should change?\n\n{outcome.feedback}"
        )
    return Change(
        RunEvent.REWORKED,
        _wait("rework", timedelta())
        | {
            "stage": str(before_agent(run.stage, has_node=run.node is not None)), "feedback": outcome.feedback,
            "rework_rounds": rounds, "crashes_in_row": 0, "approved_at": None,
            "question": None,
        }
        | rules.begins_anew(keeps_work=outcome.keeps_work),
        {"round": rounds, "by_person": outcome.by_person},
    )  # fmt: skip


def _retry(transaction: Transaction, run: Run, outcome: Retry, error: str, rules: Rules) -> Change:
    failures = run.failures + 1
    is_exhausted = retry.is_exhausted(
        failures=failures, crashes=run.crashes, crashes_in_row=0, max_attempts=rules.max_attempts
    )
    # An end with a push intended would leave the target's queue to a landing that nobody resolves.
    if is_exhausted and landings.intended(transaction, run.id) is None:
        return _fail(error, failures=failures)
    delay = retry.delay_after(outcome, failures, rules.backoff_cap)
    return Change(
        RunEvent.RETRIED,
        _wait("backoff", delay) | {"failures": failures, "crashes_in_row": 0, "error": error},
        {"error": error, "delay_s": delay.total_seconds()},
        error,
    )


def lost(run: Run, rules: Rules, *, process_died: bool, is_landing: bool) -> Change:
    """Look up what the loss of its holder means: a crash when the process died too, else an interruption.

    A run whose push is intended (`is_landing`) never fails by that: the landing must be resolved. Where its holder was
    asked to turn, the next one does.
    """
    crashes, in_row = (run.crashes + 1, run.crashes_in_row + 1) if process_died else (run.crashes, run.crashes_in_row)
    error = "the worker died" if process_died else "the worker lost its lease"
    is_exhausted = retry.is_exhausted(
        failures=run.failures, crashes=crashes, crashes_in_row=in_row, max_attempts=rules.max_attempts
    )
    if process_died and is_exhausted and not is_landing:
        return _fail(f"{error}, {crashes} crashes", crashes=crashes, crashes_in_row=in_row)
    delay = retry.crash_backoff(in_row, rules.backoff_cap) if process_died else timedelta()
    return Change(
        RunEvent.LOST,
        _wait("backoff", delay)
        | {"crashes": crashes, "crashes_in_row": in_row, "error": error}
        | ({} if is_landing else _turned(run)),
        {"error": error, "process_died": process_died},
        error,
    )


def _turned(run: Run) -> dict[str, Any]:
    """Give the columns by which a run turns as its lost holder had been asked to."""
    if run.request == "rework":
        stage = before_agent(run.stage, has_node=run.node is not None)
        return {"stage": str(stage), "feedback": run.request_reason, "question": None, "approved_at": None}
    return {"stage": str(Stage.PROOF)} if _is_handed_over(run) else {}


def _review(reason: str) -> Change:
    return Change(RunEvent.HANDED_OVER, {"crashes_in_row": 0, "error": None, "heard_at": Now()}, {"reason": reason})


def _block(question: str) -> Change:
    return Change(RunEvent.BLOCKED, {"question": question, "heard_at": Now(), "crashes_in_row": 0}, {"question": question})


def _fail(error: str, **columns: Any) -> Change:
    return Change(RunEvent.FAILED, {"error": error, **columns}, {"error": error}, error)
