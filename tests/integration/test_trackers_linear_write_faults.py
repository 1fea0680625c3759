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

from symphony.domain.errors import SymphonyError, Transient
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.linear.identity import own_uuid
from symphony.trackers.protocol import Attachment
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue, Label, State
from tests.fakes.linear_server import LinearServer, wait_until
from tests.fakes.linear_world import Change
from tests.integration.linear_board import linear
from tests.integration.linear_writes import MUTATIONS, WRITES, key_for

LOST = {
    "accepted, never answered": faults.silent(applied=True),
    "accepted, then 500": faults.status(500, applied=True),
    "accepted, then reset": faults.reset(applied=True),
    "accepted, answer cut": faults.cut(applied=True),
    "accepted, then a proxy's page": faults.html(502, applied=True),
    "not accepted: reset": faults.reset(),
    "not accepted: 503": faults.status(503),
}


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def tracker(server: LinearServer) -> LinearTracker:
    return linear(server, patience_s=0.7, labels={"working": "symphony: working", "review": "symphony: review"})


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


def test_a_person_overrules_a_move_whose_answer_was_lost(server: LinearServer, tracker: LinearTracker) -> None:
    issue = server.create_issue()
    server.fail("issueUpdate", faults.reset(applied=True))
    with pytest.raises(Transient):
        tracker.move(issue.id, "In Progress", allowed_from=["Todo"])
    server.move(issue, "Backlog")
    moved = tracker.move(issue.id, "In Progress", allowed_from=["Todo"])
    assert (moved.outcome, moved.issue.state, server.state_of(issue)) == ("overruled", "Backlog", "Backlog")


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
from tests.integration.linear_writes import WRITES
from tests.integration.test_trackers_linear_write_faults import Waiting
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
