"""`symphony plan`: what would start now, in which order, and why not the rest.

Asks the tracker itself and, where it answers, the ledger; changes nothing in either.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from symphony.cli.app import app
from symphony.cli.connection import AsJson, ledger
from symphony.cli.formatting import document, line, table
from symphony.domain.errors import SymphonyError
from symphony.engine import plan as planning
from symphony.engine import preflight
from symphony.engine.plan import Plan, Reason, Start
from symphony.ledger import scheduling, views
from symphony.ledger.database import Transaction
from symphony.ledger.scheduling import Scheduled
from symphony.settings import Settings, load
from symphony.telemetry.redaction import redact
from symphony.workflow.loader import load as load_file
from symphony.workflow.loader import workflow_path


@dataclass(frozen=True, slots=True)
class _Known:
    """What the ledger says of the workflow; `silent` is why it says nothing."""

    issues: list[Scheduled]
    stopped: Reason | None = None
    silent: str | None = None


@app.command()
def plan(
    path: Annotated[Path | None, typer.Argument(metavar="[WORKFLOW.md]", help="Default: ./WORKFLOW.md.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what would start now, in which order, and why not the rest."""
    settings = load()
    file = workflow_path(path, cwd=Path.cwd())
    loaded = load_file(file, place=str(path) if path is not None else file.name)
    tracker = preflight.tracker_of(loaded, environ=os.environ, base_dir=file.absolute().parent)
    fetched = tracker.fetch_issues_by_states(tracker.active_states)
    known = _ask_ledger(settings, loaded.workflow.name)
    made = planning.plan(loaded.workflow, fetched, known.issues, stopped=known.stopped)
    if as_json:
        document(_as_document(loaded.workflow.name, made, known))
    else:
        _write(loaded.workflow.name, made, known)


def _ask_ledger(settings: Settings, name: str) -> _Known:
    """Read what the ledger knows of a workflow; one that does not answer is said, not an error."""

    def read(transaction: Transaction) -> _Known:
        row = next((row for row in views.workflows_now(transaction) if row["name"] == name), None)
        if row is None:
            return _Known([], silent=f"the ledger does not know the workflow {name} yet")
        return _Known(scheduling.of_workflow(transaction, row["id"]), _stopped(row))

    try:
        with ledger(settings) as database:
            return database.transact(read)
    except SymphonyError as error:
        return _Known([], silent=redact(error.message))


def _stopped(row: dict[str, Any]) -> Reason | None:
    if not row["is_served"]:
        sentence = f"nothing serves the workflow {row['name']}"
        return Reason("not_served", sentence, "`symphony up`, or `symphony workflow add`")
    if row["paused_at"] is not None:
        return Reason("paused", f"the workflow {row['name']} is paused", f"`symphony resume {row['name']}`")
    return None


def _as_document(name: str, made: Plan, known: _Known) -> dict[str, Any]:
    starts = [
        {
            "order": number,
            "kind": "goes on" if start.resumes else "starts",
            "identifier": start.identifier,
            "title": start.title,
            "state": start.state,
            "priority": start.priority,
            "run": _run_name(start) if start.resumes else None,
        }
        for number, start in enumerate(made.starts, 1)
    ]
    return {
        "workflow": name,
        "ledger": {"answers": known.silent is None, "reason": known.silent},
        "stopped": asdict(known.stopped) if known.stopped else None,
        "slots": {"total": made.total, "taken": made.taken, "by_state": dict(made.taken_by_state)},
        "starts": starts,
        "held_back": [
            {"identifier": one.identifier, "title": one.title, "state": one.state, **asdict(one.reason)}
            for one in made.held_back
        ],
        "omitted": [redact(sentence) for sentence in made.omitted],
    }


def _write(name: str, made: Plan, known: _Known) -> None:
    if known.silent is not None:
        line(f"as if nothing had run yet, since the ledger does not say: {known.silent}")
    going = sum(1 for start in made.starts if start.resumes)
    line(
        f"{name}: {made.taken} of {made.total} agent slots are taken; {len(made.starts) - going} issues start now, "
        f"{going} runs go on, {len(made.held_back)} issues do not start"
    )
    if made.starts:
        line()
        rows = [(n, _run_name(start), start.title, start.state, start.priority) for n, start in enumerate(made.starts, 1)]
        table(("NOW", "ISSUE", "TITLE", "STATE", "PRIORITY"), rows)
    if made.held_back:
        line()
        line("not now:")
        for one in made.held_back:
            cure = f" ({one.reason.cure})" if one.reason.cure else ""
            line(f"  {one.identifier}: {redact(one.reason.sentence)}{cure}")
    if made.omitted:
        line()
        line("left out by the tracker, since it cannot be read as an issue:")
        for sentence in made.omitted:
            line(f"  {redact(sentence)}")


def _run_name(start: Start) -> str:
    return f"{start.identifier}#{start.resumes.number} goes on" if start.resumes else start.identifier
