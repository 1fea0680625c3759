"""What the guardian knows of one tree, and the rule that decides when it freezes, goes on or dies.

Invariant: `verdict` is a pure function of this state and of what the worker last said; frozen time counts toward no
deadline. Standard library only.
"""

from __future__ import annotations

from symphony.processes.wire import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from symphony.processes.wire import Message

    Verdict = Literal["go on", "freeze", "thaw", "trust", "deadline"]

TRUST = "trust"
ASKED = "asked"


class Worker:
    """What the guardian knows of its worker: when it last spoke, and whether it reaches the database."""

    def __init__(self, *, silence_s: float, frozen_limit_s: float, heard_at: float) -> None:
        self.silence_s = silence_s
        self.frozen_limit_s = frozen_limit_s
        self.heard_at = heard_at
        self.reachable = True

    def silent(self, at: float) -> bool:
        """Whether the worker has said nothing for too long."""
        return at - self.heard_at > self.silence_s


class Ward:
    """One tree: its warden, its instants, and the requests that wait for it."""

    def __init__(self, name: str, pid: int, channel: Channel, request: Message, opened: float) -> None:
        self.name = name
        self.pid = pid
        self.channel = channel
        self.opening: int | None = request["re"]
        self.trust_until: float | None = request["trust_until"]
        self.deadline_s: float | None = request["deadline_s"]
        self.opened = opened
        self.gone_at: float | None = None
        self.closing = False
        self.ended: str | None = None
        self.freezers: set[str] = set()
        self.frozen_since: float | None = None
        self.trust_frozen_since = 0.0
        self.frozen_s = 0.0
        self.waiting: set[int] = set()
        self.killing_since: float | None = None
        self.wakes = 0

    def verdict(self, at: float, worker: Worker) -> Verdict:
        """Say what becomes of the tree at the instant `at`."""
        if self.trust_until is not None and at >= self.trust_until:
            return self._without_trust(at, worker)
        if TRUST in self.freezers:
            return "thaw"
        if self.deadline_s is not None and not self.freezers and at - self.opened - self.frozen_s > self.deadline_s:
            return "deadline"
        return "go on"

    def _without_trust(self, at: float, worker: Worker) -> Verdict:
        if worker.silent(at):
            return "trust"
        if TRUST in self.freezers:
            return "trust" if at - self.trust_frozen_since > worker.frozen_limit_s else "go on"
        return "trust" if worker.reachable else "freeze"

    def freeze(self, at: float, why: str) -> None:
        """Note that the tree is frozen for the reason `why` as well."""
        if why == TRUST:
            self.trust_frozen_since = at
        self.freezers.add(why)
        if self.frozen_since is None:
            self.frozen_since = at

    def thaw(self, at: float, why: str) -> bool:
        """Take the reason `why` away; True when none is left and the tree goes on."""
        self.freezers.discard(why)
        if self.freezers or self.frozen_since is None:
            return False
        self.frozen_s += at - self.frozen_since
        self.frozen_since = None
        return True
