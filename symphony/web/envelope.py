"""The form of every answer that is an error (specification 13.7.2)."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse


def envelope(status: int, code: str, message: str, *, headers: Any = None) -> JSONResponse:
    """Give an error in the form that the specification names."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)
