"""What is written to Linear, and with how many requests: moves, comments, marks and attachments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from symphony.domain.errors import Rejected
from symphony.trackers.linear import teams
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.protocol import ISSUE_NOT_FOUND
from tests.fakes import linear_changes as changes
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue, Label
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_world import Actor
from tests.integration.linear_board import linear
from tests.integration.linear_writes import PULL, WRITES


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server, patience_s=10, labels={"working": "symphony: working", "review": "symphony: review"})


def test_a_comment_is_one_request_and_an_edit_of_it_another(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    for body in ("one", "two", "three"):
        tracker.comment(issue.id, key="k", body=body)
    assert [comment.body for comment in server.comments(issue)] == ["three"]
    assert len(server.requests) == 3
    linear(server).comment(issue.id, key="k", body="three")
    assert len(server.written("Comment.update")) == 2, "an equal body is not written again"


def test_a_comment_that_a_person_deleted_comes_back_with_its_next_edit_only(
    server: LinearServer, tracker: LinearTracker
) -> None:
    issue = server.create_issue()
    tracker.comment(issue.id, key="k", body="one")
    server.delete_comment(server.comments(issue)[0])
    tracker.comment(issue.id, key="k", body="two")
    assert [comment.body for comment in server.comments(issue)] == ["two"]


def test_a_comment_of_another_credential_is_refused_and_not_tried_for_ever(server: LinearServer) -> None:
    issue = server.create_issue()
    linear(server, key=server.token).comment(issue.id, key="k", body="by the app")
    with pytest.raises(Rejected, match="another key"):
        linear(server).comment(issue.id, key="k", body="by the person")
    assert [comment.body for comment in server.comments(issue)] == ["by the app"]


def test_a_move_reads_once_and_writes_once(server: LinearServer, tracker: LinearTracker) -> None:
    first, second = server.create_issue(), server.create_issue()
    tracker.move(first.id, "In Progress", allowed_from=["Todo"])
    before = len(server.requests)
    moved = tracker.move(second.id, " in progress ", allowed_from=["TODO"])
    assert (moved.outcome, moved.issue.state) == ("applied", "In Progress")
    assert [request.fields for request in server.requests[before:]] == [("issue",), ("issueUpdate",)]


def test_an_unknown_state_is_refused_with_those_that_there_are(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    with pytest.raises(Rejected, match=r"no state 'Human Review'; it has: .*In Review") as refusal:
        tracker.move(issue.id, "Human Review", allowed_from=["Todo"])
    assert refusal.value.category == "tracker_response"
    add_state(server, "Human Review")
    assert tracker.move(issue.id, "Human Review", allowed_from=["Todo"]).outcome == "applied"


def add_state(server: LinearServer, name: str) -> str:
    values = {"team_id": server.team.id, "name": name, "type": "started", "color": "#fff"}
    with server.world.lock:
        return changes.create_state(server.world, values, by=Actor(server.person.id)).id


def test_a_state_that_was_made_anew_is_found_again(server: LinearServer, tracker: LinearTracker) -> None:
    tracker.move(server.create_issue().id, "In Progress", allowed_from=["Todo"])
    old = server.state("In Progress")
    for issue in [one for one in server.world.board.all(Issue) if one.state_id == old.id]:
        server.move(issue, "Todo")
    with server.world.lock:
        server.world.remove(old, by=Actor(server.person.id))
    new = add_state(server, "In Progress")
    issue = server.create_issue()
    assert tracker.move(issue.id, "In Progress", allowed_from=["Todo"]).outcome == "applied"
    assert server.issue(issue).state_id == new


def test_a_renamed_state_is_not_gone_to_for_long(
    server: LinearServer, tracker: LinearTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.move(server.create_issue().id, "In Review", allowed_from=["Todo"])
    old = server.state("In Review")
    with server.world.lock:
        server.world.save(replace(old, name="QA"), by=Actor(server.person.id))
    new = add_state(server, "In Review")
    monkeypatch.setattr(teams, "_REMEMBERED_S", 0.0)
    issue = server.create_issue()
    tracker.move(issue.id, "In Review", allowed_from=["Todo"])
    assert server.issue(issue).state_id == new


def test_states_are_those_of_the_issues_team(server: LinearServer, tracker: LinearTracker) -> None:
    other = server.add_team("OPS")
    server.project = server.add_project("Shared", server.team, other)
    tracker = linear(server)
    for team in (server.team, other):
        issue = server.create_issue(team=team)
        tracker.move(issue.id, "In Progress", allowed_from=["Todo"])
        assert server.issue(issue).state_id == server.state("In Progress", team).id


@pytest.mark.parametrize("how", ["archived", "trashed", "in another project", "never there"])
def test_an_issue_that_is_gone_is_not_moved(server: LinearServer, tracker: LinearTracker, how: str) -> None:
    issue = server.create_issue()
    issue_id = issue.id
    match how:
        case "archived":
            server.archive(issue)
        case "trashed":
            server.delete(issue)
        case "in another project":
            server.change_project(issue, server.add_project("Elsewhere"))
        case _:
            issue_id = "7f3d0a5e-0000-4000-8000-000000000000"
    with pytest.raises(Rejected) as refusal:
        tracker.move(issue_id, "In Progress", allowed_from=["Todo"])
    assert refusal.value.category == ISSUE_NOT_FOUND
    if how != "in another project":
        for what in ("comment", "mark", "link", "file"):
            with pytest.raises(Rejected) as refusal:
                WRITES[what](tracker, issue_id)
            assert refusal.value.category == ISSUE_NOT_FOUND, what
    assert [write for write in server.writes if write.key] == []


def test_marks_follow_one_another_and_leave_other_labels_alone(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue(labels=["bug"])
    said = []
    for situation in ("working", "working", "review", "blocked", "working", None):
        tracker.mark(issue.id, situation)  # type: ignore[arg-type]
        said.append(sorted(server.world.need(Label, one).name for one in server.issue(issue).label_ids))
    working, review = ["bug", "symphony: working"], ["bug", "symphony: review"]
    assert said == [working, working, review, ["bug"], working, ["bug"]], "`blocked` has no label here"
    assert len(server.written("IssueLabel.create")) == 2
    assert len(server.asked("issueUpdate")) == 5, "what is as it should be is not written"


def test_a_label_of_the_workspace_is_used_as_it_is(server: LinearServer, tracker: LinearTracker) -> None:
    label = server.add_label("Symphony: Working")
    issue = server.create_issue()
    tracker.mark(issue.id, "working")
    assert server.issue(issue).label_ids == (label.id,)
    assert server.written("IssueLabel.create") == []


def test_without_labels_nothing_is_asked(server: LinearServer) -> None:
    linear(server).mark(server.create_issue().id, "working")
    assert server.requests == []


def test_a_file_is_kept_by_linear_and_gets_no_credential(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    WRITES["file"](tracker, issue.id)
    (attached,) = server.attachments(issue)
    (upload,) = server.storage.uploads.values()
    assert (upload.content, upload.content_type) == (b"# Walk\n\nthrough\n", "text/markdown")
    assert (attached.title, attached.subtitle, upload.filename) == ("Walk through", "for you", "walk-through.md")
    assert attached.url == f"{server.base}/assets/{upload.id}/walk-through.md"
    WRITES["file"](linear(server), issue.id)
    assert len(server.storage.uploads) == 1


def test_a_pull_request_that_linear_cannot_link_becomes_a_plain_link(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    server.faults.always("attachmentLinkGitHubPR", faults.refused("The GitHub integration is not installed."))
    WRITES["pull request"](tracker, issue.id)
    assert [(one.url, one.source_type) for one in server.attachments(issue)] == [(PULL, None)]
