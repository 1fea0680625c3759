"""What goes wrong with the server of Linear's API when a test wants it to."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.fakes import linear_faults as faults
from tests.fakes.linear_client import COMMENT, MOVE, POLL, ask
from tests.fakes.linear_faults import Chaos, Fault
from tests.fakes.linear_schema import SMALL
from tests.fakes.linear_server import LinearServer, wait_until

VIEWER = "{ viewer { id } }"


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer(schema=SMALL) as server:
        yield server
        assert server.violations == []


def test_scripted_faults_come_in_order_to_their_operation_alone(server: LinearServer) -> None:
    server.fail("Poll", faults.status(500), faults.status(503))
    server.fail("commentCreate", faults.status(502))
    assert ask(server, VIEWER).status == 200
    assert [ask(server, POLL, first=1, nested=1).status for _ in range(3)] == [500, 503, 200]
    assert server.faults.left() == 1
    assert ask(server, COMMENT, input={"issueId": server.create_issue().id, "body": "x"}).status == 502
    assert [one.fault for one in server.requests] == [None, "status", "status", None, "status"]
    assert server.written("Comment.create") == []
    server.faults.always("*", faults.status(504))
    assert [ask(server, VIEWER).status for _ in range(2)] == [504, 504]
    server.faults.always("*", None)
    assert ask(server, VIEWER).status == 200


def test_html_and_cut_bodies_are_no_json(server: LinearServer) -> None:
    server.fail("viewer", faults.html(200), faults.html(502), faults.cut())
    for _ in range(2):
        with pytest.raises(json.JSONDecodeError):
            ask(server, VIEWER)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server, VIEWER)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.silent, httpx.ReadTimeout),
        (faults.reset, (httpx.ReadError, httpx.RemoteProtocolError)),
        (faults.cut, httpx.RemoteProtocolError),
    ],
)
@pytest.mark.parametrize("applied", [False, True])
def test_a_write_whose_answer_never_came_was_applied_or_was_not(
    server: LinearServer, fault: Any, error: type[Exception], applied: bool
) -> None:
    issue = server.create_issue()
    server.fail("commentCreate", fault(applied=applied))
    wish = {"id": str(uuid.uuid4()), "issueId": issue.id, "body": "once"}
    with pytest.raises(error):
        ask(server, COMMENT, timeout=0.5, input=wish)
    assert len(server.comments(issue)) == int(applied)
    again = ask(server, COMMENT, input=wish)
    assert (again.errors != []) == applied and len(server.comments(issue)) == 1
    assert len(server.written("Comment.create")) == 1 and len(server.asked("Say")) == 2


def test_a_write_may_be_applied_and_answered_with_a_failure(server: LinearServer) -> None:
    issue = server.create_issue()
    server.fail("issueUpdate", faults.status(500, applied=True), faults.html(502, applied=True))
    wish = {"stateId": server.state("Done").id}
    assert ask(server, MOVE, id=issue.id, input=wish).code == "INTERNAL_SERVER_ERROR"
    assert server.state_of(issue) == "Done"
    with pytest.raises(json.JSONDecodeError):
        ask(server, MOVE, id=issue.id, input={"stateId": server.state("Todo").id})
    assert server.state_of(issue) == "Todo"


def test_a_slow_answer_is_late_and_good(server: LinearServer) -> None:
    server.fail("viewer", faults.slow(0.3))
    begun = time.monotonic()
    assert ask(server, VIEWER).status == 200 and time.monotonic() - begun >= 0.3


def test_a_silent_answer_ends_with_the_server() -> None:
    errors: list[Exception] = []

    def wait() -> None:
        try:
            ask(server, VIEWER, timeout=60)
        except httpx.HTTPError as error:
            errors.append(error)

    with LinearServer(schema=SMALL) as server:
        server.fail("viewer", faults.silent())
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: server.requests)
    waiting.join(10)
    assert not waiting.is_alive() and len(errors) == 1


def test_answers_can_be_spoilt(server: LinearServer) -> None:
    issues = server.create_issues(3)
    server.fail("Poll", faults.partial(), faults.partial("issues", "nodes", 1, "assignee"), faults.null_nodes())
    server.fail("Poll", faults.lost_cursor(), faults.repeated_cursor(), faults.repeated_cursor())
    whole = ask(server, POLL, first=3, nested=1)
    assert whole.data == {"issues": None} and whole.code == "INTERNAL_SERVER_ERROR"
    part = ask(server, POLL, first=3, nested=1)
    assert len(part.data["issues"]["nodes"]) == 3 and part.errors[0]["path"] == ["issues", "nodes", 1, "assignee"]
    nulls = ask(server, POLL, first=3, nested=1).data["issues"]["nodes"]
    assert [one is None for one in nulls] == [True, False, True]
    assert ask(server, POLL, first=3, nested=1).data["issues"]["pageInfo"] == {"hasNextPage": True, "endCursor": None}
    pages = [ask(server, POLL, first=3, nested=1).data["issues"]["pageInfo"] for _ in range(2)]
    assert pages[0] == pages[1] and pages[0]["hasNextPage"]
    assert len(ask(server, POLL, first=3, nested=1).data["issues"]["nodes"]) == len(issues)


def test_a_broken_record_shows_what_the_schema_forbids(server: LinearServer) -> None:
    issue, kept = server.create_issue("Good"), server.create_issue("Kept")
    server.break_record(issue, title="", state=None, labels=None, updatedAt="yesterday", priority="high")
    first, second = (
        one
        for one in sorted(ask(server, POLL, first=9, nested=1).data["issues"]["nodes"], key=lambda one: one["identifier"])
    )
    assert (first["title"], first["state"], first["labels"]) == ("", None, None)
    assert (first["updatedAt"], first["priority"]) == ("yesterday", "high")
    assert second["id"] == kept.id and second["state"] == {"name": "Todo"}
    alias = ask(server, f'{{ here: issue(id: "{issue.id}") {{ name: title state {{ name }} }} }}')
    assert alias.data == {"here": {"name": "", "state": None}}
    server.break_record(issue)
    assert ask(server, f'{{ issue(id: "{issue.id}") {{ title }} }}').data["issue"]["title"] == "Good"
    comment = server.comment(kept, "words")
    server.break_record(comment, user=7)
    assert ask(server, "{ comments { nodes { body user { id } } } }").data["comments"]["nodes"] == [
        {"body": "words", "user": 7}
    ]


def test_chaos_is_the_same_for_the_same_seed() -> None:
    chaos = Chaos(seed=7, rate=0.4)
    drawn = [chaos.draw(number) for number in range(300)]
    assert drawn == [Chaos(seed=7, rate=0.4).draw(number) for number in range(300)]
    assert 80 < sum(one is not None for one in drawn) < 160 and len({one.kind for one in drawn if one}) > 4
    assert drawn != [Chaos(seed=8, rate=0.4).draw(number) for number in range(300)]


def test_chaos_loses_no_write_that_it_says_was_applied() -> None:
    chaos = Chaos(
        seed=3, rate=0.6, faults=(faults.status(500), faults.status(500, applied=True), faults.reset(applied=True))
    )
    with LinearServer(schema=SMALL, chaos=chaos) as server:
        issue = server.create_issue()
        for number in range(30):
            with suppress(httpx.HTTPError):
                ask(server, COMMENT, input={"issueId": issue.id, "body": str(number)})
        applied = [one for one in (chaos.draw(number) for number in range(30)) if one is None or one.applied]
        assert len(server.comments(issue)) == len(applied) and 0 < len(applied) < 30


def test_two_clients_at_once_see_whole_writes(server: LinearServer) -> None:
    issue = server.create_issue()

    def write(number: int) -> None:
        for step in range(5):
            ask(server, COMMENT, input={"issueId": issue.id, "body": f"{number}/{step}"})

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
    bodies = [one.body for one in server.comments(issue)]
    assert len(bodies) == len(set(bodies)) == len(server.written("Comment.create")) == 20


def test_a_fault_says_what_it_is() -> None:
    assert faults.silent(applied=True) == Fault("silent", applied=True)
