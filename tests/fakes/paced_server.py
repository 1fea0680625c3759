"""A server that lets so many requests a second through, over all processes, and agents that make one request each.

Apart from the test that uses it, so that the processes of the agents import little.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from symphony.ledger import pacing
from symphony.ledger.database import Database, Transaction


@dataclass
class PacedServer:
    """Lets `rate` requests through in any second; the lists and the lock are shared by all processes."""

    rate: int
    let_through: Any
    refused: Any
    lock: AbstractContextManager[Any]

    def ask(self) -> float | None:
        """Give None for a request that is let through, else the seconds to wait."""
        with self.lock:
            now = time.monotonic()
            recent = [at for at in self.let_through[-self.rate :] if at > now - 1]
            (self.let_through if len(recent) < self.rate else self.refused).append(now)
            return None if len(recent) < self.rate else recent[0] + 1 - now


def play(database_url: str, key: str, server: PacedServer, agents: int) -> None:
    """Be a worker process with so many agents, each of which makes one request."""
    database = Database(database_url, pool_size=8)
    threads = [threading.Thread(target=_agent, args=(database, key, server)) for _ in range(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()


def _agent(database: Database, key: str, server: PacedServer) -> None:
    answer: float | None = 0.0
    while answer is not None:
        pacing.wait_for_turn(database, key, lambda wait: time.sleep(wait.total_seconds()))
        sent = time.monotonic()
        answer = server.ask()
        if answer is None:
            database.transact(lambda t: pacing.note_accepted(t, key))
        else:
            _slow_down(database, key, timedelta(seconds=answer), sent)


def _slow_down(database: Database, key: str, retry_after: timedelta, sent: float) -> None:
    def body(transaction: Transaction) -> None:
        pacing.note_limited(transaction, key, retry_after, sent_ago=timedelta(seconds=time.monotonic() - sent))

    database.transact(body)
