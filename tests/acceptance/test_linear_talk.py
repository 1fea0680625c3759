"""A fleet that people talk to on Linear: delegated issues are greeted in time, told of once, answered, whoever is killed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.ledger.database import Database
from symphony.web.webhooks import LINEAR_PATH, create_webhook_app
from tests.acceptance.linear_people import STATES
from tests.fakes import linear_faults as faults
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_webhooks import Mishaps
from tests.integration.fleet import Fleet
from tests.integration.served_app import served

SECRET = "lin_wh_secret"
MOVED = "started: In Progress, blocked: Blocked, done: Done"
GREETED_S = 10.0
NAMES = [f"ENG-{number}" for number in range(1, 7)]


@pytest.fixture
def linear() -> Iterator[LinearServer]:
    """A workspace of Linear's."""
    with LinearServer(states=STATES) as server:
        yield server


def wait_of(linear: LinearServer, name: str) -> float:
    """Give the seconds that a session waited for its first word."""
    (session,) = linear.sessions(name)
    return (linear.activities(session)[0].created_at - session.created_at) / 1000


def test_sessions_are_greeted_in_time_and_told_once_through_kills(
    linear: LinearServer, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    """Rule: the first word comes within ten seconds, each word once, a reply lets its run go on, and each session ends."""
    settings = {"LINEAR_API_KEY": linear.token, "LINEAR_ASSIGNEE": "me"}
    dice, database = random.Random(7), Database(database_url)
    with (
        Fleet(tmp_path, database_url, broker_url, settings=settings) as fleet,
        served(create_webhook_app(database, {"LINEAR_WEBHOOK_SECRET": SECRET})) as url,
    ):
        provider = f"{{endpoint: {linear.url}, project_slug: {linear.project.slug_id}}}"
        tracker = f"kind: linear\n  active_states: [Todo, In Progress]\n  provider: {provider}"
        board = fleet.board(
            issues=0,
            tracker=tracker,
            states=MOVED,
            slots=4,
            seconds=1.0,
            poll_ms=5_000,
            ways="asks=ENG-3",
            extra="land: {mode: auto}",
        )
        mishaps = Mishaps(doubled=0.5, forged=0.5, seed=7)
        webhook = linear.webhook(url + LINEAR_PATH, SECRET, mishaps=mishaps)
        control = [fleet.control(), fleet.control(node="node-2")]
        fleet.start(*control, fleet.beat(), fleet.worker(node="node-1"), fleet.worker(node="node-2"))
        for name in NAMES:
            linear.create_issue(f"Thing of {name}")
        fleet.pause(1)
        assert not board.runs(), "an issue of nobody's began"
        linear.faults.chaos = faults.Chaos(seed=7, rate=0.05)
        for number, name in enumerate(NAMES):
            linear.delegate(name, linear.app)
            fleet.pause(dice.uniform(0.2, 1.0))
            if number % 2 and fleet.is_ready(control[0]):
                control[0].kill()
                control[0].start()
        fleet.until(lambda: linear.state_of("ENG-3") == "Blocked", timeout_s=120, what="a question")
        linear.prompt(linear.sessions("ENG-3")[0], "Make it blue.", aloud=True)
        fleet.until(lambda: all(linear.state_of(name) == "Done" for name in NAMES), timeout_s=180, what="six issues landed")
        linear.faults.chaos = None
        fleet.until(lambda: not fleet.sql("SELECT 1 FROM effects WHERE state = 'pending'"), timeout_s=60, what="all told")
        webhook.settle()

        waits = {name: wait_of(linear, name) for name in NAMES}
        assert max(waits.values()) < GREETED_S, waits
        said = [
            one for name in NAMES for one in linear.activities(linear.sessions(name)[0]) if one.user_id == linear.app.id
        ]
        applied = fleet.sql("SELECT 1 FROM effects WHERE kind = 'activity' AND state = 'applied'")
        assert len(said) == len(applied) + len(NAMES)
        assert not [one for one, count in Counter(one.id for one in said).items() if count > 1]
        assert [linear.status(linear.sessions(name)[0]) for name in NAMES] == ["complete"] * len(NAMES)
        assert [len(linear.sessions(name)) for name in NAMES] == [1] * len(NAMES)
        assert linear.violations == [] and linear.impatient == 0
        board.issues = NAMES
        fleet.check(board)
        print(f"waits for the first word: {waits}")
    database.close()
