"""Limits of a tracker's key (docs/linear.md): what one worker is told holds for all, to the instant that was named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from symphony.domain.allowance import Allowance, poll_factor, smallest_share
from symphony.domain.errors import Transient
from symphony.engine.quota import SharedQuota
from symphony.ledger.database import Database
from symphony.trackers.quota import OwnQuota, Quota


@pytest.fixture(params=["shared", "own"])
def pair(request: pytest.FixtureRequest, database_url: str) -> tuple[Quota, Quota]:
    """Two that send with one key: two processes of a deployment, or two threads of one."""
    if request.param == "own":
        own = OwnQuota()
        return own, own
    return SharedQuota(Database(database_url, pool_size=1), "k"), SharedQuota(Database(database_url, pool_size=1), "k")


def test_a_refusal_of_one_closes_the_key_for_all_until_the_instant(pair: tuple[Quota, Quota]) -> None:
    one, other = pair
    other.ensure_open()
    until = datetime.now(UTC) + timedelta(seconds=30)
    one.close_until(until)
    one.close_until(until - timedelta(seconds=20))
    with pytest.raises(Transient) as refusal:
        other.ensure_open()
    assert refusal.value.category == "tracker_rate_limited"
    left = refusal.value.retry_after
    assert left is not None and timedelta(seconds=25) < left <= timedelta(seconds=30), "never shortened by a later refusal"


def test_a_closed_key_opens_by_itself(pair: tuple[Quota, Quota]) -> None:
    one, other = pair
    one.close_until(datetime.now(UTC) - timedelta(milliseconds=1))
    other.ensure_open()


def test_what_is_left_is_known_to_all(pair: tuple[Quota, Quota]) -> None:
    one, other = pair
    assert other.share() == 1.0
    reset = datetime.now(UTC) + timedelta(minutes=10)
    one.note([Allowance("requests", 1000, 900, reset), Allowance("complexity", 100, 20, reset)])
    assert other.share() == pytest.approx(0.2)
    one.note([Allowance("complexity", 100, 10, reset)])
    assert other.share() == pytest.approx(0.1)


def test_another_key_is_another_matter(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    SharedQuota(database, "a").close_until(datetime.now(UTC) + timedelta(hours=1))
    SharedQuota(database, "b").ensure_open()


def test_a_window_that_is_over_counts_for_nothing(database_url: str) -> None:
    quota = SharedQuota(Database(database_url, pool_size=1), "k")
    quota.note([Allowance("requests", 100, 1, datetime.now(UTC) - timedelta(seconds=1))])
    assert quota.share() == 1.0
    quota.note([Allowance("requests", 100, 99, datetime.now(UTC) + timedelta(hours=1))])
    assert quota.share() == pytest.approx(0.99)


def test_polls_slow_down_as_the_budget_shrinks() -> None:
    assert [poll_factor(share) for share in (1, 0.5, 0.25, 0.05, 0.0)] == [1.0, 1.0, 2.0, 10.0, 20.0]
    now = datetime.now(UTC)
    assert smallest_share([], now) == 1.0
    assert Allowance("x", 0, 0, now).share == 0.0
