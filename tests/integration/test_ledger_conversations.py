"""Conversations in the ledger: order, calls begun and answered once, compaction, messages, repetition, stale writers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from symphony.domain.errors import Fenced, InvariantViolated, Transient
from symphony.domain.outcome import Interrupted
from symphony.domain.stage import Stage
from symphony.engine.execute import Claim
from symphony.ledger import conversations
from symphony.ledger.conversations import REPEATED_CALL, Kind, NewItem, NewMessage
from symphony.ledger.database import FencedTransaction
from symphony.ledger.records import Item
from tests.integration.board import Board


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board whose run A-1 is queued for its agent."""
    board = Board(database_url, tmp_path)
    board.bring("A-1", Stage.AGENT)
    return board


@pytest.fixture
def held(board: Board) -> Claim:
    """The claim of A-1's agent stage."""
    return board.claim("A-1")


def handed_over(board: Board, old: Claim) -> Claim:
    """Let a run change hands."""
    board.settle(old, Interrupted("handed over"))
    return board.claim("A-1")


def said(text: str, kind: Kind = "user") -> NewItem:
    """Make a message."""
    return NewItem(kind, {"type": "message", "content": text})


def call(call_id: str) -> NewItem:
    """Make a call."""
    return NewItem("model", {"type": "function_call", "call_id": call_id, "name": "shell", "arguments": "{}"})


def output(call_id: str, text: str = "ok") -> dict[str, Any]:
    """Make the payload of an answer."""
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def append(board: Board, held: Claim, *new: NewItem) -> list[Item]:
    """Append in a transaction of its own."""
    items: list[Item] = board.fenced(held, lambda t: conversations.append(t, *new))
    return items


def finish(board: Board, held: Claim, call_id: str, text: str = "ok", **trees: str | None) -> Item:
    """Answer a call."""
    told = {"tree_sha": None, **trees}
    item: Item = board.fenced(held, lambda t: conversations.finish_call(t, call_id, output(call_id, text), **told))
    return item


def open_items(board: Board, run_id: UUID) -> list[Item]:
    """Read what is sent."""
    return board.database.transact(lambda t: conversations.open_items(t, run_id))


def texts(items: list[Item]) -> list[str]:
    """Give what tells items apart."""
    return [item.payload.get("content") or f"{item.kind} {item.call_id}" for item in items]


def test_items_come_back_in_order_and_as_they_were(board: Board, held: Claim) -> None:
    """Rule: an item is stored verbatim, the order of its keys included, and gets the next place."""
    payload = {"z": 1, "type": "reasoning", "a": [{"y": 0.5, "b": None}], "encrypted_content": "k/+=="}
    stored = append(board, held, said("hello"), NewItem("model", payload), call("c1"))
    assert [item.seq for item in stored] == [1, 2, 3]
    assert list(stored[1].payload) == ["z", "type", "a", "encrypted_content"]
    append(board, held, said("more"))
    found = open_items(board, held.run.id)
    assert found[:3] == stored
    assert list(found[1].payload.items()) == list(payload.items())
    assert (found[3].seq, found[3].token, found[3].kind) == (4, held.run.token, "user")
    assert append(board, held) == []


def test_an_odd_byte_is_stored_nearly_and_comes_back_as_it_was_stored(board: Board, held: Claim) -> None:
    """Rule: what append gives is what is there; only that may be sent."""
    (stored,) = append(board, held, said("a\0b\udcff"))
    assert stored.payload["content"] == "a\ufffdb?"
    assert open_items(board, held.run.id) == [stored]


def test_two_runs_have_conversations_of_their_own(board: Board, held: Claim) -> None:
    """Rule: places and calls are counted by run."""
    board.bring("A-2", Stage.AGENT)
    other = board.claim("A-2")
    append(board, held, call("same"), said("here"))
    assert [item.seq for item in append(board, other, call("same"))] == [1]
    finish(board, other, "same")
    assert texts(open_items(board, held.run.id)) == ["model same", "here"]


def test_a_repetition_after_a_commit_of_unknown_end_writes_nothing(board: Board, held: Claim) -> None:
    """Rule: the same transaction run again finds what it wrote."""
    new = (said("once"), call("c1"))
    first = append(board, held, *new)
    assert append(board, held, *new) == first
    begun = board.fenced(held, lambda t: conversations.begin_call(t, "c1", changes=True))
    again = board.fenced(held, lambda t: conversations.begin_call(t, "c1", changes=True))
    assert begun.seq == again.seq == 2
    assert finish(board, held, "c1", "first", tree_sha="t") == finish(board, held, "c1", "second", tree_sha="u")
    assert open_items(board, held.run.id)[-1].payload["output"] == "first"
    assert len(open_items(board, held.run.id)) == 3


def test_a_call_that_changes_things_is_not_begun_by_two_holders(board: Board, held: Claim) -> None:
    """Rule: calls that change things are never run again after a crash, reads may be."""
    append(board, held, call("write"), call("read"), call("fresh"))
    board.fenced(held, lambda t: conversations.begin_call(t, "write", changes=True))
    board.fenced(held, lambda t: conversations.begin_call(t, "read", changes=False))
    new = handed_over(board, held)
    with pytest.raises(InvariantViolated, match="begun by another holder"):
        board.fenced(new, lambda t: conversations.begin_call(t, "write", changes=True))
    read = board.fenced(new, lambda t: conversations.begin_call(t, "read", changes=False))
    assert (read.token, read.started_at is not None) == (new.run.token, True)
    started = {item.call_id: item.started_at is not None for item in open_items(board, new.run.id)}
    assert started == {"write": True, "read": True, "fresh": False}
    interrupted = finish(board, new, "write", "interrupted")
    assert (interrupted.changes, interrupted.token) == (True, new.run.token)
    with pytest.raises(InvariantViolated, match="answered already"):
        board.fenced(new, lambda t: conversations.begin_call(t, "write", changes=True))


def test_answers_need_their_calls(board: Board, held: Claim) -> None:
    """Rule: every output has a call before it, and names it."""
    append(board, held, call("c1"))
    with pytest.raises(InvariantViolated, match="no call c2"):
        finish(board, held, "c2")
    with pytest.raises(InvariantViolated, match="no call c2"):
        board.fenced(held, lambda t: conversations.begin_call(t, "c2", changes=False))
    with pytest.raises(InvariantViolated, match="names the call c2"):
        board.fenced(held, lambda t: conversations.finish_call(t, "c1", output("c2"), tree_sha=None))


def test_a_model_that_names_two_calls_alike_is_not_believed(board: Board, held: Claim) -> None:
    """Rule: malformed answers are tried again, and nothing of them is kept."""
    append(board, held, call("c1"))
    for answer in ((said("x", "model"), call("c1")), (call("c2"), call("c2"))):
        with pytest.raises(Transient) as caught:
            append(board, held, *answer)
        assert caught.value.category == REPEATED_CALL
    assert texts(open_items(board, held.run.id)) == ["model c1"]


def test_trees_stand_beside_what_left_them(board: Board, held: Claim) -> None:
    """Rule: tree and conversation agree: what is no longer sent keeps its tree and the commit that was pushed of it."""
    append(board, held, NewItem("user", {"content": "go"}, tree_sha="t0"), call("c1"), call("c2"))
    finish(board, held, "c1", tree_sha="t1", head_sha="h1")
    finish(board, held, "c2", tree_sha="t2")
    append(board, held, said("last"))
    board.fenced(held, lambda t: conversations.compact(t, 6, said("summary")))
    trees = board.sql("SELECT tree_sha, head_sha FROM conversation_items ORDER BY seq")
    assert [tuple(row) for row in trees] == [
        ("t0", None),
        *[(None, None)] * 2,
        ("t1", "h1"),
        ("t2", None),
        *[(None, None)] * 2,
    ]


def test_reasoning_is_dropped_and_nothing_else(board: Board, held: Claim) -> None:
    """Rule: after invalid_encrypted_content all reasoning so far is dropped, once."""
    append(
        board, held, said("hello"), NewItem("model", {"type": "reasoning", "id": "r1"}), call("c1"),
        NewItem("user", {"type": "reasoning", "content": "quoted"}),
    )  # fmt: skip
    assert board.fenced(held, conversations.drop_reasoning) == 1
    assert board.fenced(held, conversations.drop_reasoning) == 0
    append(board, held, NewItem("model", {"type": "reasoning", "content": "new"}))
    assert texts(open_items(board, held.run.id)) == ["hello", "model c1", "quoted", "new"]


def test_compaction_puts_the_new_before_the_kept(board: Board, held: Claim) -> None:
    """Rule: the first stays, what was compacted is dropped, what replaces it stands in its place, again and again."""
    append(board, held, *[said(str(n)) for n in range(1, 7)])
    compacted = board.fenced(held, lambda t: conversations.compact(t, 4, said("2-3"), said("and")))
    assert texts(compacted) == ["1", "2-3", "and", "4", "5", "6"]
    append(board, held, said("7"))
    assert texts(open_items(board, held.run.id)) == ["1", "2-3", "and", "4", "5", "6", "7"]
    assert texts(board.fenced(held, lambda t: conversations.compact(t, 6, said("2-5")))) == ["1", "2-5", "6", "7"]
    assert texts(board.fenced(held, lambda t: conversations.compact(t, 10, said("x")))) == ["1", "x", "2-5", "6", "7"]
    assert texts(board.fenced(held, lambda t: conversations.compact(t, 9, said("all")))) == ["1", "all", "7"]
    assert [item.seq for item in append(board, held, said("8"))] == [13]
    assert texts(open_items(board, held.run.id)) == ["1", "all", "7", "8"]
    assert board.sql("SELECT count(*) FROM conversation_items")[0][0] == 13, "dropped, not deleted"


def test_a_compaction_run_again_changes_nothing(board: Board, held: Claim) -> None:
    """Rule: the same transaction run again finds what it wrote."""
    append(board, held, *[said(str(n)) for n in range(1, 5)])
    summary = said("1-2")
    first = board.fenced(held, lambda t: conversations.compact(t, 3, summary))
    assert board.fenced(held, lambda t: conversations.compact(t, 3, summary)) == first


def test_a_compaction_does_not_part_calls_from_answers(board: Board, held: Claim) -> None:
    """Rule: every output has its call before it, every call its output; a running call is not dropped."""
    append(board, held, said("go"), call("c1"), call("c2"))
    finish(board, held, "c1")
    append(board, held, said("meanwhile"))
    before = open_items(board, held.run.id)
    for keep_from in (1, 3, 4, 5, 99):
        with pytest.raises(InvariantViolated):
            board.fenced(held, lambda t, seq=keep_from: conversations.compact(t, seq, said("s")))
    assert open_items(board, held.run.id) == before
    assert len(board.fenced(held, lambda t: conversations.compact(t, 2, said("s")))) == 6
    finish(board, held, "c2")
    append(board, held, said("then"))
    assert texts(board.fenced(held, lambda t: conversations.compact(t, 8, said("t")))) == ["go", "t", "then"]


def test_an_answer_of_a_dropped_call_is_refused(board: Board, held: Claim) -> None:
    """Rule: what is no longer sent is not answered."""
    append(board, held, said("go"), call("c1"))
    finish(board, held, "c1")
    append(board, held, said("then"))
    board.fenced(held, lambda t: conversations.compact(t, 4, said("s")))
    with pytest.raises(InvariantViolated, match="no call c1"):
        finish(board, held, "c1")
    with pytest.raises(Transient):
        append(board, held, call("c1"))


def test_messages_of_people_are_told_once(board: Board, held: Claim) -> None:
    """Rule: a comment is kept once by its id and told once, in the order of writing."""
    run_id = held.run.id
    news = [
        NewMessage("2", "ann", "second", datetime(2026, 11, 2, tzinfo=UTC)),
        NewMessage("1", "bob", "first\0", datetime(2026, 11, 1, tzinfo=UTC)),
    ]
    assert board.database.transact(lambda t: conversations.add_messages(t, run_id, news)) == 2
    assert board.database.transact(lambda t: conversations.add_messages(t, run_id, [*news, NewMessage("3", "c", "d")])) == 1
    assert board.database.transact(lambda t: conversations.add_messages(t, run_id, [])) == 0
    unseen = board.fenced(held, conversations.unseen_messages)
    assert [message.body for message in unseen] == ["first\ufffd", "second", "d"]
    (item,) = append(board, held, said("told"))
    board.fenced(held, lambda t: conversations.mark_seen(t, [message.id for message in unseen[:2]], item.seq))
    new = handed_over(board, held)
    assert [message.body for message in board.fenced(new, conversations.unseen_messages)] == ["d"]
    board.fenced(new, lambda t: conversations.mark_seen(t, [message.id for message in unseen], item.seq + 9))
    assert [row[0] for row in board.sql("SELECT seen_seq FROM run_messages ORDER BY at")] == [1, 1, 10]


WRITES: dict[str, Callable[[FencedTransaction], Any]] = {
    "append": lambda t: conversations.append(t, said("stale")),
    "begin_call": lambda t: conversations.begin_call(t, "c1", changes=True),
    "finish_call": lambda t: conversations.finish_call(t, "c1", output("c1"), tree_sha="t"),
    "drop_reasoning": conversations.drop_reasoning,
    "compact": lambda t: conversations.compact(t, 1, said("stale")),
    "mark_seen": lambda t: conversations.mark_seen(t, [], 1),
}


def test_a_stale_holder_writes_nothing(board: Board, held: Claim) -> None:
    """Rule: every run-bound write goes through the token."""
    append(board, held, call("c1"), NewItem("model", {"type": "reasoning"}))
    handed_over(board, held)
    before = board.sql("SELECT * FROM conversation_items ORDER BY seq")
    for what, write in WRITES.items():
        with pytest.raises(Fenced):
            board.fenced(held, write)
        assert board.sql("SELECT * FROM conversation_items ORDER BY seq") == before, what


IMPOSSIBLE = [
    ("kind, payload", "'result', '{}'", "result_answers_a_call"),
    ("kind, payload, call_id, started_at", "'result', '{}', 'c', now()", "only_calls_are_started"),
    ("kind, payload, started_at", "'model', '{}', now()", "only_calls_are_started"),
    ("kind, payload, tree_sha", "'model', '{}', 't'", "the_model_leaves_no_tree"),
    ("kind, payload, request_id", "'user', '{}', gen_random_uuid()", "only_the_model_is_asked"),
    ("kind, payload", "'system', '{}'", "conversation_items_kind_check"),
    ("kind, payload, call_id", "'model', '{}', ''", "conversation_items_call_id_check"),
]


def test_impossible_items_are_refused(board: Board) -> None:
    """Rule: CHECKs make impossible rows impossible."""
    for columns, values, constraint in IMPOSSIBLE:
        statement = (
            f"INSERT INTO conversation_items (run_id, seq, id, ordinal, token, {columns}) "
            f"SELECT id, 1, gen_random_uuid(), 1, 1, {values} FROM runs"
        )
        with psycopg.connect(board.url) as connection, pytest.raises(errors.CheckViolation) as refusal:
            connection.execute(statement.encode())
        assert refusal.value.diag.constraint_name == constraint, columns


def test_a_call_has_one_answer_whatever_the_code_does(board: Board, held: Claim) -> None:
    """Rule: the partial unique indexes say it in the database."""
    append(board, held, call("c1"))
    finish(board, held, "c1")
    copy = (
        "INSERT INTO conversation_items (run_id, seq, id, ordinal, kind, payload, call_id, token) "
        "SELECT run_id, seq + 10, gen_random_uuid(), seq + 10, kind, payload, call_id, token FROM conversation_items "
        "WHERE kind = %s"
    )
    for kind, name in (("result", "one_result_per_call"), ("model", "one_call_per_id")):
        with psycopg.connect(board.url) as connection, pytest.raises(errors.UniqueViolation, match=name):
            connection.execute(copy, (kind,))
