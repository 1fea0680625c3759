"""Messages doubled, reordered, late, forged or torn: a doorbell that anybody may ring moves nothing.

Everything here is published by a stranger with access to the broker, while the fleet works.
"""

from __future__ import annotations

import base64
import json
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


def envelope(**parts: Any) -> dict[str, Any]:
    """Give what a proper message looks like on the wire, with some parts replaced."""
    properties = {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "x"}}
    body = base64.b64encode(b"[[], {}, {}]").decode()
    headers = {"task": "symphony.sweep", "id": str(uuid4()), "lang": "py"}
    proper = {"content-type": "application/json", "content-encoding": "utf-8", "properties": properties, "headers": headers}
    return {**proper, "body": body, **parts}


# No messages at all, then messages of which Celery makes nothing.
TORN = [
    b"garbage", b"", b"\xff\xfe", b"[]", b"{}", b"null", b"[" * 100_000, b'{"properties": {}}',
    *(json.dumps(envelope(**{part: None})).encode() for part in envelope()),
    json.dumps(envelope(body="not base64!")).encode(),
]  # fmt: skip
ODD = [
    json.dumps(envelope(**parts)).encode()
    for parts in (
        {"body": base64.b64encode(b"not json").decode()}, {"body": base64.b64encode(b"{}").decode()},
        {"headers": {}}, {"headers": {"task": "os.system", "id": "1"}}, {"headers": {"task": ["symphony.sweep"], "id": 5}},
        {"content-type": "application/x-python-serialize"}, {"content-encoding": "no-such"},
        {"headers": {"task": "symphony.sweep", "id": "1", "eta": "yesterday"}},
        {"headers": {"task": "symphony.sweep", "id": "1", "expires": {}}},
    )
]  # fmt: skip


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
def test_torn_messages_end_no_worker(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """What is no message is dropped with one line, in the queues as on the channels by which workers are asked things."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(issues=2, seconds=0.5, agent="max_retry_backoff_ms: 1000")
        members = fleet.control(), fleet.worker()
        fleet.start(fleet.beat(), *members)
        with redis.Redis.from_url(broker_url) as client:
            asked = f"symphony./{client.connection_pool.connection_kwargs['db']}.celery.pidbox"
            fleet.until(lambda: board.runs(), what="the first run")
            fleet.until(lambda: client.publish(asked, TORN[0]) == len(members), what="workers that listen")
            for torn in (*TORN, *ODD):
                for queue in ("provision", "control", "agent.node-1"):
                    client.lpush(f"symphony.{queue}", torn)
                heard = client.publish(asked, torn)
                assert heard == len(members) or torn in ODD  # celery listens anew after what it cannot read
        board.until_landed(timeout_s=150)
        fleet.check()
        for member in members:
            assert member.runs and member.text.count("no message") >= 2 * len(TORN), member.text
            assert "Unrecoverable" not in member.text
