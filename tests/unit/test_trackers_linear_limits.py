"""Budgets as Linear's headers tell of them, and how long a refused key stays closed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.trackers.linear import limits

NOW = datetime(2026, 11, 1, 9, 0, 0, 250000, tzinfo=UTC)
DATE = NOW.replace(microsecond=0)


def budget(resource: str, *, remaining: object, reset_in: float, limit: object = 1500) -> dict[str, str]:
    reset = int((NOW + timedelta(seconds=reset_in)).timestamp() * 1000)
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{resource}-{name}": str(value) for name, value in values.items()}


def waits(headers: dict[str, str], theirs: datetime | None = DATE) -> float:
    return (limits.closed_until(headers, now=NOW, theirs=theirs) - NOW).total_seconds()


def test_every_budget_of_an_answer_is_read() -> None:
    headers = budget("requests", remaining=3, reset_in=60) | budget(
        "complexity", remaining=0.5, reset_in=1.234, limit=250000
    )
    found = {one.resource: one for one in limits.allowances(headers)}
    assert (found["requests"].limit, found["requests"].remaining) == (1500, 3)
    assert found["complexity"].reset_at == NOW + timedelta(seconds=1.234)


@pytest.mark.parametrize("wrong", [{"limit": "many"}, {"reset": "soon"}, {"reset": "1e400"}, {"remaining": ""}])
def test_a_budget_that_cannot_be_read_is_none(wrong: dict[str, str]) -> None:
    headers = budget("requests", remaining=3, reset_in=60) | {
        f"x-ratelimit-requests-{key}": text for key, text in wrong.items()
    }
    assert limits.allowances(headers) == []
    assert limits.allowances({"x-ratelimit-requests-limit": "5"}) == []


def test_a_key_stays_closed_until_its_spent_budget_returns_to_the_millisecond() -> None:
    headers = budget("requests", remaining=0, reset_in=7.321) | budget("complexity", remaining=9000, reset_in=3000)
    assert waits(headers) == pytest.approx(7.321, abs=0.0011)
    both = headers | budget("complexity", remaining=0, reset_in=40)
    assert waits(both) == pytest.approx(40, abs=0.0011)


def test_where_no_budget_is_spent_the_scarcest_is_waited_for() -> None:
    headers = budget("requests", remaining=1400, reset_in=3000) | budget(
        "complexity", remaining=90, reset_in=20, limit=250000
    )
    assert waits(headers) == pytest.approx(20, abs=0.0011)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "soon"}, 60),
        (budget("requests", remaining=0, reset_in=-5), 1),
        (budget("requests", remaining=0, reset_in=1_000_000), 60),
    ],
)
def test_a_refusal_that_names_no_time_that_can_be_is_still_waited_for(headers: dict[str, str], seconds: float) -> None:
    assert waits(headers) == pytest.approx(seconds)


@pytest.mark.parametrize("skew", [-900, -30, 30, 900])
def test_a_clock_that_differs_from_linears_is_allowed_for(skew: float) -> None:
    theirs = (NOW + timedelta(seconds=skew)).replace(microsecond=0)
    headers = budget("requests", remaining=0, reset_in=skew + 5)
    assert 5 <= waits(headers, theirs) <= 6.01


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"x-ratelimit-{one}-{name}" for one in ("a", "b") for name in ("limit", "remaining", "reset")]),
        st.text(max_size=6) | st.integers().map(str) | st.floats().map(str),
    )
)
def test_no_header_breaks_anything(headers: dict[str, str]) -> None:
    assert 0 < waits(headers) <= 7200


@pytest.mark.parametrize(
    ("status", "payload", "refused"),
    [
        (400, {"errors": [{"message": "x", "extensions": {"code": "RATELIMITED"}}]}, True),
        (200, {"errors": [{"message": "x", "extensions": {"code": "RATELIMITED"}}]}, True),
        (429, None, True),
        (400, {"errors": [{"message": "x", "extensions": {"code": "INPUT_ERROR"}}]}, False),
        (400, {"errors": "RATELIMITED"}, False),
        (400, {"errors": [None, "x", {"extensions": None}]}, False),
        (200, {"data": {}}, False),
    ],
)
def test_a_refusal_is_known_by_its_code(status: int, payload: dict[str, Any] | None, refused: bool) -> None:
    assert limits.is_refusal(status, payload) is refused
