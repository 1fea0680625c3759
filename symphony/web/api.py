"""The status API (specification 13.7): state, one issue, a poll on demand, and a page for people.

Invariants: it reads the ledger and asks for a poll, nothing else, and the engine never asks it; every answer that is an
error is a JSON envelope; a ledger that is away or slow is a 503 with the word `unavailable` or `timeout`, never a
hanging request. On loopback only requests that name loopback are answered, so that no web site reads it by a name of
its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.issue import workspace_key
from symphony.engine import lookup
from symphony.engine.rules import Rules
from symphony.ledger import views, workflows
from symphony.ledger.database import Database, Transaction
from symphony.settings import Settings
from symphony.web import shapes
from symphony.web.page import page

T = TypeVar("T")
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_PATIENCE = timedelta(seconds=8)
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
_STATUS = {lookup.UNKNOWN: 404, lookup.AMBIGUOUS: 409}


class _Unanswered(Exception):
    """The ledger gave no answer in time."""


def create_app(
    database: Database, settings: Settings, *, loopback_only: bool = True, patience: timedelta = _PATIENCE
) -> FastAPI:
    """Build the application; `patience` is how long a request waits for the ledger."""
    app = FastAPI(title="Symphony", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)
    if loopback_only:
        app.middleware("http")(_refuse_foreign_names)

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

    @app.get("/api/v1/{identifier:path}")
    async def issue(identifier: str, workflow: str | None = None) -> dict[str, Any]:
        return await ask(lambda transaction: issue_of(transaction, identifier, workflow, settings))

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


def issue_of(transaction: Transaction, word: str, workflow: str | None, settings: Settings) -> dict[str, Any]:
    """Describe an issue by its newest run.

    Raises:
        ConfigError: nobody, or more than one, is called that.
    """
    target = lookup.find(transaction, word, workflow=workflow)
    row = views.run_in_full(transaction, target.run_id) if target.run_id is not None else None
    if row is None:
        issue = target.issue
        shape = {"id": issue.tracker_id, "identifier": issue.identifier, "state": issue.state}
        return shapes.idle_issue_shape(shape | {name: issue.snapshot.get(name) for name in ("title", "url")})
    key = workspace_key(row["identifier"])
    log = settings.home / "logs" / "agents" / f"{key}.log"
    workspace = _workspace(transaction, row, key, settings)
    return shapes.api_shape(row, workspace=workspace, log=str(log) if log.exists() else None)


def _workspace(transaction: Transaction, row: dict[str, Any], key: str, settings: Settings) -> str | None:
    workflow = workflows.get(transaction, row["workflow_id"])
    if workflow is None:
        return None
    try:
        return str(Rules.of(workflow).resolved({}).workspace_root(home=settings.home) / key)
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


async def _refuse_foreign_names(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    if (request.url.hostname or "").strip("[]") not in LOOPBACK_NAMES:
        return envelope(400, "host_not_allowed", "this address is served on loopback only")
    return await proceed(request)


def envelope(status: int, code: str, message: str, *, headers: Any = None) -> JSONResponse:
    """Give an error in the form that the specification names."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)
