"""Webhooks over real HTTP, beside the status API and alone: what rings, what is refused, and what holds under attack."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from symphony.domain.errors import Transient
from symphony.engine import sweep
from symphony.engine.deployment import Deployment
from symphony.ledger import processes, webhooks, workflows
from symphony.ledger.database import Database, new_id
from symphony.settings import Settings
from symphony.trackers.linear.identity import own_uuid
from symphony.web.api import create_app
from symphony.web.webhooks import LINEAR_PATH, MOST_BYTES, create_webhook_app
from tests.conftest import wait_until
from tests.integration.board import at_once
from tests.integration.served_app import served

TEXT = """---
name: {name}
tracker:
  kind: linear
  provider: {{project_slug: abc123{secret}}}
agent: {{kind: command, command: 'true'}}
repository: {{url: repo, branch: main}}
---
Work.
"""
SECRETS = {"ALPHA_SECRET": "lin_wh_alpha-secret", "BETA_SECRET": "lin_wh_beta-secret"}
PUBLIC = {"host": "hooks.example.org"}


class Post:
    """A served application and the ledger behind it."""

    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.database = database
        self.client = httpx.Client(trust_env=False, timeout=20)

    def register(self, name: str, secret: str = "") -> UUID:
        """Serve a workflow; `secret` is the variable of its webhook's secret."""
        text = TEXT.format(name=name, secret=f", webhook_secret: ${secret}" if secret else "")
        workflow_id = self.database.transact(
            lambda t: workflows.register(
                t, name=name, source_kind="file", source=f"/{name}", content=text, digest=name, base_dir="/", serve_for=None
            )
        )
        self.settle(workflow_id)
        return workflow_id

    def settle(self, workflow_id: UUID) -> None:
        """Let the poll of a workflow lie in the future, and the last one long ago."""
        self.sql(
            "UPDATE workflows SET poll_due_at = now() + interval '1 hour', quiet_until = NULL WHERE id = :id",
            id=workflow_id,
        )

    def send(self, body: bytes, *, signature: str | None = None, delivery: str | None = None) -> httpx.Response:
        """Post bytes, signed with alpha's secret unless said otherwise, by a public name."""
        headers = {**PUBLIC, "linear-signature": sign(body) if signature is None else signature}
        headers["linear-delivery"] = delivery or str(new_id())
        return self.client.post(self.url, content=body, headers=headers)

    def is_due(self, workflow_id: UUID) -> bool:
        """Tell whether a workflow's poll is due."""
        return bool(self.sql("SELECT poll_due_at <= now() FROM workflows WHERE id = :id", id=workflow_id)[0][0])

    def sql(self, statement: str, **values: Any) -> Any:
        """Run a statement."""
        is_read = statement.startswith("SELECT")
        return self.database.transact(lambda t: (t.rows if is_read else t.run)(statement, **values))


def sign(body: bytes, secret: str = SECRETS["ALPHA_SECRET"]) -> str:
    """Sign as Linear does."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def event(kind: str = "Issue", *, age_ms: float = 0, **more: Any) -> bytes:
    """Give the body of an event."""
    stamp = int(time.time() * 1000 - age_ms)
    return json.dumps({"type": kind, "action": "update", "webhookTimestamp": stamp, **more}).encode()


def session_event(action: str = "created", session: object = "s-1", issue: object = "i-1") -> bytes:
    """Give the body of an event of a session."""
    return event("AgentSessionEvent", action=action, agentSession={"id": session, "issueId": issue})


@pytest.fixture(params=["status", "alone"])
def post(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Post]:
    """Each of the two applications, served on loopback."""
    database = Database(database_url, pool_size=4)
    if request.param == "alone":
        app: Any = create_webhook_app(database, SECRETS)
    else:
        app = create_app(database, Settings(home=tmp_path), environ=SECRETS)
    with served(app) as url:
        yield Post(url + LINEAR_PATH, database)
    database.close()


def test_a_good_one_rings_those_whose_secret_it_bears(post: Post) -> None:
    alpha, twin = post.register("alpha", "ALPHA_SECRET"), post.register("twin", "ALPHA_SECRET")
    beta, bare = post.register("beta", "BETA_SECRET"), post.register("bare")
    answer = post.send(event())
    assert (answer.status_code, answer.json()) == (200, {"rung": 2})
    assert [post.is_due(one) for one in (alpha, twin, beta, bare)] == [True, True, False, False]
    assert not post.sql("SELECT 1 FROM runs") and not post.sql("SELECT 1 FROM agent_sessions")


def test_the_default_variable_names_the_secret(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECRETS, "LINEAR_WEBHOOK_SECRET", "by-default")
    bare, alpha = post.register("bare"), post.register("alpha", "ALPHA_SECRET")
    body = event()
    assert post.send(body, signature=sign(body, "by-default")).json() == {"rung": 1}
    assert post.is_due(bare) and not post.is_due(alpha)


def test_a_replay_answers_200_and_rings_nothing(post: Post) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    assert post.send(event(), delivery="d-1").json() == {"rung": 1}
    post.settle(alpha)
    again = post.send(event(), delivery="d-1")
    assert (again.status_code, again.json()) == (200, {"rung": 0})
    assert not post.is_due(alpha)
    body = event(note="under a name that nobody has signed")
    said = [post.send(body, delivery=name).json()["rung"] for name in ("d-2", "d-3", "d-4")]
    assert said == [1, 0, 0]
    body = event(note="without a name")
    first, second = (post.send(body, delivery="x" * 5_000) for _ in range(2))
    assert (first.json(), second.json()) == ({"rung": 1}, {"rung": 0})


def test_two_of_one_delivery_at_once_ring_once(post: Post) -> None:
    post.register("alpha", "ALPHA_SECRET")
    body = event()
    answers = at_once([lambda: post.send(body, delivery="d-1").json()] * 8)
    assert sorted(answer["rung"] for answer in answers) == [0] * 7 + [1]


@pytest.mark.parametrize("signature", ["", "0" * 64, "é" * 3, sign(b"something else"), sign(b"{}", "lin_wh_other")])
def test_what_is_not_signed_with_a_known_secret_is_401(post: Post, signature: str) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    raw = signature.encode("latin-1")
    answer = post.client.post(post.url, content=event(), headers={b"linear-signature": raw})
    assert answer.status_code == 401 and answer.json()["error"]["code"] in ("not_signed", "wrong_signature")
    assert not post.is_due(alpha) and not post.sql("SELECT 1 FROM webhook_deliveries")


def test_a_secret_that_is_an_upper_case_or_shortened_signature_is_401(post: Post) -> None:
    post.register("alpha", "ALPHA_SECRET")
    body = event()
    for signature in (sign(body).upper(), sign(body)[:-1], sign(body) + "0", f"sha256={sign(body)}"):
        assert post.send(body, signature=signature).status_code == 401


@pytest.mark.parametrize("age_ms", [61_000, -61_000, 10**15])
def test_what_is_old_or_of_the_future_is_400(post: Post, age_ms: float) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    assert post.send(event(age_ms=age_ms)).json()["error"]["code"] == "stale"
    assert not post.is_due(alpha)
    assert post.send(event(age_ms=55_000 if age_ms > 0 else -55_000)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b"[" * 200_000, b'{"webhookTimestamp": "now"}', b'{"webhookTimestamp": true}',
     b'{"webhookTimestamp": NaN}', b'{"webhookTimestamp": 1e999}', b'{"webhookTimestamp": ' + b"9" * 4_000 + b"}"],
    ids=lambda body: body[:30].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_event_is_400(post: Post, body: bytes) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    answer = post.send(body)
    assert (answer.status_code, answer.json()["error"]["code"] in ("malformed", "stale")) == (400, True)
    assert not post.is_due(alpha)


def test_a_body_of_more_than_a_mebibyte_is_413(post: Post) -> None:
    post.register("alpha", "ALPHA_SECRET")
    padding = "x" * (MOST_BYTES - 200)
    assert post.send(event(padding=padding)).status_code == 200
    assert post.send(event(padding=padding + "x" * 300)).status_code == 413
    large = iter([b"x" * 100_000] * 11)
    headers = {"linear-signature": "0" * 64}
    with suppress(httpx.WriteError):  # the connection was closed while it was being sent, which is as good
        assert post.client.post(post.url, content=large, headers=headers).status_code == 413


def test_without_any_secret_it_is_503_and_says_what_to_do(post: Post) -> None:
    post.register("bare")
    answer = post.send(event())
    assert answer.status_code == 503 and "LINEAR_WEBHOOK_SECRET" in answer.json()["error"]["message"]


def test_a_secret_that_is_not_set_here_stops_no_other(post: Post) -> None:
    post.register("unset", "NOWHERE")
    post.register("alpha", "ALPHA_SECRET")
    assert post.send(event()).json() == {"rung": 1}


def test_a_new_workflow_is_rung_soon_and_a_removed_one_no_more(post: Post) -> None:
    post.register("beta", "BETA_SECRET")
    assert post.send(event()).status_code == 401
    alpha = post.register("alpha", "ALPHA_SECRET")
    wait_until(lambda: post.send(event()).status_code == 200, timeout_s=10)
    post.database.transact(lambda t: workflows.remove(t, alpha))
    wait_until(lambda: post.send(event()).status_code == 401, timeout_s=20)


def test_only_posts_are_taken_and_other_names_still_see_nothing(post: Post) -> None:
    assert post.client.get(post.url).status_code == 405
    beside = post.url.replace(LINEAR_PATH, "/api/v1/state")
    answer = post.client.get(beside, headers=PUBLIC)
    assert answer.status_code in (400, 404) and "generated_at" not in answer.text


def test_rings_coalesce_and_polls_keep_apart(post: Post) -> None:
    """Rule: a storm of webhooks is no storm of polls, and none of them is lost by a poll that had begun before it."""
    alpha = post.register("alpha", "ALPHA_SECRET")
    process_id = new_id()

    def begin(transaction: Any) -> int | None:
        processes.register(transaction, process_id=process_id, node="n", pid=1, queues=[], slots=1)
        every = timedelta(seconds=30)
        seq = workflows.begin_poll_if_due(
            transaction, alpha, process_id=process_id, interval=every, apart=timedelta(seconds=1), silence=every
        )
        if seq is not None:
            workflows.end_poll_if_newest(transaction, alpha, seq, None)
        return seq

    began, until = 0, time.monotonic() + 3
    with ThreadPoolExecutor(1) as pool:
        storm = pool.submit(lambda: [post.send(event()).status_code for _ in range(5_000) if time.monotonic() < until])
        while time.monotonic() < until:
            began += post.database.transact(begin) is not None
            time.sleep(0.01)
        statuses = storm.result()
    assert set(statuses) == {200} and len(statuses) > 10
    assert 2 <= began <= 4
    wait_until(lambda: post.database.transact(begin) is not None, timeout_s=5, what="the poll after the last ring")
    assert post.database.transact(begin) is None


def test_slow_bodies_and_garbage_keep_nobody_waiting(post: Post) -> None:
    """Rule: whoever sends slowly, or no HTTP at all, is cut off, and a good webhook is answered meanwhile."""
    post.register("alpha", "ALPHA_SECRET")
    host, port = post.url.removeprefix("http://").partition("/")[0].split(":")
    slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(30)]
    for one in slow:
        one.sendall(
            f"POST {LINEAR_PATH} HTTP/1.1\r\nhost: h\r\nlinear-signature: {'0' * 64}\r\ncontent-length: 500\r\n\r\n".encode()
        )
    garbage = [socket.create_connection((host, int(port)), timeout=20) for _ in range(10)]
    for one in garbage:
        one.sendall(os.urandom(3_000) + b"\r\n\r\n")
    began = time.monotonic()
    assert [post.send(event()).status_code for _ in range(5)] == [200] * 5
    assert time.monotonic() - began < 4
    for one in slow:
        assert one.recv(20).startswith(b"HTTP/1.1 408")
        one.close()
    assert post.send(event()).status_code == 200
    for one in garbage:
        one.close()


def test_a_flood_without_a_signature_asks_the_ledger_seldom(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    post.register("alpha", "ALPHA_SECRET")
    asked: list[float] = []
    transact = post.database.transact
    monkeypatch.setattr(post.database, "transact", lambda body: (asked.append(time.monotonic()), transact(body))[1])
    began = time.monotonic()
    for _ in range(150):
        assert post.send(event(), signature="0" * 64).status_code == 401
    assert len(asked) <= time.monotonic() - began + 2


def test_a_ledger_that_is_away_is_503_and_nothing_is_remembered(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: the delivery and its ring are one transaction, so what was refused may come again."""
    alpha = post.register("alpha", "ALPHA_SECRET")
    assert post.send(event()).status_code == 200
    post.settle(alpha)
    monkeypatch.setattr("symphony.ledger.webhooks.ring", broken)
    assert post.send(event(), delivery="d-9").status_code == 503
    monkeypatch.undo()
    assert post.send(event(), delivery="d-9").json() == {"rung": 1}
    assert post.is_due(alpha)


def broken(*_: Any, **__: Any) -> int:
    """Fail as a lost connection does."""
    raise Transient("the database does not answer")


def test_sessions_are_opened_once_and_reopened_by_a_person(post: Post) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    post.register("beta", "BETA_SECRET")

    def rows() -> list[Any]:
        read = "SELECT id, tracker_id, candidates, state FROM agent_sessions ORDER BY id"
        return [tuple(row) for row in post.sql(read)]

    for action in ("created", "created", "prompted", "created"):
        assert post.send(session_event(action)).status_code == 200
    assert rows() == [("s-1", "i-1", [alpha], "opened")]
    post.sql("UPDATE agent_sessions SET state = 'closed'")
    post.send(session_event("created"))
    assert rows()[0][-1] == "closed", "a late or doubled one opens nothing again"
    post.send(session_event("prompted"))
    assert rows()[0][-1] == "opened"
    post.send(session_event("prompted", "s-2", None))
    assert rows()[1] == ("s-2", "", [alpha], "opened"), "the first word of it was lost"


def test_what_we_wrote_ourselves_rings_nothing(post: Post) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    for kind in ("Comment", "Attachment"):
        assert post.send(event(kind, data={"id": own_uuid("a key")})).json() == {"rung": 0}
    assert not post.is_due(alpha)
    assert post.send(event("Issue", data={"id": own_uuid("a key")})).json() == {"rung": 1}
    for data in ({"id": str(uuid4())}, {"id": 7}, "id", None):
        post.settle(alpha)
        assert post.send(event("Comment", data=data)).json() == {"rung": 1} and post.is_due(alpha)


@pytest.mark.parametrize("session", [None, 1, "", "x" * 101, {"id": "s"}, "s\0", "\ud800"])
def test_an_odd_session_only_rings(post: Post, session: object) -> None:
    alpha = post.register("alpha", "ALPHA_SECRET")
    assert post.send(session_event("created", session)).status_code == 200
    assert post.send(event("AgentSessionEvent", action="created", agentSession=7)).status_code == 200
    assert post.is_due(alpha) and not post.sql("SELECT 1 FROM agent_sessions")


def test_deliveries_are_forgotten_after_a_day(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    for delivery in ("old", "new"):
        database.transact(lambda t, one=delivery: webhooks.note_if_new(t, "linear", one))  # type: ignore[misc]
    database.transact(lambda t: t.run("UPDATE webhook_deliveries SET at = at - interval '25 hours' WHERE delivery = 'old'"))
    sweep.prune(Deployment(database, Settings(home=tmp_path), "n", environ={}))
    assert [row.delivery for row in database.transact(lambda t: t.rows("SELECT delivery FROM webhook_deliveries"))] == [
        "new"
    ]
    database.close()


def test_the_verb_serves_says_what_is_missing_and_ends_quietly(database_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "symphony", "webhooks", "--port", "0"]
    environment = {**os.environ, "SYMPHONY_DATABASE_URL": database_url, "SYMPHONY_HOME": str(tmp_path)}
    environment |= {"LINEAR_WEBHOOK_SECRET": SECRETS["ALPHA_SECRET"]}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as verb:
        assert verb.stdout is not None and verb.stderr is not None
        url = verb.stdout.readline().removeprefix("webhooks: ").strip()
        post = Post(url, Database(database_url))
        assert "LINEAR_WEBHOOK_SECRET" in verb.stderr.readline()
        wait_until(lambda: post.send(event()).status_code == 503)
        alpha = post.register("alpha")
        wait_until(lambda: post.send(event()).status_code == 200)
        assert post.is_due(alpha)
        verb.terminate()
        verb.wait(20)
        assert verb.stderr.read() == ""
        post.database.close()
