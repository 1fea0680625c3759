"""What can go wrong between a client and Linear, scripted for an operation or drawn by a seed.

Invariant: a script's faults come in its order, each once; a drawn one depends on the seed and the number of the request
alone. What a fault leaves undone or done is the server's to keep: see `applied`.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.linear_errors import body, extensions

ANY = "*"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; the functions below make them.

    `applied` says that the operation is carried out although its answer fails; `spoil` changes a good answer.
    """

    kind: str
    applied: bool = False
    status: int = 0
    seconds: float = 0.0
    milliseconds: int = 0
    spoil: Callable[[dict[str, Any]], None] | None = None
    body: dict[str, Any] | None = None


def status(code: int = 500, *, applied: bool = False) -> Fault:
    """Answer with a status and an error in the API's shape."""
    return Fault("status", applied=applied, status=code)


def html(code: int = 502, *, applied: bool = False) -> Fault:
    """Answer with a page of HTML: a proxy's, or with status 200 a captive portal's."""
    return Fault("html", applied=applied, status=code)


def cut(*, applied: bool = False) -> Fault:
    """Promise a longer body than comes, and close."""
    return Fault("cut", applied=applied)


def silent(*, applied: bool = False) -> Fault:
    """Never answer."""
    return Fault("silent", applied=applied)


def reset(*, applied: bool = False) -> Fault:
    """Reset the connection."""
    return Fault("reset", applied=applied)


def slow(seconds: float) -> Fault:
    """Answer well, but so late."""
    return Fault("slow", applied=True, seconds=seconds)


def refused(shown: str, *, code: str = "INPUT_ERROR", kind: str = "invalid input") -> Fault:
    """Say no, in the API's shape."""
    return Fault("refused", body=body("Argument Validation Error", code, kind, shown))


def rate_limited(milliseconds: int) -> Fault:
    """Refuse this and everything of the key that comes within a pause."""
    return Fault("ratelimited", milliseconds=milliseconds)


def stale(milliseconds: int) -> Fault:
    """Answer a read from what was so long ago."""
    return Fault("stale", applied=True, milliseconds=milliseconds)


def partial(*path: str | int) -> Fault:
    """Answer with an error beside data that is null at a path (by default where the first entry of the answer is)."""

    def spoil(answer: dict[str, Any]) -> None:
        where = list(path or tuple(answer["data"])[:1])
        place = answer["data"]
        for step in where[:-1]:
            place = place[step]
        place[where[-1]] = None
        words = extensions("INTERNAL_SERVER_ERROR", "internal error", "Something went wrong.", status=500)
        answer["errors"] = [{"message": "Internal server error", "path": where, "extensions": words}]

    return Fault("partial", applied=True, spoil=spoil)


def null_nodes() -> Fault:
    """Put null in the place of every second node of the connections that were asked for."""

    def spoil(answer: dict[str, Any]) -> None:
        for connection in _connections(answer):
            if isinstance(connection.get("nodes"), list):
                connection["nodes"][::2] = [None] * len(connection["nodes"][::2])

    return Fault("null_nodes", applied=True, spoil=spoil)


def lost_cursor() -> Fault:
    """Say that there is a next page, and not where."""

    def spoil(answer: dict[str, Any]) -> None:
        for connection in _connections(answer):
            if isinstance(connection.get("pageInfo"), dict):
                connection["pageInfo"] |= {"hasNextPage": True, "endCursor": None}

    return Fault("lost_cursor", applied=True, spoil=spoil)


def repeated_cursor() -> Fault:
    """Say that there is a next page after a cursor that is always the same."""

    def spoil(answer: dict[str, Any]) -> None:
        for connection in _connections(answer):
            if isinstance(connection.get("pageInfo"), dict):
                connection["pageInfo"] |= {"hasNextPage": True, "endCursor": "MC8="}

    return Fault("repeated_cursor", applied=True, spoil=spoil)


def _connections(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in (answer.get("data") or {}).values() if isinstance(one, dict)]


@dataclass(frozen=True)
class Chaos:
    """Faults drawn at random: each request has one with this probability."""

    seed: int
    rate: float
    faults: Sequence[Fault] = (
        status(500),
        status(503, applied=True),
        html(502),
        cut(applied=True),
        reset(),
        reset(applied=True),
        slow(0.05),
        partial(),
    )

    def draw(self, number: int) -> Fault | None:
        """Give the fault of the request of this number, if it has one."""
        dice = random.Random(f"{self.seed}/{number}")
        return dice.choice(self.faults) if dice.random() < self.rate else None


class Faults:
    """What is scripted, by the name of an operation or of its first field."""

    def __init__(self, chaos: Chaos | None = None) -> None:
        self.chaos = chaos
        self._scripts: dict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}

    def script(self, operation: str, *faults: Fault) -> None:
        """Let the next requests of an operation go wrong, one after the other."""
        self._scripts[operation].extend(faults)

    def always(self, operation: str, fault: Fault | None) -> None:
        """Let every request of an operation go wrong, or with None no longer."""
        self._always.pop(operation, None)
        if fault is not None:
            self._always[operation] = fault

    def left(self) -> int:
        """Count the scripted faults that nobody has met yet."""
        return sum(len(script) for script in self._scripts.values())

    def next(self, names: Sequence[str], number: int) -> Fault | None:
        """Take the fault of a request, if it has one."""
        for name in (*names, ANY):
            if self._scripts[name]:
                return self._scripts[name].popleft()
        for name in (*names, ANY):
            if name in self._always:
                return self._always[name]
        return self.chaos.draw(number) if self.chaos is not None else None
