"""Writes to Linear are applied once: whatever becomes of the answer, whoever dies in between, however many deliver at once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from symphony.domain.errors import Rejected, SymphonyError, Transient
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.linear.identity import own_uuid
from symphony.trackers.protocol import ISSUE_NOT_FOUND, Attachment
from tests.fakes import linear_changes as changes
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue, Label, State
from tests.fakes.linear_server import LinearServer, wait_until
from tests.fakes.linear_world import Actor, Change
from tests.integration.linear_board import linear

LOST = {
    "accepted, never answered": faults.silent(applied=True),
    "accepted, then 500": faults.status(500, applied=True),
    "accepted, then reset": faults.reset(applied=True),
    "accepted, answer cut": faults.cut(applied=True),
    "accepted, then a proxy's page": faults.html(502, applied=True),
    "not accepted: reset": faults.reset(),
    "not accepted: 503": faults.status(503),
}
PULL = "https://github.com/acme/parser/pull/7"


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server, patience_s=0.3, labels={"working": "symphony: working", "review": "symphony: review"})


@pytest.fixture
def transitions(server: LinearServer) -> list[tuple[str, str]]:
    """Which issue came into which state, each time that it did."""
    seen: list[tuple[str, str]] = []

    def hear(change: Change) -> None:
        before, now = change.previous, change.record
        if isinstance(before, Issue) and isinstance(now, Issue) and before.state_id != now.state_id:
            seen.append((now.id, now.state_id))

    server.world.listeners.append(hear)
    return seen


def until_done(write: Callable[[], object], *, tries: int = 100) -> object:
    """Try as a deliverer does: again after what another try may mend."""
    for _ in range(tries):
        try:
            return write()
        except Transient:
            continue
    raise AssertionError("it never came to an end")


def key_for(issue_id: str) -> str:
    """Give the key of what is written to an issue."""
    return f"effect of {issue_id}"


WRITES: dict[str, Callable[[LinearTracker, str], object]] = {
    "move": lambda tracker, issue: tracker.move(issue, "In Progress", allowed_from=["Todo"]),
    "comment": lambda tracker, issue: tracker.comment(issue, key=key_for(issue), body="A question?"),
    "link": lambda tracker, issue: tracker.attach(
        issue, key=key_for(issue), attachment=Attachment("Evidence", "all green", url="https://ci.example.org/7")
    ),
    "pull request": lambda tracker, issue: tracker.attach(
        issue, key=key_for(issue), attachment=Attachment("Pull request", url=PULL)
    ),
    "file": lambda tracker, issue: tracker.attach(
        issue, key=key_for(issue), attachment=Attachment("Walk through", "for you", content="# Walk\n\nthrough\n")
    ),
    "mark": lambda tracker, issue: tracker.mark(issue, "working"),
}
MUTATIONS = {
    "move": "issueUpdate",
    "comment": "commentCreate",
    "link": "attachmentCreate",
    "pull request": "attachmentLinkGitHubPR",
    "file": "attachmentCreate",
    "mark": "issueUpdate",
}


def effect_of(server: LinearServer, issue: Issue) -> dict[str, object]:
    """Give what is to be seen of all these writes."""
    labels = [label for label in server.world.board.all(Label) if label.name.startswith("symphony")]
    return {
        "state": server.state_of(issue),
        "comments": [comment.body for comment in server.comments(issue)],
        "attachments": [(one.title, one.subtitle) for one in server.attachments(issue)],
        "labels": [label.name for label in labels if label.id in server.issue(issue).label_ids],
        "made labels": len(labels),
    }


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("what", WRITES)
def test_a_write_whose_answer_is_lost_is_applied_once(
    server: LinearServer, tracker: LinearTracker, transitions: list[tuple[str, str]], what: str, how: str
) -> None:
    lost, smooth = server.create_issue("Lost"), server.create_issue("Smooth")
    WRITES[what](tracker, smooth.id)
    expected = effect_of(server, smooth)
    server.fail(MUTATIONS[what], LOST[how])
    with pytest.raises(Transient):
        WRITES[what](tracker, lost.id)
    until_done(lambda: WRITES[what](linear(server, labels=dict(tracker.settings.labels)), lost.id))
    assert effect_of(server, lost) == expected
    assert len([one for one in transitions if one[0] == lost.id]) == (1 if what == "move" else 0)
    assert len(server.written("Comment.create", own_uuid(key_for(lost.id)))) == (1 if what == "comment" else 0)


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


def test_a_person_overrules_a_move_whose_answer_was_lost(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    server.fail("issueUpdate", faults.reset(applied=True))
    with pytest.raises(Transient):
        tracker.move(issue.id, "In Progress", allowed_from=["Todo"])
    server.move(issue, "Backlog")
    moved = tracker.move(issue.id, "In Progress", allowed_from=["Todo"])
    assert (moved.outcome, moved.issue.state, server.state_of(issue)) == ("overruled", "Backlog", "Backlog")


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


@pytest.mark.parametrize("what", WRITES)
def test_two_who_deliver_at_once_apply_once(server: LinearServer, transitions: list[tuple[str, str]], what: str) -> None:
    for _ in range(5):
        issue, start = server.create_issue(), Barrier(3)

        def deliver(issue: Issue = issue, start: Barrier = start) -> None:
            tracker = linear(server, labels={"working": "symphony: working"})
            start.wait()
            WRITES[what](tracker, issue.id)

        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(deliver) for _ in range(3)]:
                done.result()
        seen = effect_of(server, issue)
        assert len(seen["comments"]) <= 1  # type: ignore[arg-type]
        assert len(seen["attachments"]) <= 1  # type: ignore[arg-type]
        assert seen["made labels"] in (0, 1)
        assert len([one for one in transitions if one[0] == issue.id]) == (1 if what == "move" else 0)


DYING = """
import sys
from tests.integration.linear_board import linear
from tests.integration.test_trackers_linear_writes import WRITES, Waiting
WRITES[sys.argv[4]](linear(Waiting(*sys.argv[1:4]), labels={"working": "symphony: working"}), sys.argv[5])
"""


class Waiting:
    """What a process needs to know of the server."""

    def __init__(self, url: str, key: str, slug: str) -> None:
        self.url, self.key, self.project = url, key, type("Project", (), {"slug_id": slug})


@pytest.mark.parametrize("what", WRITES)
def test_a_process_that_is_killed_after_its_write_does_no_harm(
    server: LinearServer, transitions: list[tuple[str, str]], what: str
) -> None:
    issue = server.create_issue()
    kind = {"move": "Issue.update", "mark": "Issue.update", "comment": "Comment.create"}.get(what, "Attachment.create")
    server.fail(MUTATIONS[what], faults.slow(600))
    asked = [server.url, server.key, server.project.slug_id, what, issue.id]
    process = subprocess.Popen([sys.executable, "-c", DYING, *asked])
    try:
        wait_until(lambda: server.written(kind), seconds=60)
    finally:
        process.kill()
        process.wait()
    WRITES[what](linear(server, labels={"working": "symphony: working"}), issue.id)
    assert len(server.written("Comment.create")) == (1 if what == "comment" else 0)
    assert len(server.attachments(issue)) == (1 if kind == "Attachment.create" else 0)
    assert len(transitions) == (1 if what == "move" else 0)
    assert len(server.written("IssueLabel.create")) == (1 if what == "mark" else 0)


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_of_faults_apply_each_write_once(seed: int) -> None:
    dice = random.Random(seed)
    chaos = faults.Chaos(seed, 0.45)
    labels = {"working": "symphony: working", "review": "symphony: review", "landed": "symphony: landed"}
    entered: Counter[tuple[str, str]] = Counter()
    with LinearServer(chaos=chaos) as server:

        def hear(change: Change) -> None:
            before, now = change.previous, change.record
            if isinstance(before, Issue) and isinstance(now, Issue) and before.state_id != now.state_id:
                entered[now.id, server.world.need(State, now.state_id).name] += 1

        server.world.listeners.append(hear)
        issues = server.create_issues(3)
        trackers = [linear(server, labels=labels) for _ in range(2)]
        wanted: dict[str, dict[str, str]] = {issue.id: {} for issue in issues}

        def somebody() -> LinearTracker:
            return linear(server, labels=labels) if dice.random() < 0.3 else dice.choice(trackers)

        for number in range(20):
            issue = dice.choice(issues)
            key = f"{seed}/{number if dice.random() < 0.6 else 'progress'}/{issue.id}"
            wanted[issue.id][key] = body = f"body {number}"
            until_done(lambda issue=issue, key=key, body=body: somebody().comment(issue.id, key=key, body=body))
            if dice.random() < 0.4:
                situation = dice.choice(["working", "review", "landed"])
                until_done(lambda issue=issue, situation=situation: somebody().mark(issue.id, situation))
            if dice.random() < 0.4:
                place = Attachment(f"Evidence {number}", url=f"https://ci.example.org/{number}")
                until_done(lambda issue=issue, key=key, place=place: somebody().attach(issue.id, key=key, attachment=place))
        for issue in issues:
            for before, to in (("Todo", "In Progress"), ("In Progress", "In Review"), ("In Review", "Done")):
                moved = until_done(
                    lambda issue=issue, before=before, to=to: somebody().move(issue.id, to, allowed_from=[before])
                )
                assert moved.outcome in ("applied", "already")  # type: ignore[attr-defined]
        for issue in issues:
            said = {comment.id: comment.body for comment in server.comments(issue)}
            assert said == {own_uuid(key): body for key, body in wanted[issue.id].items()}
            assert len(server.comments(issue)) == len(said)
            urls = Counter(one.url for one in server.attachments(issue))
            assert max(urls.values(), default=1) == 1
            assert len(server.issue(issue).label_ids) <= 1
        assert all(count == 1 for count in entered.values()), entered
        assert {state for _, state in entered} == {"In Progress", "In Review", "Done"}
        created = Counter(write.entity_id for write in server.written("Comment.create"))
        assert all(count == 1 for count in created.values())
        assert len(server.written("IssueLabel.create")) <= 3
        assert server.violations == []


def test_no_error_of_a_write_holds_the_key(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    said = []
    for fault in [*LOST.values(), faults.refused(f"not with {server.key}")]:
        for what, write in WRITES.items():
            server.fail(MUTATIONS[what], fault)
            try:
                write(tracker, issue.id)
            except SymphonyError as error:
                said.append(f"{error!r} {error} {error.__cause__!r}")
    assert said
    assert server.key not in "".join(said)


def test_a_move_of_which_no_answer_came_is_not_made_again_after_a_person_has_gone_on(
    server: LinearServer, tracker: LinearTracker
) -> None:
    issue = server.create_issue()
    (known,) = tracker.fetch_issues_by_ids([issue.id])
    server.fail("SymphonyMove", faults.reset(applied=True))
    with pytest.raises(Transient):
        tracker.move(issue.id, "In Progress", allowed_from=["Todo"], unless_since=known.updated_at)
    server.move(issue, "Todo", by=server.person)
    moved = tracker.move(issue.id, "In Progress", allowed_from=["Todo"], unless_since=known.updated_at)
    assert (moved.outcome, moved.issue.state) == ("overruled", "Todo")
    (known,) = tracker.fetch_issues_by_ids([issue.id])
    assert tracker.move(issue.id, "In Progress", allowed_from=["Todo"], unless_since=known.updated_at).outcome == "applied"
