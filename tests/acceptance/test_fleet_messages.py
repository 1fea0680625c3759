"""Messages doubled, reordered, late, forged or torn: a doorbell that anybody may ring moves nothing.

Everything here is published by a stranger with access to the broker, while the fleet works.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery, chain

from symphony.domain.stage import Stage
from tests.integration.fleet import Fleet

QUEUES = {"provision": "provision", "agent": "agent.node-1", "proof": "proof", "land": "land"}
GARBAGE: list[Any] = ["", "x", "'; DROP TABLE runs; --", 5, None, {"id": 1}, ["a"], "0" * 5000]


def stranger(broker_url: str) -> Celery:
    """Give an application that publishes as Symphony's would."""
    app = Celery("stranger", broker=broker_url)
    app.conf.update(broker_transport_options={"global_keyprefix": "symphony."}, task_serializer="json", result_backend=None)
    return app


@pytest.mark.timeout(300)
def test_messages_alone_move_nothing(tmp_path: Path, database_url: str, broker_url: str) -> None:
    dice = random.Random(7)
    with Fleet(tmp_path, database_url, broker_url) as fleet, stranger(broker_url) as app:
        board = fleet.board(issues=4, slots=2, seconds=0.5)
        fleet.start(fleet.control(), fleet.beat(), fleet.worker(slots=8), fleet.worker(slots=8))

        def send(stage: str, *arguments: Any, **options: Any) -> None:
            app.send_task(f"symphony.{stage}", arguments, queue=QUEUES[stage], **options)

        for stage in QUEUES:
            for word in GARBAGE:
                send(stage, word)
            send(stage)
            send(stage, str(uuid4()), "more", 7)
        for _ in range(40):
            for run in board.runs():
                for stage in dice.sample(list(QUEUES), 4):
                    send(stage, str(run.id), **dice.choice([{}, {"countdown": 1}, {"expires": -5}]))
                wrong = [app.signature(f"symphony.{stage}", (str(run.id),), immutable=True) for stage in reversed(QUEUES)]
                chain(*(link.set(queue=QUEUES[link.task.removeprefix("symphony.")]) for link in wrong)).apply_async()
            for tick in ("dispatch", "sweep", "deliver", "prune"):
                app.send_task(f"symphony.{tick}", queue="control")
            app.send_task("symphony.poll", (str(board.id),), queue="control")
            app.send_task("symphony.poll", ("nothing",), queue="control")
            if board.states() == {"landed": 4}:
                break
            fleet.pause(0.5)
        board.until_landed(timeout_s=120)
        for run in board.runs():
            for stage in QUEUES:
                send(stage, str(run.id))
        with redis.Redis.from_url(broker_url) as client:
            fleet.until(lambda: not any(client.llen(f"symphony.{queue}") for queue in QUEUES.values()), what="empty queues")
        fleet.check()
        assert Counter(attempt.stage for attempt in board.attempts()) == dict.fromkeys(map(str, Stage), 4)
        assert {attempt.outcome for attempt in board.attempts()} == {"advance"}
        said = "".join(member.text for member in fleet.members)
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if "message without a proper id" in line]
        polls = sum("'nothing'" in line for line in lines)
        assert len(lines) - polls == len(QUEUES) * (len(GARBAGE) + 1)


@pytest.mark.timeout(240)
def test_torn_messages_cost_restarts_only(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Celery ends a worker that reads something that is no message; the supervisor's restart is all that it costs."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(issues=2, seconds=0.5, agent="max_retry_backoff_ms: 1000")
        members = fleet.control(), fleet.worker()
        fleet.start(fleet.beat(), *members)
        with redis.Redis.from_url(broker_url) as client:
            for queue in ("provision", "control"):
                client.lpush(f"symphony.{queue}", b"garbage")

        def landed() -> bool:
            for member in members:
                if not member.runs:
                    member.start()
            return board.states() == {"landed": 2}

        fleet.until(landed, timeout_s=150, what="two landed issues")
        board.until_landed()
        fleet.check()
