"""`symphony why`: one page that says what an issue is doing or waiting for, what comes next, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import AsJson, InWorkflow, ask
from symphony.cli.formatting import document, line
from symphony.domain.errors import ConfigError, SymphonyError
from symphony.engine import lookup
from symphony.engine import why as engine
from symphony.engine.explanation import Explanation, lasting
from symphony.engine.plan import reason_against
from symphony.engine.preflight import tracker_of
from symphony.engine.rules import Rules
from symphony.ledger import runs, views, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import WorkflowRow
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

    try:
        about, said, now = ask(read)
    except ConfigError as error:
        if error.category != lookup.UNKNOWN:
            raise
        about, said, now = _seen_by_no_poll(ask(workflows.served), issue, error)
    if as_json:
        document(about | _as_document(said))
    else:
        _write(about, said, now)


def _seen_by_no_poll(
    served: Sequence[WorkflowRow], issue: str, unknown: ConfigError
) -> tuple[dict[str, Any], Explanation, datetime]:
    """Explain an issue that only its tracker knows: polls list the active states alone.

    Raises:
        ConfigError: no tracker knows it either.
    """
    for row in served:
        rules = Rules.of(row)
        try:
            tracker = tracker_of(rules.loaded, environ=os.environ, base_dir=rules.base_dir)
            found = tracker.fetch_issues_by_ids([issue])
        except SymphonyError:
            continue
        if found:
            reason = reason_against(rules.workflow, found[0], None, held=None)
            about: dict[str, Any] = {"issue": found[0].identifier, "title": found[0].title}
            about |= {"issue_state": found[0].state, "workflow": row.name, "run": None, "run_state": None, "stage": None}
            facts = (("cure", reason.cure),) if reason is not None and reason.cure else ()
            now = f"it has no run: {reason.sentence}" if reason is not None else "it has no run: no poll has seen it yet"
            soon = "it is looked at with the next poll" if reason is None else "nothing, until that has changed"
            return about, Explanation(now, None, soon, facts=facts), datetime.now(UTC)
    raise unknown


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
