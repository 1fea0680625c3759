"""The status API (specification 13.7): state, one issue, a poll on demand, what agents left, and a page for people.

Invariants: it reads the ledger and asks for a poll, nothing else, and the engine never asks it; every answer that is an
error is a JSON envelope; a ledger that is away or slow is a 503 with the word `unavailable` or `timeout`, never a
hanging request. On loopback only requests that name loopback, or the address at which people reach it, are answered, so
that no web site reads it by a name of its own; but webhooks, which their signature lets in, under whatever name they come.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from symphony.agents.log import log_path
from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.issue import workspace_key
from symphony.engine import lookup
from symphony.engine.rules import Rules
from symphony.engine.shown import Reach
from symphony.ledger import views, workflows
from symphony.ledger.database import Database, Transaction
from symphony.settings import Settings
from symphony.web import artifacts, shapes
from symphony.web.envelope import envelope
from symphony.web.page import page
from symphony.web.webhooks import LINEAR_PATH, Receiver

T = TypeVar("T")
_Proceed = Callable[[Request], Awaitable[Response]]
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]+)(:\d{1,5})?")
_PATIENCE = timedelta(seconds=8)
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 416: "range_not_satisfiable"}
_STATUS = {
    lookup.UNKNOWN: 404, lookup.AMBIGUOUS: 409, artifacts.NO_RUN: 404, artifacts.NO_ARTIFACT: 404, artifacts.ELSEWHERE: 404,
    artifacts.GONE: 410,
}  # fmt: skip


class _Unanswered(Exception):
    """The ledger gave no answer in time."""


def create_app(
    database: Database, settings: Settings, *, loopback_only: bool = True, patience: timedelta = _PATIENCE,
    environ: Mapping[str, str] = os.environ,
) -> FastAPI:  # fmt: skip
    """Build the application; `patience` is how long a request waits for the ledger, `environ` where secrets are."""
    app = FastAPI(title="Symphony", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    if loopback_only:
        own = {urlsplit(settings.public_url).hostname or ""} if settings.public_url else set()
        app.middleware("http")(_refusing_foreign_names(LOOPBACK_NAMES | own))

    async def ask(body: Callable[[Transaction], T]) -> T:
        try:
            return await asyncio.wait_for(asyncio.to_thread(database.transact, body), patience.total_seconds())
        except TimeoutError:
            raise _Unanswered from None

    @app.get("/api/v1/state")
    async def state() -> dict[str, Any]:
        return await ask(shapes.state_of)

    @app.post("/api/v1/refresh", status_code=202)
    async def refresh() -> dict[str, Any]:
        return await ask(request_poll)

    @app.api_route("/api/v1/refresh", methods=["GET", "PUT", "PATCH", "DELETE"])
    async def refresh_is_posted() -> None:
        raise HTTPException(405, headers={"Allow": "POST"})

    artifacts.add_route(app, settings, ask)
    app.router.add_route(LINEAR_PATH, Receiver(database, environ).answer, methods=["POST"])

    @app.get("/api/v1/{identifier:path}")
    async def issue(request: Request, identifier: str, workflow: str | None = None) -> dict[str, Any]:
        reach = Reach(settings.public_url or str(request.base_url).rstrip("/"), settings.home)
        return await ask(lambda transaction: issue_of(transaction, identifier, workflow, settings, reach))

    @app.get("/")
    async def dashboard() -> HTMLResponse:
        return HTMLResponse(page(await ask(shapes.state_of)))

    return app


def request_poll(transaction: Transaction) -> dict[str, Any]:
    """Ask for a poll and a reconciliation at once; asked again before it began, the wishes are one."""
    served = [row for row in views.workflows_now(transaction) if row["is_served"]]
    workflows.poll_soon(transaction)
    return {
        "queued": bool(served),
        "coalesced": bool(served) and all(row["poll_is_due"] for row in served),
        "requested_at": shapes.instant(views.generated_at(transaction)),
        "operations": ["poll", "reconcile"],
    }


def issue_of(transaction: Transaction, word: str, workflow: str | None, settings: Settings, reach: Reach) -> dict[str, Any]:
    """Describe an issue by its newest run, with what whoever asks can open.

    Raises:
        ConfigError: nobody, or more than one, is called that.
    """
    target = lookup.find(transaction, word, workflow=workflow)
    row = views.run_in_full(transaction, target.run_id) if target.run_id is not None else None
    if row is None:
        issue = target.issue
        shape = {"id": issue.tracker_id, "identifier": issue.identifier, "state": issue.state}
        return shapes.idle_issue_shape(shape | {name: issue.snapshot.get(name) for name in ("title", "url")})
    log = log_path(settings.home, row["workflow"], row["identifier"])
    workspace = _workspace(transaction, row, settings)
    return shapes.api_shape(row, reach, workspace=workspace, log=str(log) if log.exists() else None)


def _workspace(transaction: Transaction, row: dict[str, Any], settings: Settings) -> str | None:
    workflow = workflows.get(transaction, row["workflow_id"])
    if workflow is None:
        return None
    try:
        root = Rules.of(workflow).resolved({}).workspace_root(home=settings.home)
        return str(root / workspace_key(row["identifier"]))
    except ConfigError:
        return None  # its path needs a variable that only the nodes have


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(_Unanswered)
    async def timeout(_request: Request, _error: Exception) -> JSONResponse:
        return envelope(503, "timeout", "the ledger did not answer in time")

    @app.exception_handler(ConfigError)
    async def mistake(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ConfigError)
        return envelope(_STATUS.get(error.category, 400), error.category, str(error))

    @app.exception_handler(SymphonyError)
    async def unavailable(_request: Request, error: Exception) -> JSONResponse:
        return envelope(503, "unavailable", str(shapes.masked(str(error))))

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "error")
        return envelope(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> JSONResponse:
        return envelope(500, "internal_error", type(error).__name__)


def _name_asked_for(request: Request) -> str:
    """Read the header itself: where it is malformed, `request.url` has the name of this server instead."""
    found = _HOST.fullmatch(request.headers.get("host", ""))
    return found["name"].strip("[]").lower() if found is not None else ""


def _refusing_foreign_names(names: frozenset[str]) -> Callable[[Request, _Proceed], Awaitable[Response]]:
    async def refuse(request: Request, proceed: _Proceed) -> Response:
        if request.scope["path"] != LINEAR_PATH and _name_asked_for(request) not in names:
            return envelope(400, "host_not_allowed", "this address is served on loopback only")
        return await proceed(request)

    return refuse
