"""Backoff and limits: how often, how soon, and what an error means for the run.

Formulas follow the specification, section 8.4; limits follow `agent.max_attempts`.
"""

from __future__ import annotations

from datetime import timedelta

from symphony.domain.errors import (
    Breach,
    Cancelled,
    ConfigError,
    Fenced,
    InvariantViolated,
    Poisoned,
    Rejected,
    SymphonyError,
    Transient,
)
from symphony.domain.outcome import Block, Cancel, Fail, Outcome, Retry

CONTINUATION_DELAY = timedelta(seconds=1)
BACKOFF_START = timedelta(seconds=10)
CRASHES_IN_A_ROW = 5
_DOUBLINGS = 30


def backoff(failure: int, cap: timedelta) -> timedelta:
    """Give the delay after the `failure`-th failure (1-based): 10 s doubled each time, up to `cap`."""
    doublings = min(max(failure, 1) - 1, _DOUBLINGS)
    return min(BACKOFF_START * (1 << doublings), cap)


def crash_backoff(crashes_in_row: int, cap: timedelta) -> timedelta:
    """Give the delay after a lost worker: none the first time, since the run is hardly ever to blame."""
    return timedelta() if crashes_in_row <= 1 else backoff(crashes_in_row - 1, cap)


def is_exhausted(*, failures: int, crashes: int, crashes_in_row: int, max_attempts: int) -> bool:
    """Tell whether a run has used up its attempts; 0 means no limit but five crashes in a row."""
    if max_attempts > 0:
        return failures + crashes >= max_attempts
    return crashes_in_row >= CRASHES_IN_A_ROW


def outcome_of(error: SymphonyError) -> Outcome | None:
    """Map an error to the outcome of its stage; None = leave without a word, the run is not ours.

    A mistake of the operator's or a refusal costs the attempt, not the run (specification 16.6): the next one has the
    newest version of the workflow and may run elsewhere, so what failed is not simply done again. Who has to change the
    input is asked, since no attempt changes it.

    Limits on attempts are applied when the outcome is settled, where the counters are.
    """
    match error:
        case Fenced():
            return None
        case Transient():
            return Retry(str(error), error.retry_after)
        case ConfigError() | Rejected():
            return Retry(str(error))
        case Poisoned():
            return Block(str(error))
        case Cancelled():
            return Cancel(str(error))
        case Breach() | InvariantViolated():
            return Fail(str(error))
        case _:
            return Retry(str(error))


def delay_after(outcome: Retry, failures: int, cap: timedelta) -> timedelta:
    """Give the delay before the next attempt; a time that the other side named is respected."""
    return max(backoff(failures, cap), outcome.retry_after or timedelta())
