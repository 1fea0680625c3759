"""Many agents, one key: a model server that takes twenty requests a second meets no stampede, and no attempt fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from symphony.agents.openai.asking import Asking
from symphony.agents.openai.model import Reply, Request, Watch
from symphony.agents.openai.purse import Purse
from symphony.agents.openai.responses import ResponsesModel, open_client
from symphony.domain.usage import BUILT_IN_PRICES, Budget, Spent
from symphony.ledger import pacing
from symphony.ledger.database import Database
from tests.fakes import model_replies as say
from tests.fakes.model_server import MODEL, ModelServer

PER_SECOND, REQUESTS = 20, 2


class Spoken:
    """Keeps nothing: this is about when requests are sent."""

    def begin_request(self, request_id: UUID, **_: Any) -> None:
        """Note nothing."""

    def finish_request(self, request_id: UUID, *_: Any) -> None:
        """Note nothing."""

    def discard_request(self, request_id: UUID, **_: Any) -> None:
        """Note nothing."""


@dataclass
class SharedPace:
    """The pace of one key, as every worker sees it."""

    database: Database
    key: str

    def wait(self, pause: Callable[[timedelta], None]) -> None:
        """Queue up."""
        pacing.wait_for_turn(self.database, self.key, pause)

    def limited(self, retry_after: timedelta | None, sent_ago: timedelta) -> None:
        """Slow down."""
        self.database.transact(lambda t: pacing.note_limited(t, self.key, retry_after, sent_ago=sent_ago))

    def accepted(self) -> None:
        """Go on."""
        self.database.transact(lambda t: pacing.note_accepted(t, self.key))


def agents_ask(url: str, database_url: str, agents: int) -> Sequence[Reply | Exception]:
    """Let so many agents make their requests at once."""
    database = Database(database_url, pool_size=20)
    client = open_client(api_key="sk-test-0123456789abcdef", base_url=url, timeout_s=60)
    answers: list[Reply | Exception] = []

    def agent(number: int) -> None:
        asking = Asking(
            model=ResponsesModel(client),
            conversation=Spoken(),  # type: ignore[arg-type]
            purse=Purse(Budget(), None, BUILT_IN_PRICES[MODEL], Spent, lambda: Decimal(0)),
            pace=SharedPace(database, pacing.key_of(url)),
            watch=Watch(lambda _: None, lambda: None, lambda _: None),
            name=MODEL,
            used=lambda _: None,
        )
        words = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": f"agent {number}"}]}
        for _ in range(REQUESTS):
            try:
                answers.append(asking.ask(lambda: Request(MODEL, "high", "Work.", [words], [], "key")))
            except Exception as error:
                answers.append(error)

    threads = [threading.Thread(target=agent, args=(number,), daemon=True) for number in range(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    database.close()
    return answers


def check(agents: int, database_url: str) -> None:
    """Let agents ask and compare what the server saw with what it takes."""
    with ModelServer(lambda _: say.text("Yes."), per_second=PER_SECOND) as server:
        answers = agents_ask(server.url, database_url, agents)
        assert len(answers) == agents * REQUESTS
        assert [answer for answer in answers if isinstance(answer, Exception)] == []
        refused = server.counts["limited"]
        print(
            f"{agents} agents: {len(server.requests)} requests, {refused} refused, {server.most_in_a_second()} in a second"
        )
        assert refused <= len(answers) / 4, "a stampede"


def test_agents_share_the_pace_of_their_key(database_url: str) -> None:
    check(30, database_url)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_two_hundred_agents_share_the_pace_of_their_key(database_url: str) -> None:
    check(200, database_url)
