"""The specification's test matrix, section 17.3, bullet by bullet, over every adapter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError, Transient
from symphony.domain.issue import Issue
from symphony.trackers import Tracker, open_tracker
from symphony.trackers.registry import kinds
from tests.contract.tracker_boards import BOARDS, Board, FilesBoard, LinearBoard
from tests.fakes import linear_faults as faults
from tests.fakes.linear_faults import Fault

PROFILE = Path(__file__).parents[2] / "docs" / "trackers.md"


@pytest.fixture(params=sorted(BOARDS))
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Board]:
    board = BOARDS[request.param](tmp_path)
    yield board
    board.close()


@pytest.mark.conformance("17.3", "a candidate poll asks for the active states, within the adapter's scope")
def test_candidate_fetch_applies_active_states_and_scope(board: Board, tmp_path: Path) -> None:
    wanted = board.create("A-1", "Todo")
    board.create("A-2", "Backlog")
    board.create("A-3", "Done")
    if isinstance(board, FilesBoard):
        (board.folder / "archive").mkdir()
        (board.folder / "archive" / "A-4.md").write_text(board.path("A-1").read_text())
        (tmp_path / "A-5.md").write_text(board.path("A-1").read_text())
    tracker = board.open()
    assert [issue.id for issue in tracker.fetch_issues_by_states(tracker.active_states).issues] == [wanted]


@pytest.mark.conformance("17.3", "no states: an empty answer without asking the tracker")
def test_empty_states_make_no_request(board: Board) -> None:
    tracker = board.open()
    board.goes_away()
    assert tracker.fetch_issues_by_states([]).issues == ()


@pytest.mark.conformance("17.3", "no ids: an empty answer without asking the tracker")
def test_empty_ids_make_no_request(board: Board) -> None:
    tracker = board.open()
    board.goes_away()
    assert tracker.fetch_issues_by_ids([]) == ()


@pytest.mark.conformance("17.3", "the order of issues holds across pages")
def test_order_is_kept_over_many_pages(board: Board) -> None:
    names = [f"A-{number:04}" for number in range(230)]
    for name in reversed(names):
        board.create(name, "Todo")
    assert [issue.identifier for issue in board.open().fetch_issues_by_states(["Todo"]).issues] == names


@pytest.mark.conformance("17.3", "labels are trimmed, lowercase, without blanks and repetitions")
def test_labels_are_normalised(board: Board) -> None:
    issue_id = board.create("A-1", "Todo", labels=["Bug", "' UI '", "bug", "' '"])
    (issue,) = board.open().fetch_issues_by_ids([issue_id])
    assert issue.labels == ("bug", "ui")


@pytest.mark.conformance("17.3", "unusable optional data becomes null or empty and hides nothing")
def test_unusable_optional_data_becomes_null(board: Board) -> None:
    nothing = {"priority": "high", "labels": "{a: b}", "blocked_by": "{}", "assignee": "[x]", "created": "lately"}
    (issue,) = board.open().fetch_issues_by_ids([board.create("A-1", "Todo", **nothing, body="")])
    assert (issue.priority, issue.labels, issue.blocked_by, issue.assignee_id) == (None, (), (), None)
    assert (issue.created_at, issue.description, issue.title, issue.state) == (None, None, "A title", "Todo")
    assert issue.dispatchable


@pytest.mark.conformance("17.3", "a malformed record is left out of lists and told of, and fails a refresh by id")
def test_malformed_records_are_omitted_or_fail(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = board.create("A-1", "Todo"), board.create("A-2", "Todo")
    board.person_breaks(bad)
    tracker = board.open()
    fetched = tracker.fetch_issues_by_states(["Todo"])
    assert [issue.id for issue in fetched.issues] == [good]
    assert len(fetched.omitted) == 1
    assert "A-2" in fetched.omitted[0]
    assert "A-2" in "".join(capsys.readouterr())
    with pytest.raises(Transient, match="A-2"):
        tracker.fetch_issues_by_ids([good, bad])


@pytest.mark.conformance("17.3", "a refresh by id gives full snapshots")
def test_refresh_gives_full_snapshots(board: Board) -> None:
    board.create("A-1", "Done")
    fields = {"labels": ["x"], "priority": 2, "blocked_by": ["A-1"], "assignee": "ann", "url": "https://example.org/2"}
    issue_id = board.create("A-2", "Todo", title="Second", body="Text.\n", **fields)
    (issue,) = board.open().fetch_issues_by_ids([issue_id])
    assert (issue.title, issue.description, issue.priority, issue.labels) == ("Second", "Text.", 2, ("x",))
    assert (issue.assignee_id, issue.url) == ("ann", "https://example.org/2")
    assert [(blocker.identifier, blocker.state) for blocker in issue.blocked_by] == [("A-1", "Done")]
    assert issue.updated_at is not None
    assert Issue.from_json(json.loads(json.dumps(issue.as_json()))) == issue


@pytest.mark.conformance("17.3", "a provider's own id that differs from the dispatch id is kept in native_ref")
def test_native_ref_is_safe_and_present_where_ids_differ(board: Board) -> None:
    (issue,) = board.open().fetch_issues_by_ids([board.create("A-1", "Todo")])
    if issue.native_ref is None:
        assert issue.id == issue.identifier == "A-1"
    else:
        assert json.loads(json.dumps(issue.native_ref)) == issue.native_ref


@pytest.mark.conformance("17.3", "routing, blockers and assignment become an explicit dispatchable")
def test_routing_rules_become_dispatchable(board: Board) -> None:
    board.create("A-1", "In Progress", assignee="ann")
    board.create("A-2", "Todo", assignee="ann", blocked_by=["A-1"])
    board.create("A-3", "Todo", assignee="bob")
    board.create("A-4", "Todo", assignee="ann", blocked_by=["A-9"])
    board.create("A-5", "Todo")
    issues = board.open(assignee="Ann").fetch_issues_by_states(["Todo", "In Progress"]).issues
    assert {issue.identifier for issue in issues if issue.dispatchable} == {"A-1"}
    assert len(issues) == 5


@pytest.mark.conformance("17.3", "each adapter publishes its profile")
@pytest.mark.parametrize("kind", kinds())
def test_profile_is_published(kind: str) -> None:
    _, found, profile = PROFILE.read_text().partition(f"## Profile of `{kind}`")
    assert found
    profile = re.split(r"\n## (?:Profile|Writing)", profile)[0]
    for topic in ("Settings", "Scope", "Identity", "Normalisation", "Tools", "Errors"):
        assert f"### {topic}" in profile, topic


def open_files(tmp_path: Path, **provider: object) -> Tracker:
    return open_tracker(
        "files", provider, active_states=None, terminal_states=None, base_dir=tmp_path, environ={"EMPTY": ""}
    )


def failing_config(tmp_path: Path) -> None:
    open_files(tmp_path, path=["issues"])


def failing_request(tmp_path: Path) -> None:
    open_files(tmp_path, path="nowhere").fetch_issues_by_states(["Todo"])


def failing_payload(tmp_path: Path) -> None:
    (tmp_path / "A-1.md").write_bytes(b"\x00\xff")
    open_files(tmp_path, path=".").fetch_issues_by_ids(["A-1"])


def failing_secret(tmp_path: Path) -> None:
    provider = {"project_slug": "abc", "api_key": ""}
    open_tracker("linear", provider, active_states=None, terminal_states=None, base_dir=tmp_path, environ={})


def failing_on_linear(fault: Fault) -> Callable[[Path], None]:
    def fail(tmp_path: Path) -> None:
        board = LinearBoard(tmp_path)
        try:
            tracker = board.open()
            board.server.fail("*", fault)
            tracker.fetch_issues_by_states(["Todo"])
        finally:
            board.close()

    return fail


def failing_kind(tmp_path: Path) -> None:
    open_tracker("none", {}, active_states=None, terminal_states=None, base_dir=tmp_path, environ={})


@pytest.mark.conformance("17.3", "errors map to the portable categories, and the profile documents the mapping")
@pytest.mark.parametrize(
    ("fail", "error", "category"),
    [
        (failing_kind, ConfigError, "unsupported_tracker_kind"),
        (failing_config, ConfigError, "invalid_tracker_config"),
        (failing_request, Transient, "tracker_request"),
        (failing_payload, Transient, "tracker_response"),
        (failing_secret, ConfigError, "missing_tracker_secret"),
        (failing_on_linear(faults.reset()), Transient, "tracker_request"),
        (failing_on_linear(faults.status(503)), Transient, "tracker_status"),
        (failing_on_linear(faults.html(200)), Transient, "tracker_response"),
        (failing_on_linear(faults.lost_cursor()), Transient, "tracker_pagination"),
        (failing_on_linear(faults.rate_limited(1000)), Transient, "tracker_rate_limited"),
    ],
)
def test_errors_map_to_categories(
    tmp_path: Path, fail: Callable[[Path], None], error: type[Exception], category: str
) -> None:
    with pytest.raises(error) as raised:
        fail(tmp_path)
    assert getattr(raised.value, "category", None) == category
    assert category in PROFILE.read_text()
    assert str(raised.value)


@pytest.mark.conformance("17.3", "categories that an adapter cannot meet are said to be so in its profile")
@pytest.mark.parametrize(
    "category", ["missing_tracker_secret", "tracker_status", "tracker_pagination", "tracker_rate_limited"]
)
def test_categories_that_cannot_occur_are_documented(category: str) -> None:
    assert category in PROFILE.read_text()
