"""Which answer a request gets: from a callable, or from lists that are played for each conversation.

Invariant: a list is played in order; a request that comes again with the same words after a good reply gets the same reply
again, so a client that lost a reply half-way does not put the list out of step. A failure is played once.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tests.fakes.model_replies import Answer, failure

if TYPE_CHECKING:
    from tests.fakes.model_request import Request

Script: TypeAlias = "Callable[[Request], Answer] | Sequence[Answer] | Mapping[str, Sequence[Answer]]"


class Player:
    """Plays a script; a mapping's list is the one whose name stands in the conversation's prompt."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._next: defaultdict[str, int] = defaultdict(int)
        self._given: dict[tuple[str, str], Answer] = {}

    def answer(self, request: Request) -> Answer:
        """Give the answer to a request."""
        if callable(self._script):
            return self._script(request)
        replies = self._list(request)
        with self._lock:
            asked = (request.conversation, request.words)
            if (given := self._given.get(asked)) is not None and given.is_good:
                return given
            number = self._next[request.conversation]
            if number >= len(replies):
                return failure(400, f"The script of this conversation has only {len(replies)} answers.", "script_over")
            self._next[request.conversation] = number + 1
            self._given[asked] = replies[number]
            return replies[number]

    def _list(self, request: Request) -> Sequence[Answer]:
        if not isinstance(self._script, Mapping):
            assert not callable(self._script)
            return self._script
        return next((replies for name, replies in self._script.items() if name in request.seen.prompt), ())
