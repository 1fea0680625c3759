"""What a test lets a model answer: builders of replies, of failures, and ways in which a reply does not arrive whole.

`reasoning("…") + calls(("shell", {"command": "ls"}))` is one reply; `text("…").cut(after=5)` breaks off behind its fifth event.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from symphony.local.demo import responses_stream as stream
from symphony.local.demo.responses_stream import Item, Status

Delivery = Literal["whole", "cut", "malformed", "silent", "errored"]
WALKTHROUGH: dict[str, Any] = {
    "purpose": "It does what was asked.",
    "groups": [],
    "hunks": [],
    "tests_added": [],
    "risks": [],
    "not_done": [],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model says, and how it arrives: within `seconds`, whole or only the first `after` events of it."""

    items: tuple[Item, ...] = ()
    status: Status = "completed"
    reason: str | None = None
    error: Mapping[str, Any] | None = None
    delivery: Delivery = "whole"
    after: int = 0
    seconds: float = 0.0

    def __add__(self, other: Reply) -> Reply:
        """Say the one and then the other, which arrives as the other does."""
        return replace(other, items=(*self.items, *other.items))

    def cut(self, *, after: int = 4) -> Reply:
        """Close the connection behind so many events."""
        return replace(self, delivery="cut", after=after)

    def malformed(self, *, after: int = 4) -> Reply:
        """Send an event that is no JSON behind so many events."""
        return replace(self, delivery="malformed", after=after)

    def silent(self, *, after: int = 4, seconds: float = 600.0) -> Reply:
        """Say nothing more behind so many events, until the client goes or the seconds are over."""
        return replace(self, delivery="silent", after=after, seconds=seconds)

    def errored(self, code: str = "server_error", *, after: int = 4) -> Reply:
        """Send an `error` event behind so many events, and end."""
        error = {"code": code, "message": "The server had an error while processing your request.", "param": None}
        return replace(self, delivery="errored", after=after, error=error)

    def slowly(self, seconds: float) -> Reply:
        """Take so long."""
        return replace(self, seconds=seconds)

    @property
    def is_good(self) -> bool:
        """Tell whether a client can go on with it."""
        return self.status == "completed" and self.delivery == "whole" and bool(self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that is no reply of the model; status 0 resets the connection."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_good: Literal[False] = False


Answer: TypeAlias = Reply | Failure


def text(said: str) -> Reply:
    """Say something to people."""
    return Reply(items=(stream.message(said),))


def reasoning(*summaries: str) -> Reply:
    """Think, with summaries."""
    return Reply(items=(stream.reasoning(*summaries),))


def calls(*wanted: tuple[str, Mapping[str, Any] | str]) -> Reply:
    """Call tools at once: names with arguments, which as text need not be JSON."""
    return Reply(items=tuple(stream.call(name, arguments) for name, arguments in wanted))


def shell(command: str, *, wait_ms: int | None = 60_000, session: str | None = None, input: str | None = None) -> Reply:
    """Call the shell."""
    return calls(("shell", {"command": command, "wait_ms": wait_ms, "session": session, "input": input}))


def patch(said: str) -> Reply:
    """Call apply_patch."""
    return calls(("apply_patch", {"patch": said}))


def ask(question: str) -> Reply:
    """Ask a person."""
    return calls(("ask_human", {"question": question}))


def finish(outcome: str = "done", summary: str = "It is done.", walkthrough: Mapping[str, Any] | None = None) -> Reply:
    """End the agent's turn."""
    arguments = {"outcome": outcome, "summary": summary, "walkthrough": dict(walkthrough or WALKTHROUGH)}
    return calls(("finish", arguments))


def unknown_tool(name: str = "teleport") -> Reply:
    """Call a tool that nobody has offered."""
    return calls((name, {"where": "home"}))


def invalid_arguments(name: str = "shell", arguments: str = '{"command": "ls"') -> Reply:
    """Call a tool with arguments that are no JSON."""
    return calls((name, arguments))


def refusal(said: str = "I cannot help with that.") -> Reply:
    """Refuse."""
    return Reply(items=(stream.refusal(said),))


def empty() -> Reply:
    """Say nothing at all, and call that complete."""
    return Reply()


def incomplete(reason: str = "max_output_tokens", said: str = "I was about to") -> Reply:
    """Break off for a reason; a word of it has status incomplete."""
    unfinished = stream.message(said) | {"status": "incomplete"}
    return Reply(items=(unfinished,), status="incomplete", reason=reason)


def failed(code: str = "server_error", message: str = "The model failed to answer.") -> Reply:
    """End the stream as a failed response."""
    return Reply(status="failed", error={"code": code, "message": message})


def failure(status: int, message: str, code: str | None = None, **error: Any) -> Failure:
    """Answer with an error of the API."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code} | error}
    return Failure(status=status, body=json.dumps(body).encode())


def rate_limited(retry_after: float | str | None = 1.0) -> Failure:
    """Answer 429: slower; `retry_after` in seconds, as a date, or missing."""
    headers = {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
    }
    if isinstance(retry_after, str):
        headers["retry-after"] = retry_after
    elif retry_after is not None:
        headers |= {"retry-after": f"{max(round(retry_after), 1)}", "retry-after-ms": f"{retry_after * 1000:.0f}"}
    said = failure(429, "Rate limit reached for requests per second.", "rate_limit_exceeded", type="requests")
    return replace(said, headers=headers)


def insufficient_quota() -> Failure:
    """Answer 429: nothing left on the account."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return failure(429, message, "insufficient_quota", type="insufficient_quota")


def server_error(status: int = 500) -> Failure:
    """Answer that the server failed."""
    return failure(status, "The server had an error while processing your request. Sorry about that!")


def html(status: int = 502) -> Failure:
    """Answer with a page of a proxy."""
    page = (
        f"<html>\n<head><title>{status} Bad Gateway</title></head>\n<body>\n<h1>{status} Bad Gateway</h1>\n</body>\n</html>"
    )
    return Failure(status=status, body=page.encode(), kind="text/html")


def reset() -> Failure:
    """Reset the connection without a word."""
    return Failure(status=0)


def stale_reasoning() -> Failure:
    """Refuse the encrypted reasoning, whatever it is."""
    return failure(400, "The encrypted content could not be verified.", "invalid_encrypted_content", param="input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """Failures at random: the same request of a conversation meets the same one under the same seed."""

    seed: int
    rate: float
    kinds: Sequence[str] = (
        "rate_limited", "server_error", "html", "reset", "cut", "malformed", "errored", "failed",
    )  # fmt: skip

    def touch(self, answer: Answer, *, conversation: str, number: int) -> Answer:
        """Give the answer, or what becomes of it."""
        dice = random.Random(f"{self.seed}/{conversation}/{number}")
        if dice.random() >= self.rate or not isinstance(answer, Reply):
            return answer
        kind, after = dice.choice(list(self.kinds)), dice.randrange(1, 6)
        match kind:
            case "rate_limited":
                return rate_limited(0.05)
            case "server_error":
                return server_error(dice.choice([500, 502, 503]))
            case "html":
                return html()
            case "reset":
                return reset()
            case "failed":
                return failed()
            case "cut" | "malformed" | "silent" | "errored":
                damaged: Reply = getattr(answer, kind)(after=after)
                return damaged
        raise ValueError(f"there is no failure named {kind!r}")
