"""Structured logs: `event key=value …` lines on standard error, or JSON lines.

Every line passes the redactor. A sink that fails is dropped after one warning on another; logging never stops work
(specification 13.1, 13.2).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog

from symphony.telemetry.redaction import redact

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _redacted(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


class _ForgivingHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Drop a line that cannot be written: the reader has gone, the work has not."""


def configure(*, level: str = "INFO", as_json: bool = False, stream: TextIO | None = None) -> None:
    """Send everything that is logged to one stream; standard error unless told otherwise."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    )
    structlog.configure(
        processors=[*_SHARED, _redacted, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
    )
    handler = _ForgivingHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, _redacted],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redacted,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def speaking_of(**fields: str) -> AbstractContextManager[Any]:
    """Put fields into every line that this thread logs meanwhile: `issue_id`, `issue_identifier`, `session_id`."""
    return structlog.contextvars.bound_contextvars(**fields)


def get_logger() -> Any:
    """Give the logger."""
    return structlog.get_logger("symphony")
