"""`symphony status`: the deployment at this instant, for people and as the JSON of the status API."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Annotated, Any

import typer

from symphony.cli.app import app
from symphony.cli.connection import AsJson, ledger
from symphony.cli.formatting import document, line, seconds, table
from symphony.domain.errors import ConfigError
from symphony.domain.usage import dollars
from symphony.web.shapes import state_of

_EVERY_S = 1.0
_CLEAR = "\x1b[2J\x1b[H"
_GROUPS = ("running", "queued", "retrying", "blocked", "reviewing")


@app.command()
def status(
    *,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again each second, until Ctrl-C.")] = False,
) -> None:
    """Say what runs, what waits and for what, and how the polls go."""
    if as_json and watch:
        raise ConfigError("--json writes one document, --watch never ends", place="status", cure="use one of them")
    with ledger() as database:
        while True:
            state = database.transact(state_of)
            if as_json:
                document(state)
                return
            if watch:
                typer.echo(_CLEAR, nl=False)
            _write(state)
            if not watch:
                return
            time.sleep(_EVERY_S)


def _write(state: dict[str, Any]) -> None:
    line(" · ".join(f"{state['counts'][name]} {name}" for name in _GROUPS))
    for workflow in state["workflows"]:
        line(_workflow_line(workflow))
    if state["effects"]["pending"]:
        line(f"{state['effects']['pending']} writes to the tracker are on their way")
    runs = [run for name in _GROUPS for run in state[name]]
    if runs:
        line()
        table(
            ("RUN", "TITLE", "STATE", "STAGE", "ATTEMPT", "NODE", "TOKENS", "LAST"),
            [
                (
                    run["run"], run["title"], run["run_state"], run["stage"], run["attempt"], run["node"],
                    run["tokens"]["total_tokens"], _last(run),
                )
                for run in runs
            ],
        )  # fmt: skip
    line()
    nodes = {process["node"] for process in state["processes"]}
    slots = sum(process["slots"] for process in state["processes"])
    totals = state["codex_totals"]
    used = f"{totals['total_tokens']} tokens, {seconds(totals['seconds_running'])} of agents"
    today = Decimal(state["usage"]["today_usd"])
    paid = f" · {dollars(today)} today" if today else ""
    line(f"{len(nodes)} nodes, {slots} slots · {used}{paid}")


def _workflow_line(workflow: dict[str, Any]) -> str:
    said = "served" if workflow["served"] else "not served"
    said = "paused" if workflow["paused"] and workflow["served"] else said
    parts = [
        f"{workflow['name']}: {said}",
        f"{workflow['slots_taken']} agents",
        f"polled {workflow['polled_at'] or 'never'}",
    ]
    parts += [f"{word}: {workflow[key]}" for key, word in _TROUBLES if workflow[key]]
    return " · ".join(parts)


_TROUBLES = (("poll_error", "the poll fails"), ("load_error", "the file is not valid, the last good version stays"))


def _last(run: dict[str, Any]) -> str | None:
    waiting = f"{run['waiting_for']} until {run['due_at']}" if run["run_state"] == "waiting" else None
    said = [text for text in (waiting, run["last_message"] or run["last_event"]) if text]
    return ": ".join(said) or None
