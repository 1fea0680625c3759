"""What agents left for people, given out by the status API.

Invariant: only what the row of a run lists is given out, only from this node's home, and by whatever name and content, no
browser runs it in our origin: it sees the type as which the file was kept, shows pictures and videos alone, and saves
all else under a name that ends as the type does.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from symphony.domain.errors import ConfigError
from symphony.ledger import accounts, runs
from symphony.ledger.database import Transaction
from symphony.proof.artifacts import open_kept
from symphony.settings import Settings
from symphony.telemetry.redaction import redact

NO_RUN, NO_ARTIFACT, ELSEWHERE, GONE = "run_not_found", "artifact_not_found", "artifact_elsewhere", "artifact_gone"
_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "video/mp4", "video/webm"})
_CHUNK = 1 << 16
_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))")

Json = dict[str, Any]


class _Streamed(StreamingResponse):
    """A part of an open file, which is closed when its reader has it, or has gone away."""

    def __init__(self, file: BinaryIO, start: int, end: int, **more: Any) -> None:
        super().__init__(_pieces(file, start, end), **more)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def add_route(
    app: FastAPI, settings: Settings, ask: Callable[[Callable[[Transaction], list[Json]]], Awaitable[list[Json]]]
) -> None:
    """Let the application give artifacts out; `ask` runs a transaction on the ledger."""

    @app.api_route("/api/v1/runs/{run_id}/artifacts/{stored}", methods=["GET", "HEAD"])
    async def artifact(request: Request, run_id: str, stored: str) -> Response:
        found = await ask(lambda transaction: listed(transaction, run_id, stored))
        file = await asyncio.to_thread(opened, settings, UUID(run_id), found)
        return answer(request, file, found[0])


def listed(transaction: Transaction, run_id: str, stored: str) -> list[Json]:
    """List what the row of a run says of the artifacts of this stored name, at least one.

    Raises:
        ConfigError: there is no such run, or its row lists none of that name.
    """
    try:
        run = runs.get(transaction, UUID(run_id))
    except ValueError:
        run = None
    if run is None:
        raise ConfigError("there is no run of this id", cure="`symphony runs --json` lists them", category=NO_RUN)
    kept = (accounts.artifacts_of(transaction, run.id) or {}).get("kept", ())
    found = [artifact for artifact in kept if artifact["stored"] == stored]
    if not found:
        raise ConfigError(
            "the run has no artifact of this name", cure=f"`symphony show {run.id} --md` lists them", category=NO_ARTIFACT
        )
    return found


def opened(settings: Settings, run_id: UUID, artifacts: Sequence[Json]) -> BinaryIO:
    """Open what is kept on this node.

    Raises:
        ConfigError: it is kept on another node, or no more.
    """
    file = open_kept(settings.home, run_id, artifacts[0]["stored"])
    if file is not None:
        return file
    others = sorted({artifact.get("node", settings.node) for artifact in artifacts} - {settings.node})
    if others:
        raise ConfigError(
            f"this is kept on the node {' and '.join(others)}, and this is {settings.node}",
            cure="ask the status API there",
            category=ELSEWHERE,
        )
    raise ConfigError(
        f"this is not kept any more on the node {settings.node}", cure="it may have been cleaned", category=GONE
    )


def answer(request: Request, file: BinaryIO, artifact: Json) -> Response:
    """Stream an open artifact, or the one range of it that was asked for; it is closed at the end.

    Raises:
        HTTPException: the range begins beyond its end.
    """
    size = os.fstat(file.fileno()).st_size
    start, end = 0, size
    headers = {
        "accept-ranges": "bytes", "content-disposition": _disposition(artifact), "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }  # fmt: skip
    asked = None if "if-range" in request.headers else _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is not None:
        first, last, final = asked.groups()
        start = int(first) if first else max(size - int(final), 0)
        end = min(int(last) + 1, size) if last else size
        if start >= end:
            file.close()
            raise HTTPException(416, f"it has {size} bytes", headers={"content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    end = end if request.method == "GET" else start
    status = 206 if asked else 200
    return _Streamed(file, start, end, status_code=status, headers=headers, media_type=artifact["type"])


def _disposition(artifact: Json) -> str:
    """Say what a browser does with it, and the name under which it would be saved."""
    name, suffix = Path(redact(artifact["name"])).name, Path(artifact["stored"]).suffix
    name = name if name.endswith(suffix) else f"{name}{suffix}"
    how = "inline" if artifact["type"] in _SHOWN else "attachment"
    return f"{how}; filename*=UTF-8''{quote(name, safe='')}"


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    while start < end and (piece := file.read(min(_CHUNK, end - start))):
        start += len(piece)
        yield piece
