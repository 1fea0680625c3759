"""What requests cost by Linear's rules, and what a key may spend."""

import pytest

from tests.fakes import linear_faults as faults
from tests.fakes.linear_client import POLL, ask
from tests.fakes.linear_complexity import complexity_of
from tests.fakes.linear_limits import Limits
from tests.fakes.linear_schema import SMALL
from tests.fakes.linear_server import LinearServer, wait_until

VIEWER = "{ viewer { id } }"


@pytest.mark.parametrize(
    ("document", "variables", "points"),
    [
        (VIEWER, {}, 1.1),
        ("{ issues { nodes { id } } }", {}, 55),
        ("{ issues(first: 10) { nodes { id title } } }", {}, 12),
        ("query Q($n: Int = 20) { issues(first: $n) { nodes { id } } }", {}, 22),
        ("query Q($n: Int = 20) { issues(first: $n) { nodes { id } } }", {"n": 5}, 5.5),
        ("{ issues(last: 2) { edges { cursor node { id } } } }", {}, 2 * (1 + 0.1 + 1.1)),
        ("query Q { ...F } fragment F on Query { viewer { ... on User { id name } } }", {}, 1.2),
        (POLL, {"first": 50, "nested": 50}, 11_455 + 1.2),
        (POLL, {"first": 50, "nested": 20}, 4_705 + 1.2),
        (POLL, {"first": 25, "nested": 20}, 2_352.5 + 1.2),
    ],
)
def test_a_document_costs_its_points(document: str, variables: dict[str, int], points: float) -> None:
    assert complexity_of(document, variables) == pytest.approx(points)


def test_a_named_operation_is_the_one_that_counts() -> None:
    document = "query A { viewer { id } } query B { issues { nodes { id } } }"
    assert (complexity_of(document, operation="A"), complexity_of(document, operation="B")) == (1.1, 55)


def test_a_query_that_costs_too_much_is_refused() -> None:
    with LinearServer(schema=SMALL) as server:
        answer = ask(server, POLL, first=50, nested=50)
        assert (answer.status, answer.code, answer.errors[0]["message"]) == (400, "INPUT_ERROR", "Query too complex")
        assert answer.headers["x-complexity"] == "11457" and server.requests[0].complexity == pytest.approx(11_456.2)
        assert len(server.violations) == 1
        assert ask(server, POLL, first=50, nested=20).headers["x-complexity"] == "4707"


def test_a_budget_is_told_spent_and_refused_until_its_reset() -> None:
    with LinearServer(schema=SMALL, limits=Limits(requests=3, complexity=1_000, seconds=0.6)) as server:
        told = [ask(server, VIEWER).headers for _ in range(3)]
        assert [one["x-ratelimit-requests-remaining"] for one in told] == ["2", "1", "0"]
        assert told[0]["x-ratelimit-requests-limit"] == "3" and told[0]["x-ratelimit-complexity-remaining"] == "998"
        reset = int(told[0]["x-ratelimit-requests-reset"])
        assert 0 < reset - server.world.clock.now() <= 600
        refused = ask(server, VIEWER)
        assert (refused.status, refused.code, refused.data) == (400, "RATELIMITED", None)
        assert server.impatient == 0
        ask(server, VIEWER)
        assert server.impatient == 1
        assert ask(server, VIEWER, key=f"Bearer {server.token}").status == 200
        wait_until(lambda: server.world.clock.now() > reset)
        assert ask(server, VIEWER).status == 200 and server.impatient == 1


def test_complexity_is_spent_like_requests() -> None:
    with LinearServer(schema=SMALL, limits=Limits(requests=100, complexity=60)) as server:
        assert ask(server, "{ issues { nodes { id } } }").status == 200
        assert ask(server, "{ issues { nodes { id } } }").code == "RATELIMITED"
        status = ask(server, "{ rateLimitStatus { kind limits { type allowedAmount remainingAmount reset period } } }")
        assert status.code == "RATELIMITED"


def test_what_remains_can_be_asked() -> None:
    with LinearServer(schema=SMALL, limits=Limits(requests=10, complexity=60)) as server:
        seen = ask(server, "{ rateLimitStatus { kind limits { type remainingAmount } } }").data["rateLimitStatus"]["limits"]
        assert {one["type"]: one["remainingAmount"] for one in seen} == {"requests": 9, "complexity": 57}


def test_a_pause_out_of_the_blue_is_kept_by_patient_clients_only() -> None:
    with LinearServer(schema=SMALL) as server:
        server.fail("viewer", faults.rate_limited(400))
        refused = ask(server, VIEWER)
        assert (refused.status, refused.code) == (400, "RATELIMITED")
        reset = int(refused.headers["x-ratelimit-requests-reset"])
        assert ask(server, VIEWER).code == "RATELIMITED"
        wait_until(lambda: server.world.clock.now() > reset)
        assert ask(server, VIEWER).status == 200
        assert server.impatient == 1 and "x-ratelimit-requests-reset" not in ask(server, VIEWER).headers
