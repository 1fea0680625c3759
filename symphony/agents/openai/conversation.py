"""A run's conversation, as the loop uses it: every item a row before anything is done about it.

Invariant: what is sent to the model is exactly what stands in the rows; every call has an output before the next
request; a row is written by the run's holder or not at all. The loop relies on it, `ledger.conversations` keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

from symphony.agents.openai.compaction import are_notes, with_head
from symphony.agents.openai.model import Item as Payload
from symphony.domain.usage import Usage
from symphony.ledger import attempts, conversations, usage
from symphony.ledger.conversations import NewItem
from symphony.ledger.database import FencedTransaction, new_id
from symphony.ledger.records import Item, Message

T = TypeVar("T")
RequestKind = Literal["turn", "compaction"]

_ENDINGS = ("finish", "ask_human")
_INTERRUPTED = (
    "This call was interrupted: the worker that ran it was lost. It may have run in part. It is not run again by itself; "
    "look at what is there before you repeat it."
)
_NOT_BEGUN = "This call was not begun: the work was interrupted before. Make it again if you still want it."


class Write(Protocol):
    """Writes as the run's holder; `RunContext.fenced`."""

    def __call__(self, body: Callable[[FencedTransaction], T], /) -> T:
        """Run `body` in one transaction under the holder's token."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: its output item, and the workspace's tree after it where it may have changed that."""

    call_id: str
    payload: Payload
    tree_sha: str | None = None
    head_sha: str | None = None
    also: Callable[[FencedTransaction], None] | None = None
    """What is written in the same transaction as the output: at most once, whatever happens."""


class Conversation:
    """The items of one run that the model still sees."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.items: list[Item] = []
        self._replaced: list[Item] = []
        self._round_began: datetime | None = None
        self._bare: set[UUID] = set()

    def load(self, run_id: UUID) -> None:
        """Read the items."""

        def body(transaction: FencedTransaction) -> list[Item]:
            self._bare = conversations.without_reasoning(transaction, run_id)
            self._round_began = attempts.round_began_at(transaction, run_id)
            self._replaced = conversations.replaced_items(transaction, run_id, _ENDINGS)
            return conversations.open_items(transaction, run_id)

        self.items = self._write(body)

    @property
    def payloads(self) -> list[Payload]:
        """The items as the model gets them."""
        return [self.payload_of(item) for item in self.items]

    def payload_of(self, item: Item) -> Payload:
        """Give an item as the model gets it: where its reasoning is dropped without the id by which the API misses that."""
        return _without_id(item.payload) if item.kind == "model" and item.request_id in self._bare else item.payload

    @property
    def is_resumed(self) -> bool:
        """Whether the agent had ended its work, and nothing was said or done since."""
        return self._round_began is not None and self.items[-1].created_at < self._round_began

    def said_since_end(self, text: str) -> bool:
        """Tell whether we have said this already since the agent last ended a turn, by a call or without one."""
        for item in reversed(self._said()):
            if self._round_began is not None and item.created_at < self._round_began:
                return False
            if item.kind == "result":
                return False
            if text in _texts(item.payload):
                return True
        return False

    def _said(self) -> list[Item]:
        """Give what we have said, and the answers of calls by which turns ended, cut ones too, in the order of writing."""
        said = [*self._replaced, *(item for item in self.items if item.kind == "user" or self._ends_turn(item))]
        return sorted((item for item in said if not are_notes(item.payload)), key=lambda item: item.seq)

    def _ends_turn(self, item: Item) -> bool:
        return item.kind == "result" and self.name_of(item.call_id) in _ENDINGS

    def _was_told(self, one: Message) -> bool:
        """Tell whether the agent knows what a person said, as feedback, as an answer or as a message."""
        since = one.at if self._round_began is None else min(one.at, self._round_began)
        said = _telling(one)
        return any(
            item.kind == "user" and item.created_at >= since and said.search(_texts(item.payload)) for item in self._said()
        )

    def say(self, text: str, *, images: Sequence[str] = (), tree_sha: str | None = None) -> None:
        """Tell the model something; `images` are data urls."""
        new = NewItem("user", user_message(text, images), tree_sha=tree_sha)
        self.items += self._write(lambda transaction: conversations.append(transaction, new))

    def hear(self) -> None:
        """Tell the model what people have written meanwhile; what it was told as an answer or as feedback is not news."""
        item_id = new_id()

        def body(transaction: FencedTransaction) -> list[Item]:
            if written := conversations.written(transaction, item_id):
                return written
            unseen = conversations.unseen_messages(transaction)
            news = [one for one in unseen if not self._was_told(one)]
            told = "\n\n".join(f"{one.author or 'Someone'} writes on the issue:\n{_quoted(one.body)}" for one in news)
            added = conversations.append(transaction, NewItem("user", user_message(told), id=item_id)) if news else []
            if unseen:
                seq = added[0].seq if added else self.items[-1].seq
                conversations.mark_seen(transaction, [one.id for one in unseen], seq)
            return added

        self.items += self._write(body)

    def mend(self) -> None:
        """Give every call that a lost worker left without an output one that says so."""
        answered = {item.call_id for item in self.items if item.kind == "result"}
        open_calls = [item for item in self._calls() if item.call_id not in answered]
        if not open_calls:
            return

        def body(transaction: FencedTransaction) -> list[Item]:
            return [
                conversations.finish_call(
                    transaction,
                    str(call.call_id),
                    call_output(str(call.call_id), _INTERRUPTED if call.started_at else _NOT_BEGUN),
                    tree_sha=None,
                )
                for call in open_calls
            ]

        self.items += self._write(body)
        self.items.sort(key=lambda item: item.ordinal)

    def begin_request(self, request_id: UUID, *, model: str, kind: RequestKind, estimate: Usage, cost: Decimal) -> None:
        """Write down that a request is about to be paid."""
        self._write(lambda t: usage.begin_request(t, request_id, model=model, kind=kind, estimate=estimate, cost_usd=cost))

    def finish_request(self, request_id: UUID, used: Usage, cost: Decimal, payloads: Sequence[Payload]) -> None:
        """Write down a complete reply: what it cost and its items, at once."""
        new = [NewItem("model", payload) for payload in payloads]
        self.items += self._write(lambda t: usage.finish_request(t, request_id, used, cost, new))

    def discard_request(
        self, request_id: UUID, *, error: str, used: Usage | None, cost: Decimal, is_estimated: bool
    ) -> None:
        """Write down that a request brought nothing, and what it had or may have cost; None: it was refused."""
        self._write(
            lambda t: usage.discard_request(
                t, request_id, error=error, usage=used, cost_usd=cost, is_estimated=is_estimated
            )
        )

    def begin_call(self, call_id: str) -> None:
        """Write down that a call which may change things is about to run: it is never run again."""
        self._write(lambda transaction: conversations.begin_call(transaction, call_id, changes=True))

    def finish_calls(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what calls came to."""

        def body(transaction: FencedTransaction) -> list[Item]:
            added = []
            for one in outcomes:
                if one.also is not None and not conversations.is_answered(transaction, one.call_id):
                    one.also(transaction)
                added.append(
                    conversations.finish_call(
                        transaction, one.call_id, one.payload, tree_sha=one.tree_sha, head_sha=one.head_sha
                    )
                )
            return added

        self.items += self._write(body)

    def drop_reasoning(self) -> bool:
        """Forget all reasoning, which this key, organisation or model cannot read; False when there was none."""
        kept = [item for item in self.items if item.payload.get("type") != "reasoning"]
        had_some = len(kept) < len(self.items)
        self._write(conversations.drop_reasoning)
        self._bare |= {item.request_id for item in self.items if item not in kept and item.request_id is not None}
        self.items = kept
        return had_some

    def compact(self, keep_from: Item, notes: str) -> None:
        """Replace the items between the first one and `keep_from` by notes, beside the tree that they left."""
        cut = [item for item in self.items[1:] if item.ordinal < keep_from.ordinal]
        tree = next((item.tree_sha for item in reversed(cut) if item.tree_sha is not None), None)
        new = NewItem("user", user_message(with_head(notes)), tree_sha=tree)
        said = self._said()
        self.items = self._write(lambda transaction: conversations.compact(transaction, keep_from.seq, new))
        left = {item.seq for item in self.items}
        self._replaced = [item for item in said if item.seq not in left]

    def _calls(self) -> list[Item]:
        return [item for item in self.items if item.kind == "model" and item.payload.get("type") == "function_call"]

    def describe(self, call_id: str | None, most: int = 160) -> str:
        """Give a call in a line: its tool and the beginning of its arguments."""
        for item in self._calls():
            if item.call_id == call_id:
                text = " ".join(f"{item.payload['name']} {item.payload['arguments']}".split())
                return text if len(text) <= most else f"{text[: most - 1]}…"
        return "?"

    def name_of(self, call_id: str | None) -> str:
        """Name the tool of a call."""
        return next((str(item.payload["name"]) for item in self._calls() if item.call_id == call_id), "?")


def user_message(text: str, images: Sequence[str] = ()) -> Payload:
    """Make the item by which we tell the model something."""
    content: list[dict[str, Any]] = [{"type": "input_text", "text": text}]
    content += [{"type": "input_image", "image_url": url, "detail": "auto"} for url in images]
    return {"type": "message", "role": "user", "content": content}


def call_output(call_id: str, text: str, images: Sequence[str] = ()) -> Payload:
    """Make the output item of a call."""
    if not images:
        return {"type": "function_call_output", "call_id": call_id, "output": text}
    parts: list[dict[str, Any]] = [{"type": "input_text", "text": text}]
    parts += [{"type": "input_image", "image_url": url, "detail": "auto"} for url in images]
    return {"type": "function_call_output", "call_id": call_id, "output": parts}


def _without_id(payload: Payload) -> Payload:
    if payload.get("type") == "message":
        return {"type": "message", "role": "assistant", "content": _texts(payload)}
    return {name: value for name, value in payload.items() if name != "id"}


def _texts(payload: Payload) -> str:
    content = payload.get("content")
    if not isinstance(content, list):
        return str(content or "")
    return "\n".join(part.get("text") or part.get("refusal") or "" for part in content)


def _telling(one: Message) -> re.Pattern[str]:
    """Give what finds the whole of a message where we have told it, by itself or among others, and no part of one."""
    told = rf"{re.escape(one.author or 'Someone')} (?:wrote|writes on the issue):\n{re.escape(_quoted(one.body))}"
    return re.compile(rf"^(?:> )?{told}(?=\n?\Z|\n\n|\n>\n> [^\n]* wrote:\n)", re.MULTILINE)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
