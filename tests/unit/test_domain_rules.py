"""Backoff, limits, errors, reconciliation (docs/failure-model.md, specification 8.4 and 8.5)."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain import errors, outcome, retry
from symphony.domain.reconcile import Action, Position, Standing, decide
from symphony.domain.run import LIVE, RunState
from symphony.domain.stage import Stage

CAP = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("failure", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300), (10**9, 300)]
)
def test_backoff_doubles_from_ten_seconds_to_the_cap(failure: int, seconds: int) -> None:
    """Rule: min(10000 * 2^(attempt - 1), cap) of specification 8.4."""
    assert retry.backoff(failure, CAP) == timedelta(seconds=seconds)


@given(st.integers(-5, 10_000), st.integers(1, 10**7))
def test_backoff_never_exceeds_its_cap_nor_shrinks(failure: int, cap_s: int) -> None:
    """Rule: the configured cap holds for any number of failures."""
    cap = timedelta(seconds=cap_s)
    assert timedelta() < retry.backoff(failure, cap) <= cap
    assert retry.backoff(failure, cap) <= retry.backoff(failure + 1, cap)


def test_the_first_crash_costs_no_wait_and_the_next_do() -> None:
    """Rule: a lost worker's run restarts at once, one that goes on losing workers backs off."""
    assert [retry.crash_backoff(n, CAP).total_seconds() for n in (0, 1, 2, 3, 4)] == [0, 0, 10, 20, 40]


@pytest.mark.parametrize(
    ("failures", "crashes", "in_row", "limit", "expected"),
    [
        (4, 0, 0, 5, False), (5, 0, 0, 5, True), (3, 2, 1, 5, True), (0, 5, 5, 5, True), (2, 2, 2, 5, False),
        (1, 0, 0, 1, True), (500, 4, 4, 0, False), (0, 5, 5, 0, True), (0, 50, 4, 0, False), (0, 9, 5, 0, True),
    ],
)  # fmt: skip
def test_limits(failures: int, crashes: int, in_row: int, limit: int, expected: bool) -> None:
    """Rule: failures and crashes count toward max_attempts; 0 means five crashes in a row only."""
    assert retry.is_exhausted(failures=failures, crashes=crashes, crashes_in_row=in_row, max_attempts=limit) is expected


MAPPED = [
    (errors.Fenced("x"), type(None)),
    (errors.Transient("x", retry_after=timedelta(seconds=99)), outcome.Retry),
    (errors.ConfigError("x"), outcome.Retry),
    (errors.Rejected("x"), outcome.Retry),
    (errors.Poisoned("x"), outcome.Block),
    (errors.Cancelled("x"), outcome.Cancel),
    (errors.Breach("x"), outcome.Fail),
    (errors.InvariantViolated("x"), outcome.Fail),
    (errors.SymphonyError("x"), outcome.Retry),
]


@pytest.mark.parametrize(("error", "kind"), MAPPED, ids=lambda value: getattr(value, "category", None))
def test_an_errors_class_says_what_happens_next(error: errors.SymphonyError, kind: type) -> None:
    """Rule: one total function maps each class to an outcome; Fenced leaves without a word."""
    assert type(retry.outcome_of(error)) is kind


def test_every_error_class_is_mapped() -> None:
    """Rule: a new class must be given a consequence here."""
    assert {type(error) for error, _ in MAPPED} == {errors.SymphonyError, *errors.SymphonyError.__subclasses__()}


def test_a_time_that_the_other_side_named_is_respected() -> None:
    """Rule: not before retry_after, and never sooner than the backoff."""
    named = outcome.Retry("x", timedelta(hours=1))
    assert retry.delay_after(named, 1, CAP) == timedelta(hours=1)
    assert retry.delay_after(outcome.Retry("x", timedelta(seconds=1)), 2, CAP) == timedelta(seconds=20)


K, RES, HO, RW, REL, CAN = (
    Action.KEEP, Action.RESUME, Action.HAND_OVER, Action.REWORK, Action.RELEASE, Action.CANCEL,
)  # fmt: skip
# docs/failure-model.md: position -> (run in provision or agent, run later, reviewing, blocked), on entry and afterwards.
TABLE: dict[Position, tuple[tuple[Action, ...], tuple[Action, ...]]] = {
    Position.ACTIVE: ((K, K, K, RES), (K, K, K, K)),
    Position.HANDED: ((K, K, K, K), (K, K, K, K)),
    Position.MERGING: ((HO, HO, HO, HO), (K, K, K, K)),
    Position.REWORK: ((RW, RW, RW, RW), (K, K, K, K)),
    Position.STARTED: ((REL, K, K, K), (REL, K, K, K)),
    Position.INACTIVE: ((REL, REL, REL, REL), (REL, REL, REL, REL)),
    Position.TERMINAL: ((CAN, CAN, CAN, CAN), (CAN, CAN, CAN, CAN)),
}


@pytest.mark.parametrize(
    ("position", "state", "stage", "entered"), list(itertools.product(Position, LIVE, Stage, [True, False]))
)
def test_every_cell_of_the_table(position: Position, state: RunState, stage: Stage, entered: bool) -> None:
    """Rule: "Live run × what the tracker says"; merging, rework and resuming happen on entry only."""
    if state is RunState.BLOCKED:
        column = 3
    elif state is RunState.REVIEWING:
        column = 2
    else:
        column = 0 if stage in {Stage.PROVISION, Stage.AGENT} else 1
    expected = TABLE[position][0 if entered else 1][column]
    assert decide(position, Standing(state, stage, entered)) is expected


@pytest.mark.parametrize("stage", list(Stage))
def test_where_blocked_issues_stay_active_standing_there_is_no_answer(stage: Stage) -> None:
    """Rule: where no such state is configured, a blocked run resumes by an answer, a comment or a command only."""
    assert decide(Position.ACTIVE, Standing(RunState.BLOCKED, stage, True, is_parked_apart=False)) is Action.KEEP


@pytest.mark.parametrize(("position", "entered"), list(itertools.product(Position, [True, False])))
def test_an_intended_landing_is_resolved_before_anything_else(position: Position, entered: bool) -> None:
    """Rule: a landing whose push is intended is resolved first."""
    assert decide(position, Standing(RunState.RUNNING, Stage.LAND, entered, landing_intended=True)) is Action.KEEP
