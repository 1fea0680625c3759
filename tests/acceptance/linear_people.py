"""People at a Linear board while a fleet works: they answer, send back, approve, stop, and move cards as they please.

Invariant: they act on what the board shows them, as people do, never on the ledger; what each of them did is in `done`.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping

from tests.fakes.linear_server import LinearServer

STATES = (
    ("Backlog", "backlog"),
    ("Todo", "unstarted"),
    ("In Progress", "started"),
    ("Human Review", "started"),
    ("Rework", "started"),
    ("Merging", "started"),
    ("Blocked", "started"),
    ("Done", "completed"),
    ("Canceled", "canceled"),
)
_EVERY_S = 0.1


class People(threading.Thread):
    """Look at the board again and again; `wishes` says what is to happen to an issue besides being approved.

    Wishes: `rework` (sent back once with words), `reply` and `move` (how a question is answered), `cancel` (stopped when
    it is first seen in work, or in review), `detour` (taken out of work once, and put back).
    """

    def __init__(self, server: LinearServer, wishes: Mapping[str, str], seed: int) -> None:
        super().__init__(daemon=True)
        self.done: dict[str, Counter[str]] = defaultdict(Counter)
        self.failure: BaseException | None = None
        self._server, self._wishes = server, wishes
        self._dice = random.Random(seed)
        self._end = threading.Event()

    def run(self) -> None:
        """Act until told to stop."""
        try:
            while not self._end.wait(_EVERY_S):
                for name, wish in self._wishes.items():
                    if self._dice.random() < 0.5:  # nobody looks at everything all the time
                        self._look(name, wish)
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """Go home, and raise what went wrong."""
        self._end.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def _look(self, name: str, wish: str) -> None:
        done, state = self.done[name], self._server.state_of(name)
        match state:
            case "In Progress" | "Human Review" if wish == "cancel" and not done["cancel"]:
                self._move(name, "Canceled", "cancel")
            case "In Progress" if wish == "detour" and not done["detour"]:
                self._move(name, "Backlog", "detour")
            case "Backlog":
                self._move(name, "Todo", "put back")
            case "Blocked" if wish == "reply" and not done["answer"]:
                self._server.comment(name, "Make it blue.", by=self._server.person)
                done["answer"] += 1
            case "Blocked" if wish == "move":
                self._server.comment(name, "Make it green.", by=self._server.person)
                self._move(name, "Todo", "answer")
            case "Human Review" if wish == "rework" and not done["rework"]:
                self._server.comment(name, "The name is wrong.", by=self._server.person)
                self._move(name, "Rework", "rework")
            case "Human Review":
                self._move(name, "Merging", "approve")

    def _move(self, name: str, state: str, what: str) -> None:
        self._server.move(name, state, by=self._server.person)
        self.done[name][what] += 1
