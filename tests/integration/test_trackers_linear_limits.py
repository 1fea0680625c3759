"""One key, many who use it: a refusal makes all of them wait, and questions for issues are asked together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from symphony.domain.errors import SymphonyError, Transient
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.linear.gathering import Gathering
from symphony.trackers.quota import OwnQuota
from tests.fakes import linear_faults as faults
from tests.fakes.linear_limits import Limits
from tests.fakes.linear_server import LinearServer, wait_until
from tests.integration.linear_board import linear


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls in threads of their own; give what each returned or raised."""
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        ready.wait()
        try:
            return call()
        except SymphonyError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_a_refusal_of_one_makes_all_wait_to_the_millisecond(server: LinearServer) -> None:
    quota = OwnQuota()
    first, second = (linear(server, quota=quota) for _ in range(2))
    issue = server.create_issue()
    server.fail("SymphonyIssuesByStates", faults.rate_limited(700))
    with pytest.raises(Transient) as refusal:
        first.fetch_issues_by_states(["Todo"])
    paused_until = int(server.budgets.headers(server.key)["x-ratelimit-requests-reset"])
    assert refusal.value.category == "tracker_rate_limited"
    assert refusal.value.retry_after is not None
    assert 0.5 < refusal.value.retry_after.total_seconds() <= 0.7
    sent = len(server.requests)

    def ask_until_answered(tracker: LinearTracker) -> None:
        while True:
            try:
                tracker.fetch_board(["Todo"], watched=[issue.id])
            except Transient as error:
                assert error.category == "tracker_rate_limited"
                time.sleep(0.001)
            else:
                return

    at_once(*(lambda tracker=tracker: ask_until_answered(tracker) for tracker in (first, second, first, second)))
    assert server.impatient == 0
    assert min(request.at for request in server.requests[sent:]) >= paused_until
    assert max(request.at for request in server.requests[sent:]) < paused_until + 500


def test_nobody_asks_while_the_key_is_closed(server: LinearServer) -> None:
    quota = OwnQuota()
    first, second = (linear(server, quota=quota) for _ in range(2))
    issue = server.create_issue()
    (known,) = first.fetch_issues_by_ids([issue.id])
    server.fail("SymphonyIssuesByIds", faults.rate_limited(60_000))
    with pytest.raises(Transient):
        first.fetch_issues_by_ids([issue.id])
    sent = len(server.requests)
    for call in (
        lambda: second.fetch_issues_by_ids([issue.id]),
        lambda: second.fetch_issues_by_states(["Todo"]),
        lambda: second.fetch_board(["Todo"], watched=[]),
        lambda: second.fetch_comments(known),
        lambda: second.fetch_new_comments([(known, known.created_at)]),  # type: ignore[list-item]
        lambda: first.move(issue.id, "Done", allowed_from=["Todo"]),
        lambda: first.comment(issue.id, key="k", body="b"),
    ):
        with pytest.raises(Transient) as fault:
            call()
        assert fault.value.category == "tracker_rate_limited"
        assert fault.value.retry_after is not None
        assert 50 < fault.value.retry_after.total_seconds() <= 60
    assert len(server.requests) == sent


def test_another_key_goes_on() -> None:
    with LinearServer() as server:
        closed, open_ = OwnQuota(), OwnQuota()
        server.fail("SymphonyIssuesByStates", faults.rate_limited(60_000))
        with pytest.raises(Transient):
            linear(server, quota=closed).fetch_issues_by_states(["Todo"])
        other = linear(server, key=server.token, quota=open_)
        assert other.fetch_issues_by_states(["Todo"]).issues == ()


def test_polls_slow_down_as_the_budget_shrinks() -> None:
    with LinearServer(limits=Limits(requests=10, complexity=1_000_000, seconds=3600)) as server:
        tracker = linear(server)
        factors = []
        for _ in range(10):
            tracker.fetch_board(["Todo"], watched=[])
            factors.append(tracker.poll_factor())
        assert factors[:5] == [1.0] * 5
        assert factors == sorted(factors)
        assert factors[-1] == 20.0
        with pytest.raises(Transient) as fault:
            tracker.fetch_board(["Todo"], watched=[])
        assert fault.value.category == "tracker_rate_limited"
        assert len(server.requests) == 11
        assert server.impatient == 0


def test_complexity_is_a_budget_too() -> None:
    with LinearServer(limits=Limits(requests=1000, complexity=8000, seconds=3600)) as server:
        tracker = linear(server)
        tracker.fetch_issues_by_states(["Todo"])
        assert tracker.poll_factor() == 1.0
        tracker.fetch_issues_by_states(["Todo"])
        assert 1.0 < tracker.poll_factor() < 20.0


def test_questions_of_several_threads_are_one_request(server: LinearServer) -> None:
    tracker = linear(server)
    issues = server.create_issues(12)
    answers = at_once(*(lambda one=issue: tracker.fetch_issues_by_ids([one.id]) for issue in issues))
    assert [[found.id for found in answer] for answer in answers] == [[issue.id] for issue in issues]
    assert len(server.requests) == 1


def test_no_more_than_fifty_are_asked_for_together(server: LinearServer) -> None:
    tracker = linear(server)
    issues = server.create_issues(120)
    pairs = [(issues[at], issues[at + 1]) for at in range(0, 120, 2)]
    answers = at_once(*(lambda pair=pair: tracker.fetch_issues_by_ids([one.id for one in pair]) for pair in pairs))
    assert all(
        {found.id for found in answer} == {one.id for one in pair} for answer, pair in zip(answers, pairs, strict=True)
    )
    assert 3 <= len(server.requests) <= 5
    assert max(len(request.variables["ids"]) for request in server.requests) <= 50


def test_a_malformed_issue_is_the_error_of_those_who_asked_for_it(server: LinearServer) -> None:
    tracker = linear(server)
    good, bad = server.create_issues(2)
    server.break_record(bad, title=None)
    answers = at_once(
        lambda: tracker.fetch_issues_by_ids([good.id]),
        lambda: tracker.fetch_issues_by_ids([bad.id]),
        lambda: tracker.fetch_issues_by_ids([good.id, bad.id]),
    )
    assert [one.id for one in answers[0]] == [good.id]
    assert all(isinstance(answer, Transient) and bad.identifier in answer.message for answer in answers[1:])
    assert len(server.requests) == 1


def test_an_error_is_everybodys_and_the_next_question_is_new(server: LinearServer) -> None:
    tracker = linear(server)
    issue = server.create_issue()
    server.fail("SymphonyIssuesByIds", faults.status(503))
    answers = at_once(*(lambda: tracker.fetch_issues_by_ids([issue.id]) for _ in range(4)))
    assert [getattr(answer, "category", None) for answer in answers] == ["tracker_status"] * 4
    assert [one.id for one in tracker.fetch_issues_by_ids([issue.id])] == [issue.id]


def test_an_answer_is_never_older_than_the_question(server: LinearServer) -> None:
    tracker = linear(server, patience_s=5.0)
    issue = server.create_issue()
    server.fail("SymphonyIssuesByIds", faults.slow(0.5))
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(tracker.fetch_issues_by_ids, [issue.id])
        wait_until(lambda: server.requests)
        time.sleep(0.1)
        server.move(issue, "Done")
        late = pool.submit(tracker.fetch_issues_by_ids, [issue.id])
        assert [one.state for one in late.result()] == ["Done"]
        assert [one.state for one in early.result()] == ["Todo"]


def test_gathering_bears_any_number_of_threads() -> None:
    fetched: list[frozenset[str]] = []
    lock = threading.Lock()

    def fetch(ids: Any) -> dict[str, str]:
        with lock:
            fetched.append(frozenset(ids))
        return {one: one for one in ids}

    gathering = Gathering(fetch, most=10, wait_s=0.05)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda number: gathering.ask([f"i{number % 40}"]).get(f"i{number % 40}"), range(400)))
    assert answers == [f"i{number % 40}" for number in range(400)]
    assert max(map(len, fetched)) <= 10
    assert len(fetched) < 200
