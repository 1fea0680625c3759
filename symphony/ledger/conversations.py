"""Statements on conversations: what an agent and its model said, item by item, and what people say meanwhile.

Invariant: an item is a row before anything that follows from it is sent or run; it is never altered, only dropped from
what is sent; a call that may change things is started once, by one holder, and answered once. Writers hold the run's
row, so places are given one after another. A repetition after a commit of unknown end finds what it wrote and writes
nothing. The agent's loop relies on it to go on, on any node, where a dead one stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from symphony.domain.errors import InvariantViolated, Transient
from symphony.ledger.database import FencedTransaction, Transaction, new_id
from symphony.ledger.records import Item, Message, record

Kind = Literal["user", "model", "result"]
REPEATED_CALL = "repeated_call_id"
"""The category of the error for a model that names two calls alike: its answer cannot be used."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be written; `payload` is what is sent. Make it outside of the transaction that may be repeated.

    `tree_sha` is the workspace's tree at that point, `head_sha` the commit that was pushed of it.
    """

    kind: Kind
    payload: dict[str, Any]
    request_id: UUID | None = None
    tree_sha: str | None = None
    head_sha: str | None = None
    id: UUID = field(default_factory=new_id)

    @property
    def call_id(self) -> str | None:
        """The call that the item makes or answers."""
        return None if self.kind == "user" else self.payload.get("call_id") or None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What somebody said; `source_id` is the tracker's id of it, `at` None where the tracker does not say."""

    source_id: str
    author: str
    body: str
    at: datetime | None = None


def open_items(transaction: Transaction, run_id: UUID) -> list[Item]:
    """List the items that are sent, in the order of the conversation."""
    rows = transaction.rows(
        "SELECT * FROM conversation_items WHERE run_id = :run_id AND dropped_at IS NULL ORDER BY ordinal", run_id=run_id
    )
    return [record(Item, row) for row in rows]


def replaced_items(transaction: Transaction, run_id: UUID, endings: Collection[str]) -> list[Item]:
    """List what we said, and what calls of these names came to, as far as it is sent no longer; in the order of writing."""
    rows = transaction.rows(
        """
        SELECT * FROM conversation_items i WHERE run_id = :run_id AND dropped_at IS NOT NULL
          AND (kind = 'user' OR kind = 'result' AND EXISTS (SELECT FROM conversation_items c WHERE c.run_id = i.run_id
            AND c.kind = 'model' AND c.call_id = i.call_id AND c.payload ->> 'name' = ANY(:endings)))
        ORDER BY seq
        """,
        run_id=run_id,
        endings=list(endings),
    )
    return [record(Item, row) for row in rows]


def append(transaction: FencedTransaction, *new: NewItem) -> list[Item]:
    """Write items at the conversation's end and give them as they were stored: only that may be sent.

    Raises:
        Transient: a call has the id of an earlier one (`REPEATED_CALL`); nothing may be kept of that answer.
    """
    return _written_before(transaction, new) or _insert(transaction, new)


def begin_call(transaction: FencedTransaction, call_id: str, *, changes: bool) -> Item:
    """Note that a call is about to run, and whether it may change the tree.

    Raises:
        InvariantViolated: there is no such call, it is answered, or it changes things and another holder began it.
    """
    call = _call(transaction, call_id)
    if _result(transaction, call_id) is not None:
        raise InvariantViolated(f"the call {call_id} is answered already")
    if call.started_at is not None and call.changes and call.token != transaction.run_row.token:
        raise InvariantViolated(f"the call {call_id} was begun by another holder and must not run again")
    row = transaction.row(
        """
        UPDATE conversation_items SET started_at = clock_timestamp(), changes = :changes, token = :writer
        WHERE run_id = :run_id AND seq = :seq RETURNING *
        """,
        run_id=transaction.run_row.id,
        seq=call.seq,
        changes=changes,
        writer=transaction.run_row.token,
    )
    assert row is not None
    return record(Item, row)


def finish_call(
    transaction: FencedTransaction,
    call_id: str,
    payload: dict[str, Any],
    *,
    tree_sha: str | None,
    head_sha: str | None = None,
) -> Item:
    """Write the answer of a call, with the tree that it left and the commit that was pushed of it; the first one counts.

    Raises:
        InvariantViolated: there is no such call, or it is dropped.
    """
    call = _call(transaction, call_id)
    earlier = _result(transaction, call_id)
    if earlier is not None:
        return earlier
    if payload.get("call_id") != call_id:
        raise InvariantViolated(f"the answer of the call {call_id} names the call {payload.get('call_id')}")
    answer = NewItem("result", payload, tree_sha=tree_sha, head_sha=head_sha)
    (result,) = _insert(transaction, [answer], changes=call.changes)
    return result


def is_answered(transaction: FencedTransaction, call_id: str) -> bool:
    """Tell whether a call has its answer."""
    return _result(transaction, call_id) is not None


def written(transaction: FencedTransaction, item_id: UUID) -> list[Item]:
    """Find an item that an earlier try of the same transaction may have written."""
    return _written_before(transaction, [NewItem("user", {}, id=item_id)])


def drop_reasoning(transaction: FencedTransaction) -> int:
    """Send the reasoning so far no longer: it is encrypted for another key, organisation or model. Give how many."""
    return transaction.run(
        """
        UPDATE conversation_items SET dropped_at = now()
        WHERE run_id = :run_id AND dropped_at IS NULL AND kind = 'model' AND payload ->> 'type' = 'reasoning'
        """,
        run_id=transaction.run_row.id,
    )


def without_reasoning(transaction: Transaction, run_id: UUID) -> set[UUID]:
    """Name the requests whose reasoning is sent no longer while the rest of their answer is."""
    rows = transaction.rows(
        """
        SELECT request_id FROM conversation_items WHERE run_id = :run_id AND kind = 'model' AND request_id IS NOT NULL
        GROUP BY request_id
        HAVING bool_or(dropped_at IS NOT NULL AND payload ->> 'type' = 'reasoning') AND bool_or(dropped_at IS NULL)
        """,
        run_id=run_id,
    )
    return {row.request_id for row in rows}


def compact(transaction: FencedTransaction, keep_from_seq: int, *new: NewItem) -> list[Item]:
    """Put items in the place of all between the first one and an item; give the conversation as it is then.

    Raises:
        InvariantViolated: no such item comes after the first, or a call would be kept without its answer or reverse.
    """
    run_id = transaction.run_row.id
    if not _written_before(transaction, new):
        first, *kept = _kept(open_items(transaction, run_id), keep_from_seq)
        transaction.run(
            "UPDATE conversation_items SET dropped_at = now() "
            "WHERE run_id = :run_id AND dropped_at IS NULL AND NOT seq = ANY(:kept)",
            run_id=run_id,
            kept=[first, *kept],
        )
        _insert(transaction, new)
        # The places of the kept items are new, too: beyond those just given, so that no two are ever alike.
        transaction.run(
            """
            UPDATE conversation_items i SET ordinal = last.ordinal + k.place
            FROM unnest(CAST(:kept AS bigint[])) WITH ORDINALITY AS k(seq, place),
              (SELECT max(ordinal) AS ordinal FROM conversation_items WHERE run_id = :run_id) last
            WHERE i.run_id = :run_id AND i.seq = k.seq
            """,
            run_id=run_id,
            kept=kept,
        )
    return open_items(transaction, run_id)


def add_messages(transaction: Transaction, run_id: UUID, messages: Iterable[NewMessage]) -> int:
    """Keep what people said for a run's agent, each once; give how many were new."""
    records = [
        {"id": str(new_id()), "source_id": m.source_id, "author": m.author, "body": m.body,
         "at": m.at.isoformat() if m.at is not None else None}
        for m in messages
    ]  # fmt: skip
    if not records:
        return 0
    return transaction.run(
        """
        INSERT INTO run_messages (id, run_id, source_id, author, body, at)
        SELECT m.id, :run_id, m.source_id, m.author, m.body, coalesce(m.at, now())
        FROM jsonb_to_recordset(CAST(:messages AS jsonb))
          AS m(id uuid, source_id text, author text, body text, at timestamptz)
        ON CONFLICT (run_id, source_id) DO NOTHING
        """,
        run_id=run_id,
        messages=records,
    )


def unseen_messages(transaction: FencedTransaction) -> list[Message]:
    """List what the agent has not been told yet, oldest first."""
    rows = transaction.rows(
        "SELECT * FROM run_messages WHERE run_id = :run_id AND seen_seq IS NULL ORDER BY at, id",
        run_id=transaction.run_row.id,
    )
    return [record(Message, row) for row in rows]


def mark_seen(transaction: FencedTransaction, ids: Iterable[UUID], seq: int) -> None:
    """Note the item by which the agent was told of messages."""
    transaction.run(
        "UPDATE run_messages SET seen_seq = :seq WHERE run_id = :run_id AND id = ANY(:ids) AND seen_seq IS NULL",
        run_id=transaction.run_row.id,
        ids=list(ids),
        seq=seq,
    )


def of_request(transaction: Transaction, request_id: UUID) -> list[Item]:
    """List the items that a request brought."""
    rows = transaction.rows("SELECT * FROM conversation_items WHERE request_id = :id ORDER BY seq", id=request_id)
    return [record(Item, row) for row in rows]


def _call(transaction: FencedTransaction, call_id: str) -> Item:
    row = transaction.row(
        "SELECT * FROM conversation_items WHERE run_id = :run_id AND call_id = :call_id AND kind = 'model' "
        "AND dropped_at IS NULL",
        run_id=transaction.run_row.id,
        call_id=call_id,
    )
    if row is None:
        raise InvariantViolated(f"the conversation has no call {call_id}")
    return record(Item, row)


def _result(transaction: FencedTransaction, call_id: str) -> Item | None:
    row = transaction.row(
        "SELECT * FROM conversation_items WHERE run_id = :run_id AND call_id = :call_id AND kind = 'result'",
        run_id=transaction.run_row.id,
        call_id=call_id,
    )
    return record(Item, row) if row is not None else None


def _kept(items: list[Item], keep_from_seq: int) -> list[int]:
    """Give the seqs of what stays, in order, after looking whether calls and answers stay together."""
    places = [n for n, item in enumerate(items) if n and item.seq == keep_from_seq]
    if not places:
        raise InvariantViolated(f"the conversation has no item {keep_from_seq} after its first")
    before, kept = items[1 : places[0]], [items[0], *items[places[0] :]]
    called = {item.call_id for item in before if item.kind == "model" and item.call_id}
    answered = {item.call_id for item in before if item.kind == "result"}
    if called != answered:
        parted = ", ".join(sorted(str(name) for name in called ^ answered))
        raise InvariantViolated(f"a compaction would part calls from their answers: {parted}")
    return [item.seq for item in kept]


def _written_before(transaction: FencedTransaction, new: Sequence[NewItem]) -> list[Item]:
    """Find what an earlier try of the same transaction has written after all."""
    rows = transaction.rows(
        "SELECT * FROM conversation_items WHERE run_id = :run_id AND id = ANY(:ids) ORDER BY seq",
        run_id=transaction.run_row.id,
        ids=[item.id for item in new],
    )
    return [record(Item, row) for row in rows]


def _insert(transaction: FencedTransaction, new: Sequence[NewItem], *, changes: bool = False) -> list[Item]:
    if not new:
        return []
    _refuse_repeated_calls(transaction, [item.call_id for item in new if item.kind == "model" and item.call_id])
    records = [
        {"place": place, "id": str(item.id), "kind": item.kind, "payload": item.payload, "call_id": item.call_id,
         "request_id": str(item.request_id) if item.request_id is not None else None,
         "tree_sha": item.tree_sha, "head_sha": item.head_sha}
        for place, item in enumerate(new, 1)
    ]  # fmt: skip
    rows = transaction.rows(
        """
        INSERT INTO conversation_items
          (run_id, seq, id, ordinal, kind, payload, request_id, call_id, changes, tree_sha, head_sha, token)
        SELECT :run_id, last.seq + n.place, n.id, last.ordinal + n.place, n.kind, n.payload, n.request_id, n.call_id,
          :changes, n.tree_sha, n.head_sha, :writer
        FROM json_to_recordset(CAST(:items AS json)) AS n(place bigint, id uuid, kind text, payload json, request_id uuid,
            call_id text, tree_sha text, head_sha text),
          (SELECT coalesce(max(seq), 0) AS seq, coalesce(max(ordinal), 0) AS ordinal
            FROM conversation_items WHERE run_id = :run_id) last
        RETURNING *
        """,
        run_id=transaction.run_row.id,
        items=records,
        changes=changes,
        writer=transaction.run_row.token,
    )
    return sorted((record(Item, row) for row in rows), key=lambda item: item.seq)


def _refuse_repeated_calls(transaction: FencedTransaction, call_ids: list[str]) -> None:
    repeated = transaction.rows(
        "SELECT call_id FROM conversation_items WHERE run_id = :run_id AND kind = 'model' AND call_id = ANY(:call_ids)",
        run_id=transaction.run_row.id,
        call_ids=call_ids,
    )
    names = {row.call_id for row in repeated} | {name for name in call_ids if call_ids.count(name) > 1}
    if names:
        raise Transient(f"the model named different calls alike: {', '.join(sorted(names))}", category=REPEATED_CALL)
