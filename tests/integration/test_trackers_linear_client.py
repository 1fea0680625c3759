"""Whatever comes back instead of an answer of Linear's API becomes an error that says what happens next."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient
from symphony.local.demo.model_http import Endpoint, Exchange
from symphony.trackers.linear import client as client_module
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.failures import EXISTS, NOT_FOUND
from symphony.trackers.quota import OwnQuota

KEY = "lin_api_a_key_that_nobody_sees"
FINE: dict[str, Any] = {"data": {"viewer": {"id": "u1"}}}
DOCUMENT = "query Who { viewer { id } }"


def ask(answer: Callable[[Exchange], None], *, patience_s: float = 2.0) -> Any:
    with Endpoint(answer) as endpoint:
        client = Client(endpoint.url, KEY, OwnQuota())
        client.http.timeout = patience_s
        return client.ask(DOCUMENT, {"a": 1}, operation="Who")


def failing(answer: Callable[[Exchange], None], *, patience_s: float = 2.0) -> SymphonyError:
    with pytest.raises(SymphonyError) as fault:
        ask(answer, patience_s=patience_s)
    assert KEY not in str(fault.value) + repr(fault.value)
    assert "Who" in fault.value.message or "key" in fault.value.message
    assert len(fault.value.message) < 600
    return fault.value


def error(message: str, code: str | None = None, **extensions: Any) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code, **extensions}}], "data": None}


def saying(status: int, payload: Any, **headers: str) -> Callable[[Exchange], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.send_json(status, payload, named)


def test_a_request_is_what_linear_takes() -> None:
    seen: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.send_json(200, FINE)

    assert ask(answer) == FINE["data"]
    (exchange,) = seen
    assert exchange.method == "POST"
    assert exchange.headers["authorization"] == KEY
    assert exchange.headers["content-type"] == "application/json"
    assert json.loads(exchange.body) == {"query": DOCUMENT, "variables": {"a": 1}, "operationName": "Who"}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 404, 408, 413, 301, 302])
def test_a_status_that_is_no_success_may_pass(status: int) -> None:
    fault = failing(lambda exchange: exchange.send(status, b"<html>", kind="text/html", headers={"Location": "/x"}))
    assert isinstance(fault, Transient)
    assert fault.category == "tracker_status"
    assert str(status) in fault.message


def test_a_server_that_names_a_time_is_believed() -> None:
    fault = failing(saying(503, {}, retry_after="7"))
    assert isinstance(fault, Transient)
    assert fault.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in</html>",
        b"{",
        b"[]",
        b"null",
        b'"data"',
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data": {"a": 1}, "errors": "none"}',
        b'{"data": {"a": 1}, "errors": [null]}',
    ],
)
def test_a_body_that_is_no_answer_is_none(body: bytes) -> None:
    fault = failing(lambda exchange: exchange.send(200, body, kind="application/json"))
    assert isinstance(fault, Transient)
    assert fault.category == "tracker_response"


def test_errors_beside_data_are_no_answer() -> None:
    fault = failing(saying(200, FINE | error("Internal server error", "INTERNAL_SERVER_ERROR") | {"data": FINE["data"]}))
    assert isinstance(fault, Transient)
    assert fault.category == "tracker_response"
    assert "Internal server error" in fault.message


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("payload", "category"),
    [
        (error("Cannot query field", "GRAPHQL_VALIDATION_FAILED"), "tracker_response"),
        (error("Query too complex", "INPUT_ERROR"), "tracker_response"),
        (error("Argument Validation Error", "INVALID_INPUT"), "tracker_response"),
        (error("x", None, type="user error"), "tracker_response"),
        (error("Entity not found: Issue", "INPUT_ERROR"), NOT_FOUND),
        (error("conflict on insert of Comment", "INPUT_ERROR"), EXISTS),
    ],
)
def test_what_linear_understood_and_refused_is_rejected(status: int, payload: dict[str, Any], category: str) -> None:
    fault = failing(saying(status, payload))
    assert isinstance(fault, Rejected)
    assert fault.category == category


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (401, {}),
        (403, {}),
        (400, error("Authentication required", "AUTHENTICATION_ERROR")),
        (200, error("Authentication required", "AUTHENTICATION_ERROR")),
        (200, error("Forbidden", "FORBIDDEN")),
    ],
)
def test_a_key_that_is_not_accepted_is_the_operators(status: int, payload: dict[str, Any]) -> None:
    fault = failing(saying(status, payload))
    assert isinstance(fault, ConfigError)
    assert fault.place == "tracker.provider.api_key"
    assert fault.cure


def test_the_key_is_not_shown_though_the_server_echoes_it() -> None:
    fault = failing(saying(400, error(f"the key {KEY}\n\x1b[31m is bad", "INPUT_ERROR", userPresentableMessage=KEY)))
    assert "\x1b" not in fault.message
    assert "\n" not in fault.message


@pytest.mark.parametrize("status", [400, 429, 200])
def test_a_refusal_closes_the_key(status: int) -> None:
    reset = str(int((time.time() + 40) * 1000))
    headers = {
        "x-ratelimit-requests-limit": "1500",
        "x-ratelimit-requests-remaining": "0",
        "x-ratelimit-requests-reset": reset,
    }
    quota = OwnQuota()
    seen: list[int] = []

    def answer(exchange: Exchange) -> None:
        seen.append(1)
        exchange.send_json(status, error("Rate limit exceeded", "RATELIMITED"), headers)

    with Endpoint(answer) as endpoint:
        for _ in range(3):
            with pytest.raises(Transient) as fault:
                Client(endpoint.url, KEY, quota).ask(DOCUMENT, {}, operation="Who")
            assert fault.value.category == "tracker_rate_limited"
            assert fault.value.retry_after is not None
            assert 38 < fault.value.retry_after.total_seconds() <= 40.1
    assert len(seen) == 1
    assert quota.share() == 0.0


def silent(exchange: Exchange) -> None:
    exchange.wait(60)
    exchange.cut()


def cut(exchange: Exchange) -> None:
    exchange.send(200, b'{"data": ', kind="application/json", headers={"Content-Length": "1000"})
    exchange.cut()


@pytest.mark.parametrize("answer", [silent, cut, Exchange.reset, Exchange.cut])
def test_an_answer_that_does_not_come_is_transient(answer: Callable[[Exchange], None]) -> None:
    fault = failing(answer, patience_s=0.3)
    assert isinstance(fault, Transient)
    assert fault.category == "tracker_request"


def test_nobody_there_is_transient() -> None:
    with Endpoint(lambda exchange: exchange.cut()) as endpoint:
        url = endpoint.url
    with pytest.raises(Transient) as fault:
        Client(url, KEY, OwnQuota()).ask(DOCUMENT, {}, operation="Who")
    assert fault.value.category == "tracker_request"


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_WHOLE_S", 0.5)
    over = threading.Event()

    def drip(exchange: Exchange) -> None:
        exchange.begin(kind="application/json")
        while not over.wait(0.05):
            exchange.write(b" ")

    began = time.monotonic()
    fault = failing(drip)
    over.set()
    assert isinstance(fault, Transient)
    assert fault.category == "tracker_request"
    assert time.monotonic() - began < 5


def test_an_answer_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_BYTES", 100_000)

    def flood(exchange: Exchange) -> None:
        exchange.begin(kind="application/json")
        for _ in range(100):
            exchange.write(b" " * 10_000)
        exchange.end()

    fault = failing(flood)
    assert isinstance(fault, Transient)
    assert fault.category == "tracker_response"


def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    count = iter(range(10))

    def answer(exchange: Exchange) -> None:
        next(count)
        exchange.send_json(200, FINE)
        exchange.cut()

    with Endpoint(answer) as endpoint:
        client = Client(endpoint.url, KEY, OwnQuota())
        for _ in range(3):
            assert client.ask(DOCUMENT, {}, operation="Who") == FINE["data"]
            time.sleep(0.05)


def test_no_proxy_leads_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(saying(200, FINE)) == FINE["data"]


def test_an_answer_that_is_fine_is_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert ask(saying(200, FINE)) == FINE["data"]
    assert caplog.records == []


def test_a_client_serves_several_threads() -> None:
    answers: list[Any] = []
    with Endpoint(saying(200, FINE)) as endpoint:
        client = Client(endpoint.url, KEY, OwnQuota())
        threads = [
            threading.Thread(target=lambda: answers.append(client.ask(DOCUMENT, {}, operation="Who"))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [FINE["data"]] * 20


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTPS_PROXY", "foo://u:hidden@x"), ("HTTPS_PROXY", "http://u:hidden/x@x:1"), ("ALL_PROXY", "socks5://u:hidden@127.0.0.1:1"),
     ("SSL_CERT_FILE", "/nowhere/hidden.pem")],
)  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as fault:
        Client("https://linear.example/graphql", KEY, OwnQuota())
    assert name in str(fault.value) and "http://host:port" in str(fault.value)
    assert "hidden" not in str(fault.value) + repr(fault.value)
