"""Connections of the server of Linear's API: pages, cursors, filters, and what they cost among ten thousand issues."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import linear_faults as faults
from tests.fakes.linear_client import COMMENT, MOVE, POLL, ask
from tests.fakes.linear_schema import SMALL
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_time import iso, moment_of, moment_or_duration

LIST = """
query L($filter: IssueFilter, $first: Int, $after: String, $last: Int, $before: String, $order: PaginationOrderBy) {
  issues(filter: $filter, first: $first, after: $after, last: $last, before: $before, orderBy: $order) {
    nodes { identifier } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer(schema=SMALL) as server:
        yield server
        assert server.violations == []


def listed(server: LinearServer, **variables: Any) -> list[str]:
    return [one["identifier"] for one in ask(server, LIST, **variables).data["issues"]["nodes"]]


def test_pages_hold_everything_once_newest_first(server: LinearServer) -> None:
    now = server.world.clock.now()
    made = [server.create_issue(created_at=now - 100 + number, updated_at=now - 100 + number) for number in range(7)]
    seen, after = [], None
    for expected in (3, 3, 1):
        connection = ask(server, LIST, first=3, after=after).data["issues"]
        assert len(connection["nodes"]) == expected
        assert connection["pageInfo"]["hasPreviousPage"] == (after is not None)
        seen += [one["identifier"] for one in connection["nodes"]]
        after = connection["pageInfo"]["endCursor"]
        assert connection["pageInfo"]["hasNextPage"] == (len(seen) < 7)
    assert seen == [one.identifier for one in reversed(made)]
    assert ask(server, LIST, first=3, after=after).data["issues"]["nodes"] == []
    assert ask(server, LIST, first=7).data["issues"]["pageInfo"]["hasNextPage"] is False
    last = ask(server, LIST, last=2).data["issues"]
    assert [one["identifier"] for one in last["nodes"]] == seen[-2:] and last["pageInfo"]["hasPreviousPage"]
    assert listed(server, last=2, before=last["pageInfo"]["startCursor"]) == seen[3:5]


def test_a_page_is_not_moved_by_what_happens_before_it(server: LinearServer) -> None:
    now = server.world.clock.now()
    made = [server.create_issue(created_at=now - 9, updated_at=now - 90 + number) for number in range(4)]
    first = ask(server, LIST, first=2, order="updatedAt").data["issues"]
    server.create_issue("New")
    server.edit(made[3], title="Changed")
    rest = listed(server, first=9, order="updatedAt", after=first["pageInfo"]["endCursor"])
    assert rest == [made[1].identifier, made[0].identifier]


@pytest.mark.parametrize(
    "wish", [{"first": 251}, {"first": -1}, {"first": 1, "last": 1}, {"after": "?"}, {"after": "eA=="}]
)
def test_a_page_that_cannot_be_is_refused(server: LinearServer, wish: dict[str, Any]) -> None:
    assert ask(server, LIST, **wish).code == "INVALID_INPUT"


def test_nested_connections_have_pages_too(server: LinearServer) -> None:
    issue = server.create_issue()
    for number in range(5):
        server.comment(issue, str(number))
    document = (
        "query C($id: String!, $after: String) { issue(id: $id) { comments(first: 3, after: $after) "
        "{ nodes { body } pageInfo { hasNextPage endCursor } } } }"
    )
    first = ask(server, document, id=issue.id).data["issue"]["comments"]
    rest = ask(server, document, id=issue.id, after=first["pageInfo"]["endCursor"]).data["issue"]["comments"]
    assert [len(first["nodes"]), len(rest["nodes"])] == [3, 2] and not rest["pageInfo"]["hasNextPage"]
    assert sorted(one["body"] for one in first["nodes"] + rest["nodes"]) == list("01234")


def test_fifty_is_a_page_unless_asked_otherwise(server: LinearServer) -> None:
    server.create_issues(51)
    assert len(listed(server)) == 50


@pytest.fixture
def board(server: LinearServer) -> LinearServer:
    """ENG-1 todo, bug, assigned; ENG-2 done, delegated; ENG-3 in progress, urgent, in no project, under ENG-1; OPS-1."""
    first = server.create_issue(labels=["bug", "web"], assignee_id=server.viewer.id)
    server.create_issue(state="Done", delegate_id=server.app.id)
    third = server.create_issue(state="In Progress", priority=1, project_id=None, parent_id=first.id)
    server.block(third, by=first)
    server.create_issue(team=server.add_team("OPS"))
    return server


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"state": {"name": {"in": ["Todo", "Done"]}}}, ["ENG-1", "ENG-2", "OPS-1"]),
        ({"state": {"name": {"in": ["todo"]}}}, []),
        ({"state": {"name": {"eq": "todo"}}}, []),
        ({"state": {"name": {"eqIgnoreCase": "todo"}}}, ["ENG-1", "OPS-1"]),
        ({"state": {"type": {"nin": ["completed", "canceled"]}}}, ["ENG-1", "ENG-3", "OPS-1"]),
        ({"team": {"key": {"eq": "OPS"}}}, ["OPS-1"]),
        ({"project": {"null": True}}, ["ENG-3", "OPS-1"]),
        ({"project": {"slugId": {"eq": "none"}}}, []),
        ({"labels": {"name": {"in": ["web", "none"]}}}, ["ENG-1"]),
        ({"labels": {"every": {"name": {"eq": "web"}}, "length": {"gt": 0}}}, []),
        ({"labels": {"some": {"name": {"eq": "web"}}}}, ["ENG-1"]),
        ({"assignee": {"isMe": {"eq": True}}}, ["ENG-1"]),
        ({"assignee": {"null": False}}, ["ENG-1"]),
        ({"delegate": {"app": {"eq": True}}}, ["ENG-2"]),
        ({"priority": {"gte": 1, "lte": 2}}, ["ENG-3"]),
        ({"parent": {"id": {"eq": "ENG-1"}}}, ["ENG-3"]),
        ({"hasBlockedByRelations": {"eq": True}}, ["ENG-3"]),
        ({"hasBlockingRelations": {"eq": True}}, ["ENG-1"]),
        ({"or": [{"team": {"key": {"eq": "OPS"}}}, {"id": {"in": ["ENG-2"]}}]}, ["ENG-2", "OPS-1"]),
        ({"and": [{"team": {"key": {"eq": "ENG"}}}, {"state": {"type": {"eq": "started"}}}]}, ["ENG-3"]),
        ({"id": {"in": ["ENG-3", "ENG-1", "ENG-3", "nobody"]}}, ["ENG-1", "ENG-3"]),
        (
            {"title": {"contains": "issue"}, "createdAt": {"gt": "-P1D"}, "updatedAt": {"lt": "P1D"}},
            ["ENG-1", "ENG-2", "ENG-3", "OPS-1"],
        ),
        ({"completedAt": {"null": False}}, ["ENG-2"]),
        ({"createdAt": {"lt": "2020"}}, []),
    ],
)
def test_a_filter_means_what_it_says(board: LinearServer, wanted: dict[str, Any], found: list[str]) -> None:
    assert sorted(listed(board, filter=wanted)) == found


def test_ids_are_found_by_uuid(board: LinearServer) -> None:
    issue = board.issue("ENG-2")
    assert listed(board, filter={"id": {"in": [issue.id]}}) == ["ENG-2"]
    assert listed(board, filter={"id": {"eq": issue.id}, "state": {"name": {"eq": "Todo"}}}) == []


def test_what_changed_since_is_found_by_a_time_in_milliseconds(server: LinearServer) -> None:
    now = server.world.clock.now()
    old, new = (server.create_issue(created_at=now - 50, updated_at=now - age) for age in (50, 20))
    for since, found in ((now - 50, [new, old]), (now - 49, [new]), (now - 19, [])):
        names = listed(server, filter={"updatedAt": {"gte": iso(since)}}, order="updatedAt")
        assert names == [one.identifier for one in found]
    assert listed(server, filter={"updatedAt": {"gt": iso(now - 20)}}) == []
    server.comment(old, "a comment is no change of its issue")
    assert listed(server, filter={"updatedAt": {"gt": iso(now - 20)}}) == []


def test_comments_are_found_by_issue_and_time(server: LinearServer) -> None:
    first, second = server.create_issue(), server.create_issue()
    kept = server.comment(first, "kept")
    server.comment(second, "elsewhere")
    document = "query C($filter: CommentFilter) { comments(filter: $filter) { nodes { id body user { id } issue { identifier } } } }"
    answer = ask(server, document, filter={"issue": {"id": {"in": [first.id]}}})
    assert answer.data["comments"]["nodes"] == [
        {"id": kept.id, "body": "kept", "user": {"id": server.person.id}, "issue": {"identifier": "ENG-1"}}
    ]
    later = {"issue": {"id": {"in": [first.id, second.id]}}, "createdAt": {"gt": iso(server.world.clock.now() + 1)}}
    assert ask(server, document, filter=later).data["comments"]["nodes"] == []
    assert len(ask(server, document, filter={"updatedAt": {"gte": "-PT1H"}}).data["comments"]["nodes"]) == 2


def test_a_stale_read_shows_what_was(server: LinearServer) -> None:
    issue = server.create_issue("Before", labels=["bug"])
    server.world.clock.skew_ms += 1_000
    server.edit(issue, title="After", label_ids=())
    server.comment(issue, "new")
    gone = server.create_issue("Gone")
    document = '{ issue(id: "ENG-1") { title labels { nodes { name } } comments { nodes { id } } } }'
    server.fail("issue", faults.stale(500))
    assert ask(server, document).data["issue"] == {
        "title": "Before",
        "labels": {"nodes": [{"name": "bug"}]},
        "comments": {"nodes": []},
    }
    server.fail("issues", faults.stale(500))
    assert listed(server, filter={"state": {"name": {"eq": "Todo"}}}) == [issue.identifier]
    server.fail("issueUpdate", faults.stale(500))
    ask(server, MOVE, id=issue.id, input={"priority": 1})
    assert (server.issue(issue).title, server.issue(issue).priority) == ("After", 1), "a write is made to what is"
    server.vanish(gone)
    assert ask(server, document).data["issue"]["title"] == "After" and listed(server) == [issue.identifier]


def test_ten_thousand_issues_are_made_in_seconds_and_paged_in_milliseconds(server: LinearServer) -> None:
    begun = time.monotonic()
    server.create_issues(10_000, labels=("bug", "web"))
    assert time.monotonic() - begun < 30
    wanted = {"project": {"slugId": {"eq": server.project.slug_id}}, "state": {"name": {"in": ["Todo"]}}}
    spent, after = [], None
    for _ in range(8):
        begun = time.process_time()
        connection = ask(server, POLL, filter=wanted, first=50, nested=20, after=after).data["issues"]
        spent.append(time.process_time() - begun)
        after = connection["pageInfo"]["endCursor"]
        assert len(connection["nodes"]) == 50
    assert min(spent) < 0.1
    begun = time.process_time()
    assert ask(server, COMMENT, input={"issueId": "ENG-5000", "body": "x"}).data["commentCreate"]["success"]
    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-02", 86_400_000),
        ("1971", 365 * 86_400_000),
        ("P1W", 7 * 86_400_000 + 5),
        ("-PT1H30M", 5 - 5_400_000),
    ],
)
def test_times_and_durations_are_read(text: str, moment: int) -> None:
    assert moment_or_duration(text, now=5) == moment


def test_a_time_is_written_as_it_is_read() -> None:
    assert moment_of(iso(1_795_801_465_259)) == 1_795_801_465_259 and iso(5) == "1970-01-01T00:00:00.005Z"
