"""`symphony why`: one page that says what an issue is doing or waiting for, what comes next, and what to do about it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import AsJson, InWorkflow, ask
from symphony.cli.formatting import document, line
from symphony.engine import lookup
from symphony.engine import why as engine
from symphony.engine.explanation import Explanation, lasting
from symphony.ledger import runs, views, workflows
from symphony.ledger.database import Transaction
from symphony.settings import load
from symphony.telemetry.redaction import redact
from symphony.web.shapes import instant

_WIDTH = 36


@app.command()
def why(
    issue: Annotated[
        str, typer.Argument(metavar="ISSUE|RUN", help="DEMO-1, DEMO-1#2, or a run's id.", autocompletion=completion.issues)
    ],
    workflow: InWorkflow = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what an issue is doing or waiting for, what happens next and when, and what you could do."""
    silence = load().node_silence

    def read(transaction: Transaction) -> tuple[dict[str, Any], Explanation, datetime]:
        target = lookup.find(transaction, issue, workflow=workflow)
        run = runs.get(transaction, target.run_id) if target.run_id is not None else None
        of = next(row for row in workflows.every(transaction) if row.id == target.issue.workflow_id)
        about = {
            "issue": target.issue.identifier,
            "title": target.issue.snapshot.get("title"),
            "issue_state": target.issue.state,
            "workflow": of.name,
            "run": f"{target.issue.identifier}#{run.number}" if run is not None else None,
            "run_state": str(run.state) if run is not None else None,
            "stage": str(run.stage) if run is not None else None,
        }
        in_workflow = f" --workflow {workflow}" if workflow else ""
        said = engine.explain(transaction, target, silence=silence, in_workflow=in_workflow)
        return about, said, views.generated_at(transaction)

    about, said, now = ask(read)
    if as_json:
        document(about | _as_document(said))
    else:
        _write(about, said, now)


def _as_document(said: Explanation) -> dict[str, Any]:
    return {
        "now": redact(said.now),
        "since": instant(said.since),
        "next": redact(said.next),
        "next_at": instant(said.next_at),
        "next_at_is_latest": said.is_latest,
        "facts": {name: redact(text) for name, text in said.facts},
        "actions": [{"command": action.command, "effect": action.effect} for action in said.actions],
    }


def _write(about: dict[str, Any], said: Explanation, now: datetime) -> None:
    line(
        f"{about['run'] or about['issue']}: {about['title']} (issue: {about['issue_state']}, workflow {about['workflow']})"
    )
    line()
    line(f"  now    {redact(said.now)}")
    if said.since is not None:
        line(f"  since  {_at(said.since)} ({lasting(now - said.since)} ago)")
    line(f"  next   {redact(said.next)}")
    if said.next_at is not None:
        latest = "at the latest " if said.is_latest else ""
        line(f"  when   {latest}{_at(said.next_at)} (in {lasting(said.next_at - now)})")
    if said.facts:
        line()
        for name, text in said.facts:
            line(f"  {name}: {redact(text)}")
    if said.actions:
        line()
        line("  you can")
        for action in said.actions:
            line(f"    {action.command.ljust(_WIDTH)}  {action.effect}")


def _at(instant_: datetime) -> str:
    return instant_.astimezone().strftime("%Y-%m-%d %H:%M:%S")
