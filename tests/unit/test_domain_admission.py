"""Eligibility, order and slots (specification 8.2, 8.3), and the names derived from an issue (4.2)."""

from __future__ import annotations

import string
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.admission import Slots, StateSets, dispatch_order, has_required_labels, is_routable, priority_rank
from symphony.domain.errors import InvariantViolated
from symphony.domain.issue import Blocker, Issue, normalized_state, workspace_key

STATES = st.sampled_from(["Todo", " todo ", "In Progress", "Rework", "REWORK"])
LIMITS = st.dictionaries(st.sampled_from(["todo", "in progress", "rework"]), st.integers(1, 5))


def issue(name: str = "A-1", **fields: object) -> Issue:
    """Make an issue."""
    return Issue(**{"id": name, "identifier": name, "title": "t", "state": "Todo", "dispatchable": True, **fields})  # type: ignore[arg-type]


@given(st.integers(0, 12), LIMITS, st.lists(STATES, max_size=10), st.lists(STATES, max_size=30))
def test_slots_are_never_exceeded_and_given_in_order(
    total: int, by_state: dict[str, int], held: list[str], asking: list[str]
) -> None:
    """Rule: max(total - running, 0), by state its own limit or the total; nobody is refused who had room."""
    who = list(enumerate(asking))
    granted, refused = Slots(total, by_state).fill(held, who, lambda one: one[1])
    assert sorted(granted + refused) == who
    assert granted == sorted(granted)
    assert refused == sorted(refused)
    assert len(granted) <= max(total - len(held), 0)
    used = Counter(map(normalized_state, held))
    for number, state in who:
        name = normalized_state(state)
        has_room = used.total() < total and used[name] < by_state.get(name, total)
        assert ((number, state) in granted) is has_room
        used[name] += has_room


def test_dispatch_order() -> None:
    """Rule: priority 1..4, then all others; oldest first, no date last; identifier."""
    old, new = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    expected = [
        issue("Z", priority=1, created_at=new), issue("Y", priority=2, created_at=old),
        issue("X", priority=2, created_at=new),
        issue("W", priority=2), issue("V", priority=4), issue("A", priority=0, created_at=old),
        issue("B", priority=7, created_at=old), issue("C", priority=None, created_at=old), issue("D", priority=-1),
    ]  # fmt: skip
    assert sorted(reversed(expected), key=dispatch_order) == expected
    assert [priority_rank(p) for p in (None, -1, 0, 1, 2, 3, 4, 5)] == [5, 5, 5, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("labels", "required", "expected"),
    [
        ((), (), True), (("a",), (), True), (("a",), ("A",), True), (("A ",), (" a",), True), (("a",), ("a", "b"), False),
        (("a", "b"), ("b",), True), (("a",), ("",), False), (("a",), ("a", "  "), False), ((), ("a",), False),
    ],
)  # fmt: skip
def test_required_labels(labels: tuple[str, ...], required: tuple[str, ...], expected: bool) -> None:
    """Rule: every required label, case-insensitive; a blank one matches no issue."""
    assert has_required_labels(issue(labels=labels), required) is expected
    assert is_routable(issue(labels=labels), required) is expected
    assert not is_routable(issue(labels=labels, dispatchable=False), required)


def test_a_state_that_is_active_and_terminal_is_terminal() -> None:
    """Rule: in active_states and not in terminal_states."""
    states = StateSets.of(["Todo", "Done "], ["done"])
    assert states.is_active(" TODO")
    assert states.is_terminal("DONE")
    assert not states.is_active("Done")


@given(st.text(min_size=1, max_size=40))
def test_a_workspace_key_is_one_safe_name(identifier: str) -> None:
    """Rule: [A-Za-z0-9._-] only, no path, stable; unchanged where nothing needed replacing."""
    key = workspace_key(identifier)
    assert set(key) <= set(string.ascii_letters + string.digits + "._-")
    assert key not in {"", ".", ".."}
    assert key == workspace_key(identifier)
    if set(identifier) <= set(string.ascii_letters + string.digits + "._-") and identifier not in {".", ".."}:
        assert key == identifier


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_different_identifiers_have_different_keys(one: str, other: str) -> None:
    """Rule: what sanitises to the same text is told apart by a digest."""
    assert (workspace_key(one) == workspace_key(other)) is (one == other)


def test_collisions_of_sanitised_names() -> None:
    """Rule: distinct identifiers that sanitise alike have distinct keys (specification 17.2)."""
    assert len({workspace_key(name) for name in ("A/1", "A:1", "A_1", "A 1", "A-1")}) == 5


def test_a_snapshot_survives_json() -> None:
    """Rule: what a row keeps is the issue."""
    one = issue(
        labels=("a",), blocked_by=(Blocker("1", "A-9", "Done"),), created_at=datetime(2026, 1, 1, tzinfo=UTC),
        native_ref={"n": 1}, priority=2, description="x",
    )  # fmt: skip
    assert Issue.from_json(one.as_json() | {"unknown": 1}) == one


@pytest.mark.parametrize("name", ["id", "identifier", "title", "state"])
def test_an_issue_without_a_required_field_is_refused(name: str) -> None:
    """Rule: it has id, identifier, title and state."""
    with pytest.raises(InvariantViolated, match=name):
        issue(**{name: "  "})
