"""The pace of a model's key, kept in the ledger and shared by every worker that uses the key.

Invariant: the key itself is never written down, only its digest. Used by the agent stage of kind `openai`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from symphony.ledger import pacing
from symphony.ledger.database import Transaction
from symphony.stages.context import RunContext


class SharedPace:
    """One run's view of the pace of an endpoint and a secret."""

    def __init__(self, context: RunContext, *parts: str) -> None:
        self._context = context
        self._key = pacing.key_of(*parts)

    def wait(self, pause: Callable[[timedelta], None]) -> None:
        """Queue up and return when the request may be sent; `pause` waits so long, and raises to give up."""
        database = self._context.database
        self._context.lease.when_reachable(lambda: pacing.wait_for_turn(database, self._key, pause))

    def limited(self, retry_after: timedelta | None, sent_ago: timedelta) -> None:
        """Slow down every worker of the key."""
        self._write(lambda t: pacing.note_limited(t, self._key, retry_after, sent_ago=sent_ago))

    def accepted(self) -> None:
        """Let the pace grow where somebody waits for a turn."""
        self._write(lambda t: pacing.note_accepted(t, self._key))

    def _write(self, body: Callable[[Transaction], None]) -> None:
        self._context.lease.when_reachable(lambda: self._context.database.transact(body))
