"""The status API on a real ledger: shapes, errors in their envelope, and a ledger that is away or slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from fastapi.testclient import TestClient

from symphony.domain.outcome import Advance, Block, Fail, Retry, Review
from symphony.ledger.database import Database
from symphony.settings import Settings
from symphony.web.api import create_app
from tests.fakes.board import Board

LOOPBACK = "http://127.0.0.1:7777"


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Iterator[Board]:
    database = Database(database_url, pool_size=4)
    yield Board.make(database, tmp_path)
    database.close()


@pytest.fixture
def client(board: Board, tmp_path: Path) -> TestClient:
    return client_of(board.database, tmp_path)


def client_of(database: Database, home: Path, *, patience: timedelta = timedelta(seconds=20)) -> TestClient:
    app = create_app(database, Settings(home=home), patience=patience)
    return TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False)


def test_state_counts_and_lists(board: Board, client: TestClient) -> None:
    board.claim(board.admit("DEMO-1"))
    board.run("DEMO-2", Retry("disk full"))
    state = client.get("/api/v1/state").json()
    assert (state["counts"]["running"], state["counts"]["retrying"]) == (1, 1)
    wanted = "issue_id issue_identifier issue_url state session_id turn_count last_event last_message started_at"
    assert set(wanted.split()) | {"last_event_at", "tokens"} <= state["running"][0].keys()
    assert {"issue_id", "issue_identifier", "issue_url", "attempt", "due_at", "error"} <= state["retrying"][0].keys()
    assert state["codex_totals"]["seconds_running"] >= 0 and state["rate_limits"] is None
    assert state["generated_at"].endswith("Z")


def test_an_issue_is_described_by_its_newest_run(board: Board, client: TestClient, tmp_path: Path) -> None:
    board.run("DEMO-1", Advance(), Retry("first try"))
    about = client.get("/api/v1/demo-1").json()
    assert (about["issue_identifier"], about["status"]) == ("DEMO-1", "retrying")
    assert about["workspace"]["path"] == str(tmp_path / "workspaces" / "payments" / "DEMO-1")
    assert about["attempts"] == {"restart_count": 0, "current_retry_attempt": 1}
    assert about["running"] is None and about["retry"]["error"] == "first try"
    assert about["last_error"] == "first try"
    assert about["recent_events"][-1]["event"] == "retried" and about["recent_events"][-1]["message"] == "first try"


def test_stages_that_follow_each_other_are_no_restarts(board: Board, client: TestClient) -> None:
    board.run("DEMO-1", Advance(), Review("looks good"))
    about = client.get("/api/v1/DEMO-1").json()
    assert about["attempts"] == {"restart_count": 0, "current_retry_attempt": 0}
    assert client.get("/api/v1/state").json()["reviewing"][0]["attempt"] == 1
    board.run("DEMO-2", Retry("first try"))
    assert client.get("/api/v1/DEMO-2").json()["attempts"] == {"restart_count": 0, "current_retry_attempt": 1}


def test_a_running_an_ended_and_an_idle_issue(board: Board, client: TestClient) -> None:
    board.claim(board.admit("DEMO-1"))
    board.run("DEMO-2", Fail("no"))
    board.see("DEMO-3")
    board.run("DEMO-4", Block("Which?"))
    said = {name: client.get(f"/api/v1/{name}").json() for name in ("DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4")}
    assert [one["status"] for one in said.values()] == ["running", "failed", "idle", "blocked"]
    assert said["DEMO-1"]["running"]["turn_count"] == 0 and said["DEMO-3"]["run"] is None


def test_an_identifier_with_slashes_is_found(board: Board, client: TestClient) -> None:
    board.admit("acme/api#3")
    assert client.get("/api/v1/acme/api%233").json()["issue_identifier"] == "acme/api#3"


def test_what_is_unknown_is_404_in_an_envelope(board: Board, client: TestClient) -> None:
    for path in ("/api/v1/NOPE-1", "/api/v1/a/b/c", "/api/v1/%00x"[:-2] + "y"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "issue_not_found"), path
    answer = client.get("/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_an_ambiguous_identifier_is_409(board: Board, client: TestClient, tmp_path: Path) -> None:
    board.admit("DEMO-1")
    Board.make(board.database, tmp_path, name="billing").admit("DEMO-1")
    assert client.get("/api/v1/DEMO-1").json()["error"]["code"] == "issue_ambiguous"
    assert client.get("/api/v1/DEMO-1?workflow=billing").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/state"), ("DELETE", "/api/v1/state"), ("GET", "/api/v1/refresh"), ("PUT", "/api/v1/refresh"),
     ("POST", "/api/v1/DEMO-1"), ("POST", "/")],
)  # fmt: skip
def test_other_methods_are_405_in_an_envelope(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]


def test_refresh_makes_the_poll_due_and_coalesces(board: Board, client: TestClient) -> None:
    board.see("DEMO-1")
    assert not board.rows("SELECT poll_due_at <= now() AS due FROM workflows")[0].due
    first, second = (client.post("/api/v1/refresh", content=b"{}") for _ in range(2))
    assert (first.status_code, first.json()["coalesced"], second.json()["coalesced"]) == (202, False, True)
    assert first.json()["queued"] is True and first.json()["operations"] == ["poll", "reconcile"]
    assert board.rows("SELECT poll_due_at <= now() AS due FROM workflows")[0].due


def test_the_page_escapes_what_issues_contain(board: Board, client: TestClient) -> None:
    board.run("DEMO-1", Retry("<script>alert(1)</script>"), title="<img src=x>")
    answer = client.get("/")
    assert answer.status_code == 200 and "DEMO-1#1" in answer.text
    assert "<script" not in answer.text and "<img" not in answer.text and "&lt;img" in answer.text


def test_secrets_are_masked(board: Board, client: TestClient) -> None:
    secret = "ghp_" + "a1b2c3d4" * 4
    board.run("DEMO-1", Retry(f"refused {secret}"))
    for path in ("/api/v1/state", "/api/v1/DEMO-1", "/"):
        answer = client.get(path)
        assert answer.status_code == 200 and secret not in answer.text


@pytest.mark.parametrize("name", [
    "evil.example", "evil.example:", "evil.example:99999", "evil{.example", 'evil".example', "evil.example/webhooks/linear?", "",
    "evil.example, localhost", "[::1].evil.example", "localhost.evil.example", "localhost@evil.example", "localhost/", "localhost#",
])  # fmt: skip
def test_a_foreign_name_is_refused_on_loopback(client: TestClient, name: str) -> None:
    answer = client.get("/api/v1/state", headers={"host": name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "host_not_allowed")


@pytest.mark.parametrize("name", ["LocalHost", "localhost:7777", "127.0.0.1", "[::1]", "[::1]:7777"])
def test_whatever_names_loopback_is_answered(client: TestClient, name: str) -> None:
    assert client.get("/api/v1/state", headers={"host": name}).status_code == 200


@pytest.mark.conformance("17.4", "a snapshot that is unavailable or late is said to be so")
def test_a_ledger_that_is_away_is_503_unavailable(tmp_path: Path) -> None:
    with client_of(Database("postgresql://nobody@127.0.0.1:9/none", pool_size=1), tmp_path) as away:
        answer = away.get("/api/v1/state")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


@pytest.mark.conformance("17.4", "a snapshot that is unavailable or late is said to be so")
def test_a_ledger_that_is_slow_is_503_timeout(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Event()
    monkeypatch.setattr(board.database, "transact", lambda _body: release.wait(30))
    began = time.monotonic()
    slow = client_of(board.database, tmp_path, patience=timedelta(milliseconds=100))
    try:
        with slow:
            answer = slow.get("/api/v1/state")
            waited = time.monotonic() - began
            release.set()
    finally:
        release.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timeout")
    assert waited < 20
