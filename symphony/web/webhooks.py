"""The receiver of webhooks: beside the status API, or as an application of its own for those who expose nothing else.

Invariant: whoever is not verified reaches no row: a request is refused by its header, its size and its signature before the
ledger is asked, but for the list of secrets, which is read every few seconds at most. A good one is answered at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from symphony.domain.errors import Rejected, SymphonyError
from symphony.engine.ring import Bell, Bells, ring
from symphony.ledger.database import Database, Transaction
from symphony.ledger.webhooks import note_if_new
from symphony.telemetry.log import get_logger
from symphony.web import linear_webhooks as linear
from symphony.web.envelope import envelope

T = TypeVar("T")
LINEAR_PATH = "/webhooks/linear"
UNRUNG = (
    "no workflow that is served here has a secret for Linear's webhooks: set LINEAR_WEBHOOK_SECRET where this process "
    "starts, or name another variable with tracker.provider.webhook_secret"
)
PATIENCE = timedelta(seconds=4)
MOST_BYTES = 1 << 20
_BODY_S = 5.0
_MOST_AT_ONCE = 64
_SECRETS_S = 5.0
_SECRETS_LEAST_S = 1.0

log = get_logger()


class Receiver:
    """Takes in Linear's webhooks; `patience` is how long one waits for the ledger."""

    def __init__(self, database: Database, environ: Mapping[str, str], *, patience: timedelta = PATIENCE) -> None:
        self._database = database
        self._source = Bells(linear.SOURCE, environ)
        self._patience_s = patience.total_seconds()
        self._bells: list[Bell] = []
        self._bells_at = float("-inf")
        self._reading = asyncio.Lock()
        self._at_once = 0

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        signature = request.headers.get(linear.SIGNATURE)
        if not signature:
            return envelope(401, "not_signed", "a webhook of Linear's has the header Linear-Signature")
        if self._at_once >= _MOST_AT_ONCE:
            return envelope(503, "busy", "too many webhooks at once", headers={"retry-after": "5"})
        self._at_once += 1
        try:
            return await self._taken(request, signature)
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return envelope(503, "timeout", "the ledger did not answer in time")
        except SymphonyError as error:
            log.warning("webhook not taken in", reason=str(error))
            return envelope(503, "unavailable", "the ledger does not answer")
        finally:
            self._at_once -= 1

    async def _taken(self, request: Request, signature: str) -> Response:
        if not await self.bells(_SECRETS_S):
            return envelope(503, "no_secret", UNRUNG)
        body = await _body(request)
        if isinstance(body, Response):
            return body
        rung = linear.verified(self._bells, body, signature)
        if not rung:
            rung = linear.verified(await self.bells(_SECRETS_LEAST_S), body, signature)
        if not rung:
            return envelope(401, "wrong_signature", "no workflow that is served here has the secret of this signature")
        try:
            event = linear.event_of(body, now_ms=time.time_ns() // 1_000_000)
        except Rejected as error:
            return envelope(400, error.category, str(error))
        if event.is_ours:
            return JSONResponse({"rung": 0})
        ids = {bell.workflow_id for bell in rung}
        delivery, digest = linear.delivery_of(body, request.headers.get(linear.DELIVERY)), linear.digest_of(body)

        def take(transaction: Transaction) -> bool:
            """Tell by what is signed, too, whether this came before: the name of a delivery is not."""
            is_new = note_if_new(transaction, linear.SOURCE, digest)
            return is_new and ring(transaction, linear.SOURCE, delivery, ids, event.spoken_to)

        is_new = await self._transact(take)
        log.info("webhook", source=linear.SOURCE, delivery=delivery, is_new=is_new, session=bool(event.spoken_to))
        return JSONResponse({"rung": len(ids) if is_new else 0})

    async def bells(self, most_age_s: float) -> list[Bell]:
        """Give what may be rung, read again from the ledger when it is older than that. Raises: Transient, TimeoutError."""
        async with asyncio.timeout(self._patience_s), self._reading:
            if time.monotonic() - self._bells_at > most_age_s:
                self._bells = await self._transact(self._source.of_served)
                self._bells_at = time.monotonic()
        return self._bells

    async def _transact(self, body: Callable[[Transaction], T]) -> T:
        return await asyncio.wait_for(asyncio.to_thread(self._database.transact, body), self._patience_s)


def create_webhook_app(database: Database, environ: Mapping[str, str] = os.environ) -> Starlette:
    """Build an application that takes webhooks and nothing else; `environ` is where secrets are resolved."""
    receiver = Receiver(database, environ)
    return Starlette(routes=[Route(LINEAR_PATH, receiver.answer, methods=["POST"])])


async def _body(request: Request) -> bytes | Response:
    """Read the body, or say why it is not read to its end."""
    too_large = envelope(413, "too_large", "a webhook has at most 1 MiB", headers={"connection": "close"})
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 12 or int(length) > MOST_BYTES):
        return too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    return too_large
    except TimeoutError:
        return envelope(408, "too_slow", "the body did not come in time", headers={"connection": "close"})
    return bytes(body)
