"""The Typer application that the verbs are added to, and what each of them does first: logs to standard error."""

from __future__ import annotations

import logging as levels
import os

import typer

from symphony.domain.errors import ConfigError
from symphony.telemetry import log as logging

_LEVEL = "SYMPHONY_LOG_LEVEL"

app = typer.Typer(
    name="symphony",
    help="Turn an issue tracker into the control plane of a fleet of coding agents.",
    no_args_is_help=False,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def configure() -> None:
    """Turn an issue tracker into the control plane of a fleet of coding agents."""
    level = (os.environ.get(_LEVEL) or "WARNING").strip().upper()
    known = levels.getLevelNamesMapping()
    if level not in known:
        raise ConfigError(f"{level!r} is no level", place=_LEVEL, cure="use DEBUG, INFO, WARNING or ERROR")
    logging.configure(level=level, as_json=bool(os.environ.get("SYMPHONY_LOG_JSON")))
