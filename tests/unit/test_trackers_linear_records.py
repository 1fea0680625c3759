"""Linear's payloads become issues and comments, or are told to be none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.domain.issue import Blocker, Issue
from symphony.trackers.linear import identity
from symphony.trackers.linear.records import Malformed, Record, Routing, comment_of, is_visible, record_of, written

TERMINAL = frozenset({"done", "canceled"})
ANYBODY = Routing(TERMINAL)


def payload(**changed: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "id": "5e6c0a52-0000-4000-8000-000000000001",
        "identifier": "ENG-1",
        "title": "Fix the parser",
        "description": "  It stops.\n",
        "priority": 2,
        "branchName": "ann/eng-1",
        "url": "https://linear.app/acme/issue/ENG-1",
        "createdAt": "2026-11-01T09:00:00.123Z",
        "updatedAt": "2026-11-02T09:00:00.000Z",
        "archivedAt": None,
        "trashed": None,
        "state": {"id": "s1", "name": "Todo", "type": "unstarted"},
        "team": {"id": "t1", "key": "ENG"},
        "project": {"id": "p1", "slugId": "abc123", "name": "Alpha"},
        "assignee": {"id": "u1"},
        "delegate": None,
        "creator": {"id": "u2", "email": "Ann@Acme.test", "app": False},
        "parent": {"id": "i0", "identifier": "ENG-0"},
        "labels": {"nodes": [{"name": " Bug"}, {"name": "bug"}, {"name": " "}]},
        "inverseRelations": {"nodes": []},
        "children": {"nodes": [{"id": "i9", "identifier": "ENG-9"}]},
        "attachments": {"nodes": [{"title": "Log", "url": "https://example.org/log"}]},
    }
    return whole | changed


def relation(kind: str, state: str | None, *, name: str = "ENG-5") -> dict[str, Any]:
    blocker = {"id": f"id of {name}", "identifier": name, "state": {"name": state} if state else None}
    return {"id": f"relation to {name}", "type": kind, "issue": blocker}


def blocked(*relations: Mapping[str, Any], **changed: Any) -> Record:
    return record_of(payload(inverseRelations={"nodes": list(relations)}, **changed), ANYBODY)


def test_a_whole_payload_becomes_an_issue() -> None:
    issue = record_of(payload(), ANYBODY).issue
    assert (issue.identifier, issue.title, issue.state, issue.dispatchable) == ("ENG-1", "Fix the parser", "Todo", True)
    assert (issue.description, issue.priority, issue.labels) == ("It stops.", 2, ("bug",))
    assert (issue.branch_name, issue.assignee_id) == ("ann/eng-1", "u1")
    assert issue.created_at == datetime(2026, 11, 1, 9, 0, 0, 123000, tzinfo=UTC)
    assert issue.native_ref == {
        "team": {"id": "t1", "key": "ENG"},
        "project": {"id": "p1", "slugId": "abc123", "name": "Alpha"},
        "state_type": "unstarted",
        "creator": {"id": "u2"},
        "delegate": None,
        "parent": {"id": "i0", "identifier": "ENG-0"},
        "children": [{"id": "i9", "identifier": "ENG-9"}],
        "attachments": [{"title": "Log", "url": "https://example.org/log"}],
    }
    assert Issue.from_json(json.loads(json.dumps(issue.as_json()))) == issue


@pytest.mark.parametrize(
    ("said", "meant"),
    [(0, None), (1, 1), (4.0, 4), (2.5, None), (5, None), (-1, None), (None, None), ("1", None), (True, None)],
)
def test_priority_is_one_to_four_or_none(said: object, meant: int | None) -> None:
    assert record_of(payload(priority=said), ANYBODY).issue.priority == meant


@pytest.mark.parametrize("said", [None, "", "yesterday", 5, "2026-11-01T09:00:00"])
def test_a_time_that_is_none_becomes_null(said: object) -> None:
    assert record_of(payload(createdAt=said), ANYBODY).issue.created_at is None


@pytest.mark.parametrize("name", ["id", "identifier", "title"])
@pytest.mark.parametrize("said", [None, "", "  ", 7, []])
def test_a_record_without_what_it_needs_is_malformed_and_named(name: str, said: object) -> None:
    with pytest.raises(Malformed) as fault:
        record_of(payload(**{name: said}), ANYBODY)
    assert fault.value.category == "tracker_response"
    assert ("ENG-1" if name != "identifier" else payload()["id"]) in fault.value.message
    assert fault.value.issue_id == (None if name == "id" else payload()["id"])


@pytest.mark.parametrize("state", [None, {}, {"name": ""}, "Todo", {"name": None}])
def test_a_record_without_a_state_is_malformed(state: object) -> None:
    with pytest.raises(Malformed, match="ENG-1"):
        record_of(payload(state=state), ANYBODY)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "nodes", "type", "issue", "state", "identifier"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(payload())), ANYTHING, max_size=6))
def test_whatever_stands_in_a_payload_it_is_an_issue_or_malformed(garbage: dict[str, Any]) -> None:
    try:
        record = record_of(payload(**garbage), ANYBODY)
    except Malformed:
        return
    assert json.loads(json.dumps(record.issue.as_json()))["id"] == record.issue.id


def test_only_relations_that_block_are_blockers() -> None:
    record = blocked(relation("blocks", "Todo"), relation("related", "Todo", name="ENG-6"), relation("duplicate", "Todo"))
    assert record.issue.blocked_by == (Blocker("id of ENG-5", "ENG-5", "Todo"),)
    assert len(record.relations) == 3


@pytest.mark.parametrize("state", ["Todo", "In Progress", "Closed", None])
def test_a_blocker_holds_until_its_state_is_terminal(state: str | None) -> None:
    record = blocked(relation("blocks", "done"), relation("blocks", state))
    assert not record.issue.dispatchable
    assert record.reason == f"its blocker ENG-5 is in state {state or 'unknown'}"


def test_blockers_that_are_over_hold_nothing() -> None:
    assert blocked(relation("blocks", " DONE "), relation("blocks", "Canceled")).issue.dispatchable


@pytest.mark.parametrize(("kind", "holds"), [("triage", True), ("backlog", True), ("unstarted", True), ("started", False)])
def test_blockers_hold_only_what_has_not_begun(kind: str, holds: bool) -> None:
    record = blocked(relation("blocks", "Todo"), state={"name": "Somewhere", "type": kind})
    assert record.issue.dispatchable is not holds


def test_new_states_of_blockers_decide_anew() -> None:
    record = blocked(relation("blocks", "Todo"), relation("blocks", "Done", name="ENG-6"))
    assert record.with_states({"elsewhere": "Done"}, TERMINAL) is record
    freed = record.with_states({"id of ENG-5": "Done"}, TERMINAL)
    assert freed.issue.dispatchable
    assert freed.reason is None
    again = freed.with_states({"id of ENG-6": "Todo"}, TERMINAL)
    assert again.reason == "its blocker ENG-6 is in state Todo"


def test_an_issue_that_is_somebody_elses_stays_so_when_its_blocker_ends() -> None:
    relations = {"nodes": [relation("blocks", "Todo")]}
    record = record_of(payload(inverseRelations=relations), Routing(TERMINAL, assignee="u7"))
    freed = record.with_states({"id of ENG-5": "Done"}, TERMINAL)
    assert freed.reason == "it is assigned to u1"
    assert not freed.issue.dispatchable


@pytest.mark.parametrize(
    ("assignee", "delegate", "routed"), [("u7", None, True), ("u1", "u7", True), ("u1", None, False), (None, None, False)]
)
def test_an_issue_is_routed_to_its_assignee_or_delegate(assignee: str | None, delegate: str | None, routed: bool) -> None:
    people = {name: {"id": one} if one else None for name, one in (("assignee", assignee), ("delegate", delegate))}
    record = record_of(payload(**people), Routing(TERMINAL, assignee="u7"))
    assert record.issue.dispatchable is routed
    assert routed or record.reason == f"it is assigned to {assignee or 'nobody'}"


@pytest.mark.parametrize(
    ("authors", "dispatchable"),
    [({"u2"}, True), ({"ann@acme.test"}, True), ({"u3"}, False), (frozenset(), False), (None, True)],
)
def test_only_issues_of_the_authors_are_dispatched(authors: set[str] | None, dispatchable: bool) -> None:
    routing = Routing(TERMINAL, authors=frozenset(authors) if authors is not None else None)
    record = record_of(payload(), routing)
    assert record.issue.dispatchable is dispatchable
    assert dispatchable or "tracker.authors" in (record.reason or "")
    assert record_of(payload(creator=None), routing).issue.dispatchable is (authors is None)


def test_a_program_steers_nothing_unless_it_is_named() -> None:
    program = {"id": "u8", "app": True}
    assert not ANYBODY.may_steer(program)
    assert not ANYBODY.may_steer(None)
    assert ANYBODY.may_steer({"id": "u9", "app": False})
    assert Routing(TERMINAL, authors=frozenset({"u8"})).may_steer(program)


@pytest.mark.parametrize(
    ("changed", "visible"),
    [({}, True), ({"archivedAt": "2026-11-01T09:00:00Z"}, False), ({"trashed": True}, False), ({"project": None}, False)],
)
def test_what_is_put_away_or_elsewhere_is_not_visible(changed: dict[str, Any], visible: bool) -> None:
    assert is_visible(payload(**changed), "abc123") is visible


def test_our_comments_are_known_by_their_ids_whoever_wrote_them() -> None:
    ours = identity.own_uuid("0190-a")
    said = {
        "id": ours,
        "body": "a question?",
        "user": {"displayName": "ann", "name": "Ann"},
        "createdAt": "2026-11-01T09:00:00Z",
    }
    comment = comment_of(said)
    assert (comment.id, comment.author, comment.body) == (f"symphony:{ours}", "ann", "a question?")
    theirs = str(uuid4())
    assert comment_of(said | {"id": theirs}).id == theirs
    assert comment_of(said | {"user": None, "externalUser": {"name": "Guest"}}).author == "Guest"
    assert comment_of(said | {"user": None, "botActor": {"name": "Bot"}}).author == "Bot"
    assert comment_of(said | {"user": None}).author is None


@pytest.mark.parametrize("said", [{}, {"id": "x"}, {"id": None, "body": "b"}, {"id": "x", "body": 5}])
def test_a_comment_without_id_or_body_is_malformed(said: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        comment_of(said)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_an_id_of_ours_is_of_version_4_and_always_the_same(key: str) -> None:
    made = identity.own_uuid(key)
    assert UUID(made).version == 4
    assert UUID(made).variant == "specified in RFC 4122"
    assert made == identity.own_uuid(key)
    assert identity.is_own_uuid(made)


def test_ids_of_others_are_not_taken_for_ours() -> None:
    assert not any(identity.is_own_uuid(str(uuid4())) for _ in range(2000))
    made = identity.own_uuid("key")
    changed = [
        made[:place] + ("0" if made[place] != "0" else "1") + made[place + 1 :] for place in range(36) if made[place] != "-"
    ]
    assert not any(identity.is_own_uuid(one) for one in changed)
    assert not identity.is_own_uuid("no uuid")
    assert len({identity.own_uuid(str(number)) for number in range(2000)}) == 2000


def test_times_are_written_as_linear_writes_them() -> None:
    assert written(datetime(2026, 11, 1, 9, 0, 0, 123456, tzinfo=UTC)) == "2026-11-01T09:00:00.123Z"
